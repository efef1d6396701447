use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct Process {
    settings: SettingsTable,
    statements: StatementTable,
}

impl Process {
    fn new() -> Process {
        Process {
            settings: SettingsTable::default(),
            statements: StatementTable::new(1000, foldhash::quality::RandomState::default()),
        }
    }

    fn unpack(&self, bytes: &[u8]) -> Result<ClientSession, Malformed> {
        let mut from = Unpacker::new(bytes);
        let client = ClientSession::unpack(&mut from, true, &self.settings, &self.statements)?;
        from.end()?;
        Ok(client)
    }
}

fn packed(client: &ClientSession) -> Vec<u8> {
    let mut to = Packer::new();
    client.pack(&mut to);
    to.finish()
}

/// What can be seen of a statement, whatever it is called in its process.
fn seen(statement: &Statement) -> (bool, &[u8], Option<&[u8]>) {
    let reading = statement.reading().map(|r| &**r);
    (statement.name().is_empty(), statement.definition(), reading)
}

fn assert_same(a: &ClientSession, b: &ClientSession) {
    assert!(Settings::same(&a.settings, &b.settings));
    assert!(Settings::same(&a.initial, &b.initial));
    assert_eq!(a.passage, b.passage);
    assert_eq!(
        (a.declined, a.reads_sequences, a.last_number()),
        (b.declined, b.reads_sequences, b.last_number())
    );
    assert_eq!(
        a.unnamed.as_deref().map(seen),
        b.unnamed.as_deref().map(seen)
    );
    assert_eq!(a.statements(), b.statements());
    for (name, named) in a.named.iter().flat_map(|n| n.iter()) {
        let other = b.named(name).unwrap();
        assert_eq!(named.number, other.number);
        assert_eq!(seen(&named.statement), seen(&other.statement));
    }
    assert_eq!(a.sql_names().count(), b.sql_names().count());
    for (name, statement) in a.sql_named_statements() {
        assert_eq!(b.sql_named(name).unwrap().text(), statement.text());
    }
    assert!(a.channels().eq(b.channels()));
}

fn bytes(up_to: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..up_to)
}

prop_compose! {
    fn sessions()(
        settings in vec(("[a-z]{1,3}", "\\PC{0,9}"), 0..4),
        initial in vec(("[a-z]{1,3}", "\\PC{0,9}"), 0..4),
        passage in 0..3u8,
        left in 1..100_000usize,
        declined in any::<bool>(),
        reads_sequences in any::<bool>(),
        unnamed in prop::option::of((bytes(30), 0..3u8)),
        named in vec((bytes(9), bytes(60), 1..3u8, bytes(5)), 0..6),
        sql in vec((bytes(9), bytes(60)), 0..4),
        channels in vec(bytes(9), 0..4),
    ) -> (Process, ClientSession) {
        let process = Process::new();
        let intern = |entries: &[(String, String)]| {
            process.settings.intern(entries.iter().map(|(n, v)| (&**n, &**v)))
        };
        let mut client = ClientSession::new(intern(&initial), true);
        client.settings = intern(&settings);
        client.passage = match passage {
            0 => Passage::Boundary,
            1 => Passage::Forward(left),
            _ => Passage::Drop(left),
        };
        client.declined = declined;
        client.reads_sequences = reads_sequences;
        let statement = |definition: &[u8], kind, reading: &[u8]| match kind {
            0 => process.statements.unnamed(definition),
            1 => process.statements.intern(definition, Some(&Arc::from(reading))),
            _ => process.statements.intern(definition, None),
        };
        client.unnamed = unnamed.map(|(d, kind)| statement(&d, kind, b""));
        for (name, definition, kind, reading) in named {
            client.remember(&name, statement(&definition, kind, &reading));
        }
        for (name, text) in sql {
            client.remember_sql(name.into(), SqlStatement::new(text.into()));
        }
        for channel in channels {
            let held = client.channels.get_or_insert_default();
            held.held.insert(channel.into());
        }
        (process, client)
    }
}

