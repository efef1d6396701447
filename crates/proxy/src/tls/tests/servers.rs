use std::path::PathBuf;
use std::sync::Arc;

use pgweir_config::{Global, Host, SslMode};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::duplex;
use tokio_rustls::TlsAcceptor;

use super::super::{ClientTls, ServerTls, provider, versions};
use super::{
    Authority, EVERY_MODE, Folder, Identity, TLS_1_2, TLS_1_3, fixture, meet, named, self_signed,
    tcp, towards_clients, towards_servers,
};

fn made(folder: &Folder, mode: SslMode, authority: Option<&str>) -> ServerTls {
    ServerTls::new(&towards_servers(folder, mode, None, authority)).unwrap()
}

/// A server with that certificate, as far as TLS goes.
fn server(folder: &Folder, identity: &Identity) -> ClientTls {
    ClientTls::new(&towards_clients(folder, SslMode::Require, identity, None)).unwrap()
}

#[test]
fn modes_say_whether_tls_is_asked_for_and_insisted_on() {
    let folder = Folder::new();
    let authority = Authority::new("authority").certificate;
    let unix = Host::UnixDirectory(PathBuf::from("/run/postgresql"));
    let found = EVERY_MODE.map(|mode| {
        let tls = made(&folder, mode, Some(&authority));
        assert_eq!(tls.mode(), mode);
        assert!(!tls.asks_first(&unix), "{mode}");
        (tls.asks_first(&tcp("db")), tls.insists())
    });
    let (no, can, must) = ((false, false), (true, false), (true, true));
    assert_eq!(found, [no, no, can, must, must, must]);
}

