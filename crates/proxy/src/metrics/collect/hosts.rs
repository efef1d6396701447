//! The hosts of databases that have several.

use std::sync::Arc;
use std::time::Duration;

use pgweir_route::{HostView, Role};

use crate::metrics::text::{Metric, Page, Samples, counter, gauge};
use crate::shared::Shared;

const HOST: &[&str] = &["database", "host"];
const HOST_ROLE: &[&str] = &["database", "host", "role"];

const ROLES: [Role; 7] = [
    Role::Unknown,
    Role::Primary,
    Role::Replica,
    Role::Fenced,
    Role::Doubtful,
    Role::OtherSystem,
    Role::Down,
];

struct Row {
    database: Arc<str>,
    host: String,
    view: HostView,
}

fn time(row: &Row, time: Option<Duration>, samples: &mut Samples<'_>) {
    // What is not known is no sample.
    if let Some(time) = time {
        samples.add(&[&row.database, &row.host], time);
    }
}

const HOSTS: &[Metric<Row>] = &[
    gauge(
        "pgweir_host_role",
        HOST_ROLE,
        "1 for what the host is, 0 for what it is not",
        |h, s| {
            for role in ROLES {
                let name = role.to_string();
                s.add(&[&h.database, &h.host, &name], h.view.role == role);
            }
        },
    ),
    gauge(
        "pgweir_host_serves_reads",
        HOST,
        "1 for a replica that gets reads",
        |h, s| {
            let serves = h.view.role == Role::Replica && h.view.trouble.is_none();
            s.add(&[&h.database, &h.host], serves);
        },
    ),
    gauge(
        "pgweir_host_lag_bytes",
        HOST,
        "How far a replica is behind the newest position of the primary that is known",
        |h, s| {
            if let Some(bytes) = h.view.lag_bytes {
                s.add(&[&h.database, &h.host], bytes);
            }
        },
    ),
    gauge(
        "pgweir_host_lag_seconds",
        HOST,
        "How long ago a replica had replayed everything, at most",
        |h, s| time(h, h.view.lag_time, s),
    ),
    gauge(
        "pgweir_host_replay_age_seconds",
        HOST,
        "Age of the last transaction that a replica replayed, by the servers' clocks",
        |h, s| time(h, h.view.replay_age, s),
    ),
    gauge(
        "pgweir_host_in_flight",
        HOST,
        "Statements and transactions under way",
        |h, s| s.add(&[&h.database, &h.host], h.view.in_flight),
    ),
    gauge(
        "pgweir_host_latency_seconds",
        HOST,
        "Time of an answer, smoothed",
        |h, s| time(h, h.view.latency, s),
    ),
    gauge(
        "pgweir_host_round_trip_seconds",
        HOST,
        "Time of the last probe",
        |h, s| time(h, h.view.round_trip, s),
    ),
    counter(
        "pgweir_host_reads_total",
        HOST,
        "Reads that were sent there",
        |h, s| s.add(&[&h.database, &h.host], h.view.chosen),
    ),
    gauge(
        "pgweir_host_share_ratio",
        HOST,
        "Its part of the database's reads",
        |h, s| s.add(&[&h.database, &h.host], h.view.share),
    ),
    gauge(
        "pgweir_host_weight",
        HOST,
        "Its weight by configuration",
        |h, s| s.add(&[&h.database, &h.host], h.view.weight),
    ),
];

pub(super) fn write(shared: &Shared, page: &mut Page) {
    let mut databases: Vec<_> = shared.directory().databases.values().cloned().collect();
    databases.sort_by(|a, b| a.name.cmp(&b.name));
    databases.truncate(super::MOST);
    let mut rows = Vec::new();
    for database in databases {
        let Some(cluster) = database.cluster() else {
            continue;
        };
        rows.extend(cluster.views().into_iter().map(|view| Row {
            database: database.name.clone(),
            host: view.address.to_string(),
            view,
        }));
    }
    page.write(HOSTS, &rows);
}

#[cfg(test)]
pub(super) fn declared() -> Vec<super::tests::Declared> {
    super::tests::declared(HOSTS)
}
