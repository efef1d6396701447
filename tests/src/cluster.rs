//! A primary with streaming replicas, and what can befall them.
//!
//! For PostgreSQL 13 and later. Nodes are numbered from 0, which is the primary at first; a node keeps its number, its
//! port and its directory whatever becomes of it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::pooler::Pooler;
use crate::postgres::Postgres;

/// What every node has. Replication passes on only what is flushed, so that commits do not wait for the next round of
/// the WAL writer; and pg_rewind wants two of them.
const SETTINGS: &str = "\
wal_level = replica
max_wal_senders = 20
wal_keep_size = 1GB
hot_standby = on
synchronous_commit = on
full_page_writes = on
wal_log_hints = on
wal_receiver_status_interval = 1
wal_retrieve_retry_interval = 100ms
";

/// How a former primary becomes a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejoin {
    /// `pg_rewind`: what it had written on its own is undone.
    Rewind,
    /// From nothing, by a base backup.
    Backup,
}

/// A primary and its replicas; all are stopped and removed when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    primary: usize,
    killed: Option<usize>,
    extra: String,
}

#[derive(Debug)]
struct Node {
    server: Postgres,
    delay: Duration,
    /// The node that it is a replica of.
    follows: Option<usize>,
    running: bool,
}

impl Cluster {
    /// A primary with so many replicas, which have all that it has.
    pub fn start(replicas: usize) -> Self {
        Self::start_with(replicas, "")
    }

    /// The same, with `extra` at the end of each node's postgresql.conf.
    pub fn start_with(replicas: usize, extra: &str) -> Self {
        let extra = format!("{SETTINGS}{extra}\n");
        let primary = Node {
            server: Postgres::start(&extra),
            delay: Duration::ZERO,
            follows: None,
            running: true,
        };
        let mut cluster = Cluster {
            nodes: vec![primary],
            primary: 0,
            killed: None,
            extra,
        };
        for _ in 0..replicas {
            let settings = cluster.settings(Some(0), Duration::ZERO);
            cluster.nodes.push(Node {
                server: Postgres::replica_of(cluster.node(0), &settings),
                delay: Duration::ZERO,
                follows: Some(0),
                running: true,
            });
        }
        cluster.wait_caught_up();
        cluster
    }

    /// How many nodes there are, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// One of the nodes.
    pub fn node(&self, node: usize) -> &Postgres {
        &self.nodes[node].server
    }

    /// The primary: the node that was promoted last, or the first.
    pub fn primary(&self) -> usize {
        self.primary
    }

    /// The running nodes that follow the primary.
    pub fn replicas(&self) -> Vec<usize> {
        let follows = |node: &usize| {
            let node = &self.nodes[*node];
            node.running && node.follows == Some(self.primary)
        };
        (0..self.size()).filter(follows).collect()
    }

    /// Runs SQL on a node as the superuser, as [`Postgres::psql`] does.
    pub fn psql(&self, node: usize, database: &str, sql: &str) -> String {
        self.node(node).psql(database, sql)
    }

    /// A new, empty database, on all nodes; its name.
    pub fn database(&self) -> String {
        let name = self.node(self.primary).database();
        self.wait_caught_up();
        name
    }

