//! From the client to its server.

use std::sync::Arc;

use pgweir_wire::build;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, Named, Parse, Target, tag};

use crate::client::{ClientSession, Fault, Limits, Need, Passage, Step, WHOLE_BYTES, header};
use crate::out::Out;
use crate::owed::{Local, Owed, Undo};
use crate::prepared::Presence;
use crate::server::{RETAIN_BYTES, Retained, ServerSession};
use crate::statements::{NAME_PREFIX, Statement, StatementTable};

/// Turns what the client sent into what its server is to get.
///
/// `out` is an output over `input`; it may hold what is to be sent ahead ([`ServerSession::align`]). Answers that no server message will bring
/// out are appended to `answer`. Errors end the client; what `out` holds then is not to be sent, and the server is to be
/// closed unless it was free before.
pub fn forward(
    client: &mut ClientSession,
    server: &mut ServerSession,
    input: &[u8],
    limits: &Limits,
    table: &StatementTable,
    out: &mut Out<'_>,
    answer: &mut Vec<u8>,
) -> Result<Step, Fault> {
    let fresh = server.owed.is_empty() && !server.open_segment;
    if fresh {
        server.retained = Retained::No;
    }
    let start = out.len();
    let mut f = Forward {
        client,
        server,
        limits,
        table,
        out,
        pos: 0,
        uses_prepared: false,
        flush: false,
    };
    let need = f.run(input)?;
    let (consumed, uses_prepared, flush) = (f.pos, f.uses_prepared, f.flush);

    let segment = &out.bytes()[start..];
    let whole = fresh && uses_prepared || matches!(server.retained, Retained::Whole);
    if fresh {
        server.retained_bytes.clear();
    }
    server.retained = if whole
        && client.at_boundary()
        && server.retained_bytes.len() + segment.len() <= RETAIN_BYTES
    {
        server.retained_bytes.extend_from_slice(segment);
        Retained::Whole
    } else {
        Retained::No
    };
    if (flush || out.len() == start) && server.owed.iter().all(|o| matches!(o, Owed::Local(_))) {
        server.answer_locally(answer);
    }
    Ok(Step { consumed, need })
}

