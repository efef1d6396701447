//! Which tables are touched, for each name of a database: by reading the relation, by writing to it, by calling the
//! function.
//!
//! A name stands for whatever has it in any schema, so no search path matters. What one thing leads to, by triggers,
//! cascades, views, policies, defaults and calls, is touched with it; where that is not known, any table is. Functions
//! in SQL and PL/pgSQL are read for the names of relations, wherever one stands; of others it is believed that they look
//! up nothing if they are declared immutable, as PostgreSQL demands.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::catalog::Language;
use crate::extensions;
use crate::functions::{Functions, Known, table_number};
use crate::lexer::{Kind, Lexer, Strings, Token};
use crate::tables::{Tables, Touch};
use crate::unnamed::WRITES;

/// What is known of a database's relations, beside the definitions of its views and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFact<'a> {
    /// There is one of this name.
    Relation {
        /// `relname`
        name: &'a str,
        /// `pg_class.relkind`
        kind: u8,
        /// There are rules for it, other than the one that makes it a view.
        has_rules: bool,
    },
    /// One is the parent of the other, by inheritance or partition.
    Inherits {
        /// The parent's name.
        parent: &'a str,
        /// The child's.
        child: &'a str,
    },
    /// What is done to the one may be done to the other, by a foreign key.
    Cascades {
        /// The referenced table's name.
        from: &'a str,
        /// The referencing table's.
        to: &'a str,
    },
    /// Writing to it may run a function: of a trigger, a default, a constraint, an index, a policy.
    Runs {
        /// The table's name.
        table: &'a str,
        /// `pg_proc.oid`
        function: u32,
    },
    /// What is written has to satisfy this expression of a policy.
    Check {
        /// The table's name.
        table: &'a str,
        /// The expression.
        expression: &'a [u8],
    },
}

/// The touches of every name that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touching(Vec<(Box<str>, Touch)>);

impl Touching {
    /// Names in lower case, and what is touched by what mentions them.
    pub(crate) fn names(&self) -> &[(Box<str>, Touch)] {
        &self.0
    }
}

/// The first oid of what is no part of PostgreSQL itself.
const FIRST_OID: u32 = 16384;

/// Words in the source of a function that say that it may do anything to any table.
const ANYTHING: [&str; 20] = [
    "execute", "create", "alter", "drop", "truncate", "refresh", "copy", "import", "grant",
    "revoke", "comment", "cluster", "reindex", "vacuum", "analyze", "analyse", "prepare",
    "discard", "load", "security",
];

/// Functions of PostgreSQL's own that are not harmless, and read and write no table. (Sequences are read at the primary,
/// whoever has advanced them.)
const TABLELESS: [&str; 8] = [
    "currval",
    "lastval",
    "nextval",
    "pg_notify",
    "set_config",
    "setseed",
    "setval",
    "pg_listening_channels",
];

/// How the names of harmless ones begin that write all the same: large objects, and what fills catalogs.
const WRITING: [&str; 2] = ["lo", "pg_import_"];

/// What a word in front of a parenthesis calls, if it is no function of the database's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callee {
    /// Nothing that touches a table.
    Tableless,
    /// Something that may touch any.
    Any,
    /// Nothing is known of the name.
    Unknown,
}

/// What a `name` that is so `known` calls, if it is none of the database's own.
#[inline]
pub(crate) fn callee(name: &[u8], known: Known) -> Callee {
    let starts = |prefix: &str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    // How large a table is hangs on what was written to it.
    let is_of_size = || {
        let end = name.len().checked_sub(5).and_then(|at| name.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(b"_size"))
    };
    if known.is(Known::OWN) {
        let writes = known.is(Known::PRIMARY) && WRITING.iter().any(|prefix| starts(prefix));
        return match writes || is_of_size() {
            true => Callee::Any,
            false => Callee::Tableless,
        };
    }
    if known.is(Known::LEFT_OUT) {
        let is_listed = TABLELESS
            .iter()
            .any(|own| own.as_bytes().eq_ignore_ascii_case(name));
        let locks = starts("pg_advisory_") || starts("pg_try_advisory_");
        return match is_listed || locks {
            true => Callee::Tableless,
            false => Callee::Any,
        };
    }
    match known.is(Known::KEYWORD) {
        true => Callee::Tableless,
        false => Callee::Unknown,
    }
}

