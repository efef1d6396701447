//! TLS towards clients.

use std::io;
use std::sync::Arc;

use pgweir_config::{Global, SslMode};
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::end_point;
use super::files::{self, File};
use super::{ALPN, TlsError, exchanging_by, preferring, versions};

/// TLS towards clients: certificate, key and authorities as the files had them when it was made.
///
/// | `client_tls_sslmode` | plain text | client certificate |
/// |---|---|---|
/// | `disable` | yes | – |
/// | `allow`, `prefer` | yes | checked if there is one and `client_tls_ca_file` is set |
/// | `require` | no | the same |
/// | `verify-ca`, `verify-full` | no | required, from `client_tls_ca_file` |
///
/// As in PgBouncer, whose name a certificate carries does not matter here.
///
/// Client certificates must be X.509 version 3; webpki reads no older ones.
pub(crate) struct ClientTls {
    mode: SslMode,
    /// `None` if TLS is disabled.
    acceptor: Option<TlsAcceptor>,
    end_point: Option<Vec<u8>>,
}

impl ClientTls {
    /// Reads the files that the settings name; none if TLS is disabled.
    pub(crate) fn new(global: &Global) -> Result<ClientTls, TlsError> {
        let mode = global.client_tls_sslmode;
        if mode == SslMode::Disable {
            return Ok(ClientTls {
                mode,
                acceptor: None,
                end_point: None,
            });
        }
        let missing = |missing| TlsError::Missing {
            mode_setting: "client_tls_sslmode",
            mode,
            missing,
        };
        let certificate = File {
            setting: "client_tls_cert_file",
            path: (global.client_tls_cert_file.as_deref())
                .ok_or_else(|| missing("client_tls_cert_file"))?,
        };
        let key = File {
            setting: "client_tls_key_file",
            path: (global.client_tls_key_file.as_deref())
                .ok_or_else(|| missing("client_tls_key_file"))?,
        };
        let authorities = global.client_tls_ca_file.as_deref().map(|path| File {
            setting: "client_tls_ca_file",
            path,
        });
        if mode.verifies_certificate() && authorities.is_none() {
            return Err(missing("client_tls_ca_file"));
        }

        let (suites, suites_1_3) = (&global.client_tls_ciphers, &global.client_tls13_ciphers);
        let mut provider = preferring(suites, suites_1_3);
        exchanging_by(&global.client_tls_ecdhcurve, &mut provider);
        let provider = Arc::new(provider);
        let identity = files::identity(certificate, key, &provider)?;
        let end_point = end_point(&identity.cert[0]);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(global.client_tls_protocols))
            .map_err(|e| TlsError::Refused {
                setting: "client_tls_protocols",
                reason: e.to_string(),
            })?;
        let builder = match authorities {
            Some(file) => {
                builder.with_client_cert_verifier(certificate_check(file, mode, provider)?)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        // Whoever has written a list has meant its order.
        config.ignore_client_order = !suites.is_default() || !suites_1_3.is_default();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(ClientTls {
            mode,
            acceptor: Some(TlsAcceptor::from(Arc::new(config))),
            end_point,
        })
    }

    /// Whether SSLRequest is answered with `S`, and direct TLS taken.
    pub(crate) fn is_offered(&self) -> bool {
        self.acceptor.is_some()
    }

    /// Whether clients over TCP in plain text are refused.
    pub(crate) fn is_required(&self) -> bool {
        matches!(
            self.mode,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
        )
    }

    /// Shakes hands with a client. `direct`: it began with TLS at once instead of SSLRequest, and then must have named
    /// PostgreSQL by ALPN, so that nobody can be tricked into speaking another protocol to us.
    ///
    /// Errors if the handshake fails, the client's certificate included, and if TLS is not offered.
    pub(crate) async fn accept<IO>(&self, io: IO, direct: bool) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(acceptor) = &self.acceptor else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "client_tls_sslmode is disable",
            ));
        };
        let stream = acceptor.accept(io).await?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "direct TLS connection without the ALPN protocol \"postgresql\"",
            ));
        }
        Ok(stream)
    }

    /// `tls-server-end-point` of our own certificate, see [`end_point`].
    pub(crate) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }
}

fn certificate_check(
    file: File<'_>,
    mode: SslMode,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(file.authorities()?.roots);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = match mode.verifies_certificate() {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|e| TlsError::Refused {
        setting: file.setting,
        reason: e.to_string(),
    })
}
