//! What can go wrong on the way, and that nobody notices then, either.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use pgweir_tests::certificates::authority;
use pgweir_tests::{Raw, Script, postgres, tls};
use pgweir_wire::build;
use pgweir_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Place, until, until_async};

const TRANSACTION: &str = "pool_mode = \"transaction\"";

#[tokio::test]
async fn a_new_process_that_cannot_start_changes_nothing() {
    let place = Place::new();
    let old = place.start(TRANSACTION);
    let mut raw = place.login("alice").await;
    raw.query("set my.own to 'kept'").await;
    let mut broken = place.spawn("pool_mode = \"transactional\"", &["-R"]);
    assert_eq!(broken.ends(), Some(1));
    // This one is understood, and fails when the old process has been asked already.
    let mut broken = place.spawn("auth_file = \"/no/such/file\"", &["-R"]);
    assert_eq!(broken.ends(), Some(1));
    assert!(broken.log().contains("/no/such/file"), "{}", broken.log());
    assert_eq!(raw.value("show my.own").await, "kept");
    assert_eq!(place.pidfile(), Some(old.id()));
    place.login("bob").await.value("select 1").await;
    assert!(place.socket().exists());
    // And it can be taken over still.
    let new = place.take_over(TRANSACTION);
    assert_eq!(raw.value("show my.own").await, "kept");
    drop(new);
}

#[tokio::test]
async fn without_a_running_process_it_starts_as_usual() {
    let place = Place::new();
    let running = place.take_over(TRANSACTION);
    assert!(
        running
            .log()
            .contains("no process is there to take over from")
    );
    place.login("alice").await.value("select 1").await;
    assert_eq!(place.pidfile(), Some(running.id()));
    let home = pgweir_tests::scratch::Directory::new("takeover");
    let file = home.write("pooler.toml", "[pgweir]\nlisten_port = 6432\n");
    let mut lost = place.run(file, &["-R"]);
    assert_eq!(lost.ends(), Some(1));
    assert!(lost.log().contains("set unix_socket_dir"), "{}", lost.log());
}

#[tokio::test]
async fn a_new_process_that_is_killed_leaves_the_old_one_in_charge() {
    let place = Place::new();
    let metrics = pgweir_tests::postgres::free_port();
    let settings = format!("{TRANSACTION}\nmetrics_listen = \"127.0.0.1:{metrics}\"");
    let old = place.start(&settings);
    let scrape = || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", metrics)).unwrap();
        socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut raw = place.login("alice").await;
    raw.query("begin").await;
    let new = place.take_over(&settings);
    assert!(scrape().contains("200 OK"));
    assert_eq!(place.pidfile(), Some(new.id()));
    new.signal("KILL");
    old.until_log("accepts connections again");
    assert_eq!(place.pidfile(), Some(old.id()));
    assert!(place.socket().exists());
    raw.query("commit").await;
    assert_eq!(raw.value("select 'still'").await, "still");
    place.login("bob").await.value("select 1").await;
    assert!(scrape().contains("200 OK"));
    // Another one is luckier.
    drop(new);
    let mut old = old;
    let next = place.take_over(&settings);
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    assert_eq!(raw.value("select 'there'").await, "there");
    assert!(scrape().contains("200 OK"));
    drop(next);
}

#[tokio::test]
async fn a_new_process_that_ends_in_order_is_not_followed_by_the_old_one() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let mut raw = place.login("alice").await;
    raw.query("begin").await;
    let mut new = place.take_over(TRANSACTION);
    new.signal("TERM");
    assert_eq!(new.ends(), Some(0), "{}", new.log());
    until("nobody listens", || {
        std::net::TcpStream::connect(place.address()).is_err()
    });
    assert!(!place.socket().exists());
    raw.query("commit").await;
    assert_eq!(raw.value("select 'still'").await, "still");
    raw.say(&Script::new().terminate()).await;
    assert_eq!(old.ends(), Some(0), "{}", old.log());
}

