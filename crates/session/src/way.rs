//! Where what a client sends next may run: on a replica, or on the primary only.

use pgweir_sql::{Begins, Routing, Tables, To, Touched};
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, Parse, tag};

use crate::client::{ClientSession, Limits, header};
use crate::settings::Settings;

/// The parameter by which a client says where its statements go: `primary`, `replica`, or anything else for the
/// pooler's own judgement.
pub(crate) const ROUTE: &str = "pgweir.route";

/// Where something may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Where.
    pub to: To,
    /// Whether the client said where, by a comment or by the parameter `pgweir.route`.
    pub asked: bool,
    /// Which tables it reads, and whatever came with it, if it may run on a replica.
    pub tables: Tables,
    /// More came with it than one query or segment.
    pub is_followed: bool,
}

impl Way {
    const NOWHERE: Way = Way {
        to: To::Any,
        asked: false,
        tables: Tables::NONE,
        is_followed: false,
    };

    /// Of what nothing is known.
    const UNKNOWN: Way = Way {
        to: To::Primary,
        asked: false,
        tables: Tables::ANY,
        is_followed: true,
    };

    fn and(self, other: Way) -> Way {
        let rank = |to| match to {
            To::Any => 0,
            To::Replica => 1,
            To::Primary => 2,
        };
        Way {
            to: match rank(self.to) >= rank(other.to) {
                true => self.to,
                false => other.to,
            },
            asked: self.asked || other.asked,
            tables: self.tables.and(other.tables),
            is_followed: self.is_followed || other.is_followed,
        }
    }

    /// It, with these bytes behind it, which may go where it goes.
    fn before(self, rest: &[u8]) -> Way {
        match rest {
            [] => self,
            _ => Way {
                tables: Tables::ANY,
                is_followed: true,
                ..self
            },
        }
    }
}

/// What a text says of where it may run, apart from any client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    bits: u8,
    /// Those that it may write to, or else those that it reads.
    tables: Tables,
}

impl Verdict {
    const PRIMARY: u8 = 1;
    const READS: u8 = 2;
    const BEGINS: u8 = 4;
    const BEGINS_READ_ONLY: u8 = 8;
    const ASKS_PRIMARY: u8 = 16;
    const ASKS_REPLICA: u8 = 32;
    const REDEFINES: u8 = 64;

    pub(crate) fn of(text: &[u8], limits: &Limits) -> Verdict {
        let functions = &limits.functions;
        let (_, routing) = pgweir_sql::judge(text, functions);
        let mut verdict = Verdict::from(routing);
        verdict.tables = if !limits.tables {
            Tables::ANY
        } else if verdict.writes() {
            pgweir_sql::touched(text, functions, Touched::Written)
        } else if verdict.has(Verdict::BEGINS | Verdict::BEGINS_READ_ONLY) {
            // What comes behind it is not known.
            Tables::ANY
        } else if verdict.has(Verdict::READS) {
            pgweir_sql::touched(text, functions, Touched::Read)
        } else {
            Tables::NONE
        };
        verdict
    }

    pub(crate) fn bits(self) -> u8 {
        self.bits
    }

    pub(crate) fn tables(self) -> Tables {
        self.tables
    }

    pub(crate) fn from_parts(bits: u8, tables: Tables) -> Verdict {
        Verdict { bits, tables }
    }

    fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    /// True unless it is known not to write.
    pub(crate) fn writes(self) -> bool {
        self.has(Verdict::PRIMARY)
    }

    /// True if what is known of relations may not hold after it.
    pub(crate) fn redefines(self) -> bool {
        self.has(Verdict::REDEFINES)
    }

    fn way(self, modes: Modes) -> Way {
        let to = if self.has(Verdict::ASKS_PRIMARY) {
            To::Primary
        } else if self.has(Verdict::ASKS_REPLICA) {
            To::Replica
        } else if self.has(Verdict::PRIMARY) || self.has(Verdict::BEGINS) && !modes.read_only {
            To::Primary
        } else if self.bits != 0 {
            To::Replica
        } else {
            To::Any
        };
        Way {
            to,
            asked: self.has(Verdict::ASKS_PRIMARY | Verdict::ASKS_REPLICA),
            tables: self.tables,
            is_followed: false,
        }
    }
}

