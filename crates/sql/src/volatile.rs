//! Which names of a database lead to what may write, or to what only the primary has.
//!
//! A function that is not volatile cannot write by itself, but PostgreSQL lets it call one that is. So the sources of
//! functions in SQL and PL/pgSQL, the definitions of views and the conditions of policies are read for names, and what is
//! said of a name is said of whatever mentions it, whichever of that name is meant: of a function's name where something
//! may be called, of a relation's where one may be read.

use std::collections::{HashMap, HashSet};

use crate::functions::{Functions, Known, Volatility};
use crate::lexer::{Kind, Lexer, Strings, Token};
use crate::positions::Positions;
use crate::primary;
use crate::routing::{Need, Why};

/// What a catalog tells of the volatility of what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volatile {
    /// Names of functions of which none can write.
    pub reading: Vec<Box<str>>,
    /// Names of functions of which one may write.
    pub writing: Vec<Box<str>>,
    /// Names of relations that standbys do not have as the primary has them (sequences, unlogged tables, foreign tables),
    /// and of views and tables with policies that lead to such or to functions that may write.
    pub relations: Vec<Box<str>>,
    /// An operator, a cast, a type or what looks like a column calls a function that may write.
    pub unnamed: bool,
}

/// Why `text`, in which nothing else is known to need the primary, may need it.
pub(crate) fn need(text: &[u8], functions: &Functions) -> Option<Need> {
    match functions.volatility() {
        Volatility::None => None,
        Volatility::Unknown => Some(Need::of(Why::CatalogUnread)),
        Volatility::OfAny => Some(Need::of(Why::Unnamed)),
        Volatility::OfRelations => {
            let mut lexer = Lexer::new(text, Strings::Conforming);
            let found = mentioned(&mut lexer, text, functions);
            match lexer.is_ambiguous() {
                true => {
                    let mut other = Lexer::new(text, Strings::Escaping);
                    found.or_else(|| mentioned(&mut other, text, functions))
                }
                false => found,
            }
        }
    }
}

/// The first relation in a text that needs the primary.
fn mentioned(lexer: &mut Lexer<'_>, text: &[u8], functions: &Functions) -> Option<Need> {
    let mut positions = Positions::new();
    loop {
        let token = lexer.next::<false>();
        let is_relation = positions.take(token, text);
        let name = match token.kind {
            Kind::Edge | Kind::Refused | Kind::Uncertain => return None,
            _ if !is_relation => continue,
            Kind::Quoted => token.within(text),
            _ => token.of(text),
        };
        // A quote within a quoted name is written twice, so the name is not to be found as it is written.
        let is_doubled = token.kind == Kind::Quoted && name.contains(&b'"');
        if is_doubled || functions.known(name).is(Known::RELATION) {
            return Some(Need {
                why: Why::Relation,
                start: token.start as u32,
                end: token.end as u32,
            });
        }
    }
}

/// What a source or a definition mentions.
#[derive(Debug, Default)]
struct Mentions {
    /// By itself it may write, or needs the primary.
    needs: bool,
    /// Names in the place of a relation's, in lower case.
    relations: HashSet<Box<str>>,
    /// Names in front of parentheses, in lower case.
    calls: HashSet<Box<str>>,
}

impl Mentions {
    fn read(text: &[u8], own: &Functions) -> Mentions {
        let mut found = Mentions::default();
        let mut lexer = Lexer::new(text, Strings::Conforming);
        let mut positions = Positions::new();
        let mut last = Token::EDGE;
        let bare = |token: Token| match token.kind {
            Kind::Quoted => token.within(text),
            _ => token.of(text),
        };
        let lower = |name: &[u8]| Box::from(String::from_utf8_lossy(name).to_ascii_lowercase());
        loop {
            let token = lexer.next::<false>();
            let is_relation = positions.take(token, text);
            match token.kind {
                Kind::Edge => break,
                Kind::Refused | Kind::Uncertain => {
                    found.needs = true;
                    break;
                }
                Kind::Word | Kind::Quoted => {
                    let locks = (token.is(text, "update") || token.is(text, "share"))
                        && ["for", "key"].iter().any(|word| last.is(text, word));
                    // A text that is put together at run time may say anything.
                    found.needs |= locks
                        || token.is(text, "execute")
                        || primary::is_view(bare(token))
                        || token.kind == Kind::Quoted && bare(token).contains(&b'"');
                    if is_relation {
                        found.relations.insert(lower(bare(token)));
                    }
                }
                Kind::Open if matches!(last.kind, Kind::Word | Kind::Quoted) => {
                    let name = bare(last);
                    let reads_setting = name.eq_ignore_ascii_case(b"current_setting");
                    found.needs |= own.known(name).is(Known::PRIMARY) && !reads_setting;
                    found.calls.insert(lower(name));
                }
                _ => {}
            }
            last = token;
        }
        found.needs |= lexer.is_ambiguous();
        found
    }
}

