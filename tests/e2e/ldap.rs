//! `auth_type = ldap`, and rules with it, before a real slapd.

use std::net::TcpListener;

use pgweir_tests::postgres::{PASSWORD, free_port};
use pgweir_tests::process::{Process, run};
use pgweir_tests::scratch::Directory;
use pgweir_tests::slapd::SUFFIX;
use pgweir_tests::{Pooler, Raw, Slapd, postgres, slapd, within};
use pgweir_wire::{build, startup};
use tokio_postgres::NoTls;

/// Logs in with `password`, and asks the server who that is; the error's SQLSTATE and message if it fails.
pub(crate) async fn login(
    pooler: &Pooler,
    user: &str,
    password: &str,
) -> Result<String, (String, String)> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(pooler.port())
        .user(user)
        .password(password)
        .dbname("postgres");
    let told = |e: tokio_postgres::Error| match e.as_db_error() {
        Some(db) => (db.code().code().to_owned(), db.message().to_owned()),
        None => panic!("{user}: {e}"),
    };
    let work = async {
        let (client, connection) = config.connect(NoTls).await.map_err(told)?;
        tokio::spawn(connection);
        let row = client
            .query_one("select current_user::text", &[])
            .await
            .map_err(told)?;
        Ok(row.get(0))
    };
    within("a login", work).await
}

fn refused(user: &str) -> Result<String, (String, String)> {
    let message = format!("LDAP authentication failed for user \"{user}\"");
    Err(("28000".to_owned(), message))
}

fn cannot_ask() -> Result<String, (String, String)> {
    Err((
        "57P03".to_owned(),
        "the pooler cannot ask LDAP now".to_owned(),
    ))
}

/// Names made of the users'.
fn simple(slapd: &Slapd) -> String {
    format!(
        "ldapserver=127.0.0.1 ldapport={} ldapprefix=\"uid=\" ldapsuffix=\",{SUFFIX}\"",
        slapd.port()
    )
}

/// Names that are searched for.
fn search(slapd: &Slapd) -> String {
    format!(
        "ldapserver=127.0.0.1 ldapport={} ldapbasedn=\"{SUFFIX}\" ldapbinddn=\"cn=reader,{SUFFIX}\" \
         ldapbindpasswd=\"read it\"",
        slapd.port()
    )
}

fn settings(options: &str, more: &str) -> String {
    format!("auth_type = \"ldap\"\nauth_ldap_options = '{options}'\n{more}")
}

#[tokio::test]
async fn a_directory_judges_passwords_and_servers_are_given_them() {
    let Some(slapd) = slapd() else { return };
    for options in [simple(slapd), search(slapd)] {
        let pooler = Pooler::new(&settings(&options, ""));
        for user in ["alice", "md5_user", "scram_user"] {
            assert_eq!(login(&pooler, user, PASSWORD).await.as_deref(), Ok(user));
            assert_eq!(login(&pooler, user, "wrong").await, refused(user));
        }
        // PostgreSQL's own user, of whom the directory has not heard.
        assert_eq!(login(&pooler, "bob", PASSWORD).await, refused("bob"));
        // The other way round: it is PostgreSQL that knows no such role.
        let (code, _) = login(&pooler, "stranger", PASSWORD).await.unwrap_err();
        assert_eq!(code, "28000");
    }
}

