//! Where the pooler listens, and what it knows of who comes there.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use pgweir_tests::process::Process;
use pgweir_tests::raw::errors;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Raw, Script, postgres, within};
use pgweir_wire::startup;
use tokio::net::UnixStream;

/// A pooler that listens in `home` too.
fn listening_in(home: &Directory, settings: &str) -> Pooler {
    let directory = home.path().display();
    Pooler::new(&format!("unix_socket_dir = \"{directory}\"\n{settings}"))
}

fn socket_of(home: &Directory, pooler: &Pooler) -> std::path::PathBuf {
    home.path().join(format!(".s.PGSQL.{}", pooler.port()))
}

async fn open(home: &Directory, pooler: &Pooler) -> Raw {
    let socket = UnixStream::connect(socket_of(home, pooler));
    let socket = within("connecting", socket).await.unwrap();
    Raw::over(socket, pooler.address())
}

/// Runs psql; its output, or what is wrong.
fn psql(host: &str, port: u16, user: &str, database: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(postgres().program("psql"))
        .args(["-X", "-q", "-A", "-t", "-w", "-h", host])
        .args(["-p", &port.to_string(), "-U", user, "-d", database])
        .args(["-c", sql])
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

#[test]
fn clients_come_by_a_unix_socket_that_is_gone_with_the_pooler() {
    let home = Directory::new("socket");
    let pooler = listening_in(&home, "");
    let host = home.path().to_str().unwrap();
    let who = psql(
        host,
        pooler.port(),
        "alice",
        "postgres",
        "select current_user",
    );
    assert_eq!(who.as_deref(), Ok("alice"));
    let file = socket_of(&home, &pooler);
    assert!(file.exists());
    drop(pooler);
    assert!(!file.exists());
}

#[test]
fn clients_come_by_an_abstract_name() {
    let name = format!("@pgweir-e2e-{}", std::process::id());
    let pooler = Pooler::new(&format!("unix_socket_dir = \"{name}\""));
    let who = psql(
        &name,
        pooler.port(),
        "alice",
        "postgres",
        "select current_user",
    );
    assert_eq!(who.as_deref(), Ok("alice"));
}

#[tokio::test]
async fn a_client_by_a_unix_socket_is_listed_as_one_and_can_cancel() {
    let home = Directory::new("listed");
    let pooler = listening_in(
        &home,
        "admin_users = \"postgres\"\napplication_name_add_host = 1",
    );
    let mut raw = open(&home, &pooler).await;
    let name = [("application_name", "app")];
    raw.start(startup::VERSION_3_0, "alice", "postgres", &name)
        .await
        .unwrap();
    let port = pooler.port();
    let own = std::process::id();
    let shown = raw.value("show application_name").await;
    assert_eq!(shown, format!("app - unix({own}):{port}"));
    let mut console = Raw::login(pooler.address(), "postgres", "pgbouncer").await;
    let clients = console.query("show clients").await;
    let alice = clients
        .iter()
        .filter(|m| m.tag == b'D')
        .map(|m| m.columns())
        .find(|row| row[1].as_deref() == Some("alice"))
        .unwrap();
    let addresses: Vec<_> = alice[5..9].iter().map(|c| c.as_deref().unwrap()).collect();
    let port = port.to_string();
    assert_eq!(addresses, ["unix", &port, "unix", &port]);
    // Its key is good by TCP, too.
    raw.say(&Script::new().query("select pg_sleep(100)")).await;
    while console.value("show servers").await.is_empty() {}
    raw.cancel().await;
    let answer = raw.until_ready().await;
    assert_eq!(errors(&answer)[0].code, "57014");
}

#[test]
fn the_operator_needs_no_password_by_a_unix_socket() {
    let home = Directory::new("operator");
    let pooler = listening_in(&home, "auth_type = \"scram-sha-256\"");
    let host = home.path().to_str().unwrap();
    let (port, show) = (pooler.port(), "show version");
    let version = psql(host, port, "pgbouncer", "pgbouncer", show).unwrap();
    assert!(version.starts_with("pgweir"), "{version}");
    // All of it.
    psql(host, port, "pgbouncer", "pgbouncer", "reload").unwrap();
    for (host, user, database) in [
        ("127.0.0.1", "pgbouncer", "pgbouncer"),
        (host, "pgbouncer", "postgres"),
        (host, "postgres", "pgbouncer"),
    ] {
        let refused = psql(host, port, user, database, show).unwrap_err();
        assert!(refused.contains("password"), "{host} {user}: {refused}");
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls_where_tcp_does() {
    let home = Directory::new("no-tls");
    let own = pgweir_tests::certificates::server();
    let file = |name: &str, text: &str| home.write(name, text).display().to_string();
    let settings = format!(
        "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"",
        file("crt", &own.certificate),
        file("key", &own.key)
    );
    let pooler = listening_in(&home, &settings);
    let mut raw = open(&home, &pooler).await;
    let mut request = Vec::new();
    startup::ssl_request(&mut request);
    raw.send(&request).await;
    assert_eq!(raw.byte().await, Some(b'N'));
    raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
        .await
        .unwrap();
    let plain = Raw::login_with(pooler.address(), "alice", "postgres", &[]).await;
    assert_eq!(plain.err().unwrap().message, "SSL required");
}

#[tokio::test]
async fn a_client_that_stalls_or_sends_too_much_in_its_login_is_sent_away() {
    let home = Directory::new("stall");
    let pooler = listening_in(
        &home,
        "auth_type = \"plain\"\nclient_login_timeout = 0.3\n\n[users.known]\npassword = \"x\"\n",
    );
    let mut packet = Vec::new();
    let start = [(&b"user"[..], &b"known"[..]), (b"database", b"postgres")];
    startup::startup_message(&mut packet, startup::VERSION_3_0, start);
    for (sent, code) in [
        (&b""[..], "28000"),
        (&packet[..7], "28000"),
        (&packet, "28000"),
        (&[&packet[..], b"p\0\0\0\x20half"].concat(), "28000"),
        (&[&packet[..], b"p\x7f\xff\xff\xff"].concat(), "08P01"),
        (&[&packet[..], b"p\0\x01\0\0"].concat(), "08P01"),
        (b"\x7f\xff\xff\xff", "08P01"),
    ] {
        let mut raw = open(&home, &pooler).await;
        raw.send(sent).await;
        let error = raw.last_words().await;
        assert_eq!(error.code, code, "{}: {error:?}", sent.escape_ascii());
    }
}

/// What `socket` hears next.
fn heard(socket: &UnixDatagram) -> String {
    socket
        .set_read_timeout(Some(pgweir_tests::PATIENCE))
        .unwrap();
    let mut text = [0; 200];
    let n = socket.recv(&mut text).unwrap();
    String::from_utf8_lossy(&text[..n]).into_owned()
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let home = Directory::new("notify");
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut pooler = Process::start("", &format!("export NOTIFY_SOCKET={}", path.display()));
    assert_eq!(heard(&manager), "READY=1\n");
    pooler.signal("HUP");
    assert!(heard(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard(&manager), "READY=1\n");
    pooler.signal("INT");
    assert_eq!(heard(&manager), "STOPPING=1\n");
    assert_eq!(pooler.wait(), Some(0));
}

/// Opens a TCP socket at the port of the configuration and a Unix socket, and passes them as systemd does.
const ACTIVATE: &str = r#"
import fcntl, os, re, socket, sys
port = int(re.search(r"listen_port = (\d+)", open(sys.argv[3]).read())[1])
tcp = socket.create_server(("127.0.0.1", port))
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[1])
unix.listen()
held = [fcntl.fcntl(s, fcntl.F_DUPFD, 10) for s in (tcp, unix)]
for at, fd in enumerate(held):
    os.dup2(fd, 3 + at)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[tokio::test]
async fn sockets_that_systemd_passes_come_in_the_place_of_those_configured() {
    let home = Directory::new("activation");
    home.write("activate.py", ACTIVATE);
    let (script, unix) = (home.path().join("activate.py"), home.path().join("unix"));
    let never = home.path().display();
    let shell = format!(
        "set -- python3 {} {} \"$@\"",
        script.display(),
        unix.display()
    );
    let mut pooler = Process::start(&format!("unix_socket_dir = \"{never}\"\n"), &shell);
    Raw::login(pooler.address(), "alice", "postgres").await;
    let socket = UnixStream::connect(&unix).await.unwrap();
    let mut raw = Raw::over(socket, pooler.address());
    raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
        .await
        .unwrap();
    let port = pooler.address().port();
    assert!(!home.path().join(format!(".s.PGSQL.{port}")).exists());
    drop(raw);
    pooler.signal("INT");
    assert_eq!(pooler.wait(), Some(0));
    // It is the service manager's.
    assert!(Path::new(&unix).exists());
}

#[test]
fn two_processes_share_a_port_where_they_are_told_to() {
    let first = Process::start("so_reuseport = true", "");
    let port = first.address().port();
    let config = std::fs::read_to_string(&first.file).unwrap();
    let second = Pooler::try_of(&config).map(|second| second.port());
    assert_eq!(second, Ok(port));
    let refused = Pooler::try_of(&config.replace("so_reuseport = true", ""));
    assert!(refused.err().unwrap().contains("in use"));
}

#[tokio::test]
async fn several_addresses_are_listened_on_and_a_bad_one_is_named() {
    let text = pgweir_tests::pooler::configuration(postgres().port(), "");
    let both = text.replace("\"127.0.0.1\"\n", "\"127.0.0.1, 127.0.0.2\"\n");
    // The first is the one of the section's; those of databases are not lists.
    let both = both.replace("host = \"127.0.0.1, 127.0.0.2\"", "host = \"127.0.0.1\"");
    let pooler = Pooler::of(&both);
    Raw::login(pooler.address(), "alice", "postgres").await;
    let bad = text.replacen("\"127.0.0.1\"", "\"127.0.0.1, 192.0.2.1\"", 1);
    let why = Pooler::try_of(&bad).err().unwrap();
    assert!(why.contains("192.0.2.1"), "{why}");
}
