//! The queue of a server's debts, with an index of what in it may still be taken back.
//!
//! A client may have thousands of answers due. So what is asked for every message it sends is answered without a look
//! at all of them.

use std::collections::{HashMap, VecDeque};

use crate::owed::{Closing, Owed, Undo};

/// What a server owes, in order. Debts are numbered from the first one ever.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    queue: VecDeque<Owed>,
    /// The number of the one in front.
    first: u64,
    /// How many of them the server settles, not the pooler.
    from_server: usize,
    syncs: usize,
    /// The last that ended a segment.
    last_end: Option<u64>,
    /// The last that changed the client's unnamed statement.
    unnamed: Option<u64>,
    /// The last that changed each of the client's names. Those that are settled may still be in it.
    names: HashMap<Box<[u8]>, u64>,
    /// The last Close of each statement of the pooler's, likewise.
    closes: HashMap<u64, u64, foldhash::fast::FixedState>,
    /// Debts and entries of the index that were looked at.
    #[cfg(test)]
    pub(crate) looks: u64,
}

impl Debts {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The number of the one in front, or of the next one if there is none.
    #[inline]
    pub(crate) fn first_number(&self) -> u64 {
        self.first
    }

    /// The number of the last one that was noted.
    pub(crate) fn last_number(&self) -> u64 {
        (self.first + self.queue.len() as u64).saturating_sub(1)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<&Owed> {
        self.queue.front()
    }

    /// To settle a part of it. It must go on being the same kind of debt, and take back the same.
    #[inline]
    pub(crate) fn front_mut(&mut self) -> Option<&mut Owed> {
        self.queue.front_mut()
    }

    pub(crate) fn back(&self) -> Option<&Owed> {
        self.queue.back()
    }

    /// From the front. For errors, which settle what is looked at; nothing that a client can have many of.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Owed> {
        self.queue.iter()
    }

    /// The first one not settled that changed the client's unnamed statement: what it takes back.
    pub(crate) fn first_undo_of_unnamed(&mut self) -> Option<&mut Undo> {
        self.unnamed.filter(|&n| n >= self.first)?;
        let mut undos = self.queue.iter_mut().filter_map(Owed::undo_mut);
        undos.find(|undo| matches!(undo, Undo::Unnamed(_)))
    }

    #[inline]
    pub(crate) fn push_back(&mut self, owed: Owed) {
        let number = self.first + self.queue.len() as u64;
        match &owed {
            Owed::Sync { .. } => {
                self.syncs += 1;
                self.last_end = Some(number);
            }
            Owed::Hidden(_) => self.last_end = Some(number),
            Owed::Close(Closing::Ours(entry)) => {
                self.closes.insert(entry.statement.id(), number);
                self.prune();
            }
            _ => {}
        }
        match owed.undo() {
            None | Some(Undo::Nothing) => {}
            Some(Undo::Unnamed(_)) => self.unnamed = Some(number),
            Some(Undo::Forget(name) | Undo::Restore(name, _)) => {
                self.names.insert(name.clone(), number);
                self.prune();
            }
        }
        self.from_server += usize::from(!matches!(owed, Owed::Local(_)));
        self.queue.push_back(owed);
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Owed> {
        let owed = self.queue.pop_front()?;
        self.first += 1;
        self.from_server -= usize::from(!matches!(owed, Owed::Local(_)));
        self.syncs -= usize::from(matches!(owed, Owed::Sync { .. }));
        if self.queue.is_empty() && !(self.names.is_empty() && self.closes.is_empty()) {
            self.names.clear();
            self.closes.clear();
        }
        Some(owed)
    }

    /// Takes out the first `n`.
    pub(crate) fn take(&mut self, n: usize) -> Vec<Owed> {
        (0..n).filter_map(|_| self.pop_front()).collect()
    }

    /// Takes out the second if it is a Sync that no CopyDone or CopyFail was sent before. Says whether it was.
    pub(crate) fn swallow_sync(&mut self) -> bool {
        let Some(Owed::Sync {
            after_copy_end: false,
        }) = self.queue.get(1)
        else {
            return false;
        };
        self.queue.remove(1);
        self.syncs -= 1;
        self.from_server -= 1;
        // The front takes the number of the one that is gone.
        if self.unnamed == Some(self.first) {
            self.unnamed = Some(self.first + 1);
        }
        self.first += 1;
        true
    }

    /// True if the client's next bytes hang on the server's answer.
    #[inline]
    pub(crate) fn owes_from_server(&self) -> bool {
        self.from_server > 0
    }

    pub(crate) fn has_sync(&self) -> bool {
        self.syncs > 0
    }

    /// True if what the client's `name` stands for hangs on a segment before this one, which may still fail.
    #[inline]
    pub(crate) fn is_provisional(&mut self, name: &[u8]) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        self.note(1);
        let last = match name {
            b"" => self.unnamed,
            name => self.names.get(name).copied(),
        };
        self.is_before_this_segment(last)
    }

