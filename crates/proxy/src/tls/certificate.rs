//! What is read from certificates beside what rustls reads: the hash for channel binding, names, key and dates.
//!
//! Fields that nobody asked for are skipped unparsed, so that an odd certificate fails only where its oddity matters.

use std::time::Duration;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{BitStringRef, ContextSpecific, ObjectIdentifier};
use x509_cert::der::{self, Decode, DecodeValue, Header, Reader, SliceReader, Tag, TagNumber};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Validity;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// `tls-server-end-point` of a certificate (DER): its hash with the hash function of its signature algorithm, and with
/// SHA-256 where that is MD5 or SHA-1 (RFC 5929, section 4.1).
///
/// `None` if the algorithm has no hash function of its own (Ed25519), is unknown, or the certificate cannot be read:
/// there is no channel binding then.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate).ok()?? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn signature_hash(certificate: &[u8]) -> der::Result<Option<Hash>> {
    let algorithm = signature_algorithm(certificate)?;
    if algorithm.oid != RSASSA_PSS {
        return Ok(hash_of_signature(&algorithm.oid.to_string()));
    }
    // RFC 4055, section 3.1: the hash function stands in the parameters, and is SHA-1 where it does not.
    let Some(parameters) = algorithm.parameters else {
        return Ok(Some(Hash::Sha256));
    };
    let hash = parameters.sequence(|r| {
        let hash =
            ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(r, TagNumber::N0)?;
        r.read_slice(r.remaining_len())?;
        Ok(hash)
    })?;
    Ok(hash.map_or(Some(Hash::Sha256), |h| {
        hash_function(&h.value.oid.to_string())
    }))
}

fn signature_algorithm(certificate: &[u8]) -> der::Result<AlgorithmIdentifierRef<'_>> {
    let mut reader = SliceReader::new(certificate)?;
    reader.sequence(|r| {
        r.tlv_bytes()?;
        let algorithm = AlgorithmIdentifierRef::decode(r)?;
        r.tlv_bytes()?;
        Ok(algorithm)
    })
}

/// RFC 3279, 4055, 5758.
fn hash_of_signature(oid: &str) -> Option<Hash> {
    Some(match oid {
        "1.2.840.113549.1.1.4" // md5WithRSAEncryption
        | "1.2.840.113549.1.1.5" // sha1WithRSAEncryption
        | "1.2.840.10040.4.3" // dsa-with-sha1
        | "1.2.840.10045.4.1" // ecdsa-with-SHA1
        | "1.2.840.113549.1.1.11" // sha256WithRSAEncryption
        | "2.16.840.1.101.3.4.3.2" // dsa-with-sha256
        | "1.2.840.10045.4.3.2" => Hash::Sha256, // ecdsa-with-SHA256
        "1.2.840.113549.1.1.12" // sha384WithRSAEncryption
        | "1.2.840.10045.4.3.3" => Hash::Sha384, // ecdsa-with-SHA384
        "1.2.840.113549.1.1.13" // sha512WithRSAEncryption
        | "1.2.840.10045.4.3.4" => Hash::Sha512, // ecdsa-with-SHA512
        "1.2.840.113549.1.1.14" // sha224WithRSAEncryption
        | "2.16.840.1.101.3.4.3.1" // dsa-with-sha224
        | "1.2.840.10045.4.3.1" => Hash::Sha224, // ecdsa-with-SHA224
        _ => return None,
    })
}

/// RFC 4055, section 2.1.
fn hash_function(oid: &str) -> Option<Hash> {
    Some(match oid {
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Hash::Sha256, // SHA-1, SHA-256
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
        "2.16.840.1.101.3.4.2.4" => Hash::Sha224,
        _ => return None,
    })
}

/// The common name of a certificate; `None` if it has none, or one with a zero byte, which other programs would cut short.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let name = Certificate::read(certificate).ok()?.common_name().ok()??;
    (!name.contains('\0')).then_some(name)
}

