use super::*;
use crate::parse;
use crate::values::Host;

fn config(text: &str) -> Config {
    parse("pooler.toml", text, []).unwrap().config
}

fn routing(text: &str) -> Routing {
    let config = config(text);
    config.routing(&config.databases["shop"])
}

fn addresses(hosts: &[HostSpec]) -> Vec<String> {
    hosts.iter().map(HostSpec::address).collect()
}

#[test]
fn hosts_may_be_texts_and_tables_in_one_list() {
    let routing = routing(
        "[pgweir]\nzone = \"b\"\n[databases.shop]\nhosts = [\"10.0.0.1\", \"[::1]:5433\",\n\
         { host = \"/run/my dir, it's\", weight = 2, zone = \"b\" }]\nread_write_split = true\n",
    );
    assert_eq!(
        addresses(&routing.hosts),
        ["10.0.0.1:5432", "[::1]:5433", "/run/my dir, it's:5432"]
    );
    let last = &routing.hosts[2];
    assert_eq!((last.weight, last.zone.as_deref()), (2, Some("b")));
    assert!(routing.read_write_split);
    assert_eq!(routing.zone.as_deref(), Some("b"));
}

#[test]
fn hosts_may_be_an_array_of_tables() {
    let routing = routing(
        "[databases.shop]\n[[databases.shop.hosts]]\nhost = \"a\"\n\
         [[databases.shop.hosts]]\nhost = \"b\"\nport = 5433\n",
    );
    assert_eq!(addresses(&routing.hosts), ["a:5432", "b:5433"]);
}

#[test]
fn hosts_may_come_from_the_environment() {
    let environment = [(
        "PGWEIR__DATABASES__SHOP__HOSTS".to_owned(),
        "a, b:5433 weight=3 zone=z".to_owned(),
    )];
    let config = parse("pooler.toml", "", environment).unwrap().config;
    let hosts = config.databases["shop"].servers();
    assert_eq!(addresses(&hosts), ["a:5432", "b:5433"]);
    assert_eq!(hosts[1].weight, 3);
}

#[test]
fn a_host_of_its_own_is_a_list_of_one_and_never_split() {
    let routing = routing(
        "[pgweir]\nread_write_split = true\ntopology = \"patroni\"\n\
         [databases.shop]\nhost = \"/run/a\"\nport = 7\n",
    );
    let only = HostSpec::new(Host::UnixDirectory("/run/a".into()), 7);
    assert_eq!(routing.hosts, [only]);
    assert!(!routing.read_write_split);
    assert_eq!(routing.topology, Topology::Probe);
}

#[test]
fn without_a_word_about_routing_everything_goes_to_the_primary() {
    let expected = Routing {
        hosts: vec![HostSpec::new(Host::Tcp("127.0.0.1".to_owned()), 5432)],
        load_balance_hosts: None,
        read_write_split: false,
        read_your_writes: ReadYourWrites::All,
        replica_wait: Duration::ZERO,
        max_replica_lag: ReplicaLag {
            time: Some(Duration::from_secs(10)),
            bytes: None,
        },
        primary_reads: true,
        failover_timeout: Duration::from_secs(30),
        topology: Topology::Probe,
        patroni: Vec::new(),
        probe_interval: Duration::from_secs(1),
        probe_user: None,
        target_session_attrs: TargetSessionAttrs::Any,
        zone: None,
    };
    assert_eq!(routing("[databases.shop]\n"), expected);
}

#[test]
fn a_databases_own_routing_comes_before_the_global_one() {
    let text = "\
[pgweir]
read_write_split = true
read_your_writes = \"session\"
replica_wait = \"20ms\"
max_replica_lag = [\"5s\", \"16MB\"]
primary_reads = false
failover_timeout = 0
topology = \"patroni\"
probe_interval = \"2s\"
probe_user = \"watcher\"
[databases.shop]
hosts = [\"a\", \"b\"]
";
    let patroni = "patroni = [\"http://a:8008\", \"http://b\"]\n";
    let own = "\
topology = \"probe\"
read_write_split = false
read_your_writes = \"off\"
replica_wait = 0
max_replica_lag = 0
primary_reads = true
failover_timeout = \"1min\"
probe_interval = \"100ms\"
probe_user = \"own\"
target_session_attrs = \"prefer-standby\"
";
    let global = routing(&format!("{text}{patroni}"));
    assert!(global.read_write_split && !global.primary_reads);
    assert_eq!(global.read_your_writes, ReadYourWrites::Session);
    assert_eq!(global.replica_wait, Duration::from_millis(20));
    assert_eq!(
        global.max_replica_lag,
        ReplicaLag {
            time: Some(Duration::from_secs(5)),
            bytes: Some(16 << 20)
        }
    );
    assert_eq!(global.failover_timeout, Duration::ZERO);
    assert_eq!(global.topology, Topology::Patroni);
    let addresses: Vec<_> = global.patroni.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["http://a:8008", "http://b:8008"]);
    assert_eq!(global.probe_interval, Duration::from_secs(2));
    assert_eq!(global.probe_user.as_deref(), Some("watcher"));

    let own = routing(&format!("{text}{own}"));
    assert!(!own.read_write_split && own.primary_reads);
    assert_eq!(own.read_your_writes, ReadYourWrites::Off);
    assert_eq!(own.replica_wait, Duration::ZERO);
    assert_eq!(own.max_replica_lag, ReplicaLag::default());
    assert_eq!(own.failover_timeout, Duration::from_secs(60));
    assert_eq!(own.topology, Topology::Probe);
    assert_eq!(own.probe_interval, Duration::from_millis(100));
    assert_eq!(own.probe_user.as_deref(), Some("own"));
    assert_eq!(own.target_session_attrs, TargetSessionAttrs::PreferStandby);
}
