//! From the client to its server.

mod placing;
mod routing;
mod telling;

use pgweir_sql::Effects;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, Named, Parse, Target, tag};
use pgweir_wire::{Header, WireError, build};

use crate::channels::Leave;
use crate::client::{
    ClientSession, Fault, Limits, MAX_NAME_BYTES, Need, Passage, Step, WHOLE_BYTES, header,
};
use crate::naming::NameChange;
use crate::out::Out;
use crate::owed::{Closing, Local, Owed, Parsing, Undo};
use crate::server::{RETAIN_BYTES, Retained, ServerSession};
use crate::statements::StatementTable;
use crate::told::Told;
pub(crate) use placing::UNKNOWN;
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
            if (self.limits.routes || self.limits.notes_writes)
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
                    if let Some(need) = self.renewal(&told, text.unwrap_or_default()) {
                        return Ok(need);
                    }
                    if told.effects.intersects(MAY_SPEAK_OF_NAMES)
                        && self.awaits_names(told.effects, text.unwrap_or_default())
                    {
                        return Ok(self.behind());
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
                    let (mut changes, mut names) = (None, Vec::new());
                    if !told.is_nothing() {
                        if let Some(error) = self.server.refusal(self.client, &told) {
                            self.server.refuse_query(error, undo, self.out.insert());
                            self.client.passage = Passage::Drop(h.total());
                            continue;
                        }
                        (changes, names) = self.will_do(told, text.unwrap_or_default(), true);
                    }
                    self.server.owe(Owed::Query { undo, changes });
                    if !names.is_empty() {
                        self.server.owe_names(names);
                    }
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::FUNCTION_CALL => {
                    self.server.sole.notes_unread(Effects::PROCEDURE);
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
                    let is_unnamed = rest.get(HEADER_BYTES) == Some(&0);
                    let changes = match is_unnamed {
                        true => self.server.bound.clone(),
                        false => None,
                    };
                    self.server.owe(Owed::Execute(changes));
                    if is_unnamed && !self.server.named.bound.is_empty() {
                        self.server.owe_names(self.server.named.bound.clone());
                    }
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
                            return Ok(self.behind());
                        }
                        self.bring_sql_name(parse.name);
                        if !self.bring_names_of(parse.definition) {
                            return Ok(self.behind());
                        }
                        if self.client.channels.is_some() {
                            let text = parse.definition.split(|&b| b == 0).next();
                            let text = text.unwrap_or_default();
                            let effects = pgweir_sql::classify(text, &self.limits.functions);
                            if self.awaits_channels(effects, None) {
                                return Ok(Need::Replies);
                            }
                            self.lend_channels(effects);
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
                    if !self.client.is_shared() {
                        self.server.sole.notes_unread(effects);
                    }
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
                        return Ok(self.behind());
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
                        return Ok(self.behind());
                    }
                    if h.tag == tag::DESCRIBE && named.target == Target::Statement && rewrites {
                        self.bring_sql_name(named.name);
                    }
                    if h.tag == tag::CLOSE
                        && named.target == Target::Statement
                        && self.client.sql_named(named.name).is_some()
                    {
                        self.bring_sql_name(named.name);
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
                            let mut closes = None;
                            if h.tag == tag::CLOSE && named.target == Target::Statement {
                                self.server.closes_anothers(self.client, named.name);
                                closes = self.client.sql_named(named.name);
                            }
                            let closes = closes.map(|_| NameChange::Deallocate(named.name.into()));
                            self.server.owe(Owed::Close(Closing::Asked));
                            self.server.owe_names(closes);
                            self.pass(h.total());
                        }
                    }
                }
                other => return Err(WireError::UnknownType(other).into()),
            }
        }
    }

    /// What is needed where a message waits for the answers to what was sent before it, some of it perhaps in its own
    /// segment.
    #[cold]
    pub(crate) fn behind(&mut self) -> Need {
        if self.server.open_segment && self.server.is_sending() {
            self.out.insert().extend_from_slice(&build::FLUSH);
        }
        Need::Replies
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

    /// Passes the next `n` bytes of the input.
    #[inline]
    fn pass(&mut self, n: usize) {
        self.out.pass(self.pos..self.pos + n);
        self.pos += n;
    }
}
