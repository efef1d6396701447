//! PgBouncer itself as a peer, as while a fleet is moved.

use std::process::{Child, Command, Stdio};

use super::*;

/// PgBouncer, ended when dropped.
struct PgBouncer {
    child: Child,
    _home: Directory,
}

impl PgBouncer {
    /// As the instance 2 at `port`, whose peer is the instance 1 at port `peer`.
    fn start(port: u16, peer: u16) -> PgBouncer {
        let program = std::env::var_os("PGBOUNCER").expect("PGBOUNCER is the program's path");
        let home = Directory::new("pgbouncer");
        let users = home.write("users.txt", "\"alice\" \"\"\n");
        let server = postgres().port();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[peers]\n1 = host=127.0.0.1 port={peer}\n\
             [pgbouncer]\npeer_id = 2\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\n",
            users.display()
        );
        let file = home.write("pgbouncer.ini", &text);
        let mut command = Command::new(program);
        command
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It does not run as root.
        let as_root =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
        if as_root == 0 {
            command.args(["-u", "nobody"]);
        }
        let child = command.spawn().unwrap();
        PgBouncer { child, _home: home }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "needs PgBouncer 1.21 or later: PGBOUNCER=/path/of/it"]
async fn pgbouncer_is_a_peer_like_any_other() {
    let database = postgres().database();
    let (a, b) = (free_port(), free_port());
    let ours = instance(1, a, &[(2, b)], "");
    let _theirs = PgBouncer::start(b, a);
    let theirs = ([127, 0, 0, 1], b).into();
    within("PgBouncer", async {
        while tokio::net::TcpStream::connect(theirs).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (home, other) in [(ours.address(), theirs), (theirs, ours.address())] {
        let mut raw = Raw::login(home, "alice", &database).await;
        raw.say(&Script::new().query(SLEEP)).await;
        until_sleeping(&database, 1).await;
        let mut wrong = raw.key.clone().unwrap();
        wrong.secret[0] ^= 1;
        raw::cancel(other, &wrong).await;
        until_sleeping(&database, 1).await;
        let key = raw.key.clone().unwrap();
        raw::cancel(other, &key).await;
        let answer = raw.until_ready().await;
        assert_eq!(errors(&answer)[0].code, "57014", "{answer:?}");
        assert_eq!(raw.value("select 'alive'").await, "alive");
    }
}
