use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pgweir_config::{Global, SslMode};

use super::super::{ClientTls, ServerTls};
use super::{Authority, Folder, fixture, named, towards_clients};

fn client_side(certificate: PathBuf, key: PathBuf) -> Global {
    Global {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: Some(certificate),
        client_tls_key_file: Some(key),
        ..Global::default()
    }
}

/// What [`ClientTls::new`] finds wrong, with the folder written as `DIR`.
fn complaint(folder: &Folder, global: &Global) -> String {
    let error = ClientTls::new(global).err().unwrap().to_string();
    let folder = folder.0.display().to_string();
    let fixtures = fixture("").display().to_string();
    let fixtures = fixtures.trim_end_matches('/');
    error.replace(&folder, "DIR").replace(fixtures, "FIXTURES")
}

#[test]
fn keys_are_read_in_all_three_forms() {
    for (certificate, key) in [
        ("rsa-sha256.pem", "rsa-sha256.pkcs1.key"),
        ("ecdsa-sha384.pem", "ecdsa-sha384.sec1.key"),
        ("version-1.pem", "version-1.key"),
    ] {
        ClientTls::new(&client_side(fixture(certificate), fixture(key))).unwrap();
    }
}

#[test]
fn certificate_and_key_may_share_a_file() {
    let folder = Folder::new();
    let identity = Authority::new("ours").issue(named(Some("pooler"), &[]));
    let both = folder.write("both.pem", &(identity.key + &identity.certificate));
    ClientTls::new(&client_side(both.clone(), both)).unwrap();
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_one_line_that_names_it() {
    let folder = Folder::new();
    let absent = folder.0.join("absent.pem");
    let empty = folder.write("empty.pem", "");
    let garbled = folder.write(
        "garbled.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let hollow = folder.write(
        "hollow.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let certificate = || fixture("ecdsa-sha384.pem");
    let key = || fixture("ecdsa-sha384.sec1.key");
    let cases = [
        (
            client_side(absent, key()),
            "client_tls_cert_file: cannot read \"DIR/absent.pem\": No such file or directory (os error 2)",
        ),
        (
            client_side(key(), key()),
            "client_tls_cert_file: \"FIXTURES/ecdsa-sha384.sec1.key\" holds no certificate in PEM (a section that \
             begins with -----BEGIN CERTIFICATE-----)",
        ),
        (
            client_side(certificate(), empty.clone()),
            "client_tls_key_file: \"DIR/empty.pem\" holds no private key in PEM (a section that begins with \
             -----BEGIN PRIVATE KEY-----)",
        ),
        (
            client_side(garbled, key()),
            "client_tls_cert_file: \"DIR/garbled.pem\" is not valid PEM: ",
        ),
        (
            client_side(hollow.clone(), key()),
            "client_tls_cert_file: \"DIR/hollow.pem\" holds a certificate that cannot be read: ",
        ),
        (
            client_side(certificate(), fixture("encrypted.key")),
            "client_tls_key_file: \"FIXTURES/encrypted.key\" holds an encrypted key, and there is nobody to ask for \
             its pass phrase: decrypt it with openssl pkey",
        ),
        (
            client_side(certificate(), fixture("version-1.key")),
            "client_tls_key_file: the key in \"FIXTURES/version-1.key\" does not belong to the first certificate in \
             \"FIXTURES/ecdsa-sha384.pem\" (client_tls_cert_file)",
        ),
        (
            Global {
                client_tls_ca_file: Some(empty),
                ..client_side(certificate(), key())
            },
            "client_tls_ca_file: \"DIR/empty.pem\" holds no certificate in PEM (a section that begins with -----BEGIN \
             CERTIFICATE-----)",
        ),
        (
            Global {
                client_tls_ca_file: Some(hollow),
                ..client_side(certificate(), key())
            },
            "client_tls_ca_file: \"DIR/hollow.pem\" holds a certificate (number 1) that cannot be an authority: ",
        ),
        (
            Global {
                client_tls_key_file: None,
                ..client_side(certificate(), key())
            },
            "client_tls_sslmode: require needs client_tls_key_file",
        ),
        (
            Global {
                client_tls_sslmode: SslMode::VerifyCa,
                ..client_side(certificate(), key())
            },
            "client_tls_sslmode: verify-ca needs client_tls_ca_file",
        ),
    ];
    for (global, expected) in cases {
        let found = complaint(&folder, &global);
        // Where a library's own words follow, they are not this test's business.
        match expected.ends_with(": ") {
            true => assert!(found.starts_with(expected), "{found}"),
            false => assert_eq!(found, expected),
        }
        assert!(!found.contains('\n'), "{found}");
    }
}

#[test]
fn the_side_of_the_servers_says_what_it_misses() {
    let half = Global {
        server_tls_key_file: Some(fixture("version-1.key")),
        ..Global::default()
    };
    let unchecked = Global {
        server_tls_sslmode: SslMode::VerifyFull,
        ..Global::default()
    };
    for (global, expected) in [
        (half, "server_tls_key_file: needs server_tls_cert_file too"),
        (
            unchecked,
            "server_tls_sslmode: verify-full needs server_tls_ca_file",
        ),
    ] {
        assert_eq!(ServerTls::new(&global).err().unwrap().to_string(), expected);
    }
}

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut String);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{value:?}"));
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[cfg(unix)]
#[test]
fn a_key_that_everyone_can_read_is_warned_of_and_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let identity = Authority::new("ours").issue(named(Some("pooler"), &[]));
    let global = towards_clients(&folder, SslMode::Require, &identity, None);
    let key = global.client_tls_key_file.clone().unwrap();
    for (mode, warned) in [(0o640, false), (0o644, true)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || {
            // Another test may have come by here first, when nobody was listening.
            tracing::callsite::rebuild_interest_cache();
            ClientTls::new(&global).map(drop)
        })
        .unwrap();
        let text = log.0.lock().unwrap();
        assert_eq!(text.contains("client_tls_key_file"), warned, "{text}");
    }
}
