//! Names of hosts: where they lead, for how long that is believed, and what becomes of servers that are where a name leads
//! no longer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgweir_tests::dns::Manner;
use pgweir_tests::raw::{errors, heads};
use pgweir_tests::{DnsServer, FakeServer, Pooler, Raw, postgres, within};
use tokio::net::{TcpListener, TcpStream};

type Row = HashMap<String, Option<String>>;

async fn rows(admin: &mut Raw, sql: &str) -> Vec<Row> {
    let answer = admin.query(sql).await;
    assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
    let names = heads(&answer.iter().find(|m| m.tag == b'T').unwrap().body);
    let rows = answer.iter().filter(|m| m.tag == b'D');
    rows.map(|m| names.iter().cloned().zip(m.columns()).collect())
        .collect()
}

fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row[column].as_deref().unwrap_or_default()
}

/// In front of the server that `host` leads to by `dns`.
fn pooler(dns: &DnsServer, host: &str, port: u16, settings: &str) -> Pooler {
    let file = dns.resolv_conf("options timeout:1 attempts:1");
    Pooler::new(&format!(
        "resolv_conf = \"{}\"\nadmin_users = \"alice\"\nserver_login_retry = 0\n{settings}\n\
         [databases.\"*\"]\nhost = \"{host}\"\nport = {port}\n",
        file.display()
    ))
}

async fn admin(pooler: &Pooler) -> Raw {
    Raw::login(pooler.address(), "alice", "pgbouncer").await
}

/// The addresses that servers are connected to, each once.
async fn servers(admin: &mut Raw) -> Vec<String> {
    let rows = rows(admin, "show servers").await;
    let mut found: Vec<_> = rows
        .iter()
        .map(|row| text(row, "addr").to_owned())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Polls the console until servers are connected to `expected` and nothing else.
async fn until_at(admin: &mut Raw, expected: &[&str]) {
    within("servers elsewhere", async {
        while servers(admin).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Has the shared PostgreSQL answer at another address of this machine, on the same port. Says how many connections there
/// are there.
async fn also_at(address: &str) -> Arc<AtomicUsize> {
    let port = postgres().port();
    let listener = TcpListener::bind((address, port)).await.unwrap();
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let open = open.clone();
            open.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // One of the two ends it.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                open.fetch_sub(1, Ordering::AcqRel);
            });
        }
    });
    count
}