#[tokio::test]
async fn a_client_whose_database_the_new_process_does_not_know_stays() {
    let place = Place::new();
    let server = postgres().port();
    let own = format!(
        "{TRANSACTION}\n[databases.gone]\nhost = \"127.0.0.1\"\nport = {server}\ndbname = \"postgres\"\n\
         [databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {server}\n"
    );
    let mut old = place.start(&own);
    let mut stays = Raw::login(place.address(), "alice", "gone").await;
    let mut moves = place.login("alice").await;
    let file = place.path("pooler.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let without = text.replace("[databases.gone]", "[databases.other]");
    let without = without.replace("[databases.\"*\"]", "[databases.postgres]");
    std::fs::write(&file, without).unwrap();
    let new = place.run(file, &["-R"]);
    old.until_log("does not take it: no such database: gone");
    assert_eq!(stays.value("select 'here'").await, "here");
    assert_eq!(moves.value("select 'there'").await, "there");
    assert!(!old.has_ended());
    stays.say(&Script::new().terminate()).await;
    assert_eq!(old.ends(), Some(0));
    drop(new);
}

#[tokio::test]
async fn a_tls_client_stays_in_the_old_process_until_it_leaves() {
    let place = Place::new();
    let own = authority().issue("localhost", &["localhost"]);
    let key = place.home.write("key", &own.key);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let certificate = place.home.write("crt", &own.certificate);
    let settings = format!(
        "{TRANSACTION}\nclient_tls_sslmode = \"allow\"\nclient_tls_key_file = \"{}\"\nclient_tls_cert_file = \"{}\"",
        key.display(),
        certificate.display()
    );
    let mut old = place.start(&settings);
    let secure = async || {
        let mut socket = TcpStream::connect(place.address()).await.unwrap();
        let mut request = Vec::new();
        startup::ssl_request(&mut request);
        socket.write_all(&request).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'S');
        let stream = tls::connect(socket, false, None).await.unwrap();
        let mut raw = Raw::over(stream, place.address());
        raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
            .await
            .unwrap();
        raw
    };
    let mut before = secure().await;
    let mut plain = place.login("postgres").await;
    let new = place.take_over(&settings);
    // A third one, for which the second passes on what is meant for the first.
    let mut second = new;
    let third = place.take_over(&settings);
    let mut after = secure().await;
    for raw in [&mut before, &mut plain, &mut after] {
        assert_eq!(raw.value("select 'works'").await, "works");
    }
    // Its cancel key is good, too.
    before
        .say(&Script::new().query("select pg_sleep(100)"))
        .await;
    let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep(100)%' \
                  and state = 'active' and usename = 'alice'";
    until_async(async || plain.value(sleeps).await != "0").await;
    before.cancel().await;
    before.until_ready().await;
    assert!(!old.has_ended() && !second.has_ended());
    before.say(&Script::new().terminate()).await;
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    assert_eq!(second.ends(), Some(0), "{}", second.log());
    assert_eq!(after.value("select 'works'").await, "works");
    drop(third);
}

/// Something that wants to take over, and is no pooler.
struct Taker(UnixStream);

impl Taker {
    /// Logged in at the console as the operator.
    fn new(place: &Place) -> Taker {
        let mut taker = Taker(UnixStream::connect(place.socket()).unwrap());
        let mut packet = Vec::new();
        let who = [
            (&b"user"[..], &b"pgbouncer"[..]),
            (b"database", b"pgbouncer"),
        ];
        startup::startup_message(&mut packet, startup::VERSION_3_0, who);
        taker.0.write_all(&packet).unwrap();
        taker.until_ready();
        taker
    }

    /// Says something at the console; the error, if there is one.
    fn say(&mut self, sql: &str) -> Option<String> {
        let mut out = Vec::new();
        build::query(&mut out, sql.as_bytes());
        self.0.write_all(&out).unwrap();
        self.until_ready()
    }

    fn until_ready(&mut self) -> Option<String> {
        let mut error = None;
        loop {
            let (kind, body) = self.message(4);
            match kind {
                b'Z' => return error,
                b'E' => error = Some(String::from_utf8_lossy(&body).into_owned()),
                _ => {}
            }
        }
    }

    /// A message whose length counts `own` bytes of its head.
    fn message(&mut self, own: u32) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; (length - own) as usize];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    /// Reads up to a message of this kind of the takeover's.
    fn until(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (came, body) = self.message(0);
            if came == kind {
                return body;
            }
        }
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let length = (body.len() as u32).to_be_bytes();
        let all = [&[kind][..], &length, body].concat();
        // The other side may have hung up.
        let _ = self.0.write_all(&all);
    }
}

const ALL_SOCKETS: u8 = 4;
const CLIENT: u8 = 7;
const SERVING: u8 = 65;
const HAVE: u8 = 66;

