//! A DNS server that answers, or does not, as a test tells it to: by UDP and TCP, on a port of its own.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::scratch::Directory;
use crate::within;

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It answers.
    Answers,
    /// It takes questions and says nothing.
    IsSilent,
    /// It says that it cannot say (SERVFAIL).
    Fails,
    /// By UDP it says only that there is more to say.
    Truncates,
    /// It sends packets that make no sense, then the answer.
    TalksNonsense,
    /// It answers when [`DnsServer::answer_now`] is called.
    Waits,
}

/// What a name has, for seconds.
#[derive(Debug, Clone)]
enum Record {
    Address(IpAddr, u32),
    Alias(String, u32),
    Serial(u32),
}

struct State {
    manner: Manner,
    records: HashMap<String, Vec<Record>>,
    /// By name and type.
    asked: HashMap<(String, u16), usize>,
    by_tcp: usize,
}

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    go: Notify,
}

/// The server; it ends when dropped.
pub struct DnsServer {
    inner: Arc<Inner>,
    address: SocketAddr,
    home: Directory,
    tasks: Vec<JoinHandle<()>>,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;

impl DnsServer {
    /// Of no names yet.
    pub async fn new() -> DnsServer {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                manner: Manner::Answers,
                records: HashMap::new(),
                asked: HashMap::new(),
                by_tcp: 0,
            }),
            changed: Notify::new(),
            go: Notify::new(),
        });
        let tasks = vec![
            tokio::spawn(serve_udp(inner.clone(), Arc::new(udp))),
            tokio::spawn(serve_tcp(inner.clone(), tcp)),
        ];
        DnsServer {
            inner,
            address,
            home: Directory::new("dns"),
            tasks,
        }
    }

    /// A `resolv.conf` that names this server, with these lines more.
    pub fn resolv_conf(&self, more: &str) -> PathBuf {
        let port = self.address.port();
        let text = format!("nameserver [127.0.0.1]:{port}\n{more}\n");
        self.home.write("resolv.conf", &text)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap()
    }

    /// Gives `name` these addresses, for `seconds`, and nothing else.
    pub fn set(&self, name: &str, addresses: &[&str], seconds: u32) {
        let records = addresses
            .iter()
            .map(|a| Record::Address(a.parse().unwrap(), seconds));
        self.state()
            .records
            .insert(name.to_owned(), records.collect());
    }

    /// Makes `name` another name of `to`.
    pub fn alias(&self, name: &str, to: &str, seconds: u32) {
        let record = Record::Alias(to.to_owned(), seconds);
        self.state().records.insert(name.to_owned(), vec![record]);
    }

    /// Numbers the contents of `zone`.
    pub fn number(&self, zone: &str, serial: u32) {
        let record = Record::Serial(serial);
        self.state().records.insert(zone.to_owned(), vec![record]);
    }

    /// There is no such name any more.
    pub fn remove(&self, name: &str) {
        self.state().records.remove(name);
    }

    /// How it behaves from now on.
    pub fn behave(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Answers one question each has asked that waits.
    pub fn answer_now(&self) {
        self.behave(Manner::Answers);
        self.inner.go.notify_waiters();
    }

    /// How often it was asked for the addresses of `name` by IPv4.
    pub fn asked(&self, name: &str) -> usize {
        self.asked_for(name, A)
    }

    fn asked_for(&self, name: &str, kind: u16) -> usize {
        let state = self.state();
        state
            .asked
            .get(&(name.to_owned(), kind))
            .copied()
            .unwrap_or_default()
    }

    /// How often it was asked by TCP.
    pub fn asked_by_tcp(&self) -> usize {
        self.state().by_tcp
    }

    /// Waits until it was asked for the addresses of `name` by IPv4 more than `before` times.
    pub async fn until_asked(&self, name: &str, before: usize) {
        self.until(&format!("a question for {name}"), || {
            self.asked(name) > before
        })
        .await;
    }

    /// Waits until it was asked for the number of `zone` more than `before` times.
    pub async fn until_asked_for_serial(&self, zone: &str, before: usize) {
        let what = format!("a question for the number of {zone}");
        self.until(&what, || self.asked_for(zone, SOA) > before)
            .await;
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        within(what, async {
            loop {
                let changed = self.inner.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is_so() {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Both protocols on one port, which the system picks for the first.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Another process may have that port by TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(inner: Arc<Inner>, socket: Arc<UdpSocket>) {
    let mut packet = [0; 1024];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        let question = packet[..length].to_vec();
        let (inner, socket) = (inner.clone(), socket.clone());
        tokio::spawn(async move {
            for answer in inner.answers(&question, false).await {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(inner: Arc<Inner>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let inner = inner.clone();
        tokio::spawn(async move {
            // Who asks may have gone.
            let _ = converse(&inner, stream).await;
        });
    }
}

async fn converse(inner: &Inner, mut stream: TcpStream) -> io::Result<()> {
    let length = stream.read_u16().await?;
    let mut question = vec![0; usize::from(length)];
    stream.read_exact(&mut question).await?;
    for answer in inner.answers(&question, true).await {
        stream.write_u16(answer.len() as u16).await?;
        stream.write_all(&answer).await?;
    }
    Ok(())
}

impl Inner {
    /// What is sent to who has asked this.
    async fn answers(&self, question: &[u8], by_tcp: bool) -> Vec<Vec<u8>> {
        let (name, kind) = read(question);
        let go = self.go.notified();
        tokio::pin!(go);
        go.as_mut().enable();
        let manner = {
            let mut state = self.state.lock().unwrap();
            *state.asked.entry((name.clone(), kind)).or_default() += 1;
            state.by_tcp += usize::from(by_tcp);
            state.manner
        };
        self.changed.notify_waiters();
        if manner == Manner::Waits {
            go.await;
        }
        let right = self.right_answer(question, &name, kind);
        match manner {
            Manner::Answers | Manner::Waits => vec![right],
            Manner::IsSilent => Vec::new(),
            Manner::Fails => vec![head(question, 0x8182, 0)],
            Manner::Truncates if by_tcp => vec![right],
            Manner::Truncates => vec![head(question, 0x8380, 0)],
            Manner::TalksNonsense => {
                let mut forged = right.clone();
                forged[0] ^= 1;
                let cut = right[..right.len() - 1].to_vec();
                vec![
                    b"nonsense".to_vec(),
                    question.to_vec(),
                    forged,
                    cut,
                    vec![0xff; 512],
                    right,
                ]
            }
        }
    }

    fn right_answer(&self, question: &[u8], name: &str, kind: u16) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let mut body = Vec::new();
        let mut count = 0;
        let mut owner = name.to_owned();
        // As a resolver does, it follows aliases.
        while let Some(records) = state.records.get(&owner) {
            let mut next = None;
            for record in records {
                let (its, seconds, data) = match record {
                    Record::Address(IpAddr::V4(ip), s) => (A, *s, ip.octets().to_vec()),
                    Record::Address(IpAddr::V6(ip), s) => (AAAA, *s, ip.octets().to_vec()),
                    Record::Alias(to, s) => {
                        next = Some(to.clone());
                        (CNAME, *s, wire(to))
                    }
                    Record::Serial(serial) => {
                        let mut data = [wire("ns"), wire("root")].concat();
                        for n in [*serial, 1, 1, 1, 1] {
                            data.extend(n.to_be_bytes());
                        }
                        (SOA, 60, data)
                    }
                };
                if its != kind && its != CNAME {
                    continue;
                }
                count += 1;
                body.extend(wire(&owner));
                body.extend(its.to_be_bytes());
                body.extend(1u16.to_be_bytes());
                body.extend(seconds.to_be_bytes());
                body.extend((data.len() as u16).to_be_bytes());
                body.extend(data);
            }
            match next {
                Some(next) => owner = next,
                None => break,
            }
        }
        let is_there = state.records.contains_key(name);
        let mut answer = head(question, if is_there { 0x8180 } else { 0x8183 }, count);
        answer.extend(body);
        answer
    }
}

/// The name and the type that are asked for.
fn read(question: &[u8]) -> (String, u16) {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    (labels.join("."), kind)
}

/// The question, as it stands at the beginning of its answer.
fn head(question: &[u8], flags: u16, count: u16) -> Vec<u8> {
    let mut head = question.to_vec();
    head[2..4].copy_from_slice(&flags.to_be_bytes());
    head[6..8].copy_from_slice(&count.to_be_bytes());
    head
}

fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(label.len() as u8);
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}