/// What a source or a definition mentions.
#[derive(Debug, Default)]
struct Mentions {
    /// It may touch any table.
    any: bool,
    /// It writes, or locks rows.
    writes: bool,
    relations: HashSet<Box<str>>,
    calls: HashSet<Box<str>>,
}

fn lower(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).to_ascii_lowercase().into()
}

impl Mentions {
    fn read(text: &[u8], own: &Functions, relations: &HashMap<Box<str>, Relation>) -> Mentions {
        let mut found = Mentions::default();
        let mut lexer = Lexer::new(text, Strings::Conforming);
        let mut last = Token::EDGE;
        let bare = |token: Token| match token.kind {
            Kind::Quoted => token.within(text),
            _ => token.of(text),
        };
        loop {
            let token = lexer.next::<false>();
            let is = |words: &[&str]| words.iter().any(|word| token.is(text, word));
            match token.kind {
                Kind::Edge => break,
                Kind::Refused | Kind::Uncertain => {
                    found.any = true;
                    break;
                }
                Kind::Word => {
                    // How others than ASCII letters are put into lower case is the server's business.
                    found.any |= is(&ANYTHING) || !token.of(text).is_ascii();
                    found.writes |= is(&WRITES);
                }
                Kind::Quoted => {
                    let is_coded = text[..token.start].ends_with(b"&");
                    found.any |= is_coded || token.within(text).contains(&b'"');
                }
                // DO, with a block of its own.
                Kind::Text => found.any |= last.is(text, "do"),
                Kind::Open if matches!(last.kind, Kind::Word | Kind::Quoted) => {
                    let name = bare(last);
                    found.any |= callee(name, own.known(name)) == Callee::Any;
                    found.calls.insert(lower(name));
                }
                _ => {}
            }
            if matches!(token.kind, Kind::Word | Kind::Quoted) {
                let name = lower(bare(token));
                if relations.contains_key(&name) {
                    found.relations.insert(name);
                }
            }
            last = token;
        }
        found.any |= lexer.is_ambiguous();
        found
    }
}

/// What has a name.
#[derive(Debug, Default)]
struct Relation {
    is_table: bool,
    is_materialized: bool,
    is_other: bool,
    is_opaque: bool,
    /// Reading it runs what is defined.
    runs: bool,
}

#[derive(Debug)]
struct Body {
    name: Box<str>,
    is_volatile: bool,
    mentions: Mentions,
}

/// What is told of the functions and relations of one database. Of relations first, so that their names are known when
/// sources are read.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    is_told: bool,
    relations: HashMap<Box<str>, Relation>,
    inherits: Vec<(Box<str>, Box<str>)>,
    cascades: Vec<(Box<str>, Box<str>)>,
    runs: Vec<(Box<str>, u32)>,
    definitions: Vec<(Box<str>, Mentions)>,
    functions: Vec<Body>,
    by_oid: HashMap<u32, usize>,
}

/// A function as it is declared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared<'a> {
    pub oid: u32,
    pub name: &'a str,
    pub language: Language,
    pub source: &'a [u8],
    pub is_volatile: bool,
    pub is_immutable: bool,
}

impl Facts {
    pub fn fact(&mut self, fact: TableFact<'_>, own: &Functions) {
        let lower = |name: &str| lower(name.as_bytes());
        self.is_told = true;
        match fact {
            TableFact::Relation {
                name,
                kind,
                has_rules,
            } => {
                let relation = self.relations.entry(lower(name)).or_default();
                match kind {
                    b'r' | b'p' => relation.is_table = true,
                    b'm' => relation.is_materialized = true,
                    b'v' | b'S' => relation.is_other = true,
                    _ => relation.is_opaque = true,
                }
                relation.is_opaque |= has_rules;
            }
            TableFact::Inherits { parent, child } => {
                self.inherits.push((lower(parent), lower(child)));
            }
            TableFact::Cascades { from, to } => self.cascades.push((lower(from), lower(to))),
            TableFact::Runs { table, function } => self.runs.push((lower(table), function)),
            TableFact::Check { table, expression } => self.definition(table, expression, own),
        }
    }

