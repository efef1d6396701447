//! SHOW STATS and its relatives. Totals count from the start; averages are of the last whole `stats_period`. Times are in
//! microseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::console::relation::{self, Column, Head, Value, int8, text};
use crate::shared::Shared;
use crate::stats::Totals;

struct Row {
    database: Arc<str>,
    total: Totals,
    average: Averages,
}

/// Per second, but for the times, which are per transaction, query and assignment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Averages {
    server_assignments: u64,
    transactions: u64,
    queries: u64,
    received: u64,
    sent: u64,
    transaction_us: u64,
    query_us: u64,
    wait_us: u64,
    client_parses: u64,
    server_parses: u64,
    binds: u64,
    logins: u64,
}

impl Averages {
    fn of(change: &Totals, period: Duration) -> Averages {
        let micros = period.as_micros();
        let per_second = |n: u64| {
            let n = u128::from(n) * 1_000_000;
            n.checked_div(micros).unwrap_or(0) as u64
        };
        let each = |us: u64, n: u64| us.checked_div(n).unwrap_or(0);
        Averages {
            server_assignments: per_second(change.server_assignments),
            transactions: per_second(change.transactions),
            queries: per_second(change.queries),
            received: per_second(change.received),
            sent: per_second(change.sent),
            transaction_us: each(change.transaction_us, change.transactions),
            query_us: each(change.query_us, change.queries),
            wait_us: each(change.wait_us, change.server_assignments),
            client_parses: per_second(change.client_parses),
            server_parses: per_second(change.server_parses),
            binds: per_second(change.binds),
            logins: per_second(change.logins),
        }
    }
}

/// Declares the twelve columns of one view: their names, and whether totals or averages stand in them.
macro_rules! figures {
    ($from:ident: $($name:literal),+ $(,)?) => {
        figures!(@ $from, [$($name),+], [
            server_assignments, transactions, queries, received, sent, transaction_us, query_us, wait_us,
            client_parses, server_parses, binds, logins
        ])
    };
    (@ $from:ident, [$($name:literal),+], [$($field:ident),+]) => {
        [$(int8($name, |r: &Row| r.$from.$field.into())),+]
    };
}

const DATABASE: &[Column<Row>] = &[text("database", |r: &Row| (&*r.database).into())];

const STATS_TOTAL: [Column<Row>; 12] = figures!(total:
    "total_server_assignment_count", "total_xact_count", "total_query_count", "total_received",
    "total_sent", "total_xact_time", "total_query_time", "total_wait_time",
    "total_client_parse_count", "total_server_parse_count", "total_bind_count",
    "total_client_login_count",
);

const STATS_AVERAGE: [Column<Row>; 12] = figures!(average:
    "avg_server_assignment_count", "avg_xact_count", "avg_query_count", "avg_recv", "avg_sent",
    "avg_xact_time", "avg_query_time", "avg_wait_time", "avg_client_parse_count",
    "avg_server_parse_count", "avg_bind_count", "avg_client_login_count",
);

/// Beyond PgBouncer's columns: the name that queries had before 1.8, which Debian's exporter still reads.
const OLD: &[Column<Row>] = &[int8("total_requests", |r: &Row| r.total.queries.into())];

const TOTALS: [Column<Row>; 12] = figures!(total:
    "server_assignment_count", "xact_count", "query_count", "bytes_received", "bytes_sent",
    "xact_time", "query_time", "wait_time", "client_parse_count", "server_parse_count",
    "bind_count", "client_login_count",
);

const AVERAGES: [Column<Row>; 12] = figures!(average:
    "server_assignment_count", "xact_count", "query_count", "bytes_received", "bytes_sent",
    "xact_time", "query_time", "wait_time", "avg_client_parse_count", "avg_server_parse_count",
    "avg_bind_count", "avg_client_login_count",
);

