//! The program: its exit codes, its signals, its messages.

use pgweir_tests::certificates::authority;
use pgweir_tests::process::{Process, run};
use pgweir_tests::raw::values;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Raw, Script, tls};
use pgweir_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[test]
fn it_says_in_one_line_why_it_cannot_start() {
    let home = Directory::new("cli");
    let misspelt = home.write(
        "misspelt.toml",
        "[pgweir]\nlisten_port = 0\ndefault_pool_siz = 3\n",
    );
    let (code, _, error) = run(&[misspelt.to_str().unwrap()]);
    assert_ne!(code, Some(0));
    assert!(
        error.contains("misspelt.toml:3") && error.contains("default_pool_size"),
        "{error}"
    );
    let (code, _, error) = run(&["/no/such/file.toml"]);
    assert_ne!(code, Some(0));
    assert!(error.contains("/no/such/file.toml"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let busy = home.write(
        "busy.toml",
        &format!("[pgweir]\nlisten_addr = \"127.0.0.1\"\nlisten_port = {port}\n"),
    );
    let (code, _, error) = run(&[busy.to_str().unwrap()]);
    assert_ne!(code, Some(0));
    assert!(error.contains(&port.to_string()), "{error}");
}

#[test]
fn check_judges_a_file_without_starting() {
    let home = Directory::new("cli");
    let good = home.write(
        "good.toml",
        "[pgweir]\nlisten_port = 6432\n[databases.a]\nhost = \"h\"\n",
    );
    assert_eq!(run(&["check", good.to_str().unwrap()]).0, Some(0));
    let bad = home.write("bad.toml", "[pgweir]\npool_mode = \"transactional\"\n");
    let (code, out, error) = run(&["check", bad.to_str().unwrap()]);
    assert_ne!(code, Some(0));
    let told = out + &error;
    assert!(
        told.contains("bad.toml:2") && told.contains("transaction"),
        "{told}"
    );
}

#[tokio::test]
async fn term_waits_for_clients_and_a_second_one_does_not() {
    let mut pooler = Process::start("", "");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.value("select 1").await;
    pooler.signal("TERM");
    refuses_new_clients(&pooler).await;
    assert_eq!(raw.value("select 'inside'").await, "inside");
    raw.say(&Script::new().terminate()).await;
    assert_eq!(pooler.wait(), Some(0));

    let mut pooler = Process::start("", "");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.query("begin").await;
    pooler.signal("TERM");
    // Two signals of one kind are one until the first is taken.
    refuses_new_clients(&pooler).await;
    pooler.signal("TERM");
    assert_eq!(raw.last_words().await.code, "57P01");
    assert_eq!(pooler.wait(), Some(0));
}

/// Waits until no new client is admitted.
async fn refuses_new_clients(pooler: &Process) {
    pgweir_tests::within("refusing new clients", async {
        while !refused(pooler).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether a login is turned away: no connection, its end, or an error.
async fn refused(pooler: &Process) -> bool {
    let Ok(socket) = TcpStream::connect(pooler.address()).await else {
        return true;
    };
    let mut raw = Raw::over(socket, pooler.address());
    let mut packet = Vec::new();
    startup::startup_message(
        &mut packet,
        startup::VERSION_3_0,
        [(&b"user"[..], &b"alice"[..]), (b"database", b"postgres")],
    );
    raw.send(&packet).await;
    match raw.next().await {
        None => true,
        Some(m) => m.tag == b'E',
    }
}

#[tokio::test]
async fn int_waits_for_transactions_only_and_quit_for_nothing() {
    let mut pooler = Process::start("", "");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut idle = Raw::login(pooler.address(), "alice", "postgres").await;
    idle.value("select 1").await;
    raw.query("begin").await;
    pooler.signal("INT");
    assert_eq!(idle.last_words().await.code, "57P01");
    assert_eq!(
        raw.value("select 'in a transaction'").await,
        "in a transaction"
    );
    raw.say(&Script::new().query("commit")).await;
    raw.until_end().await;
    assert_eq!(pooler.wait(), Some(0));

    let mut pooler = Process::start("", "");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.query("begin").await;
    pooler.signal("QUIT");
    raw.until_end().await;
    assert!(pooler.wait().is_some());
}

#[tokio::test]
async fn usr1_pauses_and_usr2_resumes() {
    let pooler = Process::start("admin_users = \"alice\"", "");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.value("select 1").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    pooler.signal("USR1");
    pgweir_tests::within("pausing", async { while !paused(&mut admin).await {} }).await;
    raw.say(&Script::new().query("select 'resumed'")).await;
    pooler.signal("USR2");
    assert_eq!(values(&raw.until_ready().await), ["resumed"]);
}

async fn paused(admin: &mut Raw) -> bool {
    let answer = admin.query("show state").await;
    let rows = answer.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
    rows.into_iter()
        .any(|r| r[0].as_deref() == Some("paused") && r[1].as_deref() == Some("yes"))
}

#[tokio::test]
async fn hup_reads_certificates_and_secrets_again() {
    let home = Directory::new("reload");
    let write = |name: &str| {
        let own = authority().issue(name, &["localhost"]);
        home.write("pooler.key", &own.key);
        home.write("pooler.crt", &own.certificate);
    };
    write("first");
    let userlist = home.write("userlist.txt", "\"alice\" \"x\"\n");
    let path = home.path().display();
    let pooler = Process::start(
        &format!(
            "client_tls_sslmode = \"prefer\"\nclient_tls_key_file = \"{path}/pooler.key\"\nclient_tls_cert_file = \"{path}/pooler.crt\"\nauth_file = \"{}\"",
            userlist.display()
        ),
        "",
    );
    let before = certificate(&pooler).await;
    assert!(
        Raw::login_with(pooler.address(), "newcomer", "postgres", &[])
            .await
            .is_err()
    );
    write("second");
    std::fs::write(&userlist, "\"alice\" \"x\"\n\"newcomer\" \"x\"\n").unwrap();
    pooler.signal("HUP");
    pgweir_tests::within("the new certificate", async {
        while certificate(&pooler).await == before {}
    })
    .await;
    // PostgreSQL does not know it: that is an error of PostgreSQL's own.
    let error = Raw::login_with(pooler.address(), "newcomer", "postgres", &[])
        .await
        .err()
        .unwrap();
    assert!(
        error.message.contains("role \"newcomer\" does not exist"),
        "{error:?}"
    );
}

async fn certificate(pooler: &Process) -> Vec<u8> {
    let mut socket = TcpStream::connect(pooler.address()).await.unwrap();
    let mut request = Vec::new();
    startup::ssl_request(&mut request);
    socket.write_all(&request).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let stream = tls::connect(socket, false, None).await.unwrap();
    tls::peer_certificate(&stream)
}
