//! The lines of `[databases]`, `[users]` and `[peers]`.

use super::globals::verbatim;
use super::quantity::plain;
use super::{Origin, Place, Reader, pairs};
use crate::foreign;
use crate::kinds::{HostName, Kind};
use crate::nearest;
use crate::problem::{ProblemKind, Warning};
use crate::settings::{Database, Peer, Section, User};
use crate::source::{Entry, Value, peer_id};
use crate::values::HostSpec;
use crate::words;

/// Where PgBouncer calls a setting otherwise too.
const ALIASES: [(&str, &str); 1] = [("reserve_pool", "reserve_pool_size")];

impl Reader<'_> {
    pub(super) fn database(
        &mut self,
        name: &str,
        value: &str,
        origin: Origin,
        socket_directory: &str,
    ) {
        let place = Place::Database(name.to_owned());
        let pairs = match pairs::read(value) {
            Ok(pairs) => pairs,
            Err(message) => return self.broken("database", name, &message, origin),
        };
        self.anew(&place, origin.clone());
        let of = |wanted: &str| {
            let mut pairs = pairs.iter().rev();
            let found = pairs.find(|(key, _)| *key == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let host = of("host").unwrap_or(socket_directory);
        let listed = host.contains(',');
        if listed {
            let list = hosts(host, of("port").unwrap_or("5432"));
            self.entry(&place, "hosts", verbatim(list), &origin);
            if of("load_balance_hosts").is_none() {
                // Without it, it would matter which of them is the primary: PgBouncer never asks.
                let value = verbatim("round-robin");
                self.entry(&place, "load_balance_hosts", value, &origin);
            }
        } else {
            self.entry(&place, "host", verbatim(host), &origin);
        }
        for (key, value) in &pairs {
            if *key != "host" && !(listed && *key == "port") {
                self.pair::<Database>(&place, key, value, &origin);
            }
        }
    }

    pub(super) fn user(&mut self, name: &str, value: &str, origin: Origin) {
        let place = Place::User(name.to_owned());
        match pairs::read(value) {
            Ok(pairs) => {
                self.anew(&place, origin.clone());
                for (key, value) in &pairs {
                    self.pair::<User>(&place, key, value, &origin);
                }
            }
            Err(message) => self.broken("user", name, &message, origin),
        }
    }

    pub(super) fn peer(&mut self, id: &str, value: &str, origin: Origin, socket_directory: &str) {
        let Some(place) = peer_id(id).map(Place::Peer) else {
            let name = id.to_owned();
            return self.problem(origin, ProblemKind::PeerId { name });
        };
        match pairs::read(value) {
            Ok(pairs) => {
                self.anew(&place, origin.clone());
                if pairs.iter().all(|(key, _)| *key != "host") {
                    self.entry(&place, "host", verbatim(socket_directory), &origin);
                }
                for (key, value) in &pairs {
                    self.pair::<Peer>(&place, key, value, &origin);
                }
            }
            Err(message) => self.broken("peer", id, &message, origin),
        }
    }

    fn broken(&mut self, what: &str, name: &str, message: &str, origin: Origin) {
        let message = format!("{what} \"{}\": {message}", name.escape_debug());
        self.problem(origin, ProblemKind::IniSyntax { message });
    }

    fn pair<S: Section>(&mut self, place: &Place, key: &str, value: &str, origin: &Origin) {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == key);
        let key = alias.map_or(key, |(_, key)| *key);
        if let Some(setting) = S::setting(key) {
            // PgBouncer's way to say that there is no value.
            let unset = value == "-1" && !setting.kind.is_secret();
            if !unset {
                let value = verbatim(plain(setting.kind, value));
                self.entry(place, setting.name, value, origin);
            }
        } else if let Some((key, reason)) = foreign::known(key) {
            self.document.warnings.push(Warning {
                origin: origin.clone(),
                key,
                message: format!("in {place} has no effect: {reason}"),
            });
        } else {
            let section = match place {
                Place::User(_) => "users",
                Place::Peer(_) => "peers",
                Place::Database(_) | Place::Global => "databases",
            };
            let names = S::SETTINGS.iter().map(|setting| setting.name);
            let hint = nearest::nearest(key, names)
                .map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"));
            let kind = ProblemKind::UnknownParameter {
                key: key.to_owned(),
                section,
                hint,
            };
            self.problem(origin.clone(), kind);
        }
    }

    fn entry(&mut self, place: &Place, key: &str, value: Value, origin: &Origin) {
        self.document.entries.push(Entry {
            place: place.clone(),
            key: key.to_owned(),
            value,
            origin: origin.clone(),
        });
    }
}

/// `a,b,a` and a port as `host=a port=5432 weight=2, host=b port=5432 weight=1`: whoever comes twice has two turns.
fn hosts(hosts: &str, port: &str) -> String {
    let mut turns: Vec<(&str, usize)> = Vec::new();
    for host in hosts.split(',').map(str::trim) {
        match turns.iter_mut().find(|(known, _)| is_same(known, host)) {
            Some((_, turns)) => *turns += 1,
            None => turns.push((host, 1)),
        }
    }
    let port = words::quote(port);
    let hosts: Vec<_> = (turns.into_iter())
        .map(|(host, weight)| format!("host={} port={port} weight={weight}", words::quote(host)))
        .collect();
    hosts.join(", ")
}

fn is_same(a: &str, b: &str) -> bool {
    let spec = |host| HostName.parse(host).map(|host| HostSpec::new(host, 1));
    match (spec(a), spec(b)) {
        (Ok(a), Ok(b)) => a.is_at(&b),
        // What is no host is refused where it is read.
        _ => a == b,
    }
}
