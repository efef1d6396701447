use std::sync::Arc;

use pgweir_config::{Global, SslMode};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::duplex;
use tokio_rustls::TlsConnector;

use super::super::verifier::{ServerVerifier, Trust};
use super::super::{ALPN, ClientTls, ServerTls, end_point, provider};
use super::{
    Authority, EVERY_MODE, Folder, TLS_1_2, TLS_1_3, fixture, meet, named, tcp, towards_clients,
    towards_servers,
};

#[test]
fn modes_say_whether_tls_is_offered_and_required() {
    let folder = Folder::new();
    let authority = Authority::new("authority");
    let identity = authority.issue(named(Some("pooler"), &[]));
    let found = EVERY_MODE.map(|mode| {
        let global = towards_clients(&folder, mode, &identity, Some(&authority));
        let tls = ClientTls::new(&global).unwrap();
        (tls.is_offered(), tls.is_required())
    });
    let (no, can, must) = ((false, false), (true, false), (true, true));
    assert_eq!(found, [no, can, can, must, must, must]);
}

#[tokio::test]
async fn disabled_tls_reads_no_file_and_accepts_nobody() {
    let global = Global {
        client_tls_cert_file: Some("/nonexistent".into()),
        ..Global::default()
    };
    let tls = ClientTls::new(&global).unwrap();
    assert_eq!(tls.end_point(), None);
    let (ours, _theirs) = duplex(64);
    let error = tls.accept(ours, false).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}

#[tokio::test]
async fn every_mode_treats_client_certificates_as_its_name_says() {
    let folder = Folder::new();
    let [ours, other] = ["ours", "other"].map(Authority::new);
    let pooler = ours.issue(named(Some("pooler"), &[]));
    let good = ours.issue(named(Some("alice"), &[]));
    let wrong = other.issue(named(Some("alice"), &[]));
    // By mode: whether clients are accepted that show no certificate, a good one, one of another authority.
    let optional = [true, true, false];
    let required = [false, true, false];
    let cases = [
        (SslMode::Allow, true, optional),
        (SslMode::Prefer, true, optional),
        (SslMode::Require, true, optional),
        (SslMode::VerifyCa, true, required),
        (SslMode::VerifyFull, true, required),
        (SslMode::Allow, false, [true; 3]),
        (SslMode::Prefer, false, [true; 3]),
        (SslMode::Require, false, [true; 3]),
    ];
    for (mode, with_authority, expected) in cases {
        for protocols in [TLS_1_2, TLS_1_3] {
            let mut global =
                towards_clients(&folder, mode, &pooler, with_authority.then_some(&ours));
            global.client_tls_protocols = protocols;
            let clients = ClientTls::new(&global).unwrap();
            for (shown, expected) in [None, Some(&good), Some(&wrong)].into_iter().zip(expected) {
                let global = towards_servers(&folder, SslMode::Require, shown, None);
                let servers = ServerTls::new(&global).unwrap();
                let met = meet(&clients, &servers, &tcp("pooler")).await;
                assert_eq!(
                    met.is_ok(),
                    expected,
                    "{mode} {with_authority} {protocols:?}: {:?}",
                    met.err()
                );
            }
        }
    }
}

/// Shakes hands as a client that offers these protocols by ALPN; what the pooler says.
async fn client_with_alpn(clients: &ClientTls, offered: &[&[u8]], direct: bool) -> Option<String> {
    let provider = std::sync::Arc::new(provider());
    let verifier = ServerVerifier::new(Trust::Anyone, &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|p| p.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("pooler").unwrap();
    let (ours, theirs) = duplex(1 << 16);
    let (accepted, _) = tokio::join!(
        clients.accept(ours, direct),
        connector.connect(name, theirs)
    );
    accepted.err().map(|e| e.to_string())
}

#[tokio::test]
async fn direct_tls_needs_alpn_and_tls_by_request_does_not() {
    let folder = Folder::new();
    let pooler = Authority::new("authority").issue(named(Some("pooler"), &[]));
    let global = towards_clients(&folder, SslMode::Prefer, &pooler, None);
    let tls = ClientTls::new(&global).unwrap();
    let none: &[&[u8]] = &[];
    assert_eq!(client_with_alpn(&tls, &[b"h2", ALPN], true).await, None);
    assert_eq!(client_with_alpn(&tls, &[ALPN], false).await, None);
    assert_eq!(client_with_alpn(&tls, none, false).await, None);
    assert_eq!(
        client_with_alpn(&tls, none, true).await.unwrap(),
        "direct TLS connection without the ALPN protocol \"postgresql\""
    );
    for direct in [false, true] {
        assert!(
            client_with_alpn(&tls, &[b"http/1.1"], direct)
                .await
                .is_some()
        );
    }
}

#[tokio::test]
async fn both_sides_compute_the_same_end_point() {
    let folder = Folder::new();
    let global = Global {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: Some(fixture("ecdsa-sha384.pem")),
        client_tls_key_file: Some(fixture("ecdsa-sha384.sec1.key")),
        ..Global::default()
    };
    let clients = ClientTls::new(&global).unwrap();
    let global = towards_servers(&folder, SslMode::Require, None, None);
    let servers = ServerTls::new(&global).unwrap();
    let (_, stream) = meet(&clients, &servers, &tcp("pooler")).await.unwrap();
    let seen = end_point(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(seen.len(), 48);
    assert_eq!(clients.end_point(), Some(&seen[..]));
}

#[tokio::test]
async fn files_read_again_give_the_new_certificate_and_leave_the_old_one_in_use() {
    let folder = Folder::new();
    let authority = Authority::new("authority");
    let servers = ServerTls::new(&towards_servers(&folder, SslMode::Require, None, None)).unwrap();
    let mut made = Vec::new();
    for name in ["before", "after"] {
        let identity = authority.issue(named(Some(name), &[]));
        let global = towards_clients(&folder, SslMode::Require, &identity, None);
        made.push((name, ClientTls::new(&global).unwrap()));
    }
    for (name, clients) in &made {
        let (_, stream) = meet(clients, &servers, &tcp("pooler")).await.unwrap();
        let shown: &CertificateDer<'_> = &stream.get_ref().1.peer_certificates().unwrap()[0];
        let certificate = super::super::certificate::Certificate::read(shown).unwrap();
        assert!(certificate.is_of_host_by_common_name(name), "{name}");
        assert_eq!(clients.end_point(), end_point(shown).as_deref());
    }
}