#[tokio::test]
async fn every_way_to_write_the_same_directory_leads_to_it() {
    let Some(slapd) = slapd() else { return };
    let (port, tls, dead) = (slapd.port(), slapd.tls_port(), free_port());
    let reader = format!("ldapbinddn=\"cn=reader,{SUFFIX}\" ldapbindpasswd=\"read it\"");
    let made = format!("ldapprefix=uid= ldapsuffix=\",{SUFFIX}\"");
    for options in [
        format!("ldapurl=\"ldap://127.0.0.1:{port}/{SUFFIX}?uid?sub\" {reader}"),
        format!(
            "ldapurl=\"ldap://127.0.0.1:{port}/{SUFFIX}??one?(mail=$username@example.net)\", {reader}"
        ),
        format!(
            "ldapserver=127.0.0.1 ldapport={port} ldapbasedn=\"{SUFFIX}\" {reader} ldapsearchattribute=cn"
        ),
        format!(
            "ldapserver=127.0.0.1 ldapport={port} ldapbasedn=\"{SUFFIX}\" {reader} \
             ldapsearchfilter=\"(&(objectClass=person)(!(cn=x*y))(|(mail=*)(uid=$username))(uid=$username))\""
        ),
        // 127.0.0.2 answers to nobody at this port.
        format!("ldapserver=\"127.0.0.2 127.0.0.1\" ldapport={port} {made}"),
        format!("ldapserver=localhost ldapport={tls} ldapscheme=ldaps {made}"),
        format!("ldapurl=ldaps://localhost:{tls} {made}"),
        format!("ldapserver=localhost ldapport={port} ldaptls=1 {made}"),
        format!("ldapserver=localhost ldapport={port} ldaptls=1 ldapbasedn=\"{SUFFIX}\" {reader}"),
    ] {
        let authority = format!("auth_ldap_ca_file = \"{}\"", slapd.authority().display());
        let authority = match options.contains("localhost") {
            true => authority,
            false => String::new(),
        };
        let pooler = Pooler::new(&settings(&options, &authority));
        let user = "scram_user";
        assert_eq!(
            login(&pooler, user, PASSWORD).await.as_deref(),
            Ok(user),
            "{options}"
        );
        assert_eq!(
            login(&pooler, user, "wrong").await,
            refused(user),
            "{options}"
        );
    }
    let nobody = format!("ldapserver=127.0.0.1 ldapport={dead} {made}");
    let pooler = Pooler::new(&settings(&nobody, ""));
    assert_eq!(login(&pooler, "alice", PASSWORD).await, cannot_ask());
}

#[tokio::test]
async fn a_directory_that_cannot_prove_who_it_is_is_told_no_password() {
    let Some(slapd) = slapd() else { return };
    let made = format!("ldapprefix=uid= ldapsuffix=\",{SUFFIX}\"");
    let own = format!("auth_ldap_ca_file = \"{}\"", slapd.authority().display());
    let home = Directory::new("ldap");
    let other = pgweir_tests::certificates::Authority::new("another");
    let other = home.write("other.crt", other.certificate());
    let other = format!("auth_ldap_ca_file = \"{}\"", other.display());
    for (options, authority) in [
        // The certificate has another name.
        (
            format!("ldapurl=ldaps://127.0.0.1:{} {made}", slapd.tls_port()),
            &own,
        ),
        // It is from somebody else.
        (
            format!("ldapurl=ldaps://localhost:{} {made}", slapd.tls_port()),
            &other,
        ),
        (
            format!(
                "ldapserver=localhost ldapport={} ldaptls=1 {made}",
                slapd.port()
            ),
            &other,
        ),
        // There is no TLS at this port, and TLS where none is expected.
        (
            format!("ldapurl=ldaps://localhost:{} {made}", slapd.port()),
            &own,
        ),
        (
            format!("ldapurl=ldap://localhost:{} {made}", slapd.tls_port()),
            &own,
        ),
    ] {
        // A directory that waits for more keeps us waiting as long.
        let more = format!("{authority}\nclient_login_timeout = \"3s\"");
        let pooler = Pooler::new(&settings(&options, &more));
        let (code, _) = login(&pooler, "alice", PASSWORD).await.unwrap_err();
        assert!(["57P03", "28000"].contains(&&*code), "{options}: {code}");
    }
}