    /// The value of the pooler's `hosts` that names every node, in order.
    pub fn hosts(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            write!(text, "\"127.0.0.1:{}\", ", node.server.port()).unwrap();
        }
        format!("[{}]", text.trim_end_matches(", "))
    }

    /// A pooler in front of all nodes, with these lines in `[pgweir]` and these in `[databases."*"]`.
    pub fn pooler(&self, global: &str, database: &str) -> Pooler {
        let hosts = self.hosts();
        Pooler::of(&crate::pooler::configuration(
            self.node(self.primary).port(),
            &format!("{global}\n[databases.\"*\"]\nhosts = {hosts}\n{database}\n"),
        ))
    }

    /// Makes a replica replay each commit so long after the primary made it. Holds from now on, also for what it has
    /// received already.
    pub fn set_delay(&mut self, node: usize, delay: Duration) {
        self.nodes[node].delay = delay;
        self.reconfigure(node);
        // A session hears of a reload between two statements only, so each look is by a new one.
        let wanted = delay.as_millis().to_string();
        let sql = "select setting from pg_settings where name = 'recovery_min_apply_delay'";
        let patience = Instant::now() + crate::PATIENCE;
        while self.psql(node, "postgres", sql) != wanted {
            assert!(Instant::now() < patience, "node {node} does not reload");
        }
    }

    /// Stops a replica's replay; it goes on receiving. Returns when it has stopped, or when it waits for its delay,
    /// after which it will stop.
    pub fn pause(&self, node: usize) {
        self.psql(node, "postgres", "select pg_wal_replay_pause()");
        // Before version 14 nobody knows whether it has stopped.
        if self.node(node).version() >= 140_000 && self.nodes[node].delay.is_zero() {
            self.wait(node, "pg_get_wal_replay_pause_state() = 'paused'");
        }
    }

    /// Lets it go on.
    pub fn resume(&self, node: usize) {
        self.psql(node, "postgres", "select pg_wal_replay_resume()");
    }

    /// Makes a replica the primary, on a new timeline; returns when it takes writes. The others, also an old primary
    /// that still runs, hear nothing of it: [`Cluster::follow`] and [`Cluster::rejoin`] tell them.
    pub fn promote(&mut self, node: usize) {
        let promoted = self.psql(node, "postgres", "select pg_promote(true, 60)");
        assert_eq!(promoted, "t", "node {node} is not promoted");
        self.primary = node;
        self.nodes[node].follows = None;
    }

    /// Cuts a replica off: it gets nothing more from its primary, and so does not have what is written from now on even
    /// when it is promoted. Returns when that is so; [`Cluster::follow`] ends it.
    pub fn isolate(&mut self, node: usize) {
        self.nodes[node].follows = None;
        self.reconfigure(node);
        self.wait(node, "not exists (select from pg_stat_wal_receiver)");
    }

    /// Makes a replica follow the primary that there is now; returns when it does. It must not have more than that had
    /// when it was promoted, which [`Cluster::isolate`] and then [`Cluster::wait_caught_up`] before the promotion see to:
    /// a primary writes WAL of its own accord, and not all replicas get it at once.
    pub fn follow(&mut self, node: usize) {
        self.nodes[node].follows = Some(self.primary);
        self.reconfigure(node);
        self.await_streaming(node);
    }

    /// Ends the primary by SIGKILL, with all its processes; its number. It stays [`Cluster::primary`] until another node
    /// is promoted.
    pub fn kill_primary(&mut self) -> usize {
        let primary = self.primary;
        self.kill(primary);
        primary
    }

    /// The same with any node.
    pub fn kill(&mut self, node: usize) {
        self.node(node).kill();
        self.nodes[node].running = false;
        self.killed = Some(node);
    }

    /// Starts the node that was killed last as it was: a former primary takes writes again, on its old timeline. Its
    /// number.
    pub fn restart_old_primary(&mut self) -> usize {
        let node = self.killed.take().expect("a node was killed");
        self.node(node).resume();
        self.nodes[node].running = true;
        node
    }

    /// Makes any node, running or not, a replica of the primary that there is now; returns when it streams.
    pub fn rejoin(&mut self, node: usize, how: Rejoin) {
        assert_ne!(node, self.primary, "it is the primary");
        if self.nodes[node].running {
            self.node(node).stop();
        }
        let (server, primary) = (self.node(node), self.node(self.primary));
        match how {
            Rejoin::Rewind => {
                // Until then the primary's control file names the timeline before its promotion.
                primary.psql("postgres", "checkpoint");
                let source = format!(
                    "host=127.0.0.1 port={} user=postgres dbname=postgres",
                    primary.port()
                );
                let data = server.data();
                let data = data.to_str().unwrap();
                server.run("pg_rewind", &["-N", "-D", data, "--source-server", &source]);
                server.write("standby.signal", "");
            }
            Rejoin::Backup => {
                std::fs::remove_dir_all(server.data()).unwrap();
                server.back_up(primary);
            }
        }
        self.nodes[node].follows = Some(self.primary);
        let delay = self.nodes[node].delay;
        let settings = self.settings(Some(self.primary), delay);
        self.node(node).configure(&settings);
        self.node(node).resume();
        self.nodes[node].running = true;
        self.await_streaming(node);
    }

    /// Waits until the primary's replicas have replayed everything that is committed on it by now. One that is paused or
    /// delayed is waited for in vain.
    pub fn wait_caught_up(&self) {
        let position = self.position();
        for node in self.replicas() {
            self.wait(node, &format!("pg_last_wal_replay_lsn() >= '{position}'"));
        }
    }

    /// Waits until a replica has received, if not replayed, everything that is committed on the primary by now.
    pub fn wait_received(&self, node: usize) {
        let position = self.position();
        self.wait(node, &format!("pg_last_wal_receive_lsn() >= '{position}'"));
    }

    /// The timeline that a node writes, or receives.
    pub fn timeline(&self, node: usize) -> u32 {
        let sql = "select case when pg_is_in_recovery() then \
                       coalesce((select received_tli from pg_stat_wal_receiver), timeline_id) \
                   else \
                       ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int \
                   end from pg_control_checkpoint()";
        self.psql(node, "postgres", sql).parse().unwrap()
    }

    /// Up to where the primary has flushed its WAL, and with it every commit.
    fn position(&self) -> String {
        self.psql(
            self.primary,
            "postgres",
            "select pg_current_wal_flush_lsn()",
        )
    }

    fn await_streaming(&self, node: usize) {
        let port = self.node(self.primary).port();
        self.wait(
            node,
            &format!(
                "exists (select from pg_stat_wal_receiver where status = 'streaming' and sender_port = {port})"
            ),
        );
    }

    /// Waits on a node until a condition holds.
    fn wait(&self, node: usize, condition: &str) {
        let seconds = crate::PATIENCE.as_secs();
        let sql = format!(
            "set statement_timeout = '{seconds}s'; \
             do $$ begin while not coalesce({condition}, false) loop \
             perform pg_sleep(0.005), pg_stat_clear_snapshot(); end loop; end $$"
        );
        self.psql(node, "postgres", &sql);
    }

    fn reconfigure(&self, node: usize) {
        let Node {
            server,
            delay,
            follows,
            ..
        } = &self.nodes[node];
        server.configure(&self.settings(*follows, *delay));
        server.psql("postgres", "select pg_reload_conf()");
    }

    fn settings(&self, follows: Option<usize>, delay: Duration) -> String {
        let mut text = self.extra.clone();
        writeln!(text, "recovery_min_apply_delay = {}ms", delay.as_millis()).unwrap();
        if let Some(primary) = follows {
            let port = self.node(primary).port();
            writeln!(
                text,
                "primary_conninfo = 'host=127.0.0.1 port={port} user=postgres'"
            )
            .unwrap();
        }
        text
    }
}
