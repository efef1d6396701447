//! What clients do to their sessions: texts, and how to make up programs of them.

use proptest::prelude::*;

use super::program::Message;

/// Settings, in all the ways in which they change. No custom parameter is set to nothing: where a RESET stands beside it
/// in a text that is not read exactly, the server cannot tell it from one that was reset, and it returns to its start.
const SETTINGS: [&str; 26] = [
    "SET timezone TO 'Mars'",
    "SET SESSION timezone = Venus",
    "SET application_name TO 'me'",
    "SET datestyle TO 'SQL'",
    "SET datestyle TO German, DMY",
    "SET work_mem TO '8MB'",
    "SET work_mem TO 8192",
    "SET work_mem TO 'lots'",
    "SET search_path TO shop, public",
    "SET app.who TO 'joe'",
    "SET app.user TO 'joe'",
    "SET ROLE reader",
    "SET nothing_of_the_kind TO 1",
    "SET LOCAL timezone TO 'Pluto'",
    "SET LOCAL work_mem TO '1MB'",
    "SELECT set_config('work_mem', '2MB', false)",
    "SELECT set_config('app.who', 'ann', false)",
    "SELECT set_config('timezone', 'Titan', true)",
    "RESET timezone",
    "RESET work_mem",
    "RESET app.who",
    "SET search_path TO DEFAULT",
    "RESET ROLE",
    "RESET ALL",
    "DISCARD ALL",
    "SET timezone Io",
];

/// What lives in the server's process.
const OBJECTS: [&str; 18] = [
    "CREATE TEMP TABLE t()",
    "CREATE TEMP TABLE u() ON COMMIT DROP",
    "DROP TABLE t",
    "TABLE t",
    "DISCARD TEMP",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CLOSE c",
    "CLOSE ALL",
    "SELECT pg_advisory_lock_shared(1)",
    "SELECT pg_advisory_lock_shared(2)",
    "SELECT pg_advisory_unlock_shared(1)",
    "SELECT pg_advisory_unlock_shared(2)",
    "SELECT pg_advisory_unlock_all()",
    "LISTEN a",
    "LISTEN b",
    "UNLISTEN a",
    "UNLISTEN *",
    "SELECT pg_listening_channels()",
];

/// Statements that SQL prepares.
const NAMES: [&str; 13] = [
    "PREPARE p AS rows 2 prepared",
    "PREPARE p AS SELECT set_config('timezone', 'Ceres', false)",
    "PREPARE q AS SELECT pg_advisory_lock_shared(3)",
    "PREPARE q AS TABLE t",
    "PREPARE q AS SELECT unseen('SET work_mem TO ''3MB''')",
    "EXECUTE p",
    "EXECUTE q",
    "DEALLOCATE p",
    "DEALLOCATE q",
    "DEALLOCATE ALL",
    "SELECT * FROM pg_prepared_statements WHERE NOT pg_catalog.starts_with(name,'PGWEIR_')",
    "EXECUTE a",
    "EXECUTE f",
];

/// What no text tells.
const UNSEEN: [&str; 16] = [
    "SELECT unseen('SET timezone TO Saturn')",
    "SELECT unseen('SET LOCAL timezone TO Uranus')",
    "SELECT unseen('SET app.who TO eve')",
    "DO 'SET work_mem TO ''5MB'''",
    "DO 'RESET work_mem'",
    "SELECT unseen('RESET app.who')",
    "SELECT unseen('CREATE TEMP TABLE t()')",
    "SELECT unseen('DROP TABLE t')",
    "DO 'DECLARE d CURSOR WITH HOLD FOR SELECT 1'",
    "SELECT unseen('CLOSE d')",
    "SELECT unseen('SELECT pg_advisory_lock_shared(1)')",
    "DO 'SELECT pg_advisory_unlock_all()'",
    "SELECT unseen('PREPARE f AS rows 1 unseen')",
    "SELECT unseen('DEALLOCATE f')",
    "SELECT unseen('LISTEN f')",
    "SELECT unseen('UNLISTEN f')",
];

/// Transactions, and what fails them.
const TRANSACTIONS: [&str; 14] = [
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "SAVEPOINT r",
    "ROLLBACK TO s",
    "ROLLBACK TO r",
    "RELEASE s",
    "error",
    "no such statement",
    "rows 1 only",
];

/// What shows the session.
const LOOK: &str = "SELECT * FROM everything";

fn one(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(of)
}

fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => one(&SETTINGS),
        3 => one(&OBJECTS),
        2 => one(&NAMES),
        3 => one(&UNSEEN),
        4 => one(&TRANSACTIONS),
        3 => Just(LOOK),
    ]
}

/// Names of statements that the protocol prepares; SQL speaks of the second.
const PROTOCOL_NAMES: [&str; 3] = ["", "a", "p"];

/// True for what speaks of prepared statements or channels, or may: the server has all of them only at the beginning of a
/// segment.
fn begins_segment(text: &str) -> bool {
    NAMES.contains(&text) || UNSEEN.contains(&text) || text.to_lowercase().contains("listen")
}

/// One or more texts, as drivers send them.
fn part() -> impl Strategy<Value = Vec<Message>> {
    let name = prop::sample::select(&PROTOCOL_NAMES[..]);
    let executed = |name, describe: bool, skips: bool| {
        let mut m = vec![Message::Bind("", name, 0)];
        if describe {
            m.push(Message::DescribePortal(""));
        }
        m.push(Message::Execute("", 0));
        if skips {
            m.push(Message::BadBind(""));
        }
        m.push(Message::Sync);
        m
    };
    prop_oneof![
        10 => text().prop_map(|t| vec![Message::Query(t)]),
        4 => prop::collection::vec(text(), 2..4)
            .prop_map(|t| vec![Message::Queries(t)]),
        6 => (name.clone(), text(), any::<bool>(), 0..8u8).prop_map(move |(n, t, describe, skips)| {
            let (n, mut m) = match begins_segment(t) {
                true => ("", vec![]),
                false => (n, vec![Message::CloseStatement(n)]),
            };
            m.push(Message::Parse(n, t));
            // With all statements goes the one that the pooler has in the place of the unnamed one.
            m.extend(executed(n, describe, skips == 0 && !t.ends_with(" ALL")));
            m
        }),
        2 => (name.clone(), text()).prop_map(|(n, t)| vec![Message::Parse(n, t), Message::Sync]),
        4 => (name, any::<bool>()).prop_map(move |(n, describe)| executed(n, describe, false)),
        1 => Just(vec![Message::FunctionCall]),
    ]
}

/// All that one client does, in bursts of which it does not await the answers; it ends with a look.
pub fn program() -> impl Strategy<Value = Vec<Vec<Message>>> {
    let burst = prop::collection::vec(part(), 1..4).prop_map(|parts| parts.concat());
    prop::collection::vec(burst, 1..10).prop_map(|mut bursts| {
        bursts.push(vec![Message::Query("ROLLBACK"), Message::Query(LOOK)]);
        bursts
    })
}
