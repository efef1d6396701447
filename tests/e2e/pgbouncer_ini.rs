//! A `pgbouncer.ini` as it stands, in front of a real PostgreSQL.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use pgweir_tests::drivers::finish;
use pgweir_tests::postgres::{PASSWORD, free_port};
use pgweir_tests::process::program;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Raw, Script, postgres, raw, within};
use pgweir_wire::backend::BackendKey;

/// These lines of `[databases]`, and what every file here has of `[pgbouncer]`; SERVER is where PostgreSQL is.
fn ini(databases: &str, settings: &str) -> String {
    let server = format!("host=127.0.0.1 port={}", postgres().port());
    let databases = databases.replace("SERVER", &server);
    format!(
        "[databases]\n{databases}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\n\
         server_tls_sslmode = disable\nauth_type = trust\nauth_file = \nadmin_users = postgres\n{settings}\n\
         [users]\nalice = pool_size=5\nbob =\npostgres =\n"
    )
}

/// The rows that a query gives, each as its columns.
async fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<String>> {
    let messages = raw.query(sql).await;
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(|row| {
        let columns = row.columns().into_iter();
        columns.map(Option::unwrap_or_default).collect()
    })
    .collect()
}

#[test]
fn a_shops_file_serves_psql_and_pgbench() {
    let database = postgres().database();
    let home = Directory::new("shop");
    let users = home.write(
        "userlist.txt",
        &format!(
            "\"md5_user\" \"{}\"\n\"scram_user\" \"{}\"\n",
            postgres().stored_secret("md5_user"),
            PASSWORD.replace('"', "\"\"")
        ),
    );
    let pooler = Pooler::of_ini(&format!(
        "; as shops have it\n[databases]\nshop = host=localhost port={} dbname={database}\n\n[pgbouncer]\n\
         max_client_conn = 1000\ndefault_pool_size = 25\nreserve_pool_size = 5\nreserve_pool_timeout = 5\n\
         pool_mode = transaction\nserver_idle_timeout = 600\nserver_lifetime = 3600\n\
         server_connect_timeout = 15\nquery_timeout = 0\nquery_wait_timeout = 120\nclient_idle_timeout = 0\n\
         auth_type = md5\nauth_file = {}\nlog_connections = 1\nlog_disconnections = 1\nlog_pooler_errors = 1\n\
         stats_period = 60\nlisten_addr = 0.0.0.0\nlisten_port = 0\nunix_socket_dir = {}\n\
         admin_users = postgres\nstats_users = stats_user\n",
        postgres().port(),
        users.display(),
        home.path().display()
    ));
    let run = |program: &str, user: &str, arguments: &[&str]| {
        let mut command = Command::new(postgres().program(program));
        command
            .env("PGPASSWORD", PASSWORD)
            .args(arguments)
            .arg(pooler.dsn(user, "shop"));
        finish(&mut command)
    };
    for user in ["md5_user", "scram_user"] {
        let found = run(
            "psql",
            user,
            &["-XAtc", "select current_user, current_database()"],
        );
        assert_eq!(found.trim(), format!("{user}|{database}"));
    }
    run("pgbench", "scram_user", &["-iq"]);
    for protocol in ["simple", "prepared"] {
        let arguments = ["-n", "-c", "10", "-t", "20", "-M", protocol];
        let report = run("pgbench", "scram_user", &arguments);
        assert!(report.contains("processed: 200/200"), "{report}");
    }
}

#[tokio::test]
async fn a_databases_parameters_are_what_its_sessions_start_with() {
    let pooler = Pooler::of_ini(&ini(
        "p = SERVER dbname=postgres client_encoding=LATIN1 datestyle='SQL, DMY' timezone=Asia/Tokyo \
         application_name=shop",
        "pool_mode = transaction\ndefault_pool_size = 1",
    ));
    let mut plain = Raw::login(pooler.address(), "alice", "p").await;
    for (name, value) in [
        ("client_encoding", "LATIN1"),
        ("DateStyle", "SQL, DMY"),
        ("TimeZone", "Asia/Tokyo"),
        ("application_name", "shop"),
    ] {
        assert_eq!(plain.parameter(name), Some(value), "{name}");
        assert_eq!(plain.value(&format!("show {name}")).await, value);
    }
    let own = [("timezone", "Europe/Berlin")];
    let mut own = Raw::login_with(pooler.address(), "alice", "p", &own)
        .await
        .unwrap();
    assert_eq!(own.value("show timezone").await, "Europe/Berlin");
    assert_eq!(own.value("show datestyle").await, "SQL, DMY");
    assert_eq!(plain.value("show timezone").await, "Asia/Tokyo");
    plain.query("set timezone = 'UTC'").await;
    assert_eq!(plain.value("show timezone").await, "UTC");
    plain.query("reset timezone").await;
    assert_eq!(plain.value("show timezone").await, "Asia/Tokyo");
}