struct Forward<'f, 'o> {
    client: &'f mut ClientSession,
    server: &'f mut ServerSession,
    limits: &'f Limits,
    table: &'f StatementTable,
    out: &'f mut Out<'o>,
    pos: usize,
    /// A statement of the pooler's that was on the server already is used.
    uses_prepared: bool,
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
            let rewrites = self.client.rewrites;
            match h.tag {
                tag::QUERY => {
                    self.client.unnamed = None;
                    self.server.unnamed = None;
                    self.owe(Owed::Query);
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::FUNCTION_CALL => {
                    self.owe(Owed::Query);
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {
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
                    self.owe(Owed::Sync);
                    self.server.skipping = false;
                    self.server.open_segment = false;
                    self.server.segment += 1;
                    self.pass(h.total());
                }
                tag::TERMINATE => return Ok(Need::Close),
                tag::EXECUTE => {
                    self.server.in_segment();
                    self.owe(Owed::Execute);
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::PARSE if rewrites => {
                    let held = h.length <= self.limits.statement_bytes;
                    let want = if held { h.total() } else { WHOLE_BYTES };
                    if rest.len() < want {
                        return Ok(Need::Bytes(want));
                    }
                    self.server.in_segment();
                    self.server.counts.client_parses += 1;
                    if held {
                        self.parse(Parse::read(&rest[HEADER_BYTES..h.total()])?, h.total());
                    } else if rest[HEADER_BYTES] == 0 {
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
                    self.server.in_segment();
                    self.server.counts.client_parses += 1;
                    self.server.counts.server_parses += 1;
                    self.owe(Owed::Parse {
                        statement: None,
                        shown: true,
                        undo: Undo::Nothing,
                    });
                    self.client.passage = Passage::Forward(h.total());
                }
                tag::BIND => {
                    self.server.counts.binds += 1;
                    self.server.in_segment();
                    if !rewrites {
                        self.owe(Owed::Bind(None));
                        self.client.passage = Passage::Forward(h.total());
                        continue;
                    }
                    let want = h.total().min(WHOLE_BYTES);
                    if rest.len() < want {
                        return Ok(Need::Bytes(want));
                    }
                    let names = BindNames::read(&rest[HEADER_BYTES..h.total().min(rest.len())])?;
                    self.bind(names, h.total(), rest);
                }
                tag::DESCRIBE | tag::CLOSE => {
                    if rest.len() < h.total() {
                        return Ok(Need::Bytes(h.total()));
                    }
                    let named = Named::read(h.tag, &rest[HEADER_BYTES..h.total()])?;
                    self.server.in_segment();
                    match (h.tag, named.target) {
                        (tag::DESCRIBE, Target::Statement) if rewrites => {
                            self.describe(named.name, h.total());
                        }
                        (tag::CLOSE, Target::Statement) if rewrites => {
                            let undo = self.client.forget(named.name);
                            self.owe(Owed::Local(Local::Close(undo)));
                            self.pos += h.total();
                        }
                        (tag::DESCRIBE, _) => {
                            self.owe(Owed::Describe(None));
                            self.pass(h.total());
                        }
                        _ => {
                            self.owe(Owed::Close { evicted: None });
                            self.pass(h.total());
                        }
                    }
                }
                other => return Err(pgweir_wire::WireError::UnknownType(other).into()),
            }
        }
    }

    #[inline]
    fn owe(&mut self, owed: Owed) {
        self.server.owed.push_back(owed);
    }

    /// Passes the next `n` bytes of the input.
    #[inline]
    fn pass(&mut self, n: usize) {
        self.out.pass(self.pos..self.pos + n);
        self.pos += n;
    }

    fn parse(&mut self, parse: Parse<'_>, total: usize) {
        if !parse.name.is_empty() {
            if let Some(existing) = self.client.named(parse.name).cloned() {
                // The server is made to say what it would say on a direct connection, where it would say it.
                self.ensure(&existing);
                build::parse(self.out.insert(), existing.name(), existing.definition());
                self.owe(Owed::Parse {
                    statement: None,
                    shown: true,
                    undo: Undo::Nothing,
                });
            } else {
                let statement = self.table.intern(parse.definition);
                self.client.remember(parse.name, statement.clone());
                self.place(&statement, Undo::Forget(parse.name.into()));
            }
            self.pos += total;
            return;
        }
        let undo = Undo::Unnamed(self.client.unnamed.take());
        let known = match self.limits.prepare_unnamed {
            true => self.table.intern_if_seen(parse.definition),
            false => None,
        };
        if let Some(statement) = known {
            self.client.unnamed = Some(statement.clone());
            self.place(&statement, undo);
            self.pos += total;
        } else {
            let statement = self.table.unnamed(parse.definition);
            self.client.unnamed = Some(statement.clone());
            self.server.unnamed = Some(statement);
            self.server.counts.server_parses += 1;
            self.owe(Owed::Parse {
                statement: None,
                shown: true,
                undo,
            });
            self.pass(total);
        }
    }

    /// An unnamed statement too long to be kept: it lives on this server until its segment or transaction ends.
    fn long_unnamed_parse(&mut self) {
        let undo = Undo::Unnamed(self.client.unnamed.take());
        let here = self.table.unnamed(b"");
        self.client.unnamed = Some(here.clone());
        self.server.unnamed = Some(here);
        self.server.counts.server_parses += 1;
        self.owe(Owed::Parse {
            statement: None,
            shown: true,
            undo,
        });
    }

    /// Answers a Parse of `statement`: by the server, or by the pooler where the server has it.
    fn place(&mut self, statement: &Arc<Statement>, undo: Undo) {
        if self.is_there(statement) {
            self.owe(Owed::Local(Local::Parse(undo)));
        } else {
            self.send_parse(statement, true, undo);
        }
    }

    /// Sees to it that the server has `statement` when it comes to what is sent next.
    fn ensure(&mut self, statement: &Arc<Statement>) {
        if !self.is_there(statement) {
            self.send_parse(statement, false, Undo::Nothing);
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
            Some(Presence::Pending { .. }) => {
                // It may or may not come to be: closing what is not there is no error, so this is right in both cases.
                build::close(self.out.insert(), Target::Statement, statement.name());
                self.owe(Owed::Close {
                    evicted: Some(statement.clone()),
                });
                self.server.prepared.remove(statement);
                false
            }
            None => false,
        }
    }

    fn send_parse(&mut self, statement: &Arc<Statement>, shown: bool, undo: Undo) {
        let segment = self.server.segment;
        self.server
            .prepared
            .insert(statement, Presence::Pending { segment });
        // The limit is at least one, or nothing would be rewritten: the one just entered stays.
        while let Some(evicted) = self.server.prepared.evict_over(self.limits.prepared.max(1)) {
            build::close(self.out.insert(), Target::Statement, evicted.name());
            self.owe(Owed::Close {
                evicted: Some(evicted),
            });
        }
        build::parse(self.out.insert(), statement.name(), statement.definition());
        self.server.counts.server_parses += 1;
        self.owe(Owed::Parse {
            statement: Some(statement.clone()),
            shown,
            undo,
        });
    }

    /// The name that a client's name for a statement has on the server; `None`: the same.
    fn resolve(&mut self, name: &[u8]) -> Resolved {
        let statement = match name {
            b"" => self.client.unnamed.clone(),
            name => self.client.named(name).cloned(),
        };
        match statement {
            Some(s) if s.name().is_empty() => {
                let there = self.server.unnamed.as_ref();
                if !there.is_some_and(|u| Arc::ptr_eq(u, &s)) && !s.definition().is_empty() {
                    build::parse(self.out.insert(), b"", s.definition());
                    self.server.counts.server_parses += 1;
                    self.owe(Owed::Parse {
                        statement: None,
                        shown: false,
                        undo: Undo::Nothing,
                    });
                    self.server.unnamed = Some(s);
                } else if !there.is_some_and(|u| Arc::ptr_eq(u, &s)) {
                    self.clear_unnamed();
                }
                Resolved::Same
            }
            Some(s) => {
                self.ensure(&s);
                Resolved::Ours(s)
            }
            None if name.is_empty() => {
                self.clear_unnamed();
                Resolved::Same
            }
            // Nobody reaches the pooler's own statements by guessing their names.
            None if name.starts_with(NAME_PREFIX) => Resolved::Nothing,
            None => Resolved::Same,
        }
    }

    /// Takes away whatever is the server's unnamed statement: it is not this client's.
    fn clear_unnamed(&mut self) {
        self.server.unnamed = None;
        build::close(self.out.insert(), Target::Statement, b"");
        self.owe(Owed::Close {
            evicted: Some(self.table.unnamed(b"")),
        });
    }

    fn bind(&mut self, names: BindNames<'_>, total: usize, rest: &[u8]) {
        let resolved = self.resolve(names.statement);
        let name = match &resolved {
            Resolved::Same => {
                self.owe(Owed::Bind(None));
                self.client.passage = Passage::Forward(total);
                return;
            }
            Resolved::Ours(s) => s.name(),
            Resolved::Nothing => UNKNOWN,
        };
        let names_end = HEADER_BYTES + names.encoded_bytes();
        let length = total - 1 - names.statement.len() + name.len();
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
        self.owe(Owed::Bind(resolved.statement()));
    }

    fn describe(&mut self, name: &[u8], total: usize) {
        let resolved = self.resolve(name);
        match &resolved {
            Resolved::Same => self.pass(total),
            Resolved::Ours(s) => {
                build::describe(self.out.insert(), Target::Statement, s.name());
                self.pos += total;
            }
            Resolved::Nothing => {
                build::describe(self.out.insert(), Target::Statement, UNKNOWN);
                self.pos += total;
            }
        }
        // ParameterDescription passes by itself; what ends a Describe is the same for statement and portal.
        self.owe(Owed::Describe(resolved.statement()));
    }
}

/// A name that no statement has: the pooler's own all continue with a number.
const UNKNOWN: &[u8] = b"PGWEIR_";

enum Resolved {
    /// The client's own name is right on the server too.
    Same,
    /// A statement of the pooler's.
    Ours(Arc<Statement>),
    /// There must be no such statement.
    Nothing,
}

impl Resolved {
    fn statement(self) -> Option<Arc<Statement>> {
        match self {
            Resolved::Ours(s) => Some(s),
            _ => None,
        }
    }
}
