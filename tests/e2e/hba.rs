//! Who may come from where, and how they prove who they are: `auth_type` hba, cert and any.

use std::process::Command;

use pgweir_tests::certificates::authority;
use pgweir_tests::postgres::PASSWORD;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Raw, postgres, tls};
use pgweir_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks who one is, as `user` with `password`; the error if that fails.
fn who(
    host: &str,
    pooler: &Pooler,
    user: &str,
    password: &str,
    database: &str,
) -> Result<String, String> {
    let output = Command::new(postgres().program("psql"))
        .args(["-X", "-q", "-A", "-t", "-w", "-h", host])
        .args(["-p", &pooler.port().to_string(), "-U", user, "-d", database])
        .args(["-c", "select current_user"])
        .env("PGPASSWORD", password)
        .env("PGSSLMODE", "disable")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// A home with a pooler that goes by `rules` and `maps`.
struct House {
    home: Directory,
    pooler: Pooler,
}

impl House {
    fn try_new(rules: &str, maps: &str, more: &str) -> Result<House, String> {
        let home = Directory::new("hba");
        let hba = home.write("hba.conf", rules);
        let ident = home.write("ident.conf", maps);
        let text = pgweir_tests::pooler::configuration(
            postgres().port(),
            &format!(
                "auth_type = \"hba\"\nauth_hba_file = \"{}\"\nauth_ident_file = \"{}\"\n\
                 unix_socket_dir = \"{}\"\n{more}",
                hba.display(),
                ident.display(),
                home.path().display()
            ),
        );
        let pooler = Pooler::try_of(&text)?;
        Ok(House { home, pooler })
    }

    fn new(rules: &str, maps: &str, more: &str) -> House {
        House::try_new(rules, maps, more).unwrap_or_else(|e| panic!("{e}"))
    }

    fn by_socket(&self, user: &str, password: &str) -> Result<String, String> {
        let host = self.home.path().to_str().unwrap();
        who(host, &self.pooler, user, password, "postgres")
    }

    fn by_tcp(&self, user: &str, password: &str) -> Result<String, String> {
        who("127.0.0.1", &self.pooler, user, password, "postgres")
    }
}

/// The system user of this process.
fn myself() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn each_client_is_asked_for_what_its_rule_says() {
    let escaped = PASSWORD.replace('"', "\\\"");
    let users: String = ["scram_user", "md5_user", "plain_user"]
        .iter()
        .map(|user| format!("\n[users.{user}]\npassword = \"{escaped}\"\n"))
        .collect();
    let house = House::new(
        "# by socket\n\
         local all alice trust\n\
         host all bob 127.0.0.1/32 reject\n\
         host all scram_user,bob 127.0.0.0/8 scram-sha-256\n\
         host nothing all all trust\n\
         host postgres md5_user 127.0.0.1 255.255.255.255 md5\n\
         host postgres plain_user all password\n",
        "",
        &users,
    );
    assert_eq!(house.by_socket("alice", "").as_deref(), Ok("alice"));
    for user in ["scram_user", "md5_user", "plain_user"] {
        assert_eq!(house.by_tcp(user, PASSWORD).as_deref(), Ok(user));
        let wrong = house.by_tcp(user, "wrong").unwrap_err();
        assert!(wrong.contains("password authentication failed"), "{wrong}");
    }
    let told = house.by_tcp("bob", PASSWORD).unwrap_err();
    let expected = "pg_hba.conf rejects connection for host \"127.0.0.1\", user \"bob\", database \"postgres\", no encryption";
    assert!(told.contains(expected), "{told}");
    // Whether or not there is such a user.
    for user in ["alice", "tom"] {
        let told = house.by_tcp(user, "").unwrap_err();
        let expected = format!("no pg_hba.conf entry for host \"127.0.0.1\", user \"{user}\"");
        assert!(told.contains(&expected), "{told}");
    }
    let told = house.by_socket("scram_user", PASSWORD).unwrap_err();
    assert!(
        told.contains("no pg_hba.conf entry for host \"[local]\""),
        "{told}"
    );
}

#[test]
fn the_kernel_vouches_for_who_comes_by_a_unix_socket() {
    let me = myself();
    let house = House::new(
        "local all alice peer map=staff\nlocal all bob,tom peer map=any\nlocal all all peer\n",
        &format!("staff {me} alice\nany /^(.)(.*)$ bob\nany /^ tom\n"),
        "",
    );
    assert_eq!(house.by_socket("alice", "").as_deref(), Ok("alice"));
    assert_eq!(house.by_socket("bob", "").as_deref(), Ok("bob"));
    // Nobody of that name, and one who is mapped but is not known.
    for user in ["carol", "tom"] {
        let told = house.by_socket(user, "").unwrap_err();
        let expected = format!("Peer authentication failed for user \"{user}\"");
        assert!(told.contains(&expected), "{told}");
    }
}

/// By TLS, showing a certificate with `name`.
async fn by_certificate(
    pooler: &Pooler,
    name: Option<&str>,
    user: &str,
) -> Result<Raw, (String, String)> {
    let mut socket = TcpStream::connect(pooler.address()).await.unwrap();
    let mut request = Vec::new();
    startup::ssl_request(&mut request);
    socket.write_all(&request).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let identity = name.map(|name| authority().issue(name, &[]));
    let stream = tls::connect(socket, false, identity.as_ref())
        .await
        .unwrap();
    let mut raw = Raw::over(stream, pooler.address());
    raw.start(startup::VERSION_3_0, user, "postgres", &[])
        .await
        .map_err(|e| (e.code, e.message))?;
    Ok(raw)
}

fn tls_settings(home: &Directory, mode: &str) -> String {
    let own = authority().issue("localhost", &["localhost"]);
    let file = |name: &str, text: &str| home.write(name, text).display().to_string();
    format!(
        "client_tls_sslmode = \"{mode}\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\nclient_tls_ca_file = \"{}\"\n",
        file("crt", &own.certificate),
        file("key", &own.key),
        file("ca", &own.authority)
    )
}

#[tokio::test]
async fn an_authority_vouches_for_who_shows_a_certificate() {
    let files = Directory::new("hba-tls");
    let house = House::new(
        "hostssl all alice all cert\nhostssl all bob,tom all cert map=mail\nhost all carol all trust\n",
        "mail /^(.*)@example.com$ \\1\n",
        &tls_settings(&files, "prefer"),
    );
    let pooler = &house.pooler;
    for (name, user) in [("alice", "alice"), ("bob@example.com", "bob")] {
        let mut raw = by_certificate(pooler, Some(name), user).await.unwrap();
        assert_eq!(raw.value("select current_user").await, user);
    }
    for (name, user) in [
        (Some("bob"), "alice"),
        (Some("alice"), "bob"),
        (Some("bob@example.org"), "bob"),
        (Some("tom@example.com"), "tom"),
        (None, "alice"),
    ] {
        let told = by_certificate(pooler, name, user).await.err().unwrap();
        let expected = format!("certificate authentication failed for user \"{user}\"");
        assert_eq!(told, ("28000".to_owned(), expected), "{name:?}");
    }
    let mut raw = by_certificate(pooler, None, "carol").await.unwrap();
    assert_eq!(raw.value("select current_user").await, "carol");
}

#[tokio::test]
async fn auth_type_cert_takes_the_name_in_the_certificate() {
    let files = Directory::new("cert");
    let settings = tls_settings(&files, "verify-full");
    let pooler = Pooler::new(&format!("auth_type = \"cert\"\n{settings}"));
    let mut raw = by_certificate(&pooler, Some("alice"), "alice")
        .await
        .unwrap();
    assert_eq!(raw.value("select current_user").await, "alice");
    for (name, user) in [("alice", "bob"), ("tom", "tom")] {
        let told = by_certificate(&pooler, Some(name), user)
            .await
            .err()
            .unwrap();
        assert_eq!(told.0, "28000", "{told:?}");
    }
}

#[tokio::test]
async fn with_any_everybody_is_the_databases_own_user() {
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "auth_type = \"any\"\n\n[databases.shop]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"\nuser = \"bob\"\n"
    ));
    let mut raw = Raw::login(pooler.address(), "whoever", "shop").await;
    assert_eq!(raw.value("select current_user").await, "bob");
    let refused = Raw::login_with(pooler.address(), "alice", "postgres", &[]).await;
    assert_eq!(refused.err().unwrap().code, "28000");
    let mut console = Raw::login(pooler.address(), "whoever", "pgbouncer").await;
    console.value("reload").await;
}

