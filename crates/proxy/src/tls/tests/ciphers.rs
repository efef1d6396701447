use pgweir_config::{Global, SslMode};
use rustls::NamedGroup;

use super::super::{ClientTls, ServerTls};
use super::{
    Authority, Folder, TLS_1_2, TLS_1_3, meet, named, tcp, towards_clients, towards_servers,
};
use crate::testing::config_with;

/// These lines of `[pgweir]`.
fn lines(settings: &str) -> Global {
    config_with(settings, "host = \"127.0.0.1\"\n").global
}

/// Has two sides meet, of which each has preferences: the suite and the group that they agree on.
async fn agreed(of_clients: &str, of_servers: &str, is_new: bool) -> Result<String, String> {
    let folder = Folder::new();
    let identity = Authority::new("authority").issue(named(Some("pooler"), &[]));
    let protocols = if is_new { TLS_1_3 } else { TLS_1_2 };
    let mine = lines(of_clients);
    let clients = Global {
        client_tls_protocols: protocols,
        client_tls_ciphers: mine.client_tls_ciphers,
        client_tls13_ciphers: mine.client_tls13_ciphers,
        client_tls_ecdhcurve: mine.client_tls_ecdhcurve,
        ..towards_clients(&folder, SslMode::Require, &identity, None)
    };
    let theirs = lines(of_servers);
    let servers = Global {
        server_tls_ciphers: theirs.server_tls_ciphers,
        server_tls13_ciphers: theirs.server_tls13_ciphers,
        ..towards_servers(&folder, SslMode::Require, None, None)
    };
    let clients = ClientTls::new(&clients).unwrap();
    let servers = ServerTls::new(&servers).unwrap();
    let (accepted, _) = meet(&clients, &servers, &tcp("pooler")).await?;
    let connection = accepted.get_ref().1;
    let suite = connection.negotiated_cipher_suite().unwrap().suite();
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    let group = match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        _ => "another",
    };
    Ok(format!("{suite:?} {group}"))
}

#[tokio::test]
async fn connections_are_made_with_what_both_sides_lists_have() {
    let table = [
        (
            "client_tls_ciphers = \"AES128\"\nclient_tls_ecdhcurve = \"prime256v1\"",
            "",
            false,
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 P-256",
        ),
        (
            "",
            "server_tls_ciphers = \"HIGH:!AESGCM\"",
            false,
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 X25519",
        ),
        (
            "client_tls13_ciphers = \"TLS_AES_128_GCM_SHA256\"\nclient_tls_ecdhcurve = \"secp384r1\"",
            "",
            true,
            "TLS13_AES_128_GCM_SHA256 P-384",
        ),
        (
            "",
            "server_tls13_ciphers = \"TLS_CHACHA20_POLY1305_SHA256\"",
            true,
            "TLS13_CHACHA20_POLY1305_SHA256 X25519",
        ),
        // The order of a list that was given holds, not that of who connects.
        (
            "client_tls_ciphers = \"CHACHA20:AES\"",
            "",
            false,
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 X25519",
        ),
    ];
    for (of_clients, of_servers, is_new, expected) in table {
        let found = agreed(of_clients, of_servers, is_new).await;
        assert_eq!(found.as_deref(), Ok(expected), "{of_clients} {of_servers}");
    }
}

#[tokio::test]
async fn sides_whose_lists_have_nothing_in_common_do_not_meet() {
    for (of_clients, of_servers, is_new) in [
        (
            "client_tls_ciphers = \"AES128\"",
            "server_tls_ciphers = \"AES256\"",
            false,
        ),
        (
            "client_tls13_ciphers = \"TLS_AES_128_GCM_SHA256\"",
            "server_tls13_ciphers = \"TLS_AES_256_GCM_SHA384\"",
            true,
        ),
    ] {
        let met = agreed(of_clients, of_servers, is_new).await;
        assert!(met.is_err(), "{met:?}");
    }
}
