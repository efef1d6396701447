//! From the client to its server.

mod routing;
mod telling;

use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, Named, Parse, Target, tag};
use pgweir_wire::{Header, MAX_MESSAGE_BYTES, WireError, build};

use crate::channels::Leave;
use crate::client::{
    ClientSession, Fault, Limits, MAX_NAME_BYTES, Need, Passage, Step, WHOLE_BYTES, header,
};
use crate::out::Out;
use crate::owed::{Closing, Duplicate, Local, Owed, Parsing, Undo, Used};
use crate::prepared::{Entry, Presence};
use crate::refusal::{no_such_statement, too_many_statements};
use crate::server::{RETAIN_BYTES, Retained, ServerSession};
use crate::statements::{NAME_PREFIX, Statement, StatementTable};
use crate::told::Told;
use telling::MAY_SPEAK_OF_NAMES;

/// Answers that may be due at once; a client that pipelines more waits for the first of them.
const MAX_OWED: usize = 16 << 10;
/// Bytes that one call may put between the client's, about: each Bind can call for a long Parse.
const MAX_INSERTED_BYTES: usize = 1 << 20;

/// Turns what the client sent into what its server is to get.
///
/// `out` is an output over `input`; it may hold what is to be sent ahead ([`ServerSession::align`]). Answers that no
/// server message will bring out are appended to `answer`. Errors end the client; what `out` holds then is not to be
/// sent: the server is to be closed unless it is free and the client [at a boundary](ClientSession::at_boundary).
pub fn forward(
    client: &mut ClientSession,
    server: &mut ServerSession,
    input: &[u8],
    limits: &Limits,
    table: &StatementTable,
    out: &mut Out<'_>,
    answer: &mut Vec<u8>,
) -> Result<Step, Fault> {
    if !server.open_segment && server.owed.iter().all(|o| matches!(o, Owed::Hidden(_))) {
        // The rest of a message cannot be sent again.
        server.retained = match client.at_boundary() {
            true => Retained::Nothing,
            false => Retained::No,
        };
        server.retained_bytes.clear();
    }
    let start = out.len();
    let mut f = Forward {
        client,
        server,
        limits,
        table,
        out,
        answer,
        pos: 0,
        uses_prepared: false,
        reads_otherwise: false,
        flush: false,
    };
    let run = f.run(input);
    let (consumed, uses_prepared, flush) = (f.pos, f.uses_prepared, f.flush);
    let need = match run {
        Ok(need) => need,
        Err(fault) => {
            if !out.is_empty() {
                // It is not sent, so the server may stand within a message for ever.
                client.passage = Passage::Drop(1);
            }
            return Err(fault);
        }
    };

    let segment = &out.bytes()[start..];
    let sent = !segment.is_empty();
    server.retained = match server.retained {
        Retained::Nothing if !sent => Retained::Nothing,
        Retained::Nothing if !uses_prepared => Retained::No,
        Retained::Nothing | Retained::Whole
            if server.retained_bytes.len() + segment.len() <= RETAIN_BYTES =>
        {
            server.retained_bytes.extend_from_slice(segment);
            Retained::Whole
        }
        _ => Retained::No,
    };
    if (flush || !sent) && !server.is_sending() {
        server.answer_locally(flush, answer);
    }
    Ok(Step { consumed, need })
}

struct Forward<'f, 'o> {
    client: &'f mut ClientSession,
    server: &'f mut ServerSession,
    limits: &'f Limits,
    table: &'f StatementTable,
    out: &'f mut Out<'o>,
    answer: &'f mut Vec<u8>,
    pos: usize,
    /// A statement of the pooler's that was on the server already is used.
    uses_prepared: bool,
    /// The message that is dealt with is read by other settings than the client is known to have.
    reads_otherwise: bool,
    flush: bool,
}