#[tokio::test]
async fn every_mode_checks_as_much_of_the_certificate_as_its_name_says() {
    let folder = Folder::new();
    let [ours, other] = ["ours", "other"].map(Authority::new);
    // A server of our authority with the name, one with another name, one of another authority.
    let shown = [
        ours.issue(named(None, &["db.example.org", "192.0.2.1"])),
        ours.issue(named(Some("db.example.org"), &["elsewhere.example.org"])),
        other.issue(named(None, &["db.example.org", "192.0.2.1"])),
    ];
    for (mode, expected) in [
        (SslMode::Allow, [true, true, true]),
        (SslMode::Prefer, [true, true, true]),
        (SslMode::Require, [true, true, true]),
        (SslMode::VerifyCa, [true, true, false]),
        (SslMode::VerifyFull, [true, false, false]),
    ] {
        for protocols in [TLS_1_2, TLS_1_3] {
            let mut global = towards_servers(&folder, mode, None, Some(&ours.certificate));
            global.server_tls_protocols = protocols;
            let servers = ServerTls::new(&global).unwrap();
            for (identity, expected) in shown.iter().zip(expected) {
                let server = server(&folder, identity);
                for host in ["db.example.org", "192.0.2.1"] {
                    let met = meet(&server, &servers, &tcp(host)).await;
                    assert_eq!(
                        met.is_ok(),
                        expected,
                        "{mode} {protocols:?} {host}: {:?}",
                        met.err()
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_common_name_counts_where_no_other_name_is_of_a_host() {
    let folder = Folder::new();
    let ours = Authority::new("ours");
    let mut by_mail = named(Some("db.example.org"), &[]);
    by_mail.subject_alt_names = vec![rcgen::SanType::Rfc822Name(
        "dba@example.org".try_into().unwrap(),
    )];
    let cases = [
        (named(Some("db.example.org"), &[]), "db.example.org", true),
        (named(Some("DB.example.org"), &[]), "db.Example.org", true),
        (by_mail, "db.example.org", true),
        (named(Some("*.example.org"), &[]), "db.example.org", true),
        (named(Some("192.0.2.1"), &[]), "192.0.2.1", true),
        (named(Some("*.example.org"), &[]), "a.db.example.org", false),
        (named(Some("*.example.org"), &[]), "example.org", false),
        (named(Some("*.0.2.1"), &[]), "192.0.2.1", false),
        (
            named(Some("db.example.org"), &["192.0.2.1"]),
            "db.example.org",
            false,
        ),
        (
            named(Some("db.example.org"), &["other"]),
            "db.example.org",
            false,
        ),
        (named(Some("db"), &[]), "db.example.org", false),
        (named(None, &[]), "db.example.org", false),
    ];
    let servers = made(&folder, SslMode::VerifyFull, Some(&ours.certificate));
    for (params, host, expected) in cases {
        let told = format!(
            "{host} {:?} {:?}",
            params.distinguished_name, params.subject_alt_names
        );
        let server = server(&folder, &ours.issue(params));
        let met = meet(&server, &servers, &tcp(host)).await;
        assert_eq!(met.is_ok(), expected, "{told}: {:?}", met.err());
    }
}

#[tokio::test]
async fn the_common_name_does_not_count_under_an_authority_that_constrains_names() {
    let folder = Folder::new();
    let constrained = Authority::constrained("constrained", "example.org");
    let servers = made(&folder, SslMode::VerifyFull, Some(&constrained.certificate));
    for (params, expected) in [
        (named(Some("bank.example.com"), &[]), false),
        (named(None, &["bank.example.com"]), false),
    ] {
        let server = server(&folder, &constrained.issue(params));
        let met = meet(&server, &servers, &tcp("bank.example.com")).await;
        assert_eq!(met.is_ok(), expected, "{:?}", met.err());
    }
    let within = constrained.issue(named(None, &["db.example.org"]));
    let met = meet(&server(&folder, &within), &servers, &tcp("db.example.org")).await;
    assert!(met.is_ok(), "{:?}", met.err());
}

#[tokio::test]
async fn disabled_tls_reads_no_file_and_connects_to_nobody() {
    let global = Global {
        server_tls_sslmode: SslMode::Disable,
        server_tls_ca_file: Some("/nonexistent".into()),
        ..Global::default()
    };
    let (_ours, theirs) = duplex(64);
    let tls = ServerTls::new(&global).unwrap();
    let error = tls.connect(&tcp("db"), theirs).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_host_that_no_certificate_can_name_is_refused_only_by_verify_full() {
    let folder = Folder::new();
    let ours = Authority::new("ours");
    let server = server(&folder, &ours.issue(named(Some("db"), &["db"])));
    let odd = tcp("not a name");
    for (mode, expected) in [(SslMode::VerifyCa, true), (SslMode::VerifyFull, false)] {
        let servers = made(&folder, mode, Some(&ours.certificate));
        let met = meet(&server, &servers, &odd).await;
        assert_eq!(met.is_ok(), expected, "{mode}: {:?}", met.err());
    }
}

#[tokio::test]
async fn versions_that_have_none_in_common_do_not_meet() {
    let folder = Folder::new();
    let identity = Authority::new("ours").issue(named(Some("db"), &[]));
    let mut global = towards_clients(&folder, SslMode::Require, &identity, None);
    global.client_tls_protocols = TLS_1_2;
    let server = ClientTls::new(&global).unwrap();
    for (protocols, expected) in [(TLS_1_2, true), (TLS_1_3, false)] {
        let mut global = towards_servers(&folder, SslMode::Require, None, None);
        global.server_tls_protocols = protocols;
        let servers = ServerTls::new(&global).unwrap();
        let met = meet(&server, &servers, &tcp("db")).await;
        assert_eq!(met.is_ok(), expected, "{protocols:?}");
    }
}

#[tokio::test]
async fn a_chain_may_pass_through_certificates_that_the_server_sends_along() {
    let folder = Folder::new();
    let root = Authority::new("root");
    let between = root.below("between");
    let mut identity = between.issue(named(None, &["db"]));
    let servers = made(&folder, SslMode::VerifyFull, Some(&root.certificate));
    let bare = server(&folder, &identity);
    assert!(meet(&bare, &servers, &tcp("db")).await.is_err());
    identity.certificate.push_str(&between.certificate);
    let whole = server(&folder, &identity);
    meet(&whole, &servers, &tcp("db")).await.unwrap();
}

#[tokio::test]
async fn a_self_signed_certificate_in_the_ca_file_is_trusted_while_it_is_valid() {
    let folder = Folder::new();
    let mut params = Authority::params("db");
    params.subject_alt_names = vec![rcgen::SanType::DnsName("db".try_into().unwrap())];
    for (from, until, expected) in [
        (1990, 4000, None),
        (1990, 1991, Some("Expired")),
        (3990, 4000, Some("NotValidYet")),
    ] {
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let identity = self_signed(&params);
        let server = server(&folder, &identity);
        for (mode, host, named_so) in [
            (SslMode::VerifyCa, "other", true),
            (SslMode::VerifyFull, "db", true),
            (SslMode::VerifyFull, "other", false),
        ] {
            let servers = made(&folder, mode, Some(&identity.certificate));
            let met = meet(&server, &servers, &tcp(host)).await;
            let error = met.err().unwrap_or_default();
            match expected {
                None => assert_eq!(error.is_empty(), named_so, "{mode} {host}: {error}"),
                Some(reason) => {
                    let reason = format!("invalid peer certificate: {reason}");
                    assert!(error.contains(&reason), "{mode} {host}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_serves_until_it_must_be_checked() {
    let folder = Folder::new();
    let ca = Authority::new("ours").certificate;
    let mut global = Global {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: Some(fixture("version-1.pem")),
        client_tls_key_file: Some(fixture("version-1.key")),
        ..Global::default()
    };
    for protocols in [TLS_1_2, TLS_1_3] {
        global.client_tls_protocols = protocols;
        let server = ClientTls::new(&global).unwrap();
        let servers = made(&folder, SslMode::Prefer, None);
        meet(&server, &servers, &tcp("db")).await.unwrap();
        let servers = made(&folder, SslMode::VerifyCa, Some(&ca));
        let error = meet(&server, &servers, &tcp("db")).await.unwrap_err();
        assert!(error.contains("is X.509 version 1"), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_the_key_of_its_certificate_is_refused_in_every_mode() {
    let folder = Folder::new();
    let ours = Authority::new("ours");
    let [right, wrong] = [(); 2].map(|()| ours.issue(named(None, &["db"])));
    let version_1 = std::fs::read_to_string(fixture("version-1.pem")).unwrap();
    let provider = std::sync::Arc::new(provider());
    let key = PrivateKeyDer::from_pem_slice(wrong.key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    for protocols in [TLS_1_2, TLS_1_3] {
        for (pem, modes) in [
            (&right.certificate, &EVERY_MODE[1..]),
            (&version_1, &EVERY_MODE[1..4]),
        ] {
            let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let stolen = CertifiedKey::new(vec![leaf], key.clone());
            let config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&versions(protocols))
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(stolen)));
            let acceptor = TlsAcceptor::from(Arc::new(config));
            for mode in modes {
                let servers = made(&folder, *mode, Some(&ours.certificate));
                let (ours, theirs) = duplex(1 << 16);
                let host = tcp("db");
                let (_, connected) =
                    tokio::join!(acceptor.accept(ours), servers.connect(&host, theirs));
                let error = connected.unwrap_err().to_string();
                assert!(
                    error.contains("BadSignature") || error.contains("bad signature"),
                    "{mode} {error}"
                );
            }
        }
    }
}