#[tokio::test]
async fn whoever_breaks_off_or_talks_nonsense_takes_nothing() {
    let place = Place::new();
    let old = place.start(TRANSACTION);
    let mut raw = place.login("alice").await;
    raw.query("set my.own to 'kept'").await;
    let pid = 1u32.to_be_bytes();
    let mut returned = 0;
    for step in 0..7 {
        let mut taker = Taker::new(&place);
        until("the one before is forgotten", || {
            taker.say("TAKEOVER 1").is_none()
        });
        if step == 0 {
            taker.send(b'?', b"garbage");
        }
        if step > 1 {
            taker.until(ALL_SOCKETS);
        }
        if step == 2 {
            taker.send(HAVE, &1u64.to_be_bytes());
        }
        if step > 2 {
            taker.send(SERVING, &pid);
            returned += 1;
        }
        if step > 3 {
            taker.until(CLIENT);
        }
        if step == 5 {
            taker.send(HAVE, &77u64.to_be_bytes());
        }
        if step == 6 {
            taker.0.write_all(&[HAVE, 0, 0, 0, 8, 0]).unwrap();
        }
        drop(taker);
        until("it accepts again", || {
            old.log().matches("accepts connections again").count() == returned
        });
        assert_eq!(raw.value("show my.own").await, "kept", "{step}");
        place.login("bob").await.value("select 1").await;
    }
    assert_eq!(place.pidfile(), Some(old.id()));
}

#[tokio::test]
async fn only_one_of_the_same_user_can_take_over_and_only_one_at_a_time() {
    let place = Place::new();
    let old = place.start(TRANSACTION);
    let mut first = Taker::new(&place);
    let refused = first.say("TAKEOVER 99").unwrap();
    assert!(refused.contains("format 1"), "{refused}");
    assert!(first.say("TAKEOVER").is_some());
    assert!(first.say("PAUSE").is_none());
    let refused = first.say("TAKEOVER 1").unwrap();
    assert!(refused.contains("RESUME first"), "{refused}");
    assert!(first.say("RESUME").is_none());
    let mut console = place.console().await;
    let refused = console.error("takeover 1").await;
    assert!(
        refused.message.contains("by the Unix socket"),
        "{refused:?}"
    );
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        std::fs::set_permissions(
            place.home.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        let output = Command::new(postgres().program("psql"))
            .args(["-X", "-w", "-h"])
            .arg(place.home.path())
            .args(["-p", &place.port.to_string(), "-U", "postgres"])
            .args(["-d", "pgbouncer", "-c", "takeover 1"])
            .uid(65534)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("by the Unix socket"), "{error}");
    }
    assert!(first.say("TAKEOVER 1").is_none());
    let mut second = place.spawn(TRANSACTION, &["-R"]);
    assert_eq!(second.ends(), Some(1));
    assert!(second.log().contains("already"), "{}", second.log());
    drop(first);
    drop(old);
}

#[tokio::test]
async fn a_process_in_the_background_is_followed_by_another_one() {
    let place = Place::new();
    let log = place.path("log").display().to_string();
    let settings = format!("{TRANSACTION}\nlogfile = \"{log}\"");
    let mut first = place.spawn(&settings, &["-d"]);
    assert_eq!(first.ends(), Some(0), "{}", first.log());
    let one = Killed(place.pidfile().unwrap());
    let mut raw = place.login("alice").await;
    raw.query("set my.own to 'kept'").await;
    let mut second = place.spawn(&settings, &["-d", "-R"]);
    assert_eq!(second.ends(), Some(0), "{}", second.log());
    let other = Killed(place.pidfile().unwrap());
    assert_ne!(one.0, other.0);
    until("the first has ended", || {
        !std::path::Path::new(&format!("/proc/{}", one.0)).exists()
            || std::fs::read_to_string(format!("/proc/{}/stat", one.0))
                .is_ok_and(|stat| stat.contains(") Z "))
    });
    assert_eq!(raw.value("show my.own").await, "kept");
    drop(other);
}

/// A process that is nobody's child here.
struct Killed(u32);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = Command::new("kill")
            .args(["-KILL", &self.0.to_string()])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[tokio::test]
async fn the_service_manager_is_told_which_process_it_is_now() {
    let place = Place::new();
    let name = place.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&name).unwrap();
    manager
        .set_read_timeout(Some(pgweir_tests::PATIENCE))
        .unwrap();
    let notify = ("NOTIFY_SOCKET", name.to_str().unwrap());
    let heard = || {
        let mut text = [0; 256];
        let n = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..n]).trim_end().to_owned()
    };
    let mut old = place.spawn_with(TRANSACTION, &[], &[notify]);
    assert_eq!(heard(), "READY=1");
    let new = place.spawn_with(TRANSACTION, &["-R"], &[notify]);
    let mut both = [heard(), heard()];
    both.sort();
    assert_eq!(both, [format!("MAINPID={}", new.id()), "READY=1".into()]);
    assert_eq!(old.ends(), Some(0));
    drop(new);
}