impl Forward<'_, '_> {
    fn run(&mut self, input: &[u8]) -> Result<Need, Fault> {
        loop {
            match self.client.passage {
                Passage::Boundary => {}
                Passage::Forward(left) => {
                    let n = left.min(input.len() - self.pos);
                    self.pass(n);
                    self.client.passage = match left - n {
                        0 => Passage::Boundary,
                        left => Passage::Forward(left),
                    };
                }
                Passage::Drop(left) => {
                    let n = left.min(input.len() - self.pos);
                    self.pos += n;
                    self.client.passage = match left - n {
                        0 => Passage::Boundary,
                        left => Passage::Drop(left),
                    };
                }
            }
            let rest = &input[self.pos..];
            let Some(h) = header(rest, self.limits)? else {
                return Ok(match rest.len() {
                    0 => Need::Nothing,
                    _ => Need::Bytes(HEADER_BYTES),
                });
            };
            if self.server.skipping && !matches!(h.tag, tag::SYNC | tag::TERMINATE) {
                self.client.passage = Passage::Drop(h.total());
                continue;
            }
            if self.has_to_wait(h, input.len()) {
                return Ok(Need::Replies);
            }
            if self.limits.routes
                && let Some(need) = self.route(h, rest)
            {
                return Ok(need);
            }
            let rewrites = self.client.rewrites();
            // What executing a statement may do is noted before the statement is placed.
            self.reads_otherwise = self.server.reads_otherwise();
            match h.tag {
                tag::QUERY => {
                    // What is refused, held back or followed is so by its text, wherever the client's bytes were cut.
                    let want = h.total().min(WHOLE_BYTES);
                    if rest.len() < want {
                        return Ok(Need::Bytes(want));
                    }
                    let text = rest.get(HEADER_BYTES..h.total() - 1);
                    let told = match text {
                        Some(text) => Told::read(text, &self.limits.functions),
                        None => Told::unseen(),
                    };
                    if told.sees_history() && self.wants_fresh_server() {
                        return Ok(match self.server.is_untouched() {
                            true => Need::FreshServer,
                            false => Need::Replies,
                        });
                    }
                    if told.effects.intersects(MAY_SPEAK_OF_NAMES)
                        && self.awaits_names(told.effects, text.unwrap_or_default())
                    {
                        return Ok(Need::Replies);
                    }
                    let leave = self.may_listen(&told, text.unwrap_or_default());
                    match leave {
                        Leave::Awaited => return Ok(Need::Channels),
                        Leave::Behind => return Ok(Need::Replies),
                        Leave::Granted | Leave::Refused(_) => {}
                    }
                    let undo = Undo::Unnamed(self.client.unnamed.take());
                    self.server.unnamed = None;
                    if let Leave::Refused(error) = leave {
                        self.server.refuse_query(error, undo, self.out.insert());
                        self.client.passage = Passage::Drop(h.total());
                        continue;
                    }
                    let mut changes = None;
                    if !told.is_nothing() {
                        if let Some(error) = self.server.refusal(self.client, &told) {
                            self.server.refuse_query(error, undo, self.out.insert());
                            self.client.passage = Passage::Drop(h.total());
                            continue;
                        }
                        changes = self.will_do(told, text.unwrap_or_default(), true);
                    }
                    self.server.owe(Owed::Query { undo, changes });
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::FUNCTION_CALL => {
                    // A function named by its number only, and no command tag will come.
                    self.server.transaction.may(Effects::PROCEDURE);
                    self.server.owe(Owed::Query {
                        undo: Undo::Nothing,
                        changes: None,
                    });
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {
                    if h.tag != tag::COPY_DATA {
                        self.server.copy_in = false;
                        self.server.copy_end = true;
                    }
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::FLUSH => {
                    if rest.len() < h.total() {
                        return Ok(Need::Bytes(h.total()));
                    }
                    self.flush = true;
                    if self.server.owes_from_server() {
                        self.pass(h.total());
                    } else {
                        self.pos += h.total();
                    }
                }
                tag::SYNC => {
                    if rest.len() < h.total() {
                        return Ok(Need::Bytes(h.total()));
                    }
                    if self.server.copy_in {
                        self.pass(h.total());
                        continue;
                    }
                    let after_copy_end = self.server.copy_end;
                    self.server.owe(Owed::Sync { after_copy_end });
                    self.server.skipping = false;
                    self.server.open_segment = false;
                    self.server.segment += 1;
                    self.pass(h.total());
                }
                tag::TERMINATE => return Ok(Need::Close),
                tag::EXECUTE => {
                    let want = h.total().min(HEADER_BYTES + 1);
                    if rest.len() < want {
                        return Ok(Need::Bytes(want));
                    }
                    self.server.in_segment();
                    let changes = match rest.get(HEADER_BYTES) {
                        Some(0) => self.server.bound.clone(),
                        _ => None,
                    };
                    self.server.owe(Owed::Execute(changes));
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::PARSE if rewrites => {
                    let held = h.length <= self.limits.statement_bytes;
                    let want = match held {
                        true => h.total(),
                        false => h.total().min(WHOLE_BYTES),
                    };
                    if rest.len() < want {
                        return Ok(Need::Bytes(want));
                    }
                    if held {
                        let parse = Parse::read(&rest[HEADER_BYTES..h.total()])?;
                        if parse.name.len() > MAX_NAME_BYTES {
                            return Err(Fault::NameTooLong {
                                bytes: parse.name.len(),
                            });
                        }
                        if self.server.names_are_unsettled()
                            || !parse.name.is_empty() && self.server.owed.is_provisional(parse.name)
                        {
                            return Ok(Need::Replies);
                        }
                        self.bring_sql_name(parse.name);
                        if !self.bring_names_of(parse.definition) {
                            return Ok(Need::Replies);
                        }
                        if self.client.channels.is_some() {
                            let text = parse.definition.split(|&b| b == 0).next();
                            let text = text.unwrap_or_default();
                            self.lend_channels(pgweir_sql::classify(text, &self.limits.functions));
                        }
                        self.begin_parse();
                        self.parse(parse, h.total());
                    } else if rest.get(HEADER_BYTES) == Some(&0) {
                        self.begin_parse();
                        self.long_unnamed_parse();
                        self.client.passage = Passage::Forward(h.total());
                    } else {
                        return Err(Fault::StatementTooLong {
                            bytes: h.length,
                            limit: self.limits.statement_bytes,
                        });
                    }
                }
                tag::PARSE => {
                    // Nobody follows which text is executed.
                    let text = Parse::read(rest.get(HEADER_BYTES..h.total()).unwrap_or_default());
                    let effects = match text {
                        Ok(parse) => {
                            let text = parse.definition.split(|&b| b == 0).next();
                            pgweir_sql::classify(text.unwrap_or_default(), &self.limits.functions)
                        }
                        Err(_) => Effects::UNSEEN,
                    };
                    let effects = self.server.note_definitions(self.client, effects);
                    self.server.transaction.may(effects | Effects::PREPARES);
                    if effects.contains(Effects::RESETS) {
                        self.resets();
                    }
                    self.begin_parse();
                    self.server.counts.server_parses += 1;
                    self.server.unnamed = None;
                    self.server.owe(Owed::Parse {
                        of: Parsing::Theirs,
                        shown: true,
                        undo: Undo::Nothing,
                    });
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::BIND => {
                    if !rewrites {
                        self.begin_bind();
                        self.server.owe(Owed::Bind(None));
                        self.client.passage = Passage::Forward(h.total());
                        continue;
                    }
                    let want = h.total().min(WHOLE_BYTES);
                    if rest.len() < want {
                        return Ok(Need::Bytes(want));
                    }
                    let names = BindNames::read(&rest[HEADER_BYTES..h.total().min(rest.len())])?;
                    if self.server.owed.is_provisional(names.statement)
                        || self.server.names_are_unsettled()
                    {
                        return Ok(Need::Replies);
                    }
                    match self.begin_execution(names) {
                        Leave::Granted => {}
                        Leave::Awaited => return Ok(Need::Channels),
                        Leave::Behind => return Ok(Need::Replies),
                        Leave::Refused(error) => {
                            self.begin_bind();
                            self.server.refuse_message(error, self.out.insert());
                            self.client.passage = Passage::Drop(h.total());
                            continue;
                        }
                    }
                    self.begin_bind();
                    self.bind(names, h.total(), rest)?;
                }
                tag::DESCRIBE | tag::CLOSE => {
                    if rest.len() < h.total() {
                        return Ok(Need::Bytes(h.total()));
                    }
                    let named = Named::read(h.tag, &rest[HEADER_BYTES..h.total()])?;
                    // What Close of the unnamed statement does hangs on nothing, but what follows it may.
                    let provisional = named.target == Target::Statement
                        && (h.tag == tag::DESCRIBE || !named.name.is_empty())
                        && self.server.owed.is_provisional(named.name);
                    if rewrites && (provisional || self.server.names_are_unsettled()) {
                        return Ok(Need::Replies);
                    }
                    if h.tag == tag::DESCRIBE && named.target == Target::Statement && rewrites {
                        self.bring_sql_name(named.name);
                    }
                    if h.tag == tag::CLOSE
                        && named.target == Target::Statement
                        && self.client.sql_named(named.name).is_some()
                    {
                        self.bring_sql_name(named.name);
                        self.server.transaction.may(Effects::DEALLOCATES);
                        self.server.names_under_way = true;
                    }
                    self.server.in_segment();
                    match (h.tag, named.target) {
                        (tag::DESCRIBE, Target::Statement) if rewrites => {
                            self.describe(named.name, h.total());
                        }
                        (tag::CLOSE, Target::Statement)
                            if rewrites && !self.is_sqls(named.name) =>
                        {
                            let undo = self.client.forget(named.name);
                            self.server.owe(Owed::Local(Local::Close(undo)));
                            self.pos += h.total();
                        }
                        (tag::DESCRIBE, _) => {
                            self.server.owe(Owed::Describe(None));
                            self.pass(h.total());
                        }
                        _ => {
                            if h.tag == tag::CLOSE && named.target == Target::Statement {
                                self.server.closes_anothers(self.client, named.name);
                            }
                            self.server.owe(Owed::Close(Closing::Asked));
                            self.pass(h.total());
                        }
                    }
                }
                other => return Err(WireError::UnknownType(other).into()),
            }
        }
    }

    /// Whether the message must not be dealt with before the server has answered some of what it was sent.
    #[inline]
    fn has_to_wait(&mut self, h: Header, input_bytes: usize) -> bool {
        if matches!(self.server.owed.front(), Some(Owed::Mend(_))) {
            // The segment is sent again first.
            return true;
        }
        if self.server.reset_under_way && !self.server.open_segment && self.server.is_busy() {
            return true;
        }
        if self.server.may_lose_settings() {
            return true;
        }
        if self.server.owed.len() < MAX_OWED && self.out.len() <= input_bytes + MAX_INSERTED_BYTES
            || h.tag == tag::SYNC
        {
            return false;
        }
        if !self.server.is_sending() {
            self.server.answer_locally(true, self.answer);
            return false;
        }
        if self.server.open_segment {
            self.out.insert().extend_from_slice(&build::FLUSH);
        }
        true
    }

    fn begin_parse(&mut self) {
        self.server.in_segment();
        self.server.counts.client_parses += 1;
    }

    #[inline]
    fn begin_bind(&mut self) {
        self.server.in_segment();
        self.server.counts.binds += 1;
    }

    /// True if `name` may be a statement that SQL prepared.
    fn is_sqls(&self, name: &[u8]) -> bool {
        let prepares = Effects::PREPARES | Effects::PROCEDURE | Effects::UNSEEN;
        (self.server.transaction.effects.intersects(prepares)
            || self.client.sql_named(name).is_some())
            && !name.is_empty()
            && !name.starts_with(NAME_PREFIX)
            && self.client.named(name).is_none()
    }

    /// Passes the next `n` bytes of the input.
    #[inline]
    fn pass(&mut self, n: usize) {
        self.out.pass(self.pos..self.pos + n);
        self.pos += n;
    }

    fn parse(&mut self, parse: Parse<'_>, total: usize) {
        if !parse.name.is_empty() {
            let existing = self.client.named(parse.name);
            if let Some((existing, number)) = existing.map(|n| (n.statement.clone(), n.number)) {
                // The server is made to say what it would say on a direct connection: what is wrong with the text
                // comes before the name that is taken.
                let existing = self.ensure(existing, Some(number));
                build::parse(self.out.insert(), existing.name(), parse.definition);
                self.server.counts.server_parses += 1;
                self.server.owe(Owed::Parse {
                    of: Parsing::Duplicate(Box::new(Duplicate {
                        name: parse.name.into(),
                        is_same: existing.definition() == parse.definition,
                        statement: existing,
                    })),
                    shown: true,
                    undo: Undo::Nothing,
                });
            } else if self.client.sql_named(parse.name).is_some()
                && !self.server.lacks_sql_name(self.client, parse.name)
            {
                // The server says that there is one.
                build::parse(self.out.insert(), parse.name, parse.definition);
                self.server.counts.server_parses += 1;
                self.server.owe(Owed::Parse {
                    of: Parsing::Theirs,
                    shown: true,
                    undo: Undo::Nothing,
                });
            } else if let Some(limit) = self.limits.client_statements
                && self.client.statements() >= limit as usize
            {
                self.server
                    .refuse_message(too_many_statements(limit), self.out.insert());
            } else {
                let statement = self.table.intern(parse.definition, self.reading());
                self.client.remember(parse.name, statement.clone());
                self.place(&statement, Undo::Forget(parse.name.into()));
            }
            self.pos += total;
            return;
        }
        let undo = Undo::Unnamed(self.client.unnamed.take());
        let known = match self.limits.prepare_unnamed {
            true => self.table.intern_if_seen(parse.definition, self.reading()),
            false => None,
        };
        if let Some(statement) = known {
            self.client.unnamed = Some(statement.clone());
            self.place(&statement, undo);
            self.pos += total;
        } else {
            let statement = self.table.unnamed(parse.definition);
            self.client.unnamed = Some(statement.clone());
            self.unnamed_parse(statement, true, undo);
            self.pass(total);
        }
    }

    /// An unnamed statement too long to be kept: it lives on this server until its segment or transaction ends.
    fn long_unnamed_parse(&mut self) {
        self.server.transaction.may(Effects::UNSEEN);
        let undo = Undo::Unnamed(self.client.unnamed.take());
        let here = self.table.unnamed(b"");
        self.client.unnamed = Some(here.clone());
        self.unnamed_parse(here, true, undo);
    }

    /// Notes that `statement` is parsed as the server's unnamed one.
    fn unnamed_parse(&mut self, statement: Arc<Statement>, shown: bool, undo: Undo) {
        let parse = self.server.prepared.number();
        self.server.unnamed = Some(Entry {
            statement,
            presence: Presence::Pending {
                segment: self.server.segment,
            },
            parse,
        });
        self.server.counts.server_parses += 1;
        self.server.owe(Owed::Parse {
            of: Parsing::Unnamed(parse),
            shown,
            undo,
        });
    }

    /// Answers a Parse of `statement`: by the server, or by the pooler where the server has it.
    fn place(&mut self, statement: &Arc<Statement>, undo: Undo) {
        if self.server.status == TransactionStatus::Failed {
            // It is the server's to say whether this may be parsed now.
            self.displace(statement);
        }
        if self.is_there(statement) {
            self.server.placed = Some((statement.id(), self.server.segment));
            self.server.owe(Owed::Local(Local::Parse(undo)));
        } else {
            self.send_parse(statement, true, undo);
        }
    }

    /// Sees to it that the server has `statement` when it comes to what is sent next, and returns what it is there.
    ///
    /// Where it would be read by other settings now than by those who share it, the client gets another one: `number`
    /// stands for its name of it.
    fn ensure(&mut self, statement: Arc<Statement>, number: Option<u32>) -> Arc<Statement> {
        if self.is_there(&statement) {
            return statement;
        }
        let here = match statement.is_read_otherwise(self.reading()) {
            false => statement,
            true => {
                let own = self.table.intern(statement.definition(), self.reading());
                self.client.exchange(number, &statement, &own);
                if self.is_there(&own) {
                    return own;
                }
                own
            }
        };
        self.send_parse(&here, false, Undo::Nothing);
        here
    }

    /// The settings by which what is prepared next is read; `None` if nobody knows.
    #[inline]
    fn reading(&self) -> Option<&Arc<[u8]>> {
        match self.reads_otherwise {
            true => None,
            false => Some(self.client.settings.reading()),
        }
    }

    /// Whether the server has `statement` or will have it if nothing before in the same segment fails.
    fn is_there(&mut self, statement: &Arc<Statement>) -> bool {
        match self.server.prepared.touch(statement) {
            Some(Presence::Confirmed) => {
                self.uses_prepared = true;
                true
            }
            Some(Presence::Pending { segment }) if segment == self.server.segment => true,
            Some(Presence::Pending { .. } | Presence::Uncertain) => {
                // It may or may not come to be: closing what is not there is no error, so this is right in both cases.
                self.displace(statement);
                false
            }
            None => false,
        }
    }

    /// Takes `statement` away from the server.
    fn displace(&mut self, statement: &Arc<Statement>) {
        if let Some(entry) = self.server.prepared.take(statement) {
            self.close(entry);
        }
    }

    fn close(&mut self, entry: Entry) {
        build::close(self.out.insert(), Target::Statement, entry.statement.name());
        self.server.owe(Owed::Close(Closing::Ours(entry)));
    }

    fn send_parse(&mut self, statement: &Arc<Statement>, shown: bool, undo: Undo) {
        if self.server.owed.may_be_there_still(statement.id()) {
            self.close(Entry {
                statement: statement.clone(),
                presence: Presence::Uncertain,
                parse: 0,
            });
        }
        let parse = self.server.prepared.insert(statement, self.server.segment);
        // The limit is at least one, or nothing would be rewritten: the one just entered stays.
        while let Some(evicted) = self.server.prepared.evict_over(self.limits.prepared.max(1)) {
            self.close(evicted);
        }
        build::parse(self.out.insert(), statement.name(), statement.definition());
        self.server.counts.server_parses += 1;
        self.server.owe(Owed::Parse {
            of: Parsing::Ours(statement.clone(), parse),
            shown,
            undo,
        });
    }

    /// The name that a client's name for a statement has on the server; `None`: the same.
    fn resolve(&mut self, name: &[u8]) -> Resolved {
        let (statement, number) = match name {
            b"" => (self.client.unnamed.clone(), None),
            name => self.client.named(name).map_or((None, None), |n| {
                (Some(n.statement.clone()), Some(n.number))
            }),
        };
        match statement {
            Some(s) if s.name().is_empty() => {
                let there = self.server.unnamed.as_ref().is_some_and(|u| {
                    Arc::ptr_eq(&u.statement, &s) && u.is_there_in(self.server.segment)
                });
                if !there && s.definition().is_empty() {
                    self.clear_unnamed();
                } else if !there {
                    build::parse(self.out.insert(), b"", s.definition());
                    self.unnamed_parse(s, false, Undo::Nothing);
                }
                Resolved::Same
            }
            Some(s) => Resolved::Ours(Used {
                statement: self.ensure(s, number),
                number,
            }),
            None if name.is_empty() => {
                self.clear_unnamed();
                Resolved::Same
            }
            // Nobody reaches the pooler's own statements by guessing their names.
            None if name.starts_with(NAME_PREFIX) || self.server.is_anothers(self.client, name) => {
                Resolved::Nothing
            }
            None => Resolved::Same,
        }
    }

    /// Takes away whatever is the server's unnamed statement: it is not this client's.
    fn clear_unnamed(&mut self) {
        self.server.unnamed = None;
        build::close(self.out.insert(), Target::Statement, b"");
        self.server.owe(Owed::Close(Closing::Unnamed));
    }

    fn bind(&mut self, names: BindNames<'_>, total: usize, rest: &[u8]) -> Result<(), Fault> {
        let resolved = self.resolve(names.statement);
        let name = match &resolved {
            Resolved::Same => {
                self.server.owe(Owed::Bind(None));
                self.client.passage = Passage::Forward(total);
                return Ok(());
            }
            Resolved::Ours(s) => s.statement.name(),
            Resolved::Nothing => {
                self.server
                    .refuse_message(no_such_statement(names.statement), self.out.insert());
                self.client.passage = Passage::Drop(total);
                return Ok(());
            }
        };
        let names_end = HEADER_BYTES + names.encoded_bytes();
        let length = total - 1 - names.statement.len() + name.len();
        if length > MAX_MESSAGE_BYTES as usize {
            return Err(Fault::Wire(WireError::Length {
                tag: tag::BIND,
                length: length as u32,
            }));
        }
        let here = total.min(rest.len());
        let out = self.out.insert();
        out.push(tag::BIND);
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(names.portal);
        out.push(0);
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(&rest[names_end..here]);
        self.pos += here;
        if here < total {
            self.client.passage = Passage::Forward(total - here);
        }
        self.server.owe(Owed::Bind(resolved.used()));
        Ok(())
    }

    fn describe(&mut self, name: &[u8], total: usize) {
        let resolved = self.resolve(name);
        match &resolved {
            Resolved::Same => self.pass(total),
            Resolved::Ours(s) => {
                build::describe(self.out.insert(), Target::Statement, s.statement.name());
                self.pos += total;
            }
            Resolved::Nothing => {
                self.server
                    .refuse_message(no_such_statement(name), self.out.insert());
                self.pos += total;
                return;
            }
        }
        // ParameterDescription passes by itself; what ends a Describe is the same for statement and portal.
        self.server.owe(Owed::Describe(resolved.used()));
    }
}

/// A name that no statement has: the pooler's own all continue with a number.
pub(crate) const UNKNOWN: &[u8] = b"PGWEIR_";

enum Resolved {
    /// The client's own name is right on the server too.
    Same,
    /// A statement of the pooler's.
    Ours(Used),
    /// There must be no such statement.
    Nothing,
}

impl Resolved {
    fn used(self) -> Option<Used> {
        match self {
            Resolved::Ours(s) => Some(s),
            _ => None,
        }
    }
}
