use super::*;
use crate::config::{Config, Defaults};
use crate::load::{Loaded, load, parse};
use crate::settings::{Global, PgBouncer, Section};
use crate::values::{Host, HostSpec, LoadBalanceHosts, LogFormat, PoolMode};
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

fn read(text: &str) -> Result<Loaded, crate::problem::Errors> {
    parse("pgbouncer.ini", text, [])
}

fn config(text: &str) -> Config {
    read(text).unwrap().config
}

fn errors(text: &str) -> Vec<String> {
    let errors = read(text).unwrap_err();
    errors.iter().map(Problem::to_string).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = read(text).unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// With what every file needs, on lines 1 to 4.
const BASE: &str = "\
[pgbouncer]
listen_addr = 127.0.0.1
auth_type = trust
[databases]
";

#[test]
fn a_shops_file_runs_as_it_stands() {
    let text = "\
; comment
[databases]
shop = host=localhost port=5433 dbname=store

[pgbouncer]
max_client_conn = 1000
pool_mode = Transaction
reserve_pool_size = 5
reserve_pool_timeout = 3
server_lifetime = 1800
query_timeout = 0
auth_type = md5
auth_file = /etc/pgbouncer/userlist.txt
log_connections = 1
listen_addr = 0.0.0.0
# another
admin_users = postgres, root
stats_users = stats_user
";
    let config = config(text);
    let global = &config.global;
    assert_eq!(global.max_client_conn, 1000);
    assert_eq!(global.pool_mode, PoolMode::Transaction);
    assert_eq!(global.reserve_pool_timeout, Some(Duration::from_secs(3)));
    assert_eq!(global.server_lifetime, Duration::from_secs(1800));
    assert_eq!(global.query_timeout, None);
    assert_eq!(global.admin_users, ["postgres", "root"]);
    assert_eq!(global.listen_addr, ["0.0.0.0"]);
    let shop = &config.databases["shop"];
    assert_eq!(shop.host, Host::Tcp("localhost".into()));
    assert_eq!(shop.port, 5433);
    assert_eq!(shop.dbname.as_deref(), Some("store"));
    assert_eq!(warnings(text), Vec::<String>::new());
}

#[test]
fn what_is_left_out_has_pgbouncers_default() {
    let config = config(BASE);
    assert_eq!(config.defaults, Defaults::PgBouncer);
    for setting in Global::SETTINGS {
        let own = (setting.render)(&Global::default());
        let expected = match (setting.name, setting.pgbouncer) {
            ("listen_addr", _) => "127.0.0.1",
            ("auth_type", _) => "trust",
            ("log_format", _) => "pgbouncer",
            (_, PgBouncer::OtherDefault(default)) => default,
            (_, PgBouncer::Same | PgBouncer::Absent) => &own,
        };
        assert_eq!(
            (setting.render)(&config.global),
            expected,
            "{}",
            setting.name
        );
    }
    assert_eq!(config.global.pool_mode, PoolMode::Session);
    assert_eq!(config.global.log_format, LogFormat::PgBouncer);
    assert_eq!(
        parse("a.toml", "", []).unwrap().config.defaults,
        Defaults::Pgweir
    );
}

#[test]
fn every_key_of_a_database_is_read() {
    let line = "a = host=/run/pg port=1 dbname=b user=c password='d e' client_encoding=UTF8 \
                datestyle='SQL, DMY' timezone=UTC application_name=f pool_size=2 min_pool_size=1 \
                reserve_pool=3 pool_mode=session max_db_connections=4 max_db_client_connections=5 \
                query_wait_timeout=6 server_lifetime=7 connect_query='select ''x'''";
    let config = config(&format!(
        "{BASE}{line}\n\"odd \"\"name\" = reserve_pool_size=-1\n"
    ));
    let a = &config.databases["a"];
    assert_eq!(a.host, Host::UnixDirectory("/run/pg".into()));
    assert_eq!((a.port, a.dbname.as_deref()), (1, Some("b")));
    assert_eq!(a.user.as_deref(), Some("c"));
    assert_eq!(a.password.as_ref().unwrap().expose(), "d e");
    assert_eq!(a.client_encoding.as_deref(), Some("UTF8"));
    assert_eq!(a.datestyle.as_deref(), Some("SQL, DMY"));
    assert_eq!(a.timezone.as_deref(), Some("UTC"));
    assert_eq!(a.application_name.as_deref(), Some("f"));
    assert_eq!((a.pool_size, a.min_pool_size), (Some(2), Some(1)));
    assert_eq!(a.reserve_pool_size, Some(3));
    assert_eq!(a.pool_mode, Some(PoolMode::Session));
    assert_eq!(a.max_db_connections, Some(Some(4)));
    assert_eq!(a.max_db_client_connections, Some(Some(5)));
    assert_eq!(a.query_wait_timeout, Some(Some(Duration::from_secs(6))));
    assert_eq!(a.server_lifetime, Some(Duration::from_secs(7)));
    assert_eq!(a.connect_query.as_deref(), Some("select 'x'"));
    assert_eq!(config.databases["odd \"name"].reserve_pool_size, None);
}

#[test]
fn without_a_host_a_server_is_at_its_socket() {
    let host = |text: &str| config(text).databases["a"].host.clone();
    let directory = |path: &str| Host::UnixDirectory(path.into());
    assert_eq!(host(&format!("{BASE}a =\n* = port=1")), directory("/tmp"));
    let given = format!("{BASE}a =\n[pgbouncer]\nunix_socket_dir = /run/pg\n");
    assert_eq!(host(&given), directory("/run/pg"));
}

#[test]
fn hosts_in_a_list_are_all_alike() {
    let text = format!(
        "{BASE}a = host=h1,10.0.0.2,::1 port=6\nb = host=x,y load_balance_hosts=disable\nc = host=z\n\
         d = host=x,Y,::1,y,y,0:0::1\ne = host=x,x\n"
    );
    let config = config(&text);
    let hosts = |names: &[&str], port| {
        let spec = |name: &&str| HostSpec::new(Host::Tcp((*name).to_owned()), port);
        names.iter().map(spec).collect::<Vec<_>>()
    };
    let a = &config.databases["a"];
    assert_eq!(a.hosts, hosts(&["h1", "10.0.0.2", "::1"], 6));
    assert_eq!(a.load_balance_hosts, Some(LoadBalanceHosts::RoundRobin));
    let b = &config.databases["b"];
    assert_eq!(b.hosts, hosts(&["x", "y"], 5432));
    assert_eq!(b.load_balance_hosts, Some(LoadBalanceHosts::Disable));
    assert_eq!(config.databases["c"].load_balance_hosts, None);
    let weights = |name: &str| -> Vec<_> {
        let hosts = config.databases[name].hosts.iter();
        hosts
            .map(|host| (host.host.to_string(), host.weight))
            .collect()
    };
    let pair = |name: &str, weight| (name.to_owned(), weight);
    let d = [pair("x", 1), pair("Y", 3), pair("::1", 2)];
    assert_eq!(weights("d"), d, "whoever comes twice has two turns");
    assert_eq!(weights("e"), [pair("x", 2)]);
}

#[test]
fn users_have_their_own_settings() {
    let text = format!(
        "{BASE}[users]\nu = pool_mode=session max_user_connections=3 query_wait_timeout=0\n\
         \"v w\" = pool_size=1 client_idle_timeout=2.5\n"
    );
    let config = config(&text);
    let u = &config.users["u"];
    assert_eq!(u.pool_mode, Some(PoolMode::Session));
    assert_eq!(u.max_user_connections, Some(Some(3)));
    assert_eq!(u.query_wait_timeout, Some(None));
    let v = &config.users["v w"];
    assert_eq!(v.pool_size, Some(1));
    assert_eq!(
        v.client_idle_timeout,
        Some(Some(Duration::from_millis(2500)))
    );
}

#[test]
fn peers_are_read_as_pgbouncer_reads_them() {
    let text = format!(
        "{BASE}a =\n[pgbouncer]\npeer_id = 2\nunix_socket_dir = /run/two\n[peers]\n1 = host=/run/one\n2 =\n\
         3 = host=three.example port=7000 pool_size=5\n4 = host=@four\n1 = port=7001\n"
    );
    let config = config(&text);
    assert_eq!(config.peer_id().map(u16::from), Some(2));
    let shown: Vec<_> = (config.peers.iter())
        .map(|(id, peer)| {
            let size = config.peer_pool_size(peer);
            format!("{id} {} {} {size}", peer.host, peer.port)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 /run/two 7001 20",
            "2 /run/two 6432 20",
            "3 three.example 7000 5",
            "4 @four 6432 20"
        ]
    );
    assert_eq!(warnings(&text), [""; 0]);
}

#[test]
fn what_is_no_peer_is_refused_and_one_that_cannot_be_is_a_warning() {
    let with = |line: &str| format!("{BASE}a =\n[pgbouncer]\npeer_id = 1\n[peers]\n{line}\n");
    let cases = [
        (
            "0 = host=a",
            "expected the number of a peer, from 1 to 16383, not \"0\"",
        ),
        (
            "\"+1\" = host=a",
            "expected the number of a peer, from 1 to 16383, not \"+1\"",
        ),
        (
            "65536 = host=a",
            "expected the number of a peer, from 1 to 16383, not \"65536\"",
        ),
        (
            "2 = host",
            "peer \"2\": expected \"=\" and a value behind \"host\"",
        ),
        (
            "2 = port=0",
            "port = \"0\": expected a port from 1 to 65535",
        ),
        ("2 = user=a", "unknown parameter \"user\" in [peers]"),
    ];
    for (line, message) in cases {
        let expected = format!("pgbouncer.ini:9: {message}");
        assert_eq!(errors(&with(line)), [expected], "{line}");
    }
    assert_eq!(
        warnings(&with("20000 = host=a")),
        ["pgbouncer.ini:9: peers: 20000 is no instance's peer_id: the largest is 16383"]
    );
    let large = format!("{BASE}[pgbouncer]\npeer_id = 16384\n");
    assert_eq!(
        errors(&large),
        ["pgbouncer.ini:6: peer_id = \"16384\": expected a whole number from 0 to 16383"]
    );
}

#[test]
fn nothing_in_a_value_stands_for_anything_else() {
    let config = config(&format!("{BASE}a = user=u password=file:/${{HOME}}\n"));
    let password = config.databases["a"].password.as_ref().unwrap();
    assert_eq!(password.expose(), "file:/${HOME}");
}

#[test]
fn the_later_of_two_lines_for_one_name_holds_as_a_whole() {
    let config = config(&format!("{BASE}a = port=1 pool_size=2\na = port=3\n"));
    let a = &config.databases["a"];
    assert_eq!((a.port, a.pool_size), (3, None));
}

#[test]
fn errors_name_file_and_line() {
    let cases = [
        (
            "a = host",
            "pgbouncer.ini:5: database \"a\": expected \"=\" and a value behind \"host\"",
        ),
        (
            "a b = port=1",
            "pgbouncer.ini:5: expected \"key = value\"; a name with other characters than letters, digits, _, . and - stands in double quotes",
        ),
        (
            "a = prot=1",
            "pgbouncer.ini:5: unknown parameter \"prot\" in [databases]; did you mean \"port\"?",
        ),
        (
            "a = port=x",
            "pgbouncer.ini:5: port = \"x\": expected a port from 1 to 65535",
        ),
        (
            "[pgbouncer]\npool_mod = x",
            "pgbouncer.ini:6: unknown parameter \"pool_mod\" in [pgbouncer]; did you mean \"pool_mode\"?",
        ),
        (
            "[pgbouncer]\npool_size = 1",
            "pgbouncer.ini:6: unknown parameter \"pool_size\" in [pgbouncer]; it belongs to a line of [databases] or [users]",
        ),
        (
            "[pgbouncer]\npool_mode = all",
            "pgbouncer.ini:6: pool_mode = \"all\": expected session, transaction or statement",
        ),
        (
            "[pgbouncer]\nserver_tls_ciphers = AES128-SHA",
            "pgbouncer.ini:6: server_tls_ciphers = \"AES128-SHA\": expected a cipher list of OpenSSL of which something is spoken here: ECDHE with AES-GCM or ChaCha20-Poly1305 (ECDHE-RSA-AES256-GCM-SHA384, HIGH, default)",
        ),
        (
            "[database]",
            "pgbouncer.ini:5: unknown section [database]; expected [pgbouncer], [databases], [users] or [peers]",
        ),
        (
            "[users",
            "pgbouncer.ini:5: expected ] behind the section's name",
        ),
        (
            "pgbouncer = port=1",
            "pgbouncer.ini:5: the database name \"pgbouncer\" is the console's",
        ),
        (
            "%include /nonexistent/x.ini",
            "pgbouncer.ini:5: %include \"/nonexistent/x.ini\": No such file or directory (os error 2)",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(errors(&format!("{BASE}{text}\n")), [message], "{text}");
    }
    assert_eq!(
        errors("a = 1\n[pgbouncer]\nlisten_addr = *\n"),
        [
            "pgbouncer.ini:1: \"a\" stands outside any section; global settings belong in [pgbouncer]"
        ]
    );
}

#[test]
fn what_has_no_effect_is_a_warning_with_its_reason() {
    let text = format!(
        "{BASE}a = port=1\n[pgbouncer]\npkt_buf = 4096\nserver_fast_close = 0\nclient_tls_protocols = \
         tlsv1.0,tlsv1.2\n[peers]\n1 = host=a\n2 = host=b\n"
    );
    let found = warnings(&text);
    let starts = [
        "pgbouncer.ini:7: pkt_buf: has no effect: ",
        "pgbouncer.ini:9: client_tls_protocols: tlsv1.0 is not spoken: ",
        "pgbouncer.ini:11: peers: have no effect: peer_id is 0",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (warning, start) in found.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
}

#[test]
fn every_setting_of_pgbouncer_is_understood() {
    let list = include_str!("../../settings/pgbouncer-1.25.txt");
    for line in list.lines() {
        let mut columns = line.split('|').map(str::trim);
        let (name, default) = (columns.next().unwrap(), columns.next().unwrap());
        let text = format!("{BASE}a = port=1\n[pgbouncer]\n{name} = {default}\n");
        let found = match read(&text) {
            Ok(_) => continue,
            Err(errors) => errors.to_string(),
        };
        // PgBouncer listens to its Unix socket then.
        assert!(name == "listen_addr", "{found}");
    }
}

/// Files in a directory of their own, gone when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("pgweir-ini-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn load(&self) -> Result<Loaded, String> {
        load(self.0.join("main.ini"), []).map_err(|errors| errors.to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_included_file_stands_where_it_is_included() {
    let files = [
        (
            "main.ini",
            "[pgbouncer]\nlisten_addr = *\nauth_type = trust\n%include  more.ini \nb = port=2\n",
        ),
        (
            "more.ini",
            "default_pool_size = 7\n[databases]\na = port=1\n",
        ),
    ];
    let config = Directory::new("included", &files).load().unwrap().config;
    assert_eq!(config.global.default_pool_size, 7);
    assert_eq!(config.databases["a"].port, 1);
    assert_eq!(config.databases["b"].port, 2);

    let files = [
        ("main.ini", "%include bad.ini\n"),
        ("bad.ini", "\n\nnonsense\n"),
    ];
    let directory = Directory::new("bad", &files);
    let error = directory.load().unwrap_err();
    assert!(
        error.contains("/bad.ini:3: expected \"key = value\""),
        "{error}"
    );
}

#[test]
fn files_that_include_each_other_end_in_an_error() {
    let files = [
        ("main.ini", "%include twice.ini\n"),
        ("twice.ini", "%include twice.ini\n%include twice.ini\n"),
    ];
    let error = Directory::new("loop", &files).load().unwrap_err();
    assert!(
        error.contains("twice.ini:1: %include \"twice.ini\": files include each other"),
        "{error}"
    );
}

#[test]
fn the_format_is_told_by_the_ending_or_else_by_the_section() {
    let is = |path: &str, text: &str| is_ini(Path::new(path), text);
    assert!(is("a.ini", ""));
    assert!(is("A.INI", "[pgweir]"));
    assert!(!is("a.toml", "[pgbouncer]"));
    assert!(is("a.conf", "; x\n [pgbouncer] \r\n"));
    assert!(!is("a.conf", "[pgweir]"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in r"([\[\]a-z%;#= '\n.,0-9*-]|\PC){0,200}") {
        let _ = read(&text);
        let _ = read(&format!("{BASE}{text}"));
    }
}