#[tokio::test]
async fn no_name_and_no_password_is_read_as_anything_else() {
    let Some(slapd) = slapd() else { return };
    let long = "x".repeat(60_000);
    for options in [
        simple(slapd),
        search(slapd),
        format!(
            "{} ldapsearchfilter=\"(|(uid=$username)(cn=$username))\"",
            search(slapd)
        ),
    ] {
        let pooler = Pooler::new(&settings(&options, ""));
        for user in [
            "*",
            "alic*",
            "*)(uid=*",
            "alice)(uid=alice",
            "alice\\2a",
            "x)(|(uid=alice)",
            &format!("alice,{SUFFIX}"),
            &format!("alice+cn=alice,{SUFFIX}"),
            "alice\\",
            "#616c696365",
            "alice\r\n",
            "<>;\"",
        ] {
            assert_eq!(
                login(&pooler, user, PASSWORD).await,
                refused(user),
                "{options}"
            );
        }
        // slapd would let this one in, as nobody in particular.
        assert_eq!(
            login(&pooler, "alice", "").await,
            refused("alice"),
            "{options}"
        );
        assert_eq!(
            login(&pooler, "alice", &long).await,
            refused("alice"),
            "{options}"
        );
        assert_eq!(
            login(&pooler, "alice", PASSWORD).await.as_deref(),
            Ok("alice")
        );
    }
}

#[tokio::test]
async fn a_name_that_two_entries_have_is_nobodys() {
    let Some(slapd) = slapd() else { return };
    let by_mail = format!("{} ldapsearchattribute=mail", search(slapd));
    let pooler = Pooler::new(&settings(&by_mail, ""));
    let twice = "twice@example.net";
    assert_eq!(login(&pooler, twice, PASSWORD).await, refused(twice));
    // Who may not read finds nobody at all, and who is not let in does not search.
    for (reader, answer) in [("", refused("alice")), ("cn=reader", cannot_ask())] {
        let blind = search(slapd).replace(&format!("cn=reader,{SUFFIX}"), reader);
        let pooler = Pooler::new(&settings(&blind.replace("read it", "guessed"), ""));
        assert_eq!(login(&pooler, "alice", PASSWORD).await, answer, "{reader}");
    }
}

#[tokio::test]
async fn users_must_be_known_where_something_says_who_is() {
    let Some(slapd) = slapd() else { return };
    let home = Directory::new("ldap");
    let file = home.write("userlist.txt", "\"scram_user\" \"\"\n\"bob\" \"x\"\n");
    let known = format!("auth_file = \"{}\"", file.display());
    let pooler = Pooler::new(&settings(&simple(slapd), &known));
    // What is stored is not asked for, and not what servers are given.
    assert_eq!(
        login(&pooler, "scram_user", PASSWORD).await.as_deref(),
        Ok("scram_user")
    );
    assert_eq!(login(&pooler, "bob", "x").await, refused("bob"));
    assert_eq!(
        login(&pooler, "md5_user", PASSWORD).await,
        refused("md5_user")
    );
    assert_eq!(
        login(&pooler, "md5_user", "wrong").await,
        refused("md5_user")
    );
    // auth_query says it too, and is asked anew of somebody whom it did not know.
    let asked = "auth_user = \"postgres\"\nauth_query_lifetime = \"1h\"\n";
    let pooler = Pooler::new(&settings(&simple(slapd), asked));
    for user in ["md5_user", "scram_user"] {
        assert_eq!(login(&pooler, user, PASSWORD).await.as_deref(), Ok(user));
    }
    assert_eq!(
        login(&pooler, "stranger", PASSWORD).await,
        refused("stranger")
    );
}

#[tokio::test]
async fn a_user_that_is_made_later_is_not_kept_out_by_what_was_found_before() {
    let Some(slapd) = slapd() else { return };
    let asked = "auth_user = \"postgres\"\nauth_query_lifetime = \"1h\"\n";
    let pooler = Pooler::new(&settings(&simple(slapd), asked));
    let user = "late_user";
    assert_eq!(login(&pooler, user, PASSWORD).await, refused(user));
    postgres().psql("postgres", "create role late_user login");
    let known = login(&pooler, user, PASSWORD).await;
    postgres().psql("postgres", "drop role late_user");
    assert_eq!(known.as_deref(), Ok(user));
}

