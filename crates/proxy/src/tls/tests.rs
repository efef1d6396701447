//! Handshakes over a pipe in memory, with certificates made on the spot, and what is read from files made by OpenSSL
//! (`fixtures/make.sh`).

mod certificates;
mod ciphers;
mod clients;
mod files;
mod servers;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pgweir_config::{Global, Host, SslMode, TlsProtocols};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, NameConstraints,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{ClientTls, ServerTls};

const EVERY_MODE: [SslMode; 6] = [
    SslMode::Disable,
    SslMode::Allow,
    SslMode::Prefer,
    SslMode::Require,
    SslMode::VerifyCa,
    SslMode::VerifyFull,
];

const TLS_1_2: TlsProtocols = TlsProtocols {
    v1_2: true,
    v1_3: false,
};
const TLS_1_3: TlsProtocols = TlsProtocols {
    v1_2: false,
    v1_3: true,
};

/// A folder of its own, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pgweir-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file made by OpenSSL.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/tls/fixtures")
        .join(name)
}

/// Certificate (or chain) and key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

fn named(common_name: Option<&str>, alternative_names: &[&str]) -> CertificateParams {
    let names: Vec<String> = alternative_names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        Self::with(Self::params(name))
    }

    /// One that may give out names below `domain` only.
    fn constrained(name: &str, domain: &str) -> Authority {
        let mut params = Self::params(name);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
            excluded_subtrees: Vec::new(),
        });
        Self::with(params)
    }

    fn with(params: CertificateParams) -> Authority {
        let key = KeyPair::generate().unwrap();
        Authority {
            certificate: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = named(Some(name), &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// An authority below this one.
    fn below(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name);
        Authority {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, mut params: CertificateParams) -> Identity {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// The settings of the side that clients meet.
fn towards_clients(
    folder: &Folder,
    mode: SslMode,
    identity: &Identity,
    authority: Option<&Authority>,
) -> Global {
    Global {
        client_tls_sslmode: mode,
        client_tls_cert_file: Some(folder.write("client-side.pem", &identity.certificate)),
        client_tls_key_file: Some(folder.write("client-side.key", &identity.key)),
        client_tls_ca_file: authority.map(|a| folder.write("client-ca.pem", &a.certificate)),
        ..Global::default()
    }
}

/// The settings of the side that meets servers.
fn towards_servers(
    folder: &Folder,
    mode: SslMode,
    identity: Option<&Identity>,
    authority: Option<&str>,
) -> Global {
    Global {
        server_tls_sslmode: mode,
        server_tls_cert_file: identity.map(|i| folder.write("server-side.pem", &i.certificate)),
        server_tls_key_file: identity.map(|i| folder.write("server-side.key", &i.key)),
        server_tls_ca_file: authority.map(|pem| folder.write("server-ca.pem", pem)),
        ..Global::default()
    }
}

fn tcp(name: &str) -> Host {
    Host::Tcp(name.to_owned())
}

type Accepted = tokio_rustls::server::TlsStream<DuplexStream>;
type Connected = tokio_rustls::client::TlsStream<DuplexStream>;

/// Lets the pooler's two sides meet each other, and a byte pass both ways; what went wrong first at either of them.
async fn meet(
    clients: &ClientTls,
    servers: &ServerTls,
    host: &Host,
) -> Result<(Accepted, Connected), String> {
    let (ours, theirs) = duplex(1 << 16);
    // In TLS 1.3 one side is done before the other has judged its certificate, and learns of that when it reads.
    let accept = async {
        let mut stream = clients.accept(ours, false).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let connect = async {
        let mut stream = servers.connect(host, theirs).await?;
        stream.write_u8(2).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<_, std::io::Error>(stream)
    };
    match tokio::join!(accept, connect) {
        (Ok(accepted), Ok(connected)) => Ok((accepted, connected)),
        (accepted, connected) => {
            let text = |side, e: Option<std::io::Error>| e.map(|e| format!("{side}: {e}"));
            let both = [
                text("accept", accepted.err()),
                text("connect", connected.err()),
            ];
            Err(both.into_iter().flatten().collect::<Vec<_>>().join("; "))
        }
    }
}
