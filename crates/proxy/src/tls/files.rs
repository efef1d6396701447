//! Certificates, keys and authorities out of PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::certificate::Certificate;

/// A file that a setting names.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) setting: &'static str,
    pub(super) path: &'a Path,
}

/// The authorities that certificates must come from.
pub(super) struct Authorities {
    pub(super) roots: RootCertStore,
    /// The same as they stand in the file.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl File<'_> {
    fn read(self) -> Result<Vec<u8>, TlsError> {
        std::fs::read(self.path).map_err(|reason| TlsError::Unreadable {
            setting: self.setting,
            path: self.path.to_owned(),
            reason,
        })
    }

    fn malformed(self, reason: impl Into<String>) -> TlsError {
        TlsError::Malformed {
            setting: self.setting,
            path: self.path.to_owned(),
            reason: reason.into(),
        }
    }

    fn empty(self, what: &'static str, label: &'static str) -> TlsError {
        TlsError::Empty {
            setting: self.setting,
            path: self.path.to_owned(),
            what,
            label,
        }
    }

    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read()?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|e| self.malformed(format!("is not valid PEM: {e}")))?;
        if certificates.is_empty() {
            return Err(self.empty("certificate", "CERTIFICATE"));
        }
        Ok(certificates)
    }

    /// The authorities of a CA file; at least one.
    pub(super) fn authorities(self) -> Result<Authorities, TlsError> {
        let certificates = self.certificates()?;
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            roots.add(certificate.clone()).map_err(|e| {
                self.malformed(format!(
                    "holds a certificate (number {}) that cannot be an authority: {e}",
                    index + 1
                ))
            })?;
        }
        Ok(Authorities {
            roots,
            certificates,
        })
    }

    /// The authorities of a file that is not ours, without those that cannot be any; at least one certificate.
    pub(super) fn usable_authorities(self) -> Result<Authorities, TlsError> {
        let certificates = self.certificates()?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        Ok(Authorities {
            roots,
            certificates,
        })
    }

    /// The first private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    fn key(self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = self.read()?;
        self.warn_if_others_can_read();
        // "BEGIN ENCRYPTED PRIVATE KEY" of PKCS#8, "Proc-Type: 4,ENCRYPTED" of the older forms.
        if text.windows(9).any(|w| w == b"ENCRYPTED") {
            return Err(self.malformed(
                "holds an encrypted key, and there is nobody to ask for its pass phrase: \
                 decrypt it with openssl pkey",
            ));
        }
        PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
            rustls::pki_types::pem::Error::NoItemsFound => self.empty("private key", "PRIVATE KEY"),
            e => self.malformed(format!("is not valid PEM: {e}")),
        })
    }

    #[cfg(unix)]
    fn warn_if_others_can_read(self) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(self.path).map_or(0, |m| m.permissions().mode());
        if mode & 0o007 != 0 {
            tracing::warn!(
                "{}: everyone on this machine can get at the key in {:?} (mode {:04o}); chmod o= it",
                self.setting,
                self.path,
                mode & 0o7777
            );
        }
    }

    #[cfg(not(unix))]
    fn warn_if_others_can_read(self) {}
}

/// A certificate with those above it, and its key.
///
/// Not by rustls' own builder: that one refuses certificates of X.509 version 1, which `openssl x509 -req` made for
/// decades and whose peers do not mind.
pub(super) fn identity(
    certificate: File<'_>,
    key: File<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificate.certificates()?;
    let signing_key = provider
        .key_provider
        .load_private_key(key.key()?)
        .map_err(|e| key.malformed(format!("holds a key that cannot be used: {e}")))?;
    let leaf = Certificate::read(&chain[0]).map_err(|e| {
        certificate.malformed(format!("holds a certificate that cannot be read: {e}"))
    })?;
    match signing_key.public_key() {
        Some(public) if public.as_ref() != leaf.public_key_info => Err(TlsError::Mismatch {
            key_setting: key.setting,
            key: key.path.to_owned(),
            certificate_setting: certificate.setting,
            certificate: certificate.path.to_owned(),
        }),
        _ => Ok(Arc::new(CertifiedKey::new(chain, signing_key))),
    }
}