#[tokio::test]
async fn hosts_in_a_list_get_connections_in_turn_and_one_that_is_down_is_left_out() {
    let directory = postgres().socket_directory().display().to_string();
    let port = postgres().port();
    let pooler = Pooler::of_ini(&ini(
        &format!(
            "turn = host={directory},127.0.0.1 port={port} dbname=postgres\n\
             twice = host={directory},127.0.0.1,{directory} port={port} dbname=postgres\n\
             down = host=/nonexistent,127.0.0.1 port={port} dbname=postgres\n\
             stay = host=/nonexistent,127.0.0.1,{directory} port={port} dbname=postgres load_balance_hosts=disable"
        ),
        "pool_mode = session\ndefault_pool_size = 6",
    ));
    let mut held = Vec::new();
    for (database, expected) in [
        ("turn", ["", "127.0.0.1", "", "127.0.0.1"]),
        ("twice", ["", "", "127.0.0.1", ""]),
        ("down", ["127.0.0.1"; 4]),
        ("stay", ["127.0.0.1"; 4]),
    ] {
        for at in expected {
            let mut client = Raw::login(pooler.address(), "alice", database).await;
            let sql = "select coalesce(host(inet_server_addr()), '')";
            assert_eq!(client.value(sql).await, at, "{database}");
            held.push(client);
        }
    }
    let mut console = Raw::login(pooler.address(), "postgres", "pgbouncer").await;
    let databases = rows(&mut console, "show databases").await;
    let turn = databases.iter().find(|row| row[0] == "turn").unwrap();
    assert_eq!(turn[1], format!("{directory},127.0.0.1"));
    assert_eq!(turn[10], "round-robin");
}

/// The program with an `.ini` of its own and a log file; ended when dropped.
struct Logged {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _home: Directory,
}

impl Logged {
    async fn start(settings: &str) -> Self {
        let home = Directory::new("logged");
        let port = free_port();
        let log = home.path().join("log");
        let text = ini("p = SERVER dbname=postgres", settings).replace(
            "listen_port = 0",
            &format!("listen_port = {port}\nlogfile = {}", log.display()),
        );
        let file = home.write("pgbouncer.ini", &text);
        let child = Command::new(program())
            .arg("-q")
            .arg(file)
            .env_remove("RUST_LOG")
            .spawn()
            .unwrap();
        let logged = Logged {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            log,
            _home: home,
        };
        logged.line("process up").await;
        logged
    }