#[tokio::test]
async fn operators_are_judged_by_the_directory_too() {
    let Some(slapd) = slapd() else { return };
    let pooler = Pooler::new(&settings(
        &simple(slapd),
        "admin_users = \"scram_user\"\nstats_users = \"nobody_else\"\n",
    ));
    let show = async |user: &str, password: &str| {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(pooler.port())
            .user(user)
            .password(password)
            .dbname("pgbouncer");
        let told = |e: tokio_postgres::Error| e.as_db_error().unwrap().message().to_owned();
        let (client, connection) = config.connect(NoTls).await.map_err(told)?;
        tokio::spawn(connection);
        client.simple_query("show version").await.map_err(told)
    };
    for user in ["scram_user", "nobody_else"] {
        assert!(show(user, PASSWORD).await.is_ok(), "{user}");
        let error = show(user, "wrong").await.unwrap_err();
        assert_eq!(Err(("28000".to_owned(), error)), refused(user));
    }
    assert!(show("md5_user", PASSWORD).await.is_err());
}

#[tokio::test]
async fn a_password_that_goes_on_behind_a_zero_byte_is_none() {
    let Some(slapd) = slapd() else { return };
    let pooler = Pooler::new(&settings(&simple(slapd), ""));
    let mut packet = Vec::new();
    let who = [(&b"user"[..], &b"alice"[..]), (b"database", b"postgres")];
    startup::startup_message(&mut packet, startup::VERSION_3_0, who);
    let mut raw = Raw::open(pooler.address()).await;
    raw.send(&packet).await;
    assert_eq!(raw.next().await.unwrap().body, [0, 0, 0, 3]);
    let mut password = Vec::new();
    build::password(&mut password, format!("{PASSWORD}\0x").as_bytes());
    raw.send(&password).await;
    assert_eq!(raw.last_words().await.code, "08P01");
}

#[tokio::test]
async fn a_pgbouncer_ini_with_ldap_runs_as_it_stands() {
    let Some(slapd) = slapd() else { return };
    let home = Directory::new("ldap");
    let file = home.write("userlist.txt", "\"scram_user\" \"\"\n");
    let pooler = Pooler::of_ini(&format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\n\
         unix_socket_dir =\nauth_type = ldap\nauth_file = {}\n\
         auth_ldap_options = ldapurl=\"ldap://127.0.0.1:{}/{SUFFIX}?uid?sub\" \
         ldapbinddn=\"cn=reader,{SUFFIX}\" ldapbindpasswd=\"read it\"\n",
        postgres().port(),
        file.display(),
        slapd.port()
    ));
    assert_eq!(
        login(&pooler, "scram_user", PASSWORD).await.as_deref(),
        Ok("scram_user")
    );
    assert_eq!(login(&pooler, "alice", PASSWORD).await, refused("alice"));
}

#[tokio::test]
async fn the_log_says_why_nobody_gets_in_and_no_password() {
    let dead = free_port();
    let home = Directory::new("ldap");
    let log = home.path().join("log");
    let options = format!(
        "ldapserver=\"127.0.0.2 127.0.0.1\" ldapport={dead} ldapbasedn=x ldapbinddn=y ldapbindpasswd=hunter2"
    );
    let process = Process::start(
        &settings(&options, &format!("logfile = \"{}\"", log.display())),
        "",
    );
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(process.address().port())
        .user("alice")
        .password("guessed")
        .dbname("postgres");
    let error = config.connect(NoTls).await.map(drop).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57P03");
    let log = std::fs::read_to_string(log).unwrap();
    for server in ["127.0.0.2", "127.0.0.1"] {
        let line = format!(
            "LDAP cannot be asked of user \"alice\" at {server}:{dead}: cannot connect: Connection refused"
        );
        assert!(log.contains(&line), "{log}");
    }
    assert!(
        !log.contains("hunter2") && !log.contains("guessed"),
        "{log}"
    );
}

