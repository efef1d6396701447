//! `/health`: whether a load balancer should send new clients here.
//!
//! It says nothing of PostgreSQL: a pooler whose server is away still tells its clients so in words, and taking it out of
//! the load balancer's list would leave them with a closed port. Whether one database can be served, primary included, is
//! for who asks with `?database=NAME`.

use std::sync::atomic::Ordering;

use crate::shared::Shared;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// Clients are welcome.
    Serving,
    /// They would wait, or be refused, for this reason.
    Not(String),
    /// There is no such thing.
    Unknown(String),
}

/// Of the pooler, or of the database that `query` names.
pub(super) fn of(shared: &Shared, query: &str) -> Health {
    let gate = &shared.gate;
    if gate.shutdown().is_some() {
        return Health::Not("shutting down".to_owned());
    }
    if gate.suspended.load(Ordering::Acquire) {
        return Health::Not("suspended".to_owned());
    }
    if gate.paused.load(Ordering::Acquire) {
        return Health::Not("paused".to_owned());
    }
    let mut named = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("database="));
    match named.next() {
        Some(name) => of_database(shared, &decoded(name)),
        None => Health::Serving,
    }
}

fn of_database(shared: &Shared, name: &str) -> Health {
    if shared.config().resolve(name).is_none() {
        return Health::Unknown(format!("no such database: {name}"));
    }
    // One that nobody has asked for yet waits for nothing.
    let Some(database) = shared.directory().databases.get(name).cloned() else {
        return Health::Serving;
    };
    let (paused, disabled) = {
        let pools = shared.pools();
        (pools.is_paused(database.id), pools.is_disabled(database.id))
    };
    if disabled {
        return Health::Not(format!("database {name} is disabled"));
    }
    if paused {
        return Health::Not(format!("database {name} is paused"));
    }
    match database.cluster() {
        Some(cluster) if !cluster.has_primary() => {
            Health::Not(format!("database {name} has no primary"))
        }
        _ => Health::Serving,
    }
}

/// `%20` as a space, and so on; what is no such escape stands for itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (first, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                bytes.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use crate::gate::Shutdown;
    use crate::testing::{House, in_a_reactor};

    fn not(why: &str) -> Health {
        Health::Not(why.to_owned())
    }

    #[test]
    fn a_database_that_would_keep_clients_waiting_is_not_healthy_by_itself() {
        in_a_reactor(async {
            let house = House::new("");
            house.pool("my shop", "app");
            let control = Control(house.shared.clone());
            let ask = |query: &str| of(&house.shared, query);
            assert_eq!(ask("database=my%20shop"), Health::Serving);
            assert_eq!(ask("database=never-seen"), Health::Serving);
            control.pause(Some("my shop")).unwrap();
            let paused = not("database my shop is paused");
            assert_eq!(ask("a=b&database=my+shop"), paused);
            assert_eq!(ask(""), Health::Serving);
            control.resume(Some("my shop")).unwrap();
            control.disable("my shop").unwrap();
            assert_eq!(
                ask("database=my%20shop"),
                not("database my shop is disabled")
            );
            assert!(matches!(ask("database=*"), Health::Unknown(_)));
        });
    }

    #[test]
    fn a_pooler_that_stands_still_or_ends_is_not_healthy() {
        in_a_reactor(async {
            let house = House::new("");
            let control = Control(house.shared.clone());
            control.pause(None).unwrap();
            assert_eq!(of(&house.shared, ""), not("paused"));
            control.resume(None).unwrap();
            assert_eq!(of(&house.shared, ""), Health::Serving);
            control.suspend().unwrap();
            assert_eq!(of(&house.shared, ""), not("suspended"));
            control.resume(None).unwrap();
            control.shutdown(Shutdown::WaitForClients);
            assert_eq!(of(&house.shared, ""), not("shutting down"));
        });
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for (text, is) in [
            ("a%2Fb", "a/b"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
        ] {
            assert_eq!(decoded(text), is);
        }
    }
}