impl From<Routing> for Verdict {
    fn from(routing: Routing) -> Verdict {
        // Where transactions are read-only unless they say otherwise, only what needs the primary goes there.
        let needs = routing.judged(true) == To::Primary;
        let reads = routing.judged(true) == To::Replica;
        let mut bits = 0;
        let mut set = |bit, is| bits |= if is { bit } else { 0 };
        set(Verdict::PRIMARY, needs);
        set(Verdict::READS, reads);
        set(Verdict::BEGINS, routing.begins() == Begins::Plain);
        set(
            Verdict::BEGINS_READ_ONLY,
            routing.begins() == Begins::ReadOnly,
        );
        set(Verdict::REDEFINES, routing.redefines());
        set(Verdict::ASKS_PRIMARY, routing.asked() == Some(To::Primary));
        set(Verdict::ASKS_REPLICA, routing.asked() == Some(To::Replica));
        Verdict {
            bits,
            tables: Tables::ANY,
        }
    }
}

/// What a client's session says of its transactions.
#[derive(Clone, Copy)]
struct Modes {
    read_only: bool,
}

/// What was found of the query or segment that a client's input begins with, until it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) to: To,
    /// Of its text, if it is a query that was read.
    pub(crate) verdict: Option<Verdict>,
    /// `Limits::functions_version` by which it was judged.
    version: u32,
}

/// Where what `input` begins with may run: a query, or a segment of the extended protocol up to its Sync, as a whole.
/// What is not there as a whole goes to the primary. `client` stands between two of them, and outside a transaction; what
/// it begins with is the next that is [forwarded](crate::forward) for it.
pub fn way(client: &mut ClientSession, input: &[u8], limits: &Limits) -> Way {
    let mut verdict = None;
    let way = judge(client, input, limits, &mut verdict);
    client.judged = Some(Judged {
        to: way.to,
        verdict,
        version: limits.functions_version,
    });
    way
}

/// As [`way`], without a note of it; `query` becomes the verdict of a query's text that was read.
pub(crate) fn judge(
    client: &ClientSession,
    input: &[u8],
    limits: &Limits,
    query: &mut Option<Verdict>,
) -> Way {
    let settings: &Settings = &client.settings;
    let is = |name, value: &str| settings.get(name).is_some_and(|v| v == value);
    let asked = |to| Way {
        to,
        asked: true,
        tables: Tables::ANY,
        is_followed: true,
    };
    match settings.get(ROUTE) {
        Some("primary") => return asked(To::Primary),
        Some("replica") => return asked(To::Replica),
        _ => {}
    }
    if is("default_transaction_isolation", "serializable") {
        // Standbys refuse it.
        return Way::UNKNOWN;
    }
    let modes = Modes {
        read_only: is("default_transaction_read_only", "on"),
    };
    if !client.at_boundary() {
        return Way::UNKNOWN;
    }
    let mut way = Way::NOWHERE;
    let mut rest = input;
    // What this segment has parsed.
    let mut parsed: Vec<(&[u8], Verdict)> = Vec::new();
    loop {
        let Ok(Some(h)) = header(rest, limits) else {
            return Way::UNKNOWN;
        };
        let Some(body) = rest.get(HEADER_BYTES..h.total()) else {
            return Way::UNKNOWN;
        };
        rest = &rest[h.total()..];
        let next = match h.tag {
            tag::QUERY => {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                let verdict = Verdict::of(text, limits);
                if rest.len() + h.total() == input.len() {
                    *query = Some(verdict);
                }
                return way.and(verdict.way(modes)).before(rest);
            }
            tag::SYNC | tag::TERMINATE => return way.before(rest),
            tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH => Way::NOWHERE,
            tag::PARSE => match Parse::read(body) {
                Ok(parse) => {
                    let text = parse.definition.split(|&b| b == 0).next();
                    let verdict = Verdict::of(text.unwrap_or_default(), limits);
                    parsed.push((parse.name, verdict));
                    verdict.way(modes)
                }
                Err(_) => Way::UNKNOWN,
            },
            tag::BIND => match BindNames::read(body) {
                Ok(names) => {
                    let here = parsed
                        .iter()
                        .rev()
                        .find(|(name, _)| *name == names.statement);
                    match here.map(|(_, verdict)| *verdict) {
                        Some(verdict) => verdict.way(modes),
                        None => match client.verdict(names.statement, limits) {
                            Some(verdict) => verdict.way(modes),
                            None => Way::UNKNOWN,
                        },
                    }
                }
                Err(_) => Way::UNKNOWN,
            },
            _ => Way::UNKNOWN,
        };
        way = way.and(next);
    }
}