#[test]
fn a_file_that_is_not_understood_stops_the_start_and_leaves_a_reload_without_effect() {
    for (rules, maps, expected) in [
        (
            "local all all trust\nlocal all all trusty\n",
            "",
            "hba.conf: line 2: expected trust, reject",
        ),
        (
            "local all all trust\n",
            "m /( x\n",
            "ident.conf: line 1: \"(\" is not a regular expression",
        ),
        (
            "local all all peer map=m\n",
            "",
            "hba.conf: line 1: auth_ident_file has no map \"m\"",
        ),
        (
            "host @gone all all trust\n",
            "",
            "hba.conf: line 1: gone: No such file",
        ),
    ] {
        let why = House::try_new(rules, maps, "").err().unwrap();
        assert!(why.contains(expected), "{why}");
    }
    let house = House::new("local all all trust\n", "", "admin_users = \"postgres\"\n");
    let host = house.home.path().to_str().unwrap();
    let reload = || {
        let output = Command::new(postgres().program("psql"))
            .args(["-X", "-w", "-h", host, "-U", "postgres", "-d", "pgbouncer"])
            .args(["-p", &house.pooler.port().to_string(), "-c", "reload"])
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    house
        .home
        .write("hba.conf", "local all all reject\nnonsense\n");
    let told = reload();
    assert!(told.contains("hba.conf: line 2:"), "{told}");
    assert_eq!(house.by_socket("alice", "").as_deref(), Ok("alice"));
    house.home.write("hba.conf", "local all postgres trust\n");
    assert_eq!(reload(), "");
    let told = house.by_socket("alice", "").unwrap_err();
    assert!(told.contains("no pg_hba.conf entry"), "{told}");
}

#[test]
fn users_that_auth_query_finds_come_by_rules_too() {
    let house = House::new(
        "host all all all scram-sha-256\nlocal all all trust\n",
        "",
        "auth_user = \"postgres\"\n",
    );
    let found = house.by_tcp("scram_user", PASSWORD);
    assert_eq!(found.as_deref(), Ok("scram_user"));
    // It is asked there whether there is such a user, too.
    let told = house.by_socket("tom", "").unwrap_err();
    assert!(
        told.contains("authentication failed for user \"tom\""),
        "{told}"
    );
}

#[tokio::test]
async fn to_replicate_the_cluster_a_rule_for_replication_is_needed() {
    let databases = "host all all 127.0.0.1/32 trust";
    let both = format!("host replication postgres 127.0.0.1/32 trust\n{databases}");
    for (rules, replication, expected) in [
        (databases, "true", Some("28000")),
        (databases, "database", None),
        (&both, "true", None),
        (&both, "database", None),
    ] {
        let house = House::new(rules, "", "");
        let start = [("replication", replication)];
        let address = house.pooler.address();
        let login = Raw::login_with(address, "postgres", "postgres", &start).await;
        let code = login.err().map(|e| e.code);
        assert_eq!(code.as_deref(), expected, "{rules} {replication}");
        let console = Raw::login_with(address, "postgres", "pgbouncer", &start).await;
        assert_eq!(
            console.err().unwrap().code,
            "08P01",
            "{rules} {replication}"
        );
    }
}
