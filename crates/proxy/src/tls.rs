//! TLS on both sides of the pooler, by rustls with the cryptography of ring.
//!
//! [`ClientTls`] is what clients meet, [`ServerTls`] what servers meet, [`DirectoryTls`] what directories meet. All are
//! made from the configuration, read their files once, and are replaced as a whole at a reload: connections that exist keep
//! what they were opened with.
//!
//! Sessions are not resumed, on either side: PostgreSQL and libpq do not, and tickets would be written, and kept in
//! memory, for nothing.

mod certificate;
mod clients;
mod directory;
mod files;
mod servers;
#[cfg(test)]
mod tests;
mod verifier;

use std::path::PathBuf;

use pgweir_config::{Preference, SslMode, TlsProtocols};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub(crate) use certificate::{common_name, end_point};
pub(crate) use clients::ClientTls;
pub(crate) use directory::DirectoryTls;
pub(crate) use servers::ServerTls;

/// PostgreSQL's name in ALPN (<https://www.postgresql.org/docs/current/protocol-flow.html>, "Direct TLS").
const ALPN: &[u8] = b"postgresql";

/// Why the TLS of one side cannot be set up. Each is one line that names the setting and its file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A setting that the mode cannot do without is empty.
    #[error("{mode_setting}: {mode} needs {missing}")]
    Missing {
        /// `client_tls_sslmode` or `server_tls_sslmode`.
        mode_setting: &'static str,
        /// Its value.
        mode: SslMode,
        /// The setting that is empty.
        missing: &'static str,
    },
    /// A key without its certificate, or the other way round.
    #[error("{given}: needs {missing} too")]
    Half {
        /// The setting that has a value.
        given: &'static str,
        /// The one that has none.
        missing: &'static str,
    },
    /// A file that cannot be read.
    #[error("{setting}: cannot read {path:?}: {reason}")]
    Unreadable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file without what it is there for.
    #[error(
        "{setting}: {path:?} holds no {what} in PEM (a section that begins with -----BEGIN {label}-----)"
    )]
    Empty {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The label of its section.
        label: &'static str,
    },
    /// A file whose contents are not understood.
    #[error("{setting}: {path:?} {reason}")]
    Malformed {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it; continues a sentence that began with the file.
        reason: String,
    },
    /// A key that is not the certificate's.
    #[error(
        "{key_setting}: the key in {key:?} does not belong to the first certificate in {certificate:?} \
         ({certificate_setting})"
    )]
    Mismatch {
        /// The setting that names the key's file.
        key_setting: &'static str,
        /// The key's file.
        key: PathBuf,
        /// The setting that names the certificate's file.
        certificate_setting: &'static str,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// What rustls will not be configured with.
    #[error("{setting}: {reason}")]
    Refused {
        /// The setting that it is about.
        setting: &'static str,
        /// rustls' reason.
        reason: String,
    },
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Everything that may be spoken, by these preferences.
fn preferring(suites: &Preference, suites_1_3: &Preference) -> CryptoProvider {
    let mut provider = provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    let numbers = suites_1_3.numbers().iter().chain(suites.numbers());
    let chosen = numbers.filter_map(|&number| {
        let mut all = all.iter();
        all.find(|suite| u16::from(suite.suite()) == number)
    });
    provider.cipher_suites = chosen.copied().collect();
    provider
}

/// Restricts the key exchange to these groups.
fn exchanging_by(groups: &Preference, provider: &mut CryptoProvider) {
    let all = std::mem::take(&mut provider.kx_groups);
    let chosen = groups.numbers().iter().filter_map(|&number| {
        let mut all = all.iter();
        all.find(|group| u16::from(group.name()) == number)
    });
    provider.kx_groups = chosen.copied().collect();
}

/// The versions to speak, the newest first.
fn versions(protocols: TlsProtocols) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if protocols.v1_3 {
        versions.push(&rustls::version::TLS13);
    }
    if protocols.v1_2 {
        versions.push(&rustls::version::TLS12);
    }
    versions
}