impl ClientSession {
    /// Takes what was found of what is sent next, unless functions have changed since.
    pub(crate) fn take_judged(&mut self, limits: &Limits) -> Option<Judged> {
        let judged = self.judged.take();
        judged.filter(|j| j.version == limits.functions_version)
    }

    /// What the statement that the protocol knows by `name` says of where it may run; `None` if nobody knows.
    pub(crate) fn verdict(&self, name: &[u8], limits: &Limits) -> Option<Verdict> {
        let statement = match name {
            b"" => self.unnamed.as_ref(),
            name => self.named(name).map(|n| &n.statement),
        };
        statement.map(|s| s.verdict(limits))
    }
}

#[cfg(test)]
mod tests {
    use pgweir_sql::Functions;
    use pgweir_wire::build;

    use super::*;
    use crate::SettingsTable;

    struct Case {
        table: SettingsTable,
        client: ClientSession,
        limits: Limits,
    }

    impl Case {
        fn new() -> Case {
            let table = SettingsTable::default();
            let functions = Functions::new().with_volatile(&pgweir_sql::Volatile::default());
            Case {
                client: ClientSession::new(table.intern([]), true),
                table,
                limits: Limits {
                    functions: std::sync::Arc::new(functions),
                    ..Limits::default()
                },
            }
        }

        fn with(name: &str, value: &str) -> Case {
            let mut case = Case::new();
            case.client.settings = case.table.intern([(name, value)]);
            case
        }

        fn way(&mut self, input: &[u8]) -> Way {
            way(&mut self.client, input, &self.limits)
        }

        fn query(&mut self, text: &str) -> Way {
            let mut input = Vec::new();
            build::query(&mut input, text.as_bytes());
            self.way(&input)
        }
    }

    fn parsed(texts: &[&str], ends: bool) -> Vec<u8> {
        let mut input = Vec::new();
        for text in texts {
            build::parse(&mut input, b"", &[text.as_bytes(), &[0, 0, 0]].concat());
            build::bind_unnamed(&mut input);
            build::execute_unnamed(&mut input);
        }
        if ends {
            input.extend_from_slice(&build::SYNC);
        }
        input
    }

    #[test]
    fn reads_go_to_replicas_and_what_may_write_to_the_primary() {
        let mut case = Case::new();
        assert_eq!(case.query("select 1 from t").to, To::Replica);
        assert_eq!(case.query("insert into t values (1)").to, To::Primary);
        assert_eq!(case.query("select 1; delete from t").to, To::Primary);
        assert_eq!(case.query("begin").to, To::Primary);
        assert_eq!(case.query("begin read only").to, To::Replica);
    }

    #[test]
    fn a_segment_is_judged_as_a_whole() {
        let mut case = Case::new();
        assert_eq!(
            case.way(&parsed(&["select 1 from t"], true)).to,
            To::Replica
        );
        let both = ["select 1 from t", "update t set a = 1"];
        assert_eq!(case.way(&parsed(&both, true)).to, To::Primary);
        assert_eq!(
            case.way(&parsed(&["select 1 from t"], false)).to,
            To::Primary
        );
        let whole = parsed(&["select 1 from t"], true);
        assert_eq!(case.way(&whole[..whole.len() - 1]).to, To::Primary);
    }

    #[test]
    fn a_segment_knows_the_statements_that_it_has_parsed_under_a_name() {
        let mut case = Case::new();
        for (text, to) in [
            ("select 1 from t", To::Replica),
            ("delete from t", To::Primary),
        ] {
            let mut input = Vec::new();
            build::parse(&mut input, b"s", &[text.as_bytes(), &[0, 0, 0]].concat());
            // No portal, of that statement, without parameters.
            build::message(&mut input, tag::BIND, |out| {
                out.extend_from_slice(b"\0s\0\0\0\0\0\0\0");
            });
            build::execute_unnamed(&mut input);
            input.extend_from_slice(&build::SYNC);
            assert_eq!(case.way(&input).to, to, "{text}");
        }
    }