/// The rows of SHOW TOTALS, under PgBouncer's names.
const SUMS: [[Column<Row>; 12]; 2] = [
    figures!(total:
        "total_server_assignment_count", "total_xact_count", "total_query_count",
        "total_client_bytes", "total_server_bytes", "total_xact_time", "total_query_time",
        "total_wait_time", "total_ps_client_parse_count", "total_ps_server_parse_count",
        "total_ps_bind_count", "total_client_connect_count",
    ),
    figures!(average:
        "avg_server_assignment_count", "avg_xact_count", "avg_query_count", "avg_client_bytes",
        "avg_server_bytes", "avg_xact_time", "avg_query_time", "avg_wait_time",
        "avg_ps_client_parse_count", "avg_ps_server_parse_count", "avg_ps_bind_count",
        "avg_client_connect_count",
    ),
];

const SUM: &[Column<(Head, Value)>] = &[
    text("name", |pair: &(Head, Value)| pair.0.name.into()),
    int8("value", |pair| pair.1.clone()),
];

fn all_heads(tables: &[&[Column<Row>]]) -> Vec<Head> {
    tables.iter().flat_map(|t| relation::heads(t)).collect()
}

fn all_rows(tables: &[&[Column<Row>]], rows: &[Row]) -> Vec<Vec<Value>> {
    (rows.iter())
        .map(|row| tables.iter().flat_map(|t| relation::row(t, row)).collect())
        .collect()
}

pub(super) fn heads() -> Vec<Head> {
    all_heads(&[DATABASE, &STATS_TOTAL, &STATS_AVERAGE, OLD])
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    all_rows(
        &[DATABASE, &STATS_TOTAL, &STATS_AVERAGE, OLD],
        &collect(shared),
    )
}

pub(super) fn totals_heads() -> Vec<Head> {
    all_heads(&[DATABASE, &TOTALS])
}

pub(super) fn totals_rows(shared: &Shared) -> Vec<Vec<Value>> {
    all_rows(&[DATABASE, &TOTALS], &collect(shared))
}

pub(super) fn averages_heads() -> Vec<Head> {
    all_heads(&[DATABASE, &AVERAGES])
}

pub(super) fn averages_rows(shared: &Shared) -> Vec<Vec<Value>> {
    all_rows(&[DATABASE, &AVERAGES], &collect(shared))
}

pub(super) fn sums_heads() -> Vec<Head> {
    relation::heads(SUM)
}

/// SHOW TOTALS: all databases together.
pub(super) fn sums(shared: &Shared) -> Vec<Vec<Value>> {
    let mut total = Totals::default();
    for now in shared.totals().values() {
        total.add(now);
    }
    let (mut change, mut period) = (Totals::default(), Duration::ZERO);
    for (_, (of_one, length)) in changes(shared) {
        change.add(&of_one);
        period = length;
    }
    let row = Row {
        database: "".into(),
        total,
        average: Averages::of(&change, period),
    };
    let named = SUMS.iter().flat_map(|table| {
        let heads = relation::heads(table);
        heads.into_iter().zip(relation::row(table, &row))
    });
    relation::rows(SUM, named)
}

fn collect(shared: &Shared) -> Vec<Row> {
    let changes = changes(shared);
    let totals: BTreeMap<Arc<str>, Totals> = shared.totals().into_iter().collect();
    (totals.into_iter())
        .map(|(database, total)| Row {
            average: match changes.get(&database) {
                Some((change, period)) => Averages::of(change, *period),
                None => Averages::default(),
            },
            database,
            total,
        })
        .collect()
}

/// What the last whole period brought to each database, and how long it was.
fn changes(shared: &Shared) -> BTreeMap<Arc<str>, (Totals, Duration)> {
    let history = shared
        .history
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    (history.latest.iter())
        .map(|(database, latest)| {
            let before = history.before.get(database).copied().unwrap_or_default();
            (database.clone(), (latest.since(&before), history.length))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_per_second_and_times_per_event() {
        let change = Totals {
            transactions: 10,
            queries: 40,
            query_us: 8_000,
            transaction_us: 9_000,
            server_assignments: 5,
            wait_us: 1_000,
            ..Totals::default()
        };
        let average = Averages::of(&change, Duration::from_secs(20));
        assert_eq!((average.transactions, average.queries), (0, 2));
        assert_eq!((average.query_us, average.transaction_us), (200, 900));
        assert_eq!(average.wait_us, 200);
    }

    #[test]
    fn before_the_first_period_is_over_averages_are_zero() {
        let average = Averages::of(&Totals::default(), Duration::ZERO);
        assert_eq!(average, Averages::default());
    }
}