/// A function, a view or a policy.
#[derive(Debug)]
struct Body {
    name: Box<str>,
    is_relation: bool,
    mentions: Mentions,
}

/// Everything of a catalog that may lead to what writes.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    bodies: Vec<Body>,
    /// One calls the other without naming it.
    uses: Vec<(usize, usize)>,
    /// Called by operators, casts, types, or as columns.
    unnamed: Vec<usize>,
}

impl Bodies {
    /// Adds a function; `source` if it can be read. Returns its number.
    pub fn function(
        &mut self,
        name: &str,
        is_volatile: bool,
        source: Option<&[u8]>,
        own: &Functions,
    ) -> usize {
        let mut mentions = match source {
            Some(source) if !is_volatile => Mentions::read(source, own),
            _ => Mentions::default(),
        };
        mentions.needs |= is_volatile;
        self.add(name, false, mentions)
    }

    /// Adds a relation that only the primary has, or the definition of a view, or the condition of a policy.
    pub fn relation(
        &mut self,
        name: &str,
        is_of_primary: bool,
        definition: &[u8],
        own: &Functions,
    ) {
        let mut mentions = Mentions::read(definition, own);
        mentions.needs |= is_of_primary;
        self.add(name, true, mentions);
    }

    fn add(&mut self, name: &str, is_relation: bool, mentions: Mentions) -> usize {
        self.bodies.push(Body {
            name: name.into(),
            is_relation,
            mentions,
        });
        self.bodies.len() - 1
    }

    /// Adds that one function is made of the other.
    pub fn uses(&mut self, user: usize, used: usize) {
        self.uses.push((user, used));
    }

    /// Adds that a function is called by what does not name it.
    pub fn is_called_unnamed(&mut self, function: usize) {
        self.unnamed.push(function);
    }

