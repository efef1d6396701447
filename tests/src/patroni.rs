//! Three PostgreSQL servers that Patroni watches over, with an etcd of their own.
//!
//! Replication is synchronous, or a leader that is lost would take with it what it had acknowledged.
//!
//! Needs Debian's packages patroni and etcd-server (`.ci/install patroni`).

mod rest;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::pooler::{Pooler, configuration};
use crate::postgres::{bin_directory, free_port, psql, roles, unprivileged};
use crate::processes::kill_postmaster;
use crate::scratch;

/// How many nodes there are.
pub const NODES: usize = 3;

/// How long Patroni may take for what it is awaited for: a failover takes the [`TTL`] and a few rounds.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is asked.
const ROUND: Duration = Duration::from_millis(50);

/// Seconds for which a leader that is not heard of stays the leader.
const TTL: u32 = 5;

/// Ends what still runs, and removes the directory.
const FAREWELL: &str = "\
kill -KILL $(cat \"$home\"/*.pid)
for file in \"$home\"/data*/postmaster.pid; do
    [ -e \"$file\" ] || continue
    kill -QUIT $(head -n 1 \"$file\")
    while [ -e \"$file\" ] && kill -0 $(head -n 1 \"$file\"); do sleep 0.1; done
done
rm -rf \"$home\"";

/// The cluster; everything is stopped and removed when it is dropped.
#[derive(Debug)]
pub struct PatroniCluster {
    home: PathBuf,
    owner: Option<(u32, u32)>,
    nodes: Vec<Node>,
    // It is ended by the janitor.
    etcd: Child,
    // It ends everything when its standard input closes.
    janitor: Child,
}

#[derive(Debug)]
struct Node {
    name: String,
    port: u16,
    rest: u16,
    patroni: Option<Child>,
}

impl PatroniCluster {
    /// Starts it; returns when there is a leader, two replicas stream from it, and the harness's users are there.
    pub fn start() -> Self {
        let home = scratch::directory("patroni");
        let owner = unprivileged();
        let janitor = scratch::at_end(&format!("home='{}'; {FAREWELL}", home.display())).unwrap();
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&home, Some(uid), Some(gid)).unwrap();
        }
        let (client, peer) = (free_port(), free_port());
        let etcd = spawn(
            &home,
            owner,
            "etcd",
            Command::new("etcd")
                .arg("--data-dir")
                .arg(home.join("etcd"))
                .args([
                    "--name",
                    "etcd",
                    "--unsafe-no-fsync",
                    "--log-level",
                    "error",
                ])
                .args(["--listen-client-urls", &url(client)])
                .args(["--advertise-client-urls", &url(client)])
                .args(["--listen-peer-urls", &url(peer)])
                .args(["--initial-advertise-peer-urls", &url(peer)])
                .args(["--initial-cluster", &format!("etcd={}", url(peer))]),
        );
        let mut cluster = PatroniCluster {
            home,
            owner,
            nodes: Vec::new(),
            etcd,
            janitor,
        };
        for number in 0..NODES {
            let node = Node {
                name: format!("node{number}"),
                port: free_port(),
                rest: free_port(),
                patroni: None,
            };
            let text = settings(&cluster.home, &node, client);
            cluster.nodes.push(node);
            std::fs::write(cluster.file(number, "yml"), text).unwrap();
            cluster.start_patroni(number);
        }
        let leader = cluster.wait_for_leader();
        cluster.psql(leader, "postgres", &roles());
        cluster.wait_for_replicas();
        cluster
    }

    /// PostgreSQL's port at a node, on 127.0.0.1.
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A connection string for a node, past any pooler, for the superuser.
    pub fn dsn(&self, node: usize, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database}",
            self.port(node)
        )
    }

    /// The value of the pooler's `hosts` that names every node.
    pub fn hosts(&self) -> String {
        let ports = self.nodes.iter().map(|node| node.port);
        let hosts: Vec<_> = ports.map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        format!("[{}]", hosts.join(", "))
    }

    /// The value of the pooler's `patroni` that names every node.
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = (self.nodes.iter())
            .map(|node| format!("\"{}\"", url(node.rest)))
            .collect();
        format!("[{}]", addresses.join(", "))
    }

    /// A pooler in front of all nodes that asks Patroni, with these lines in `[pgweir]` and these in `[databases."*"]`.
    pub fn pooler(&self, global: &str, database: &str) -> Pooler {
        let patroni = self.addresses();
        self.probing_pooler(
            global,
            &format!("topology = \"patroni\"\npatroni = {patroni}\n{database}"),
        )
    }

    /// A pooler in front of all nodes that knows nothing of Patroni.
    pub fn probing_pooler(&self, global: &str, database: &str) -> Pooler {
        let hosts = self.hosts();
        Pooler::of(&configuration(
            self.port(0),
            &format!("{global}\n[databases.\"*\"]\nhosts = {hosts}\n{database}\n"),
        ))
    }

    /// Runs SQL on a node as the superuser, as [`crate::Postgres::psql`] does.
    pub fn psql(&self, node: usize, database: &str, sql: &str) -> String {
        self.try_psql(node, database, sql)
            .unwrap_or_else(|e| panic!("node {node}: {sql}\n{e}"))
    }

    /// What `GET /cluster` says at the first node that answers.
    pub fn cluster(&self) -> String {
        let answers = |node: &Node| rest::get(node.rest, "/cluster");
        let answer = self.nodes.iter().find_map(answers);
        answer.expect("a Patroni answers").body
    }

    /// The node that holds the leader's lock, if it says so itself.
    pub fn leader(&self) -> Option<usize> {
        (0..NODES).find(|&node| self.is(node, "/leader"))
    }

    /// The node that has every write that the leader has acknowledged, if there is one: it takes over from it.
    pub fn sync_standby(&self) -> Option<usize> {
        (0..NODES).find(|&node| self.is(node, "/sync"))
    }

    /// Waits until there is a leader that takes writes.
    pub fn wait_for_leader(&self) -> usize {
        let mut found = None;
        self.wait("no leader", || {
            found = self.leader().filter(|&node| {
                let sql = "select not pg_is_in_recovery()";
                self.try_psql(node, "postgres", sql).as_deref() == Ok("t")
            });
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Waits until every node whose Patroni runs, but the leader, streams from the leader and has replayed what is
    /// committed there by now, and one of them is the [`PatroniCluster::sync_standby`].
    pub fn wait_for_replicas(&self) {
        let leader = self.wait_for_leader();
        let position = self.psql(leader, "postgres", "select pg_current_wal_flush_lsn()");
        let sql = format!(
            "select pg_last_wal_replay_lsn() >= '{position}' and sender_port = {} \
             from pg_stat_wal_receiver where status = 'streaming'",
            self.port(leader)
        );
        for node in (0..NODES).filter(|&node| node != leader && self.nodes[node].patroni.is_some())
        {
            self.wait(&format!("node {node} does not follow"), || {
                self.is(node, "/replica")
                    && self.try_psql(node, "postgres", &sql).as_deref() == Ok("t")
            });
        }
        self.wait("no synchronous standby", || self.sync_standby().is_some());
    }

    /// Ends a node's Patroni and PostgreSQL by SIGKILL, as if the machine were gone. Where it was the leader, another
    /// takes over when its lock has expired.
    pub fn kill(&mut self, node: usize) {
        let mut patroni = self.nodes[node].patroni.take().expect("it runs");
        patroni.kill().unwrap();
        patroni.wait().unwrap();
        std::fs::remove_file(self.file(node, "pid")).unwrap();
        self.kill_postgres(node);
    }

    /// Ends a node's PostgreSQL only; Patroni, which notices, starts it again or lets another take over.
    pub fn kill_postgres(&self, node: usize) {
        let lock = self.home.join(format!(".s.PGSQL.{}.lock", self.port(node)));
        kill_postmaster(&self.home.join(format!("data{node}")), &lock);
    }

    /// Ends the leader as [`PatroniCluster::kill`] does, and waits for another; the old one and the new one.
    pub fn fail_over(&mut self) -> (usize, usize) {
        let old = self.wait_for_leader();
        self.kill(old);
        (old, self.wait_for_leader())
    }

    /// Starts a node that was killed. Patroni makes a replica of it.
    pub fn restart(&mut self, node: usize) {
        assert!(self.nodes[node].patroni.is_none(), "it runs");
        self.start_patroni(node);
    }

    /// Hands the leader's part over to the synchronous standby, as `patronictl switchover` does; returns when it has it. Its
    /// number.
    pub fn switch_over(&self) -> usize {
        let from = self.wait_for_leader();
        self.wait("no synchronous standby", || self.sync_standby().is_some());
        let to = self.sync_standby().expect("it was waited for");
        let body = format!(
            "{{\"leader\": \"{}\", \"candidate\": \"{}\"}}",
            self.nodes[from].name, self.nodes[to].name
        );
        let answer = rest::post(self.nodes[from].rest, "/switchover", &body);
        let answer = answer.expect("the leader answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.wait("no switchover", || self.leader() == Some(to));
        self.wait_for_leader()
    }

    /// Starts the PostgreSQL of a node that was killed as it was, without Patroni: a former leader takes writes again.
    pub fn start_alone(&self, node: usize) {
        assert!(self.nodes[node].patroni.is_none(), "Patroni runs");
        let log = self.file(node, "alone");
        // It waits for no standby, or a write that reaches it would not be seen.
        let alone = ["-o", "-c synchronous_standby_names=''", "start", "-l"];
        self.pg_ctl(node, &[&alone[..], &[log.to_str().unwrap()]].concat());
    }

    /// Stops it again.
    pub fn stop_alone(&self, node: usize) {
        self.pg_ctl(node, &["stop", "-m", "fast"]);
    }

    fn pg_ctl(&self, node: usize, arguments: &[&str]) {
        let mut command = Command::new(bin_directory().join("pg_ctl"));
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        let done = command
            .current_dir(&self.home)
            .args(["-w", "-s", "-D"])
            .arg(self.home.join(format!("data{node}")))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(done.unwrap().success(), "pg_ctl {arguments:?}");
    }

    fn is(&self, node: usize, path: &str) -> bool {
        rest::get(self.nodes[node].rest, path).is_some_and(|answer| answer.status == 200)
    }

    fn try_psql(&self, node: usize, database: &str, sql: &str) -> Result<String, String> {
        let program = bin_directory().join("psql");
        psql(&program, &self.home, self.port(node), database, sql)
    }

    fn wait(&self, otherwise: &str, mut until: impl FnMut() -> bool) {
        let patience = Instant::now() + PATIENCE;
        while !until() {
            let log = |node| std::fs::read_to_string(self.file(node, "log")).unwrap_or_default();
            assert!(
                Instant::now() < patience,
                "{otherwise} within {PATIENCE:?}\n{}",
                (0..NODES).map(log).collect::<String>()
            );
            std::thread::sleep(ROUND);
        }
    }

    fn start_patroni(&mut self, node: usize) {
        let mut command = Command::new("patroni");
        command.arg(self.file(node, "yml"));
        let name = &self.nodes[node].name;
        let patroni = spawn(&self.home, self.owner, name, &mut command);
        self.nodes[node].patroni = Some(patroni);
    }

    fn file(&self, node: usize, extension: &str) -> PathBuf {
        self.home
            .join(&self.nodes[node].name)
            .with_extension(extension)
    }
}

impl Drop for PatroniCluster {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // These are our children, which the janitor ends, and nobody else waits for.
        let _ = self.janitor.wait();
        let _ = self.etcd.wait();
        for patroni in self
            .nodes
            .iter_mut()
            .filter_map(|node| node.patroni.as_mut())
        {
            let _ = patroni.wait();
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Starts a program that the janitor will end.
fn spawn(home: &Path, owner: Option<(u32, u32)>, name: &str, command: &mut Command) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(home.join(name).with_extension("log"))
        .unwrap();
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    let child = command
        .current_dir(home)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", home)
        .env_remove("PGOPTIONS")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{name}: {e}: .ci/install patroni"));
    let file = home.join(name).with_extension("pid");
    std::fs::write(file, format!("{}\n", child.id())).unwrap();
    child
}

/// A node's configuration for Patroni, in its YAML, of which JSON would be a part.
fn settings(home: &Path, node: &Node, etcd: u16) -> String {
    let Node {
        name, port, rest, ..
    } = node;
    let number = name.trim_start_matches("node");
    let bin = bin_directory();
    format!(
        "\
scope: pgweir
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{host: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: {TTL}
    loop_wait: 1
    retry_timeout: 2
    primary_start_timeout: 0
    master_start_timeout: 0
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        fsync: 'off'
        wal_log_hints: 'on'
        wal_keep_size: 1GB
        max_connections: 300
        max_wal_senders: 20
        autovacuum: 'off'
  initdb: [{{encoding: UTF8}}, {{locale: C}}, {{auth: trust}}, no-sync]
postgresql:
  listen: '127.0.0.1:{port}'
  connect_address: '127.0.0.1:{port}'
  data_dir: '{home}/data{number}'
  bin_dir: '{bin}'
  pgpass: '{home}/pgpass{number}'
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: replicator, password: unused}}
    rewind: {{username: postgres}}
  parameters:
    unix_socket_directories: '{home}'
    shared_buffers: 64MB
    log_min_messages: fatal
  pg_hba:
    - local all all trust
    - local replication all trust
    - host all all 127.0.0.1/32 trust
    - host replication all 127.0.0.1/32 trust
",
        home = home.display(),
        bin = bin.display(),
    )
}