#[tokio::test]
async fn a_database_with_a_user_of_its_own_keeps_it() {
    let Some(slapd) = slapd() else { return };
    let own = format!(
        "\n[databases.postgres]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"carol\"\n",
        postgres().port()
    );
    let pooler = Pooler::new(&settings(&simple(slapd), &own));
    for user in ["scram_user", "stranger"] {
        assert_eq!(login(&pooler, user, PASSWORD).await.as_deref(), Ok("carol"));
        assert_eq!(login(&pooler, user, "wrong").await, refused(user));
    }
}

#[tokio::test]
async fn limits_are_for_users_that_only_the_directory_knows_too() {
    let Some(slapd) = slapd() else { return };
    let limited = "max_user_client_connections = 1\n";
    let pooler = Pooler::new(&settings(&simple(slapd), limited));
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(pooler.port())
        .user("scram_user")
        .password(PASSWORD)
        .dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let (code, _) = login(&pooler, "scram_user", PASSWORD).await.unwrap_err();
    assert_eq!(code, "53300");
    assert_eq!(
        login(&pooler, "alice", PASSWORD).await.as_deref(),
        Ok("alice")
    );
    drop(client);
}

#[tokio::test]
async fn rules_name_directories_or_go_by_the_one_that_is_configured() {
    let Some(slapd) = slapd() else { return };
    let home = Directory::new("ldap");
    let rules = |rules: &str, more: &str| {
        let file = home.write("hba.conf", rules);
        let settings = format!(
            "auth_type = \"hba\"\nauth_hba_file = \"{}\"\n{more}",
            file.display()
        );
        Pooler::try_of(&pgweir_tests::pooler::configuration(
            postgres().port(),
            &settings,
        ))
    };
    let users = "\n[users.bob]\npassword = \"x\"\n";
    let made = simple(slapd);
    let searched = format!("auth_ldap_options = '{}'\n{users}", search(slapd));
    for (lines, more) in [
        (
            format!("host all bob all md5\nhost all all 127.0.0.1/32 ldap {made}\n"),
            users,
        ),
        (
            "host all bob all md5\nhost all all 127.0.0.1/32 ldap\n".to_owned(),
            &*searched,
        ),
    ] {
        let pooler = rules(&lines, more).unwrap_or_else(|e| panic!("{e}"));
        for user in ["md5_user", "scram_user"] {
            assert_eq!(login(&pooler, user, PASSWORD).await.as_deref(), Ok(user));
            assert_eq!(login(&pooler, user, "wrong").await, refused(user));
        }
        assert_eq!(login(&pooler, "bob", "x").await.as_deref(), Ok("bob"));
        assert_eq!(
            login(&pooler, "bob", PASSWORD).await.unwrap_err().0,
            "28P01"
        );
    }
    let reason = rules("host all all all ldap", users).err().unwrap();
    assert_eq!(
        reason,
        "auth_hba_file: a rule with ldap has no options, and auth_ldap_options has none for it"
    );
    let reason = rules("\nhost all all all ldap ldapserver=x", users)
        .err()
        .unwrap();
    assert!(
        reason
            .ends_with("hba.conf: line 2: one of ldapprefix, ldapsuffix and ldapbasedn is needed"),
        "{reason}"
    );
}

#[tokio::test]
async fn fifty_logins_at_once_are_all_judged() {
    let Some(slapd) = slapd() else { return };
    let pooler = Pooler::new(&settings(&search(slapd), ""));
    let logins = (0..50).map(|n| {
        let (user, password) = match n % 3 {
            0 => ("alice", PASSWORD),
            1 => ("scram_user", PASSWORD),
            _ => ("alice", "wrong"),
        };
        let pooler = &pooler;
        async move {
            let result = login(pooler, user, password).await;
            match password {
                PASSWORD => assert_eq!(result.as_deref(), Ok(user)),
                _ => assert_eq!(result, refused(user)),
            }
        }
    });
    let mut all: Vec<_> = logins.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|login| login.as_mut().poll(cx).is_pending());
        match all.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_or_hangs_up_holds_nobody_for_longer_than_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = |port: u16| format!("ldapserver=127.0.0.1 ldapport={port} ldapprefix=uid=");
    let hangs = Pooler::new(&settings(
        &options(port),
        "client_login_timeout = \"200ms\"",
    ));
    let (code, message) = login(&hangs, "alice", PASSWORD).await.unwrap_err();
    assert_eq!(
        (&*code, message.contains("client_login_timeout")),
        ("28000", true)
    );
    for words in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(words);
        });
        let pooler = Pooler::new(&settings(&options(port), ""));
        assert_eq!(
            login(&pooler, "alice", PASSWORD).await,
            cannot_ask(),
            "{words:?}"
        );
    }
}

