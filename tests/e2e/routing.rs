//! Reads go to replicas, writes to the primary, and nobody notices.
//!
//! Where a statement went is told by [`HERE`], which reads a table and says the port of the server that answered.

mod again;
mod carried;
mod checker;
mod failover;
mod freshness;
mod many;
mod places;
mod shares;
mod tables;
mod visits;

use std::sync::OnceLock;

use pgweir_tests::{Cluster, Pooler, Raw};

/// A read that any host answers, by its port.
const HERE: &str = "select here() from one";

/// What every database of these tests has.
const OBJECTS: &str = "\
create table one as select 1 as x; \
create function here() returns text language sql stable as 'select current_setting(''port'')'; \
create table counter (id int primary key, n int not null); \
insert into counter select i, 0 from generate_series(1, 100) as i; \
create sequence numbers; \
create function count_up(which int) returns int language plpgsql as \
'declare now int; begin update counter set n = n + 1 where id = which returning n into now; return now; end'; \
grant all on all tables in schema public to public; alter table one owner to alice; grant all on all sequences in schema public to public";

/// A cluster of a primary and a replica that always runs and is never paused.
fn calm() -> &'static Cluster {
    static CALM: OnceLock<Cluster> = OnceLock::new();
    CALM.get_or_init(|| Cluster::start(1))
}

/// A new database with [`OBJECTS`], on all nodes.
fn database(cluster: &Cluster) -> String {
    let name = cluster.database();
    cluster.psql(cluster.primary(), &name, OBJECTS);
    cluster.wait_caught_up();
    name
}

/// A pooler that splits reads from writes, with these settings of the database.
fn splitting(cluster: &Cluster, database: &str) -> Pooler {
    pooler(cluster, &format!("read_write_split = true\n{database}"))
}

/// A pooler in front of all nodes that knows what functions do.
fn pooler(cluster: &Cluster, database: &str) -> Pooler {
    cluster.pooler(
        "function_catalog_refresh = 3600\nadmin_users = \"alice\"",
        database,
    )
}

/// Node's port, as [`HERE`] says it.
fn port(cluster: &Cluster, node: usize) -> String {
    cluster.node(node).port().to_string()
}

/// Reads until a node answers: one that has just come into question is not known to be fit at once.
async fn until_at(client: &mut Raw, port: &str) {
    until(client, HERE, port).await;
}

/// Asks until the answer is this one.
async fn until(client: &mut Raw, sql: &str, answer: &str) {
    pgweir_tests::within(&format!("{sql} to say {answer}"), async {
        while client.value(sql).await != answer {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
