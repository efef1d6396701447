use super::*;

const CLUSTER: &str = r#"{"members": [
    {"name": "patroni1", "role": "leader", "state": "running", "api_url": "http://10.89.0.4:8008/patroni",
     "host": "10.89.0.4", "port": 5432, "timeline": 5, "tags": {"clonefrom": true}},
    {"name": "patroni2", "role": "replica", "state": "streaming", "host": "10.89.0.6", "port": 5433,
     "timeline": 5, "tags": {"noloadbalance": true}, "receive_lag": 0, "lag": 0},
    {"name": "patroni3", "role": "sync_standby", "state": "in archive recovery", "host": "fd00::3", "port": 5432,
     "timeline": "unknown", "lag": "unknown"},
    {"name": "patroni4", "role": "replica", "state": "starting"}
], "scope": "demo"}"#;

#[test]
fn the_members_are_read() {
    let members = members(CLUSTER.as_bytes()).unwrap();
    let told: Vec<_> = members
        .iter()
        .map(|m| {
            (
                m.name.as_str(),
                &m.role,
                m.address.to_string(),
                m.timeline,
                m.lag,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "patroni1",
                &MemberRole::Leader,
                "10.89.0.4:5432".to_owned(),
                Some(5),
                None
            ),
            (
                "patroni2",
                &MemberRole::Replica,
                "10.89.0.6:5433".to_owned(),
                Some(5),
                Some(0)
            ),
            (
                "patroni3",
                &MemberRole::Replica,
                "[fd00::3]:5432".to_owned(),
                None,
                None
            ),
        ]
    );
    let no_reads: Vec<_> = members.iter().map(Member::no_reads).collect();
    assert_eq!(no_reads, [None, Some("noloadbalance".to_owned()), None]);
}

#[test]
fn roles_that_patroni_has_or_had() {
    for (word, role) in [
        ("master", MemberRole::Leader),
        ("standby_leader", MemberRole::StandbyLeader),
        ("quorum_standby", MemberRole::Replica),
        ("witness", MemberRole::Other("witness".to_owned())),
    ] {
        assert_eq!(MemberRole::read(word), role);
    }
    assert!(!MemberRole::StandbyLeader.leads(), "it is in recovery");
}

#[test]
fn nonsense_is_an_error() {
    let member = |fields: &str| format!("{{\"members\": [{{{fields}}}]}}");
    let ok = r#""name": "a", "role": "leader", "state": "running", "host": "h""#;
    assert_eq!(
        members(member(ok).as_bytes()).unwrap()[0].address.port,
        5432
    );
    let nonsense = [
        "".to_owned(),
        "<html>".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"members": 1}"#.to_owned(),
        r#"{"members": [1]}"#.to_owned(),
        "[".repeat(100_000),
        member(r#""name": "a", "role": "leader", "host": "h""#),
        member(r#""name": 1, "role": "leader", "state": "running", "host": "h""#),
        member(&format!(r#"{ok}, "port": 0"#)),
        member(&format!(r#"{ok}, "port": 65536"#)),
        member(&format!(r#"{ok}, "port": "5432""#)),
        member(&format!(r#"{ok}, "timeline": -1"#)),
        member(&format!(r#"{ok}, "timeline": 4294967296"#)),
        member(&format!(r#"{ok}, "lag": true"#)),
    ];
    for text in nonsense {
        let error = members(text.as_bytes()).unwrap_err();
        assert!(matches!(error, RouteError::NotPatroni(_)), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_answer_breaks_it(answer in ".*") {
        let _ = members(answer.as_bytes());
    }
}