    /// A view's definition, or a policy's expression.
    pub fn definition(&mut self, name: &str, definition: &[u8], own: &Functions) {
        if !self.is_told || definition.is_empty() {
            return;
        }
        let mentions = Mentions::read(definition, own, &self.relations);
        let name = lower(name.as_bytes());
        let unheard = || Relation {
            is_opaque: true,
            ..Relation::default()
        };
        let relation = self.relations.entry(name.clone()).or_insert_with(unheard);
        relation.runs = true;
        self.definitions.push((name, mentions));
    }

    pub fn function(&mut self, declared: Declared<'_>, own: &Functions) {
        if !self.is_told {
            return;
        }
        let mentions = match declared.language {
            Language::Sql | Language::PlPgSql => {
                Mentions::read(declared.source, own, &self.relations)
            }
            Language::Internal | Language::C => Mentions {
                any: !declared.is_immutable
                    && declared.source != b"aggregate_dummy"
                    && !(declared.language == Language::C
                        && extensions::is_tableless(declared.name)),
                ..Mentions::default()
            },
            Language::Other => Mentions {
                any: true,
                ..Mentions::default()
            },
        };
        self.by_oid.insert(declared.oid, self.functions.len());
        self.functions.push(Body {
            name: lower(declared.name.as_bytes()),
            is_volatile: declared.is_volatile,
            mentions,
        });
    }

    /// Judges all of them together: `uses` are pairs of functions of which the first is made of the second, `unnamed` those
    /// that are called by what does not name them. `None` if any statement may touch any table by these, or nothing was told.
    pub fn judge(self, uses: &[(u32, u32)], unnamed: &[u32]) -> Option<Touching> {
        if !self.is_told {
            return None;
        }
        let mut graph = Graph::default();
        self.relations(&mut graph);
        self.functions(&mut graph);
        let name = |oid: &u32| self.by_oid.get(oid).map(|i| &*self.functions[*i].name);
        for (user, used) in uses {
            if let (Some(user), Some(used)) = (name(user), name(used)) {
                graph.leads((Role::Call, user), (Role::Call, used));
            }
        }
        graph.settle();
        let is_tableless = |oid: &u32| match name(oid) {
            Some(name) => graph.tables((Role::Call, name)) == Some(Tables::NONE),
            None => *oid < FIRST_OID,
        };
        if !unnamed.iter().all(is_tableless) {
            return None;
        }
        let mut touches: BTreeMap<&str, Touch> = BTreeMap::new();
        for (name, relation) in &self.relations {
            let touch = touches.entry(name).or_default();
            touch.read = graph.tables((Role::Read, name));
            touch.write = graph.tables((Role::Write, name));
            touch.runs = relation.runs;
        }
        for body in &self.functions {
            touches.entry(&body.name).or_default().call = graph.tables((Role::Call, &body.name));
        }
        let named = touches
            .into_iter()
            .map(|(name, touch)| (name.into(), touch));
        Some(Touching(named.collect()))
    }

