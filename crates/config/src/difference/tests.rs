use super::*;
use crate::parse;
use crate::settings::Database;

fn config(text: &str) -> Config {
    parse("pooler.toml", text, []).unwrap().config
}

#[test]
fn equal_configurations_do_not_differ() {
    let text = "[databases.a]\nhost = \"h\"\n[users.u]\npassword = \"p\"\n";
    assert!(ConfigDiff::between(&config(text), &config(text)).is_empty());
}

#[test]
fn a_difference_names_section_key_and_both_values_but_no_secret() {
    let before = config(
        "[pgweir]\nworkers = 1\nquery_timeout = 5\n[databases.a]\nhost = \"x\"\n[databases.b]\n\
         [users.u]\npassword = \"old\"\n",
    );
    let after = config(
        "[pgweir]\nworkers = 2\nquery_timeout = 6\n[databases.a]\nhost = \"y\"\nport = 1\n\
         [databases.c]\n[users.u]\npassword = \"new\"\n",
    );
    let diff = ConfigDiff::between(&before, &after);
    let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "workers in [pgweir]: \"1\" to \"2\" (needs a restart)",
            "query_timeout in [pgweir]: \"5\" to \"6\"",
            "host in [databases.a]: \"x\" to \"y\"",
            "port in [databases.a]: \"5432\" to \"1\"",
            "password in [users.u]: \"********\" to \"********\"",
        ]
    );
    assert_eq!(diff.added, [Place::Database("c".into())]);
    assert_eq!(diff.removed, [Place::Database("b".into())]);
    assert_eq!(diff.reconnected_databases(), ["a"]);
    assert_eq!(diff.needing_restart().count(), 1);
}

#[test]
fn peers_come_change_and_go() {
    let before = config("[pgweir]\npeer_id = 1\n[peers.2]\nport = 1\n[peers.3]\n");
    let after = config("[pgweir]\npeer_id = 1\n[peers.2]\nport = 2\n[peers.4]\n");
    let (next, diff) = before.reload(after.clone());
    assert_eq!(next.peers, after.peers);
    let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["port in [peers.2]: \"1\" to \"2\""]);
    assert_eq!(diff.added, [Place::Peer(4)]);
    assert_eq!(diff.removed, [Place::Peer(3)]);
}

#[test]
fn a_reload_keeps_what_cannot_change_and_takes_the_rest() {
    let running = config("[pgweir]\nlisten_port = 1\nquery_timeout = 5\n[databases.a]\n");
    let file = config("[pgweir]\nlisten_port = 2\nquery_timeout = 6\n[databases.b]\n");
    let (next, diff) = running.reload(file.clone());
    assert_eq!(next.global.listen_port, 1);
    assert_eq!(next.global.query_timeout, file.global.query_timeout);
    assert_eq!(next.databases, file.databases);
    assert_eq!(
        diff.needing_restart()
            .map(|change| change.key)
            .collect::<Vec<_>>(),
        ["listen_port"]
    );
}

#[test]
fn what_a_connection_is_made_with_are_settings_of_a_database() {
    for key in CONNECTION {
        assert!(Database::setting(key).is_some(), "{key}");
    }
}

#[test]
fn databases_that_are_routed_otherwise_are_named_with_the_hosts_that_came_and_went() {
    let before = config(
        "[pgweir]\nmax_replica_lag = \"10s\"\n[databases.a]\nhosts = [\"x\", \"y\"]\n\
         [databases.b]\nmax_replica_lag = \"1s\"\n[databases.c]\n[databases.d]\n",
    );
    let after = config(
        "[pgweir]\nmax_replica_lag = \"5s\"\n[databases.a]\nhosts = [\"Y:5432 weight=2\", \"z\"]\n\
         [databases.b]\nmax_replica_lag = \"1s\"\npool_size = 3\n[databases.c]\n[databases.e]\n",
    );
    let diff = ConfigDiff::between(&before, &after);
    let said: Vec<_> = diff
        .rerouted
        .iter()
        .map(
            |Rerouted {
                 database,
                 gone,
                 added,
             }| {
                let addresses = |hosts: &[HostSpec]| {
                    let addresses: Vec<_> = hosts.iter().map(HostSpec::address).collect();
                    addresses.join(" ")
                };
                format!("{database}: -{} +{}", addresses(gone), addresses(added))
            },
        )
        .collect();
    assert_eq!(said, ["a: -x:5432 +z:5432", "c: - +"]);
    let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "max_replica_lag in [pgweir]: \"10\" to \"5\"",
            "hosts in [databases.a]: \"x:5432, y:5432\" to \"Y:5432 weight=2, z:5432\"",
            "pool_size in [databases.b]: \"\" to \"3\"",
        ]
    );
    assert!(diff.reconnected_databases().is_empty());
}