#[tokio::test]
async fn a_reload_changes_the_directory_and_nobody_sees_its_password() {
    let Some(slapd) = slapd() else { return };
    let home = Directory::new("ldap");
    let rules = "host pgbouncer all all trust\nhost all all all ldap\n";
    let file = home.write("hba.conf", rules);
    let text = |options: &str| {
        let settings = format!(
            "auth_type = \"hba\"\nauth_hba_file = \"{}\"\nauth_ldap_options = '{options}'\n\
             admin_users = \"alice\"\n",
            file.display()
        );
        pgweir_tests::pooler::configuration(postgres().port(), &settings)
    };
    let dead = search(slapd).replace(&slapd.port().to_string(), &free_port().to_string());
    let pooler = Pooler::of(&text(&dead));
    let mut console = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    assert_eq!(login(&pooler, "scram_user", PASSWORD).await, cannot_ask());
    std::fs::write(pooler.file(), text(&search(slapd))).unwrap();
    assert!(pgweir_tests::raw::errors(&console.query("reload").await).is_empty());
    assert_eq!(
        login(&pooler, "scram_user", PASSWORD).await.as_deref(),
        Ok("scram_user")
    );
    // What cannot be used changes nothing, and says why.
    std::fs::write(
        pooler.file(),
        text("ldapserver=x ldapbindpasswd=\"read it\""),
    )
    .unwrap();
    let error = console.error("reload").await;
    let reason = "one of ldapprefix, ldapsuffix and ldapbasedn is needed";
    assert!(error.message.contains(reason), "{error:?}");
    assert_eq!(
        login(&pooler, "alice", PASSWORD).await.as_deref(),
        Ok("alice")
    );
    let shown = format!("{:?}", console.query("show config").await);
    let shown = pgweir_tests::raw::values(&console.query("show config").await).join("\n") + &shown;
    assert!(!shown.contains("read it"));
}

#[test]
fn check_and_convert_know_the_options_of_a_pgbouncer_ini() {
    let home = Directory::new("ldap");
    let options = "ldapserver=ldap.example.net ldapbasedn=\"dc=x,dc=y\" ldapbindpasswd=hunter2";
    let ini = |options: &str| {
        let text = format!(
            "[databases]\n* = host=127.0.0.1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             auth_type = ldap\nauth_ldap_options = {options}\n"
        );
        home.write("pgbouncer.ini", &text).display().to_string()
    };
    let (code, said, error) = run(&["check", &ini(options)]);
    assert_eq!(
        (code, said.ends_with("ok\n")),
        (Some(0), true),
        "{said}{error}"
    );
    let (code, toml, error) = run(&["convert", &ini(options)]);
    assert_eq!(code, Some(0), "{error}");
    // As every password is: whoever converts a file can read it.
    assert!(toml.contains("ldapbindpasswd=hunter2"), "{toml}");
    let converted = home.write("pooler.toml", &toml).display().to_string();
    let (code, _, error) = run(&["check", &converted]);
    assert_eq!(code, Some(0), "{error}");
    for (options, reason) in [
        (
            "ldapserver=x ldapscope=sub",
            "auth_ldap_options: there is no option \"ldapscope\"",
        ),
        ("hunter2", "expected options as NAME=VALUE"),
        ("", "ldap needs auth_ldap_options"),
    ] {
        let (code, _, error) = run(&["check", &ini(options)]);
        assert_eq!(code, Some(1), "{options}");
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