    #[test]
    fn what_executes_a_statement_that_nobody_knows_goes_to_the_primary() {
        let mut input = Vec::new();
        build::bind_unnamed(&mut input);
        input.extend_from_slice(&build::SYNC);
        assert_eq!(Case::new().way(&input), Way::UNKNOWN);
    }

    #[test]
    fn a_session_says_where_its_transactions_go() {
        let mut read_only = Case::with("default_transaction_read_only", "on");
        assert_eq!(read_only.query("begin").to, To::Replica);
        let mut serializable = Case::with("default_transaction_isolation", "serializable");
        assert_eq!(serializable.query("select 1 from t").to, To::Primary);
        assert_eq!(
            Case::with(ROUTE, "primary").query("select 1").to,
            To::Primary
        );
        assert_eq!(Case::with(ROUTE, "replica").query("begin").to, To::Replica);
        assert_eq!(Case::with(ROUTE, "auto").query("begin").to, To::Primary);
    }

    #[test]
    fn what_was_judged_holds_once_and_until_functions_change() {
        let mut case = Case::new();
        let mut read = Vec::new();
        build::query(&mut read, b"select 1 from t");
        case.way(&read);
        let known = case.client.take_judged(&case.limits).unwrap();
        assert_eq!(known.to, To::Replica);
        assert!(known.verdict.is_some_and(|v| !v.writes()));
        assert_eq!(case.client.take_judged(&case.limits), None);
        case.way(&read);
        case.limits.functions_version += 1;
        assert_eq!(case.client.take_judged(&case.limits), None);
    }

    /// One that knows the tables `a` and `b`, by their numbers.
    fn knowing() -> (Case, Tables, Tables) {
        let mut catalog = pgweir_sql::Catalog::new();
        for name in ["a", "b"] {
            catalog.table(pgweir_sql::TableFact::Relation {
                name,
                kind: b'r',
                has_rules: false,
            });
        }
        let mut case = Case::new();
        case.limits.functions = std::sync::Arc::new(catalog.judge().functions([]));
        case.limits.tables = true;
        let a = case.query("select 1 from a").tables;
        let b = case.query("select 1 from b").tables;
        assert!(a != b && !a.is_any());
        (case, a, b)
    }

    #[test]
    fn a_segment_touches_what_its_statements_do() {
        let (mut case, a, b) = knowing();
        let both = case.way(&parsed(&["select 1 from a", "table b"], true));
        assert_eq!((both.tables, both.is_followed), (a.and(b), false));
        assert_eq!(case.query("select 1 from c").tables, Tables::ANY);
        assert_eq!(case.query("begin read only").tables, Tables::ANY);
        assert_eq!(case.query("select 1").tables, Tables::NONE);
    }

    #[test]
    fn what_comes_with_more_behind_it_may_touch_any_table() {
        let (mut case, ..) = knowing();
        let mut input = Vec::new();
        build::query(&mut input, b"select 1 from a");
        let whole = input.len();
        build::query(&mut input, b"select 1 from b");
        for end in whole + 1..input.len() {
            let way = case.way(&input[..end]);
            assert_eq!((way.to, way.tables), (To::Replica, Tables::ANY));
            assert!(way.is_followed);
        }
        let mut input = parsed(&["select 1 from a"], true);
        input.push(b'Q');
        assert_eq!(case.way(&input).tables, Tables::ANY);
    }

    #[test]
    fn a_statement_keeps_its_tables_for_as_long_as_functions_do_not_change() {
        let (mut case, a, _) = knowing();
        let table = crate::StatementTable::new(10, Default::default());
        let definition = b"select 1 from a\0\0\0";
        let statement = table.intern(definition, None);
        for _ in 0..2 {
            assert_eq!(statement.verdict(&case.limits).tables(), a);
        }
        case.limits.functions = std::sync::Arc::new(Functions::new());
        assert_eq!(statement.verdict(&case.limits).tables(), a);
        case.limits.functions_version += 1;
        for _ in 0..2 {
            assert_eq!(statement.verdict(&case.limits).tables(), Tables::ANY);
        }
    }

    #[test]
    fn a_comment_comes_first() {
        let mut case = Case::new();
        let primary = case.query("select 1 from t /* pgweir: primary */");
        assert_eq!((primary.to, primary.asked), (To::Primary, true));
        let replica = case.query("/* pgweir: replica */ select f(1) from t");
        assert_eq!((replica.to, replica.asked), (To::Replica, true));
    }
}