    /// True if a Close of the statement of this number, sent in a segment before this one, is unanswered and may be
    /// skipped.
    pub(crate) fn may_be_there_still(&mut self, statement: u64) -> bool {
        self.note(1);
        let last = self.closes.get(&statement).copied();
        self.is_before_this_segment(last)
    }

    /// True if a Parse or Close of the client's `name` is unanswered.
    pub(crate) fn change(&self, name: &[u8]) -> bool {
        self.names.get(name).is_some_and(|&n| n >= self.first)
    }

    /// True if a Parse or Close of any of the client's names is unanswered.
    pub(crate) fn change_any(&self) -> bool {
        self.names.values().any(|&n| n >= self.first)
    }

    fn is_before_this_segment(&self, number: Option<u64>) -> bool {
        number.is_some_and(|n| n >= self.first && self.last_end.is_some_and(|end| end > n))
    }

    /// Drops what is settled from the index, when it is most of it.
    fn prune(&mut self) {
        let most = 64 + 2 * self.queue.len();
        let first = self.first;
        if self.names.len() > most {
            self.note(self.names.len());
            self.names.retain(|_, n| *n >= first);
        }
        if self.closes.len() > most {
            self.note(self.closes.len());
            self.closes.retain(|_, n| *n >= first);
        }
    }

    #[cfg(test)]
    fn note(&mut self, looks: usize) {
        self.looks += looks as u64;
    }

    #[cfg(not(test))]
    #[inline]
    fn note(&mut self, _looks: usize) {}
}

#[cfg(test)]
mod tests {
    use pgweir_wire::{build, frontend::Target};

    use crate::{
        ClientSession, Limits, Need, Out, ServerSession, SettingsTable, StatementTable, forward,
    };

    /// Looks at debts, for each of so many rounds of these messages, none of which is answered.
    fn looks_per_round(rounds: u64, messages: impl Fn(u64, &mut Vec<u8>)) -> u64 {
        let settings = SettingsTable::default();
        let table = StatementTable::new(1000, foldhash::quality::RandomState::default());
        let mut client = ClientSession::new(settings.intern([]), true);
        let mut server = ServerSession::new(Vec::new(), settings.intern([]));
        let limits = Limits {
            prepared: 3,
            ..Limits::default()
        };
        let mut input = Vec::new();
        for round in 0..rounds {
            messages(round, &mut input);
        }
        let (mut spill, mut answer) = (Vec::new(), Vec::new());
        let mut out = Out::new(&input, &mut spill);
        let step = forward(
            &mut client,
            &mut server,
            &input,
            &limits,
            &table,
            &mut out,
            &mut answer,
        );
        assert_eq!(step.expect("no fault").need, Need::Nothing);
        assert!(server.owed.len() as u64 >= rounds);
        server.owed.looks / rounds
    }

    fn parse(name: &str, text: &str, out: &mut Vec<u8>) {
        let definition = [text.as_bytes(), &[0, 0, 0]].concat();
        build::parse(out, name.as_bytes(), &definition);
    }

    #[test]
    fn what_a_message_costs_does_not_grow_with_what_is_due() {
        let named = looks_per_round(2000, |round, out| {
            parse(&format!("s{round}"), &format!("q{}", round % 7), out);
            build::close(out, Target::Statement, format!("s{round}").as_bytes());
            build::close(out, Target::Statement, b"another");
            out.extend_from_slice(&build::SYNC);
        });
        assert!(named <= 10, "{named}");
        let unnamed = looks_per_round(2000, |round, out| {
            parse("", &format!("q{round}"), out);
            build::describe(out, Target::Statement, b"");
            build::describe(out, Target::Statement, b"another");
        });
        assert!(unnamed <= 10, "{unnamed}");
    }

    #[test]
    fn the_index_is_never_much_larger_than_what_is_due() {
        use crate::owed::{Local, Owed, Undo};
        let mut debts = super::Debts::default();
        for n in 0..10_000 {
            let name = format!("s{n}").into_bytes().into();
            debts.push_back(Owed::Local(Local::Parse(Undo::Forget(name))));
            if n > 2 {
                debts.pop_front();
            }
            assert!(debts.names.len() <= 80, "{}", debts.names.len());
        }
        assert!(debts.change(b"s9999") && !debts.change(b"s9000"));
    }
}