    /// Judges all of them together.
    pub fn judge(self) -> Volatile {
        let mut mentioning: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut calling: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, body) in self.bodies.iter().enumerate() {
            for relation in &body.mentions.relations {
                mentioning.entry(relation).or_default().push(i);
            }
            for call in &body.mentions.calls {
                calling.entry(call).or_default().push(i);
            }
        }
        let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
        for (user, used) in &self.uses {
            users.entry(*used).or_default().push(*user);
        }
        let needing = |(i, body): (usize, &Body)| body.mentions.needs.then_some(i);
        let mut fresh: Vec<usize> = self.bodies.iter().enumerate().filter_map(needing).collect();
        let mut writing = HashSet::new();
        while let Some(i) = fresh.pop() {
            if !writing.insert(i) {
                continue;
            }
            let body = &self.bodies[i];
            let name = body.name.to_ascii_lowercase();
            let by_name = if body.is_relation {
                &mentioning
            } else {
                &calling
            };
            fresh.extend(by_name.get(name.as_str()).into_iter().flatten());
            fresh.extend(users.get(&i).into_iter().flatten());
        }
        let sorted = |names: HashSet<&str>| {
            let mut names: Vec<Box<str>> = names.into_iter().map(Box::from).collect();
            names.sort_unstable();
            names
        };
        let names = |relations: bool, wanted: bool| -> HashSet<&str> {
            let bodies = self.bodies.iter().enumerate();
            bodies
                .filter(|(i, body)| body.is_relation == relations && writing.contains(i) == wanted)
                .map(|(_, body)| &*body.name)
                .collect()
        };
        let may_write = names(false, true);
        let mut reading = names(false, false);
        reading.retain(|name| !may_write.contains(name));
        Volatile {
            reading: sorted(reading),
            writing: sorted(may_write),
            relations: sorted(names(true, true)),
            unnamed: self.unnamed.iter().any(|i| writing.contains(i)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[Box<str>]) -> Vec<&str> {
        names.iter().map(|n| &**n).collect()
    }

    fn function(bodies: &mut Bodies, name: &str, is_volatile: bool, source: &str) -> usize {
        let own = Functions::new();
        bodies.function(name, is_volatile, Some(source.as_bytes()), &own)
    }

    fn relation(bodies: &mut Bodies, name: &str, is_of_primary: bool, definition: &str) {
        bodies.relation(
            name,
            is_of_primary,
            definition.as_bytes(),
            &Functions::new(),
        );
    }

    #[test]
    fn what_calls_a_volatile_function_by_whatever_way_is_volatile() {
        let mut bodies = Bodies::default();
        function(&mut bodies, "Writes", true, "");
        function(&mut bodies, "stable_caller", false, "select writes()");
        function(&mut bodies, "calls_own", false, "select nextval('s')");
        function(&mut bodies, "dynamic", false, "begin execute x; end");
        function(&mut bodies, "plain", false, "select lower($1)");
        function(
            &mut bodies,
            "reads_setting",
            false,
            "select current_setting('a.b')",
        );
        let step = function(&mut bodies, "step", true, "");
        let total = function(&mut bodies, "total", false, "aggregate_dummy");
        bodies.uses(total, step);
        let judged = bodies.judge();
        assert_eq!(names(&judged.reading), ["plain", "reads_setting"]);
        assert_eq!(
            names(&judged.writing),
            [
                "Writes",
                "calls_own",
                "dynamic",
                "stable_caller",
                "step",
                "total"
            ]
        );
        assert!(!judged.unnamed && judged.relations.is_empty());
    }

    #[test]
    fn views_and_policies_lead_to_what_they_mention() {
        let mut bodies = Bodies::default();
        function(&mut bodies, "writes", true, "");
        relation(&mut bodies, "s", true, "");
        relation(
            &mut bodies,
            "of_sequence",
            false,
            "SELECT last_value FROM s",
        );
        relation(
            &mut bodies,
            "nested",
            false,
            "SELECT * FROM public.of_sequence",
        );
        relation(&mut bodies, "calls", false, "SELECT public.writes()");
        relation(
            &mut bodies,
            "locks",
            false,
            "SELECT a FROM t FOR UPDATE OF t",
        );
        relation(
            &mut bodies,
            "watches",
            false,
            "SELECT * FROM pg_stat_activity",
        );
        relation(
            &mut bodies,
            "plain",
            false,
            "SELECT writes, \"from\" FROM t",
        );
        relation(&mut bodies, "with_policies", false, "(a = CURRENT_USER)");
        relation(&mut bodies, "with_policies", false, "writes()");
        function(&mut bodies, "reads_view", false, "select a from nested");
        let judged = bodies.judge();
        assert_eq!(
            names(&judged.relations),
            [
                "calls",
                "locks",
                "nested",
                "of_sequence",
                "s",
                "watches",
                "with_policies"
            ]
        );
        assert_eq!(names(&judged.writing), ["reads_view", "writes"]);
    }

    #[test]
    fn a_word_that_is_also_a_sequences_name_leads_nowhere() {
        let mut bodies = Bodies::default();
        relation(&mut bodies, "s", true, "");
        for (name, source) in [
            ("has_variable", "declare s int; begin s := 1; return s; end"),
            ("has_alias", "select s.a, s from t s where s.b > 1"),
            ("reads_it", "select last_value from s"),
            ("reads_it_too", "select 1 from t, public.S"),
            ("advances_it", "select nextval('s')"),
        ] {
            function(&mut bodies, name, false, source);
        }
        relation(
            &mut bodies,
            "of_column",
            false,
            " SELECT t.s, s.a FROM t, (u s)",
        );
        relation(&mut bodies, "partitioned", false, "TABLE s");
        let judged = bodies.judge();
        assert_eq!(names(&judged.reading), ["has_alias", "has_variable"]);
        assert_eq!(names(&judged.relations), ["partitioned", "s"]);
    }

    #[test]
    fn what_operators_call_matters_only_if_it_may_write() {
        for is_volatile in [false, true] {
            let mut bodies = Bodies::default();
            let compares = function(&mut bodies, "compares", is_volatile, "");
            bodies.is_called_unnamed(compares);
            assert_eq!(bodies.judge().unnamed, is_volatile);
        }
    }
}