async fn until_open(count: &AtomicUsize, is_so: impl Fn(usize) -> bool) {
    within("connections to come or go", async {
        while !is_so(count.load(Ordering::Acquire)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn servers_follow_a_name_to_its_new_address_and_clients_under_load_notice_nothing() {
    also_at("127.0.1.2").await;
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 1);
    let pooler = pooler(&dns, "db.test", postgres().port(), "default_pool_size = 3");
    let ends = Arc::new(AtomicBool::new(false));
    let clients = (0..8).map(|n| {
        let (ends, address) = (ends.clone(), pooler.address());
        tokio::spawn(async move {
            let mut raw = Raw::login(address, "carol", "postgres").await;
            let mut count = 0;
            while !ends.load(Ordering::Relaxed) {
                raw.query("begin").await;
                assert_eq!(raw.value(&format!("select {n}")).await, n.to_string());
                assert_eq!(errors(&raw.query("commit").await), []);
                count += 1;
            }
            count
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut admin = admin(&pooler).await;
    until_at(&mut admin, &["127.0.0.1"]).await;
    dns.set("db.test", &["127.0.1.2"], 1);
    until_at(&mut admin, &["127.0.1.2"]).await;
    dns.set("db.test", &["127.0.0.1"], 1);
    until_at(&mut admin, &["127.0.0.1"]).await;
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(within("the last query", client).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_client_keeps_its_server_until_its_transaction_ends_though_the_name_has_left_it() {
    also_at("127.0.1.3").await;
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 1);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let mut admin = admin(&pooler).await;
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    busy.query("begin").await;
    let pid = busy.value("select pg_backend_pid()").await;
    dns.set("db.test", &["127.0.1.3"], 1);
    within("close_needed", async {
        while text(&rows(&mut admin, "show servers").await[0], "close_needed") != "1" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(busy.value("select pg_backend_pid()").await, pid);
    busy.query("commit").await;
    assert_ne!(busy.value("select pg_backend_pid()").await, pid);
    assert_eq!(servers(&mut admin).await, ["127.0.1.3"]);
}

#[tokio::test]
async fn that_a_name_does_not_exist_is_said_and_remembered() {
    let dns = DnsServer::new().await;
    let pooler = pooler(&dns, "no.test", 1, "dns_nxdomain_ttl = 600");
    for _ in 0..3 {
        let login = Raw::login_with(pooler.address(), "carol", "postgres", &[]).await;
        let error = login.err().unwrap();
        let expected = "server DNS lookup failed: host name \"no.test\": there is no such name";
        assert!(error.message.contains(expected), "{error:?}");
    }
    assert_eq!(dns.asked("no.test"), 1);
    let mut admin = admin(&pooler).await;
    let hosts = rows(&mut admin, "show dns_hosts").await;
    assert_eq!(
        (text(&hosts[0], "hostname"), text(&hosts[0], "addrs")),
        ("no.test", "")
    );
}

#[tokio::test]
async fn an_answer_is_used_for_no_longer_than_dns_max_ttl() {
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 86_400);
    let port = postgres().port();
    let pooler = pooler(&dns, "db.test", port, "dns_max_ttl = 100");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    raw.value("select 1").await;
    let mut admin = admin(&pooler).await;
    let hosts = rows(&mut admin, "show dns_hosts").await;
    assert_eq!(text(&hosts[0], "addrs"), "127.0.0.1:0");
    let ttl: u64 = text(&hosts[0], "ttl").parse().unwrap();
    assert!((60..=100).contains(&ttl), "{ttl}");
    let lists = rows(&mut admin, "show lists").await;
    let names = lists.iter().find(|row| text(row, "list") == "dns_names");
    assert_eq!(text(names.unwrap(), "items"), "1");
}

#[tokio::test]
async fn while_no_dns_server_answers_the_last_answer_holds() {
    for manner in [Manner::IsSilent, Manner::Fails] {
        let dns = DnsServer::new().await;
        dns.set("db.test", &["127.0.0.1"], 1);
        let pooler = pooler(&dns, "db.test", postgres().port(), "dns_nxdomain_ttl = 0");
        let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
        raw.value("select 1").await;
        dns.behave(manner);
        dns.until_asked("db.test", dns.asked("db.test")).await;
        dns.until_asked("db.test", dns.asked("db.test")).await;
        let mut admin = admin(&pooler).await;
        admin.query("reconnect").await;
        assert_eq!(raw.value("select 1").await, "1", "{manner:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_gone_lets_nobody_in_and_ends_nobody() {
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 1);
    let pooler = pooler(&dns, "db.test", postgres().port(), "default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    raw.value("select 1").await;
    dns.remove("db.test");
    let mut admin = admin(&pooler).await;
    within("the name to be gone", async {
        while !text(&rows(&mut admin, "show dns_hosts").await[0], "addrs").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(raw.value("select 1").await, "1");
    admin.query("reconnect").await;
    let error = raw.query_or_end("select 1").await;
    assert!(error.message.contains("there is no such name"), "{error:?}");
}

#[tokio::test]
async fn a_chain_of_aliases_and_an_answer_by_tcp_lead_to_the_server() {
    let dns = DnsServer::new().await;
    dns.alias("writer.test", "blue.test", 5);
    dns.alias("blue.test", "node1.test", 5);
    dns.set("node1.test", &["127.0.0.1"], 600);
    dns.behave(Manner::Truncates);
    let pooler = pooler(&dns, "writer.test", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    assert!(dns.asked_by_tcp() >= 2, "both families");
    let mut admin = admin(&pooler).await;
    let hosts = rows(&mut admin, "show dns_hosts").await;
    let ttl: u64 = text(&hosts[0], "ttl").parse().unwrap();
    assert!(ttl <= 5, "{ttl}");
}

#[tokio::test]
async fn packets_that_make_no_sense_are_passed_over() {
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 600);
    dns.behave(Manner::TalksNonsense);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn a_login_does_not_wait_for_dns_beyond_server_connect_timeout() {
    let dns = DnsServer::new().await;
    dns.behave(Manner::Waits);
    let pooler = pooler(&dns, "db.test", 1, "server_connect_timeout = \"100ms\"");
    let login = Raw::login_with(pooler.address(), "carol", "postgres", &[]);
    let error = within("an error", login).await.err().unwrap();
    let expected = "no DNS server has answered within server_connect_timeout";
    assert!(error.message.contains(expected), "{error:?}");
}

#[tokio::test]
async fn a_dns_server_that_is_not_there_is_named_in_the_error() {
    let dns = DnsServer::new().await;
    let pooler = pooler(&dns, "db.test", 1, "");
    drop(dns);
    let login = Raw::login_with(pooler.address(), "carol", "postgres", &[]);
    let error = within("an error", login).await.err().unwrap();
    let begins = "server DNS lookup failed: host name \"db.test\": 127.0.0.1:";
    assert!(error.message.contains(begins), "{error:?}");
    assert!(error.message.contains("does not answer"), "{error:?}");
}

#[tokio::test]
async fn many_who_need_a_name_at_a_time_have_it_looked_up_once() {
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 600);
    dns.behave(Manner::Waits);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let clients: Vec<_> = ["alice", "bob", "carol", "postgres"]
        .into_iter()
        .map(|user| {
            let address = pooler.address();
            tokio::spawn(async move {
                let mut raw = Raw::login(address, user, "postgres").await;
                raw.value("select current_user").await
            })
        })
        .collect();
    dns.until_asked("db.test", 0).await;
    // Each of them has asked its pool for a server.
    let mut admin = admin(&pooler).await;
    within("four logins", async {
        while rows(&mut admin, "show servers").await.len() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    dns.answer_now();
    for client in clients {
        within("a client", client).await.unwrap();
    }
    assert_eq!(dns.asked("db.test"), 1);
}

#[tokio::test]
async fn a_zone_with_another_number_has_its_names_looked_up_again() {
    also_at("127.0.1.4").await;
    let dns = DnsServer::new().await;
    dns.number("zone.test", 1);
    dns.set("db.zone.test", &["127.0.0.1"], 86_400);
    let settings = "dns_max_ttl = 86400\ndns_zone_check_period = \"200ms\"";
    let pooler = pooler(&dns, "db.zone.test", postgres().port(), settings);
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    raw.value("select 1").await;
    let mut admin = admin(&pooler).await;
    within("the zone's number", async {
        loop {
            let zones = rows(&mut admin, "show dns_zones").await;
            if zones
                .first()
                .is_some_and(|zone| text(zone, "serial") == "1")
            {
                assert_eq!(text(&zones[0], "zonename"), "zone.test");
                assert_eq!(text(&zones[0], "count"), "1");
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    dns.until_asked_for_serial("zone.test", 1).await;
    assert_eq!(dns.asked("db.zone.test"), 1, "the number has not changed");
    dns.set("db.zone.test", &["127.0.1.4"], 86_400);
    dns.number("zone.test", 2);
    dns.until_asked("db.zone.test", 1).await;
    within("a server elsewhere", async {
        while servers(&mut admin).await != ["127.0.1.4"] {
            raw.value("select 1").await;
        }
    })
    .await;
}

#[tokio::test]
async fn addresses_are_used_in_turn_and_one_that_refuses_is_passed_over() {
    also_at("127.0.1.5").await;
    let dns = DnsServer::new().await;
    // Nobody listens at the last one.
    dns.set("db.test", &["127.0.0.1", "127.0.1.5", "127.0.1.6"], 600);
    let pooler = pooler(&dns, "db.test", postgres().port(), "default_pool_size = 6");
    let mut busy = Vec::new();
    for _ in 0..6 {
        let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
        assert_eq!(errors(&raw.query("begin").await), []);
        busy.push(raw);
    }
    let mut admin = admin(&pooler).await;
    assert_eq!(servers(&mut admin).await, ["127.0.0.1", "127.0.1.5"]);
}

#[tokio::test]
async fn an_address_of_the_other_family_is_tried_where_nobody_listens_at_the_first() {
    let dns = DnsServer::new().await;
    // The server listens at the second one only.
    dns.set("db.test", &["::1", "127.0.0.1"], 600);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    let mut admin = admin(&pooler).await;
    assert_eq!(servers(&mut admin).await, ["127.0.0.1"]);
    let hosts = rows(&mut admin, "show dns_hosts").await;
    let addresses = text(&hosts[0], "addrs");
    assert!(
        addresses.contains("127.0.0.1:0") && addresses.contains("[::1]:0"),
        "{addresses}"
    );
}

#[tokio::test]
async fn an_answer_longer_than_a_datagram_may_be_is_read_all_the_same() {
    let dns = DnsServer::new().await;
    let many: Vec<String> = (1..=40).map(|n| format!("127.0.2.{n}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    // The only one at which somebody listens: all others refuse at once.
    many.push("127.0.0.1");
    dns.set("db.test", &many, 600);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    assert_eq!(dns.asked_by_tcp(), 0);
}

#[tokio::test]
async fn a_short_name_is_found_in_the_domains_of_the_search_list() {
    let dns = DnsServer::new().await;
    dns.set("db.shop.test", &["127.0.0.1"], 600);
    let search = "search other.test shop.test\noptions ndots:5 timeout:1";
    let file = dns.resolv_conf(search);
    let pooler = Pooler::new(&format!(
        "resolv_conf = \"{}\"\n[databases.\"*\"]\nhost = \"db\"\nport = {}\n",
        file.display(),
        postgres().port()
    ));
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    let asked = ["db.other.test", "db.shop.test", "db"].map(|name| dns.asked(name));
    assert_eq!(asked, [1, 1, 0]);
}

#[tokio::test]
async fn a_cancel_request_goes_to_the_address_that_its_server_has() {
    let fake = FakeServer::new().await;
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 0);
    let pooler = pooler(&dns, "db.test", fake.port(), "");
    let login = tokio::spawn(Raw::login_with(pooler.address(), "carol", "x", &[]));
    let mut backend = fake.backend().await;
    let mut raw = login.await.unwrap().unwrap();
    raw.say(&pgweir_tests::Script::new().query("select 1"))
        .await;
    backend.query().await;
    // The name leads nowhere by now.
    dns.set("db.test", &["127.0.1.7"], 600);
    let cancel = tokio::spawn(async move {
        raw.cancel().await;
        raw
    });
    let mut request = fake.accept().await;
    let packet = request.opening().await;
    assert_eq!(&packet[4..8], &80_877_102_u32.to_be_bytes());
    drop(request);
    let mut raw = within("the cancel request's end", cancel).await.unwrap();
    backend.answer("1").await;
    raw.until_ready().await;
}

#[tokio::test]
async fn who_listens_hears_of_what_is_notified_where_the_name_leads_now() {
    also_at("127.0.1.8").await;
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.0.1"], 1);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    raw.query("listen moved").await;
    dns.set("db.test", &["127.0.1.8"], 1);
    let notice = raw.until(b'N').await;
    let notice = notice.last().and_then(|m| m.error()).unwrap();
    assert!(
        notice.message.contains("may have been missed"),
        "{notice:?}"
    );
    let mut other = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = admin(&pooler).await;
    within("the connection that listens", async {
        loop {
            let all = rows(&mut admin, "show servers").await;
            let listens = all.iter().find(|row| text(row, "state") == "listen");
            if listens.is_some_and(|row| text(row, "addr") == "127.0.1.8") {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    raw.query("listen moved").await;
    other.query("notify moved").await;
    raw.until(b'A').await;
}

#[tokio::test]
async fn the_prober_of_a_host_follows_its_name() {
    let (old, new) = (also_at("127.0.1.9").await, also_at("127.0.1.10").await);
    let dns = DnsServer::new().await;
    dns.set("db.test", &["127.0.1.9"], 1);
    let file = dns.resolv_conf("");
    let pooler = Pooler::new(&format!(
        "resolv_conf = \"{}\"\nprobe_interval = \"100ms\"\n[databases.\"*\"]\n\
         hosts = [\"db.test:{}\"]\ntarget_session_attrs = \"primary\"\n",
        file.display(),
        postgres().port()
    ));
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    raw.value("select 1").await;
    // The client's server, and the prober.
    until_open(&old, |n| n >= 2).await;
    dns.set("db.test", &["127.0.1.10"], 1);
    until_open(&old, |n| n == 0).await;
    assert_eq!(raw.value("select 1").await, "1");
    until_open(&new, |n| n >= 2).await;
}

#[tokio::test]
async fn an_address_that_means_this_machine_is_where_a_connection_to_it_is() {
    let dns = DnsServer::new().await;
    dns.set("db.test", &["0.0.0.0"], 600);
    let pooler = pooler(&dns, "db.test", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    let pid = raw.value("select pg_backend_pid()").await;
    assert_eq!(raw.value("select pg_backend_pid()").await, pid);
}

#[tokio::test]
async fn addresses_and_unix_sockets_are_never_looked_up() {
    let dns = DnsServer::new().await;
    dns.behave(Manner::IsSilent);
    let pooler = pooler(&dns, "127.0.0.1", postgres().port(), "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    let mut admin = admin(&pooler).await;
    assert_eq!(rows(&mut admin, "show dns_hosts").await, []);
}

#[tokio::test]
async fn a_resolv_conf_that_cannot_be_read_stops_the_start() {
    let text = pgweir_tests::pooler::configuration(1, "resolv_conf = \"/nowhere/resolv.conf\"");
    let error = Pooler::try_of(&text).err().unwrap();
    assert!(
        error.starts_with("resolv_conf /nowhere/resolv.conf: "),
        "{error}"
    );
}