    fn relations<'a>(&'a self, graph: &mut Graph<'a>) {
        let groups = Groups::of(&self.inherits);
        for (name, relation) in &self.relations {
            let own = Tables::one(table_number(groups.first(name)));
            let is_real = relation.is_table || relation.is_materialized;
            let read = match (relation.is_opaque, is_real) {
                (true, _) => Tables::ANY,
                (false, true) => own,
                (false, false) => Tables::NONE,
            };
            let is_plain = relation.is_table && !relation.is_materialized && !relation.is_other;
            let write = match is_plain && !relation.is_opaque {
                true => own,
                false => Tables::ANY,
            };
            graph.touches((Role::Read, name), read);
            graph.touches((Role::Write, name), write);
        }
        for (parent, child) in &self.inherits {
            for role in [Role::Read, Role::Write] {
                graph.leads((role, parent), (role, child));
                graph.leads((role, child), (role, parent));
            }
        }
        for (from, to) in &self.cascades {
            graph.leads((Role::Write, from), (Role::Write, to));
        }
        for (table, function) in &self.runs {
            match self.by_oid.get(function) {
                Some(i) => {
                    let call = (Role::Call, &*self.functions[*i].name);
                    graph.leads((Role::Write, table), call);
                }
                None if *function < FIRST_OID => {}
                None => graph.touches((Role::Write, table), Tables::ANY),
            }
        }
        for (name, mentions) in &self.definitions {
            for role in [Role::Read, Role::Write] {
                self.mentions(graph, (role, name), mentions, false);
            }
        }
    }

    fn functions<'a>(&'a self, graph: &mut Graph<'a>) {
        for body in &self.functions {
            // PostgreSQL lets others not write by themselves.
            let writes = body.is_volatile && body.mentions.writes;
            self.mentions(graph, (Role::Call, &body.name), &body.mentions, writes);
        }
    }

    fn mentions<'a>(
        &'a self,
        graph: &mut Graph<'a>,
        node: (Role, &'a str),
        mentions: &'a Mentions,
        writes: bool,
    ) {
        let of_itself = match mentions.any {
            true => Tables::ANY,
            false => Tables::NONE,
        };
        graph.touches(node, of_itself);
        for relation in &mentions.relations {
            graph.leads(node, (Role::Read, relation));
            if writes {
                graph.leads(node, (Role::Write, relation));
            }
        }
        // What is no function of the database's own was judged by its name.
        for call in &mentions.calls {
            graph.leads(node, (Role::Call, call));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Read,
    Write,
    Call,
}

type Key<'a> = (Role, &'a str);

/// What touches what, and by what it is reached.
#[derive(Debug, Default)]
struct Graph<'a> {
    nodes: HashMap<Key<'a>, Tables>,
    /// From what is touched to what touches it thereby.
    back: HashMap<Key<'a>, Vec<Key<'a>>>,
}

impl<'a> Graph<'a> {
    fn touches(&mut self, node: Key<'a>, tables: Tables) {
        let found = self.nodes.entry(node).or_default();
        *found = found.and(tables);
    }

    fn leads(&mut self, node: Key<'a>, to: Key<'a>) {
        self.back.entry(to).or_default().push(node);
    }

    /// Hands on what is touched until nothing is new.
    fn settle(&mut self) {
        let mut fresh: Vec<Key<'a>> = self.nodes.keys().copied().collect();
        while let Some(node) = fresh.pop() {
            let tables = self.nodes.get(&node).copied().unwrap_or_default();
            for user in self.back.get(&node).into_iter().flatten() {
                let found = self.nodes.entry(*user).or_default();
                let more = found.and(tables);
                if more != *found {
                    *found = more;
                    fresh.push(*user);
                }
            }
        }
    }

    fn tables(&self, node: Key<'_>) -> Option<Tables> {
        self.nodes.get(&node).copied()
    }
}

/// Tables that are read and written as one: parents and children.
struct Groups<'a> {
    first: HashMap<&'a str, &'a str>,
}

impl<'a> Groups<'a> {
    fn of(inherits: &'a [(Box<str>, Box<str>)]) -> Groups<'a> {
        let mut near: HashMap<&str, Vec<&str>> = HashMap::new();
        for (parent, child) in inherits {
            near.entry(parent).or_default().push(child);
            near.entry(child).or_default().push(parent);
        }
        let mut names: Vec<&str> = near.keys().copied().collect();
        names.sort_unstable();
        let mut first: HashMap<&str, &str> = HashMap::new();
        for name in names {
            let mut fresh = vec![name];
            while let Some(found) = fresh.pop() {
                if first.contains_key(found) {
                    continue;
                }
                first.insert(found, name);
                fresh.extend(near.get(found).into_iter().flatten());
            }
        }
        Groups { first }
    }

    /// The first name of the group that `name` belongs to.
    fn first<'n>(&self, name: &'n str) -> &'n str
    where
        'a: 'n,
    {
        self.first.get(name).copied().unwrap_or(name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
