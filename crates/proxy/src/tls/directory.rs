//! TLS towards directories (LDAP).
//!
//! Who came from PgBouncer has configured libldap, so its settings hold: `TLS_CACERT` and `TLS_REQCERT` in `ldap.conf` and
//! in the environment (ldap.conf(5)).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgweir_config::Global;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::File;
use super::verifier::{ServerVerifier, Trust};
use super::{TlsError, provider};

/// libldap's configuration: Debian's, then that of others.
const CONFIGURATIONS: [&str; 2] = ["/etc/ldap/ldap.conf", "/etc/openldap/ldap.conf"];

/// The system's authorities: Debian's, Red Hat's, SUSE's and Alpine's.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS towards directories, whose certificates must carry the name by which they are asked.
#[derive(Clone)]
pub(crate) struct DirectoryTls(TlsConnector);

impl std::fmt::Debug for DirectoryTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryTls(..)")
    }
}

impl DirectoryTls {
    /// Reads the authorities that certificates are checked against.
    pub(crate) fn new(global: &Global) -> Result<DirectoryTls, TlsError> {
        let provider = Arc::new(provider());
        let verifier = ServerVerifier::new(trust(global)?, &provider);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Refused {
                setting: "auth_ldap_options",
                reason: e.to_string(),
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(DirectoryTls(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands with the server that was asked for as `host`.
    ///
    /// Errors if the handshake fails, the check of the server's certificate included.
    pub(crate) async fn connect<IO>(&self, host: &str, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        self.0.connect(name, io).await
    }
}

fn trust(global: &Global) -> Result<Trust, TlsError> {
    if let Some(path) = global.auth_ldap_ca_file.as_deref() {
        let setting = "auth_ldap_ca_file";
        return Ok(Trust::AuthoritiesAndName(
            File { setting, path }.authorities()?,
        ));
    }
    let variable = |name: &str| std::env::var(name).ok();
    let file = |path: &Path| std::fs::read_to_string(path).ok();
    let wishes = Wishes::find(variable, file);
    if !wishes.checks {
        return Ok(Trust::Anyone);
    }
    let system = || SYSTEM.map(PathBuf::from).into_iter().find(|p| p.exists());
    let path = wishes.authorities.or_else(system);
    let file = File {
        setting: "TLS_CACERT of ldap.conf",
        path: path.as_deref().unwrap_or(Path::new(SYSTEM[0])),
    };
    Ok(Trust::AuthoritiesAndName(file.usable_authorities()?))
}

/// What libldap is told.
#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    authorities: Option<PathBuf>,
    /// Whether a certificate that is not good ends the connection.
    checks: bool,
}

impl Wishes {
    /// Asks for variables of the environment and for the texts of files.
    fn find(
        variable: impl Fn(&str) -> Option<String>,
        file: impl Fn(&Path) -> Option<String>,
    ) -> Wishes {
        let mut wishes = Wishes {
            authorities: None,
            checks: true,
        };
        if variable("LDAPNOINIT").is_some() {
            return wishes;
        }
        let system = CONFIGURATIONS.map(Path::new).into_iter().find_map(&file);
        let own = variable("LDAPCONF").and_then(|path| file(Path::new(&path)));
        for text in system.iter().chain(&own) {
            for line in text.lines() {
                // Options are at the beginning of their lines; a blank goes on with the one before.
                if let Some((name, value)) = line.split_once(char::is_whitespace) {
                    wishes.take(name, value.trim());
                }
            }
        }
        for name in ["TLS_CACERT", "TLS_REQCERT"] {
            if let Some(value) = variable(&format!("LDAP{name}")) {
                wishes.take(name, &value);
            }
        }
        wishes
    }

    fn take(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("TLS_CACERT") {
            self.authorities = Some(value.into());
        } else if name.eq_ignore_ascii_case("TLS_REQCERT") {
            let lets_all = ["never", "allow"];
            self.checks = !lets_all.iter().any(|v| v.eq_ignore_ascii_case(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)], files: &[(&str, &str)]) -> (Option<String>, bool) {
        let of = |pairs: &[(&str, &str)], name: &str| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let wishes = Wishes::find(
            |name| of(variables, name),
            |path| of(files, path.to_str().unwrap()),
        );
        let path = wishes.authorities;
        (path.map(|p| p.display().to_string()), wishes.checks)
    }

    #[test]
    fn what_libldap_is_told_holds() {
        const DEBIAN: (&str, &str) = (
            "/etc/ldap/ldap.conf",
            "#TLS_CACERT no\nBASE x\ntls_cacert\t/a.pem\n TLS_REQCERT never\n",
        );
        let ca = |path: &str| Some(path.to_owned());
        for (variables, files, expected) in [
            (&[][..], &[][..], (None, true)),
            (&[], &[DEBIAN], (ca("/a.pem"), true)),
            (
                &[("LDAPCONF", "/own")],
                &[DEBIAN, ("/own", "TLS_REQCERT never")],
                (ca("/a.pem"), false),
            ),
            (
                &[("LDAPTLS_CACERT", "/b.pem"), ("LDAPTLS_REQCERT", "allow")],
                &[DEBIAN],
                (ca("/b.pem"), false),
            ),
            (&[("LDAPNOINIT", "1")], &[DEBIAN], (None, true)),
            (
                &[("LDAPTLS_REQCERT", "demand")],
                &[("/etc/openldap/ldap.conf", "TLS_REQCERT allow")],
                (None, true),
            ),
        ] {
            assert_eq!(find(variables, files), expected, "{variables:?} {files:?}");
        }
    }
}
