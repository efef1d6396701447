use std::time::Duration;

use pgweir_route::patroni::members;
use pgweir_route::{Lsn, Report};

use super::*;
use crate::testing::config_with;

const HOSTS: &str = "hosts = [\"10.0.0.1:5432\", \"10.0.0.2:5432\"]\n";

fn routing(topology: &str) -> Routing {
    let config = config_with("", &format!("{HOSTS}{topology}"));
    let entry = config.resolve("db").unwrap().database;
    config.routing(entry)
}

fn report(in_recovery: bool) -> Report {
    Report {
        in_recovery,
        timeline: Some(1),
        position: Lsn(100),
        received: None,
        replay_age: None,
        round_trip: Duration::ZERO,
        system_identifier: None,
    }
}

#[test]
fn what_patroni_has_told_counts_no_more_once_hosts_tell_their_roles_themselves() {
    const PATRONI: &str = "topology = \"patroni\"\npatroni = [\"http://10.0.0.1:8008\"]\n";
    let now = Duration::from_secs(100);
    let cluster = Cluster::new(routing(PATRONI)).unwrap();
    let answer = br#"{"members": [
        {"name": "a", "role": "replica", "state": "running", "host": "10.0.0.1", "port": 5432},
        {"name": "b", "role": "leader", "state": "running", "host": "10.0.0.2", "port": 5432}]}"#;
    cluster
        .judge()
        .told(now, &members(answer).unwrap())
        .unwrap();
    for (host, in_recovery) in cluster.ids().into_iter().zip([false, true]) {
        cluster.judge().report(now, host, report(in_recovery), None);
    }
    assert_eq!(
        cluster.primary(),
        None,
        "Patroni says that the other one leads"
    );
    cluster.reconfigure(now, "db", routing(PATRONI));
    assert_eq!(cluster.primary(), None);
    cluster.reconfigure(now, "db", routing(""));
    let primary = cluster.primary().map(|spec| spec.host.to_string());
    assert_eq!(primary.as_deref(), Some("10.0.0.1"));
}
