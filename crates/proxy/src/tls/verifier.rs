//! The check of a server's certificate, for the modes between "none" and "all" that rustls has no ready check for.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};

use super::certificate::{self, Certificate};
use super::files::Authorities;

/// Whose certificates are good.
pub(super) enum Trust {
    /// Anyone's: encryption without knowing with whom (`allow`, `prefer`, `require`).
    Anyone,
    /// Those that come from an authority (`verify-ca`).
    Authorities(Authorities),
    /// Those that also carry the host's name (`verify-full`): among the subject alternative names or, if those name no
    /// host and no address, as the common name.
    AuthoritiesAndName(Authorities),
}

/// Checks a server's certificate as far as [`Trust`] asks for, and always that the server holds the certificate's key.
pub(super) struct ServerVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(trust: Trust, provider: &CryptoProvider) -> ServerVerifier {
        ServerVerifier {
            trust,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn comes_from(
        &self,
        authorities: &Authorities,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // A server's self-signed certificate in the CA file is trusted as itself. webpki would refuse it: what
        // `openssl req -x509` makes, following PostgreSQL's documentation, is marked as an authority's.
        if authorities.certificates.iter().any(|c| c == leaf) {
            return is_valid_at(leaf, now);
        }
        verify_server_cert_signed_by_trust_anchor(
            &parsed(leaf)?,
            &authorities.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anyone => {}
            Trust::Authorities(authorities) => {
                self.comes_from(authorities, leaf, intermediates, now)?;
            }
            Trust::AuthoritiesAndName(authorities) => {
                self.comes_from(authorities, leaf, intermediates, now)?;
                if let Err(error) = verify_server_name(&parsed(leaf)?, server_name)
                    && !is_named_in_the_old_way(authorities, leaf, intermediates, server_name)
                {
                    return Err(error);
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match read(leaf)? {
            c if c.version() == 3 => {
                verify_tls12_signature(message, leaf, signed, &self.algorithms)
            }
            c => verify_tls12_with_key(message, c.public_key_info, signed, &self.algorithms),
        }
    }

    // By the key and not by the certificate, because webpki reads only certificates of version 3, and a server that is
    // not checked may have an older one.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(read(leaf)?.public_key_info);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl std::fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.trust {
            Trust::Anyone => "ServerVerifier(Anyone)",
            Trust::Authorities(_) => "ServerVerifier(Authorities)",
            Trust::AuthoritiesAndName(_) => "ServerVerifier(AuthoritiesAndName)",
        })
    }
}

/// Whether the host's name is the certificate's common name, which webpki does not look at. Nor does it compare that with
/// the names that an authority may give out, so where any such constraint is about, the common name does not count.
fn is_named_in_the_old_way(
    authorities: &Authorities,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    host: &ServerName<'_>,
) -> bool {
    let mut issuers = authorities.certificates.iter().chain(intermediates);
    let is_free = |c: &CertificateDer<'_>| read(c).is_ok_and(|c| !c.constrains_names());
    let host = match host {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        _ => return false,
    };
    issuers.all(is_free) && read(leaf).is_ok_and(|c| c.is_of_host_by_common_name(&host))
}

/// As rustls' function of that name, which wants a certificate of version 3 around the key.
fn verify_tls12_with_key(
    message: &[u8],
    key: &[u8],
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let possible = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .map(|(_, possible)| *possible)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let (algorithm, bits) = certificate::public_key(key).map_err(|_| bad_encoding())?;
    // In TLS 1.2 a scheme does not say which curve; the key does.
    let fitting = possible
        .iter()
        .find(|a| a.public_key_alg_id().as_ref() == algorithm)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    fitting
        .verify_signature(bits, message, signed.signature())
        .map_err(|_| CertificateError::BadSignature)?;
    Ok(HandshakeSignatureValid::assertion())
}

fn is_valid_at(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (first, last) = read(leaf)?.validity().map_err(|_| bad_encoding())?;
    if now.as_secs() < first.as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > last.as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn parsed<'a>(leaf: &'a CertificateDer<'a>) -> Result<ParsedCertificate<'a>, Error> {
    let version = read(leaf)?.version();
    if version != 3 {
        return Err(Error::General(format!(
            "the server's certificate is X.509 version {version}, which cannot be checked: issue it again as version \
             3, with a subject alternative name"
        )));
    }
    ParsedCertificate::try_from(leaf)
}

fn read<'a>(leaf: &'a CertificateDer<'_>) -> Result<Certificate<'a>, Error> {
    Certificate::read(leaf).map_err(|_| bad_encoding())
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}