/// A certificate, cut into the fields that are asked for (RFC 5280, section 4.1).
pub(super) struct Certificate<'a> {
    version: u8,
    validity: &'a [u8],
    subject: &'a [u8],
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key_info: &'a [u8],
    tail: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Errors if it is not even in the shape of a certificate.
    pub(super) fn read(certificate: &'a [u8]) -> der::Result<Certificate<'a>> {
        let mut reader = SliceReader::new(certificate)?;
        reader.sequence(|outer| {
            let cut = outer.sequence(|r| {
                let version = ContextSpecific::<u8>::decode_explicit(r, TagNumber::N0)?;
                r.tlv_bytes()?; // serialNumber
                r.tlv_bytes()?; // signature
                r.tlv_bytes()?; // issuer
                Ok(Certificate {
                    version: version.map_or(1, |v| v.value.saturating_add(1)),
                    validity: r.tlv_bytes()?,
                    subject: r.tlv_bytes()?,
                    public_key_info: r.tlv_bytes()?,
                    tail: r.read_slice(r.remaining_len())?,
                })
            })?;
            outer.read_slice(outer.remaining_len())?;
            Ok(cut)
        })
    }

    /// 1, 2 or 3. Extensions, and so subject alternative names, exist in version 3 only.
    pub(super) fn version(&self) -> u8 {
        self.version
    }

    /// First and last moment of its validity, as time since 1970.
    pub(super) fn validity(&self) -> der::Result<(Duration, Duration)> {
        let validity = Validity::from_der(self.validity)?;
        Ok((
            validity.not_before.to_unix_duration(),
            validity.not_after.to_unix_duration(),
        ))
    }

    /// Whether `host` is the common name of a certificate whose alternative names are of no host and no address. The
    /// name may begin with `*.`, which stands for one label.
    ///
    /// Source: PostgreSQL documentation, "Client Verification of Server Certificates"; `fe-secure-common.c` of libpq,
    /// which is laxer where the host is an address.
    pub(super) fn is_of_host_by_common_name(&self, host: &str) -> bool {
        let Ok(Some(name)) = self.common_name() else {
            return false;
        };
        let names_hosts = |name: &GeneralName| {
            matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_))
        };
        match self.alternative_names() {
            Ok(names) if !names.iter().any(names_hosts) => {}
            _ => return false,
        }
        let parent = |name: &str| name.split_once('.').map(|(_, parent)| parent.to_owned());
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        match name.strip_prefix("*.") {
            Some(of) if !is_address => {
                parent(host).is_some_and(|parent| parent.eq_ignore_ascii_case(of))
            }
            _ => name.eq_ignore_ascii_case(host),
        }
    }

    /// Whether it says which names those that it has issued may bear, or may say so: it cannot be read.
    pub(super) fn constrains_names(&self) -> bool {
        self.extension(NAME_CONSTRAINTS)
            .map_or(true, |found| found.is_some())
    }

    /// Of several the first, as in PostgreSQL.
    fn common_name(&self) -> der::Result<Option<String>> {
        let subject = Name::from_der(self.subject)?;
        let mut attributes = subject.0.iter().flat_map(|rdn| rdn.0.iter());
        Ok(attributes
            .find(|a| a.oid == COMMON_NAME)
            .and_then(directory_string))
    }

    fn extension(&self, id: ObjectIdentifier) -> der::Result<Option<Extension>> {
        let mut reader = SliceReader::new(self.tail)?;
        let extensions =
            ContextSpecific::<Vec<Extension>>::decode_explicit(&mut reader, TagNumber::N3)?;
        Ok(extensions
            .into_iter()
            .flat_map(|e| e.value)
            .find(|e| e.extn_id == id))
    }

    fn alternative_names(&self) -> der::Result<Vec<GeneralName>> {
        match self.extension(SUBJECT_ALT_NAME)? {
            None => Ok(Vec::new()),
            Some(found) => Ok(SubjectAltName::from_der(found.extn_value.as_bytes())?.0),
        }
    }
}

fn directory_string(attribute: &AttributeTypeAndValue) -> Option<String> {
    let value = &attribute.value;
    match x509_cert::der::Tagged::tag(value) {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        _ => None,
    }
}

/// The algorithm (contents of its SEQUENCE, as rustls' `AlgorithmIdentifier` has it) and the bits of a
/// SubjectPublicKeyInfo.
pub(super) fn public_key(info: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(info)?;
    reader.sequence(|r| {
        let header = Header::decode(r)?;
        header.tag.assert_eq(Tag::Sequence)?;
        let algorithm = r.read_slice(header.length)?;
        let header = Header::decode(r)?;
        header.tag.assert_eq(Tag::BitString)?;
        let bits = BitStringRef::decode_value(r, header)?;
        let bytes = bits
            .as_bytes()
            .ok_or_else(|| Tag::BitString.value_error())?;
        Ok((algorithm, bytes))
    })
}
