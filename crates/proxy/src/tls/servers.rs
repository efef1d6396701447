//! TLS towards servers.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use pgweir_config::{Global, Host, SslMode};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::{self, File};
use super::verifier::{ServerVerifier, Trust};
use super::{ALPN, TlsError, preferring, versions};

/// TLS towards servers, with libpq's meanings of `sslmode`.
///
/// With `verify-full` the host's name or address must be among the subject alternative names of the certificate. As in
/// libpq the common name counts where they name no host and no address: certificates made after PostgreSQL's
/// documentation have none.
pub(crate) struct ServerTls {
    mode: SslMode,
    /// `None` if TLS is disabled.
    connector: Option<TlsConnector>,
}

impl ServerTls {
    /// Reads the files that the settings name and the mode needs; none if TLS is disabled.
    pub(crate) fn new(global: &Global) -> Result<ServerTls, TlsError> {
        let mode = global.server_tls_sslmode;
        if mode == SslMode::Disable {
            return Ok(ServerTls {
                mode,
                connector: None,
            });
        }
        let suites = (&global.server_tls_ciphers, &global.server_tls13_ciphers);
        let provider = Arc::new(preferring(suites.0, suites.1));
        let verifier = ServerVerifier::new(trust(global)?, &provider);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(global.server_tls_protocols))
            .map_err(|e| TlsError::Refused {
                setting: "server_tls_protocols",
                reason: e.to_string(),
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match own_files(global)? {
            Some((certificate, key)) => {
                let identity = files::identity(certificate, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(ServerTls {
            mode,
            connector: Some(TlsConnector::from(Arc::new(config))),
        })
    }

    /// `server_tls_sslmode`.
    pub(crate) fn mode(&self) -> SslMode {
        self.mode
    }

    /// Whether the first attempt begins with SSLRequest. Never on Unix sockets: PostgreSQL has no TLS there.
    pub(crate) fn asks_first(&self, host: &Host) -> bool {
        matches!(host, Host::Tcp(_)) && !matches!(self.mode, SslMode::Disable | SslMode::Allow)
    }

    /// Whether a server that answers SSLRequest with `N` is an error.
    pub(crate) fn insists(&self) -> bool {
        matches!(
            self.mode,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
        )
    }

    /// Shakes hands with a server that has answered SSLRequest with `S`.
    ///
    /// Errors if the handshake fails, the check of the server's certificate included, and if TLS is disabled.
    pub(crate) async fn connect<IO>(&self, host: &Host, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(connector) = &self.connector else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "server_tls_sslmode is disable",
            ));
        };
        connector.connect(self.server_name(host)?, io).await
    }

    /// The name to ask for (SNI), and with `verify-full` to find in the certificate.
    fn server_name(&self, host: &Host) -> io::Result<ServerName<'static>> {
        let name = match host {
            Host::Tcp(name) => ServerName::try_from(name.clone()).ok(),
            Host::UnixDirectory(_) => None,
        };
        match name {
            Some(name) => Ok(name),
            None if self.mode == SslMode::VerifyFull => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("\"{host}\" is not a name or an address that a certificate can carry"),
            )),
            // An address is not sent as SNI, and nothing compares it.
            None => Ok(ServerName::from(std::net::IpAddr::from(
                Ipv4Addr::UNSPECIFIED,
            ))),
        }
    }
}

fn trust(global: &Global) -> Result<Trust, TlsError> {
    let mode = global.server_tls_sslmode;
    if !mode.verifies_certificate() {
        return Ok(Trust::Anyone);
    }
    let Some(path) = global.server_tls_ca_file.as_deref() else {
        return Err(TlsError::Missing {
            mode_setting: "server_tls_sslmode",
            mode,
            missing: "server_tls_ca_file",
        });
    };
    let file = File {
        setting: "server_tls_ca_file",
        path,
    };
    let authorities = file.authorities()?;
    Ok(match mode {
        SslMode::VerifyFull => Trust::AuthoritiesAndName(authorities),
        _ => Trust::Authorities(authorities),
    })
}

/// Certificate and key to show to servers that ask; both or none.
fn own_files(global: &Global) -> Result<Option<(File<'_>, File<'_>)>, TlsError> {
    const CERTIFICATE: &str = "server_tls_cert_file";
    const KEY: &str = "server_tls_key_file";
    let half = |given, missing| Err(TlsError::Half { given, missing });
    match (
        global.server_tls_cert_file.as_deref(),
        global.server_tls_key_file.as_deref(),
    ) {
        (None, None) => Ok(None),
        (Some(_), None) => half(CERTIFICATE, KEY),
        (None, Some(_)) => half(KEY, CERTIFICATE),
        (Some(certificate), Some(key)) => Ok(Some((
            File {
                setting: CERTIFICATE,
                path: certificate,
            },
            File {
                setting: KEY,
                path: key,
            },
        ))),
    }
}
