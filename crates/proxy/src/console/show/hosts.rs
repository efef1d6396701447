//! SHOW HOSTS and SHOW ROUTES: what is known of the hosts of a database that has several, and where its clients' statements
//! went. PgBouncer has neither.

use std::sync::Arc;
use std::time::Duration;

use pgweir_route::{HostView, Lsn, Role, Trouble};

use crate::cluster::Cluster;
use crate::console::relation::{self, Column, Head, Value, int4, int8, text};
use crate::pools::Database;
use crate::shared::Shared;

struct Host {
    database: Arc<str>,
    view: HostView,
}

const HOSTS: &[Column<Host>] = &[
    text("database", |h: &Host| (&*h.database).into()),
    text("host", |h| (&*h.view.address.host).into()),
    int4("port", |h| u32::from(h.view.address.port).into()),
    text("role", |h| h.view.role.to_string().into()),
    int4("weight", |h| h.view.weight.into()),
    int4("near", |h| h.view.near.into()),
    int8("timeline", |h| h.view.timeline.into()),
    text("position", |h| position(h.view.position)),
    text("received", |h| position(h.view.received)),
    int8("lag_bytes", |h| h.view.lag_bytes.into()),
    // Both in milliseconds.
    int8("lag_time", |h| whole(h.view.lag_time, Duration::as_millis)),
    int8("replay_age", |h| {
        whole(h.view.replay_age, Duration::as_millis)
    }),
    text("state", |h| state(&h.view).into()),
    int4("in_flight", |h| h.view.in_flight.into()),
    int8("latency_us", |h| whole(h.view.latency, Duration::as_micros)),
    int8("round_trip_us", |h| {
        whole(h.view.round_trip, Duration::as_micros)
    }),
    int8("reads", |h| h.view.chosen.into()),
    // Those that it failed at.
    int8("errors", |h| h.view.failures.into()),
    // Of the database's reads, in percent.
    int4("share", |h| ((h.view.share * 100.0).round() as u32).into()),
];

fn position(lsn: Option<Lsn>) -> Value {
    lsn.map(|lsn| lsn.to_string()).into()
}

fn whole(time: Option<Duration>, unit: fn(&Duration) -> u128) -> Value {
    let units = |time: Duration| u64::try_from(unit(&time)).unwrap_or(u64::MAX);
    time.map(units).into()
}

/// `ok`, or why it gets no reads. That a primary is no replica is no reason to worry.
fn state(view: &HostView) -> String {
    match &view.trouble {
        None => "ok".to_owned(),
        Some(Trouble::NotAReplica) if view.role == Role::Primary => "ok".to_owned(),
        Some(trouble) => trouble.to_string(),
    }
}

pub(super) fn heads() -> Vec<Head> {
    relation::heads(HOSTS)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let hosts = clusters(shared)
        .into_iter()
        .flat_map(|(database, cluster)| {
            let host = move |view| Host {
                database: database.clone(),
                view,
            };
            cluster.views().into_iter().map(host)
        });
    relation::rows(HOSTS, hosts)
}

struct Route {
    database: Arc<str>,
    to: &'static str,
    reason: &'static str,
    count: u64,
}

const ROUTES: &[Column<Route>] = &[
    text("database", |r: &Route| (&*r.database).into()),
    text("to", |r| r.to.into()),
    text("reason", |r| r.reason.into()),
    int8("count", |r| r.count.into()),
];

pub(super) fn routes_heads() -> Vec<Head> {
    relation::heads(ROUTES)
}

pub(super) fn routes(shared: &Shared) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for (database, cluster) in clusters(shared) {
        rows.extend(cluster.verdicts().map(|(to, reason, count)| Route {
            database: database.clone(),
            to,
            reason,
            count,
        }));
    }
    relation::rows(ROUTES, rows)
}

/// The databases that have several hosts, by name.
fn clusters(shared: &Shared) -> Vec<(Arc<str>, Arc<Cluster>)> {
    let directory = shared.directory();
    let of =
        |(name, database): (&Arc<str>, &Arc<Database>)| Some((name.clone(), database.cluster()?));
    let mut clusters: Vec<_> = directory.databases.iter().filter_map(of).collect();
    drop(directory);
    clusters.sort_by(|a, b| a.0.cmp(&b.0));
    clusters
}

#[cfg(test)]
mod tests {
    use pgweir_route::{Address, Cluster, HostSettings, Options};

    use super::*;

    fn view(role: Role, trouble: Option<Trouble>) -> HostView {
        let settings = HostSettings {
            address: Address::new("a", 5432),
            weight: 1,
            near: false,
        };
        let cluster = Cluster::new(Options::default(), vec![settings]).unwrap();
        HostView {
            role,
            trouble,
            ..cluster.hosts().remove(0)
        }
    }

    #[test]
    fn a_state_is_ok_or_says_why_there_are_no_reads() {
        assert_eq!(state(&view(Role::Replica, None)), "ok");
        let primary = view(Role::Primary, Some(Trouble::NotAReplica));
        assert_eq!(state(&primary), "ok");
        for (role, trouble) in [
            (Role::Replica, Trouble::NoWeight),
            (Role::Primary, Trouble::Unreachable("gone".into())),
            (Role::Fenced, Trouble::NotAReplica),
        ] {
            let said = trouble.to_string();
            assert_eq!(state(&view(role, Some(trouble))), said);
        }
    }
}