    /// The first line with `words` in it, which is waited for.
    async fn line(&self, words: &str) -> String {
        let look = async {
            loop {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                if let Some(line) = log.lines().find(|line| line.contains(words)) {
                    return line.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(words, look).await
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn log_lines_say_what_pgbouncers_say() {
    let pooler = Logged::start(
        "pool_mode = transaction\ndefault_pool_size = 1\nquery_wait_timeout = 1\nstats_period = 1",
    )
    .await;
    let mut client = Raw::login(pooler.address, "bob", "p").await;
    client.query("begin").await;
    let mut waits = Raw::login(pooler.address, "bob", "p").await;
    assert_eq!(waits.query_or_end("select 1").await.severity, "FATAL");
    drop(client);
    let mut leaves = Raw::login(pooler.address, "bob", "p").await;
    leaves.say(&Script::new().terminate()).await;

    let login = pooler.line("login attempt").await;
    let peer = "p/bob@127.0.0.1:";
    assert!(login.contains(" LOG C"), "{login}");
    assert!(login.contains(peer), "{login}");
    assert!(
        login.ends_with("login attempt: db=p user=bob tls=no replication=no"),
        "{login}"
    );
    let server = pooler.line("new connection to server").await;
    let at = format!(
        "p/bob@127.0.0.1:{} new connection to server",
        postgres().port()
    );
    assert!(
        server.contains(" LOG S-") && server.contains(&at),
        "{server}"
    );
    let error = pooler.line("pooler error: ").await;
    assert!(
        error.contains(" WARNING C-") && error.contains("query_wait_timeout"),
        "{error}"
    );
    let closing = pooler
        .line("closing because: query_wait_timeout (age=")
        .await;
    assert!(
        closing.contains(" LOG C-") && closing.contains(peer),
        "{closing}"
    );
    pooler
        .line("closing because: client close request (age=")
        .await;
    pooler
        .line("closing because: client unexpected eof (age=")
        .await;
    let mut admin = Raw::login(pooler.address, "postgres", "pgbouncer").await;
    let mut killed = Raw::login(pooler.address, "bob", "p").await;
    killed.query("begin").await;
    for (command, line) in [
        ("reconnect", "RECONNECT command issued"),
        ("pause p", "PAUSE 'p' command issued"),
        ("resume p", "RESUME 'p' command issued"),
        ("disable p", "DISABLE 'p' command issued"),
        ("enable p", "ENABLE 'p' command issued"),
        ("kill p", "closing because: database removed (age="),
        ("resume p", "RESUME 'p' command issued"),
        ("suspend", "SUSPEND command issued"),
        ("resume", "RESUME command issued"),
    ] {
        if command == "pause p" {
            killed.query("commit").await;
        }
        admin.query(command).await;
        pooler.line(line).await;
    }
    let stats = pooler.line("stats: ").await;
    for part in [
        " xacts/s, ",
        " queries/s, in ",
        " B/s, out ",
        " B/s, xact ",
        " us, query ",
        " us, wait ",
    ] {
        assert!(stats.contains(part), "{stats}");
    }
}

#[tokio::test]
async fn logins_that_fail_are_logged_as_pgbouncer_logs_them() {
    let pooler = Logged::start("auth_type = md5\nclient_login_timeout = 1").await;
    let refused = |database: &str, user: &str| {
        let mut psql = Command::new(postgres().program("psql"));
        psql.args(["-X", "-h", "127.0.0.1", "-U", user, "-d", database])
            .args(["-p", &pooler.address.port().to_string(), "-c", "select 1"])
            .env("PGPASSWORD", "wrong");
        let output = psql.output().unwrap();
        assert!(!output.status.success());
    };
    refused("p", "alice");
    refused("pgbouncer", "bob");
    let silent = Raw::open(pooler.address).await;
    for (who, line) in [
        (
            "p/alice",
            "login attempt: db=p user=alice tls=no replication=no",
        ),
        (
            "p/alice",
            "closing because: password authentication failed (age=",
        ),
        ("p/alice", "pooler error: password authentication failed"),
        ("pgbouncer/bob", "login attempt: db=pgbouncer user=bob"),
        (
            "(nodb)/(nouser)",
            "closing because: client_login_timeout (age=",
        ),
        ("(nodb)/(nouser)", "pooler error: login took longer"),
    ] {
        let found = pooler.line(line).await;
        assert!(found.contains(&format!(" C: {who}@127.0.0.1:")), "{found}");
    }
    drop(silent);

    let pooler = Logged::start("").await;
    let refused = Raw::login_with(pooler.address, "bob", "none", &[]).await;
    assert_eq!(refused.err().unwrap().code, "3D000");
    for line in [
        "login attempt: db=none user=bob",
        "login failed: db=none user=bob",
        "closing because: no such database: none (age=",
        "pooler error: no such database: none",
    ] {
        let found = pooler.line(line).await;
        assert!(found.contains(" C: none/bob@127.0.0.1:"), "{found}");
    }
}

#[tokio::test]
async fn cancel_requests_that_find_no_client_say_why_in_pgbouncers_words() {
    let settings = format!(
        "peer_id = 1\n[peers]\n2 = host=127.0.0.1 port={}",
        free_port()
    );
    let pooler = Logged::start(&settings).await;
    let cases: [(u16, u8, &str); 4] = [
        (1, 3, "failed cancel request"),
        (7, 3, "could not find peer to forward request to"),
        (
            2,
            0,
            "failed to forward cancel request because its TTL was exhausted",
        ),
        (2, 3, "failed to send cancel request"),
    ];
    for (id, hops, why) in cases {
        let [low, high] = id.to_le_bytes();
        let key = BackendKey {
            pid: u32::from_be_bytes([1, low, high, 1]),
            secret: vec![1, 1, 1, hops].into(),
        };
        raw::cancel(pooler.address, &key).await;
        let line = pooler.line(&format!("closing because: {why} (age=")).await;
        assert!(
            line.contains(" LOG C: (nodb)/(nouser)@127.0.0.1:"),
            "{line}"
        );
    }
    let line = pooler.line("cancel request for peer 2: ").await;
    assert!(line.contains(" WARNING "), "{line}");
}

#[tokio::test]
async fn what_is_not_to_be_logged_is_not() {
    let pooler = Logged::start(
        "pool_mode = transaction\nlog_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\nlog_stats = 0",
    )
    .await;
    let mut client = Raw::login(pooler.address, "bob", "p").await;
    assert_eq!(client.value("select 1").await, "1");
    assert!(
        Raw::login_with(pooler.address, "bob", "nosuch", &[])
            .await
            .is_err()
    );
    drop(client);
    let mut admin = Raw::login(pooler.address, "postgres", "pgbouncer").await;
    // By the time of this line the others would be there.
    while rows(&mut admin, "show clients").await.len() > 1 {}
    admin.query("reconnect").await;
    pooler.line("RECONNECT command issued").await;
    let log = std::fs::read_to_string(&pooler.log).unwrap();
    for words in [
        "login attempt",
        "pooler error",
        "closing because: client",
        "stats: ",
    ] {
        assert!(!log.contains(words), "{words}: {log}");
    }
}

#[tokio::test]
async fn signals_are_logged_in_pgbouncers_words() {
    let pooler = Logged::start("pool_mode = transaction").await;
    let mut client = Raw::login(pooler.address, "bob", "p").await;
    client.query("begin").await;
    for (signal, line) in [
        ("HUP", "got SIGHUP, re-reading config"),
        ("USR2", "got SIGUSR2, but not paused/suspended"),
        ("USR1", "got SIGUSR1, pausing all activity"),
        ("USR1", "got SIGUSR1, but already paused/suspended"),
        ("USR2", "got SIGUSR2, continuing from PAUSE"),
        (
            "INT",
            "got SIGINT, shutting down, waiting for all servers connections to be released",
        ),
        ("USR2", "got SIGUSR2 while shutting down, ignoring"),
    ] {
        let pid = pooler.child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.unwrap().success());
        pooler.line(line).await;
    }
    client.say(&Script::new().query("commit")).await;
    pooler
        .line("closing because: server shutting down (age=")
        .await;
}

#[test]
fn each_client_is_told_the_login_message() {
    let pooler = Pooler::of_ini(&ini(
        "p = SERVER dbname=postgres",
        "login_notify_message = maintenance at noon",
    ));
    let output = Command::new(postgres().program("psql"))
        .args(["-XAtc", "select 1"])
        .arg(pooler.dsn("alice", "p"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("NOTICE:  maintenance at noon"), "{stderr}");
    assert_eq!(output.stdout, b"1\n");
}

#[tokio::test]
async fn any_database_and_a_forced_user_work() {
    let pooler = Pooler::of_ini(&ini("* = SERVER user=bob", ""));
    let mut client = Raw::login(pooler.address(), "alice", "template1").await;
    assert_eq!(
        client
            .value("select current_user || current_database()")
            .await,
        "bobtemplate1"
    );
}

#[tokio::test]
async fn show_config_has_pgbouncers_defaults_and_reload_reads_the_file_again() {
    let text = ini("p = SERVER dbname=postgres", "");
    let pooler = Pooler::of_ini(&text);
    let mut console = Raw::login(pooler.address(), "postgres", "pgbouncer").await;
    let config = rows(&mut console, "show config").await;
    let row = |key: &str| config.iter().find(|row| row[0] == key).unwrap().clone();
    assert_eq!(row("pool_mode")[1..], ["session", "session", "yes"]);
    assert_eq!(row("max_client_conn")[1..], ["100", "100", "yes"]);
    assert_eq!(row("listen_backlog")[1..], ["128", "128", "no"]);

    std::fs::write(
        pooler.file(),
        format!("{text}[pgbouncer]\npool_mode = transaction\n"),
    )
    .unwrap();
    console.query("reload").await;
    let config = rows(&mut console, "show config").await;
    let mode = config.iter().find(|row| row[0] == "pool_mode").unwrap();
    assert_eq!(mode[1], "transaction");

    std::fs::write(
        pooler.file(),
        format!("{text}[pgbouncer]\npool_mode = all\n"),
    )
    .unwrap();
    let error = console.error("reload").await;
    assert!(
        error.message.contains("pool_mode = \"all\""),
        "{}",
        error.message
    );
    let config = rows(&mut console, "show config").await;
    let mode = config.iter().find(|row| row[0] == "pool_mode").unwrap();
    assert_eq!(mode[1], "transaction");
}