proptest! {
    #[test]
    fn a_session_is_the_same_in_another_process((_, client) in sessions()) {
        let other = Process::new();
        // So that numbers differ.
        other.statements.intern(b"something else", None);
        let bytes = packed(&client);
        assert_same(&client, &other.unpack(&bytes).unwrap());
    }

    #[test]
    fn a_session_that_is_cut_off_is_an_error((_, client) in sessions(), at in any::<prop::sample::Index>()) {
        let bytes = packed(&client);
        let cut = at.index(bytes.len());
        prop_assert!(Process::new().unpack(&bytes[..cut]).is_err());
    }

    #[test]
    fn bytes_that_are_no_session_are_an_error_or_another_session(
        (_, client) in sessions(),
        at in any::<prop::sample::Index>(),
        other in any::<u8>(),
        noise in vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = packed(&client);
        let at = at.index(bytes.len());
        bytes[at] = other;
        for bytes in [bytes, noise] {
            if let Ok(client) = Process::new().unpack(&bytes) {
                let again = Process::new().unpack(&packed(&client)).unwrap();
                assert_same(&client, &again);
            }
        }
    }
}

#[test]
fn a_number_of_something_that_cannot_be_there_takes_no_memory() {
    let mut to = Packer::new();
    to.u64(u64::MAX);
    assert!(Process::new().unpack(&to.finish()).is_err());
}

#[test]
fn a_statement_that_two_clients_share_is_one_in_the_other_process_too() {
    let here = Process::new();
    let mut clients = [(); 2].map(|()| ClientSession::new(here.settings.intern([]), true));
    for client in &mut clients {
        let shared = here.statements.intern(b"q\0\0\0", Some(&Arc::default()));
        client.remember(b"s", shared);
    }
    let there = Process::new();
    let [a, b] = clients.map(|client| there.unpack(&packed(&client)).unwrap());
    let statement = |c: &ClientSession| c.named(b"s").unwrap().statement.clone();
    assert!(Arc::ptr_eq(&statement(&a), &statement(&b)));
}

#[test]
fn a_server_is_the_same_for_its_client_in_another_process() {
    use crate::names::Own;
    use crate::{Holds, ServerSession};
    let here = Process::new();
    let pair = |name: &str, value: &str| (Box::from(name), Box::from(value));
    let mut server = ServerSession::new(
        vec![pair("TimeZone", "UTC")],
        here.settings.intern([("work_mem", "1MB")]),
    );
    server.parameters.push(pair("server_version", "15.1"));
    server.holds.set(Holds::TEMPORARY, true);
    server.holds.set(Holds::LOCKS, true);
    server.taken_by(7);
    server.taken_by(8);
    server
        .own
        .insert((*b"sql").into(), Own::Sql((*b"prepare").into()));
    server.own.insert((*b"protocol").into(), Own::Protocol(3));
    server
        .own
        .insert((*b"closing").into(), Own::Closing(Some((*b"x").into())));
    assert!(server.is_portable());
    let mut to = Packer::new();
    server.pack(&mut to);
    let bytes = to.finish();
    let there = Process::new();
    let mut from = Unpacker::new(&bytes);
    let mut other = ServerSession::unpack(&mut from, 9, &there.settings).unwrap();
    from.end().unwrap();
    assert!(Settings::same(&server.settings, &other.settings));
    assert_eq!(server.parameters, other.parameters);
    assert_eq!(server.reset_values, other.reset_values);
    assert_eq!(server.holds, other.holds);
    assert!(other.is_portable() && other.has_history && !other.sequences_are_its);
    assert_eq!(other.own[&b"sql"[..]], server.own[&b"sql"[..]]);
    assert_eq!(other.own[&b"closing"[..]], server.own[&b"closing"[..]]);
    assert_eq!(other.own[&b"protocol"[..]], Own::Closing(None));
    // It is the same client.
    other.taken_by(9);
    assert!(other.sequences_are_its);
    for cut in 0..bytes.len() {
        let mut from = Unpacker::new(&bytes[..cut]);
        assert!(ServerSession::unpack(&mut from, 9, &there.settings).is_err());
    }
}
