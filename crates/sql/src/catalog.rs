//! Which functions of a database may leave something in the session of whoever calls them.
//!
//! Every function outside `pg_catalog` is judged by its source and by what it calls. Calls are followed by name, whatever
//! the schema and the arguments: if two functions have the same name, the worse of what is said of them holds for both.

use std::collections::{HashMap, HashSet};

use crate::extensions;
use crate::functions::{Functions, Unnamed};
use crate::routine;
use crate::touching::{Declared, Facts, TableFact, Touching};
use crate::volatile::{Bodies, Volatile};

/// The languages that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `sql`, which is read.
    Sql,
    /// `plpgsql`, which is read.
    PlPgSql,
    /// `c`: harmless but for what is known of a few extensions.
    C,
    /// `internal`: a function of PostgreSQL's own under another name.
    Internal,
    /// Any other, of which nothing is known.
    Other,
}

impl Language {
    /// The language that `pg_language.lanname` names.
    pub fn of(name: &str) -> Language {
        match name {
            "sql" => Language::Sql,
            "plpgsql" => Language::PlPgSql,
            "c" => Language::C,
            "internal" => Language::Internal,
            _ => Language::Other,
        }
    }
}

/// A function, procedure or aggregate.
#[derive(Debug, Clone, Copy)]
pub struct Routine<'a> {
    /// `pg_proc.oid`
    pub oid: u32,
    /// Its schema's name.
    pub schema: &'a str,
    /// `proname`
    pub name: &'a str,
    /// Its language.
    pub language: Language,
    /// `prosrc`, or the body that `pg_get_function_sqlbody` shows.
    pub source: &'a [u8],
    /// It can be called as if it were a column of its argument: `t.name`.
    pub is_like_a_column: bool,
    /// `provolatile` is `v`.
    pub is_volatile: bool,
    /// `provolatile` is `i`.
    pub is_immutable: bool,
}

/// A relation of which it matters where it is read, or a part of what reading it calls.
#[derive(Debug, Clone, Copy)]
pub struct Relation<'a> {
    /// `relname`
    pub name: &'a str,
    /// Standbys do not have it as the primary has it: a sequence, which runs ahead there, an unlogged table, which is
    /// empty there and refused, or a foreign table.
    pub is_of_primary: bool,
    /// What runs when it is read: the definition of a view, the condition of a policy, the name of a partition.
    pub definition: &'a [u8],
}

/// What depends on a function (`pg_depend`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependent {
    /// Another one, of this `oid`.
    Routine(u32),
    /// A trigger.
    Trigger,
    /// An event trigger.
    EventTrigger,
    /// An operator, a cast, a type with its constraints, or what compares for an index: any statement may call it.
    Expression,
    /// A view, a rule, a default, a constraint, a policy, an index: anything else.
    Other,
}

/// What is told of the functions of one database.
#[derive(Debug)]
pub struct Catalog {
    own: Functions,
    routines: Vec<Read>,
    by_oid: HashMap<u32, usize>,
    dependents: Vec<(u32, Dependent)>,
    bodies: Bodies,
    facts: Facts,
}

#[derive(Debug)]
struct Read {
    schema: Box<str>,
    name: Box<str>,
    suspicious: bool,
    keeping: bool,
    writes: bool,
    is_like_a_column: bool,
    calls: Vec<Box<str>>,
    /// Its number among the bodies.
    body: usize,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::new()
    }
}

impl Catalog {
    /// Of no function.
    pub fn new() -> Self {
        Catalog {
            own: Functions::new(),
            routines: Vec::new(),
            by_oid: HashMap::new(),
            dependents: Vec::new(),
            bodies: Bodies::default(),
            facts: Facts::default(),
        }
    }

    /// Adds a function and reads its source.
    pub fn add(&mut self, routine: Routine<'_>) {
        let source = match routine.language {
            Language::Sql | Language::PlPgSql => routine::read(routine.source, &self.own),
            _ => routine::Source::default(),
        };
        let keeping =
            routine.language == Language::C && extensions::keeps(routine.schema, routine.name);
        let suspicious = match routine.language {
            Language::Sql | Language::PlPgSql => source.keeps,
            Language::C => keeping || extensions::is_suspicious(routine.name),
            Language::Internal => {
                extensions::internal_is_suspicious(&String::from_utf8_lossy(routine.source))
            }
            Language::Other => true,
        };
        let readable = matches!(routine.language, Language::Sql | Language::PlPgSql);
        let number = self.bodies.function(
            routine.name,
            routine.is_volatile,
            readable.then_some(routine.source),
            &self.own,
        );
        if routine.is_like_a_column {
            self.bodies.is_called_unnamed(number);
        }
        let declared = Declared {
            oid: routine.oid,
            name: routine.name,
            language: routine.language,
            source: routine.source,
            is_volatile: routine.is_volatile,
            is_immutable: routine.is_immutable,
        };
        self.facts.function(declared, &self.own);
        self.by_oid.insert(routine.oid, self.routines.len());
        self.routines.push(Read {
            schema: routine.schema.into(),
            name: routine.name.into(),
            suspicious,
            keeping,
            writes: source.writes,
            is_like_a_column: routine.is_like_a_column,
            calls: source.calls,
            body: number,
        });
    }

    /// Adds what is known of a table, before any function or relation. If nothing is, any text may touch any table.
    pub fn table(&mut self, fact: TableFact<'_>) {
        self.facts.fact(fact, &self.own);
    }

    /// Adds a relation, once for each of its definitions.
    pub fn relation(&mut self, relation: Relation<'_>) {
        self.facts
            .definition(relation.name, relation.definition, &self.own);
        self.bodies.relation(
            relation.name,
            relation.is_of_primary,
            relation.definition,
            &self.own,
        );
    }

    /// Adds that `dependent` depends on the function `oid`.
    pub fn depends(&mut self, oid: u32, dependent: Dependent) {
        self.dependents.push((oid, dependent));
    }

    /// Judges all of them together.
    pub fn judge(mut self) -> Verdict {
        let volatile = self.volatile();
        let touching = self.touching();
        let callers = self.callers();
        let mut fresh: Vec<usize> = (0..self.routines.len())
            .filter(|&i| self.routines[i].suspicious)
            .collect();
        let mut suspicious = HashSet::new();
        let mut unnamed = Unnamed::default();
        let called_unnamed = loop {
            while let Some(index) = fresh.pop() {
                if !suspicious.insert(index) {
                    continue;
                }
                fresh.extend(callers.by_index.get(&index).into_iter().flatten());
                let name = self.routines[index].name.to_ascii_lowercase();
                fresh.extend(callers.by_name.get(name.as_str()).into_iter().flatten());
            }
            let (found, names) = self.unnamed(&suspicious);
            if found == unnamed {
                break names;
            }
            unnamed = found;
            // Whoever writes calls the triggers' functions.
            let writers = (0..self.routines.len()).filter(|&i| self.routines[i].writes);
            fresh.extend(writers.filter(|_| unnamed.by_writes));
        };
        let names = |wanted: bool| -> HashSet<&str> {
            let routines = self.routines.iter().enumerate();
            routines
                .filter(|(i, _)| suspicious.contains(i) == wanted)
                .map(|(_, r)| &*r.name)
                .collect()
        };
        let bad = names(true);
        let sorted = |set: &mut dyn Iterator<Item = &str>| {
            let mut names: Vec<Box<str>> = set.map(Box::from).collect();
            names.sort_unstable();
            names
        };
        let harmless = sorted(&mut names(false).into_iter().filter(|n| !bad.contains(n)));
        let suspicious_names = sorted(&mut bad.into_iter());
        self.routines.retain(|r| r.keeping);
        Verdict {
            harmless,
            suspicious: suspicious_names,
            keeping: self
                .routines
                .iter()
                .map(|r| format!("{}.{}", r.schema, r.name).into())
                .collect(),
            unnamed,
            called_unnamed,
            volatile: Some(volatile),
            touching,
        }
    }

    fn touching(&mut self) -> Option<Touching> {
        let (mut uses, mut unnamed) = (Vec::new(), Vec::new());
        for (oid, dependent) in &self.dependents {
            match dependent {
                Dependent::Routine(user) => uses.push((*user, *oid)),
                Dependent::Expression => unnamed.push(*oid),
                _ => {}
            }
        }
        for (oid, index) in &self.by_oid {
            if self.routines[*index].is_like_a_column {
                unnamed.push(*oid);
            }
        }
        std::mem::take(&mut self.facts).judge(&uses, &unnamed)
    }

    fn volatile(&mut self) -> Volatile {
        let mut bodies = std::mem::take(&mut self.bodies);
        for (oid, dependent) in &self.dependents {
            let body = |oid| self.by_oid.get(oid).map(|i: &usize| self.routines[*i].body);
            match (body(oid), dependent) {
                (Some(used), Dependent::Routine(user)) => {
                    if let Some(user) = body(user) {
                        bodies.uses(user, used);
                    }
                }
                (Some(called), Dependent::Expression) => bodies.is_called_unnamed(called),
                _ => {}
            }
        }
        bodies.judge()
    }

    fn callers(&self) -> Callers {
        let mut callers = Callers::default();
        for (index, routine) in self.routines.iter().enumerate() {
            for call in &routine.calls {
                let by_name = &mut callers.by_name;
                by_name.entry(call.clone()).or_default().push(index);
            }
        }
        for (oid, dependent) in &self.dependents {
            if let Dependent::Routine(caller) = dependent
                && let (Some(callee), Some(caller)) =
                    (self.by_oid.get(oid), self.by_oid.get(caller))
            {
                callers.by_index.entry(*callee).or_default().push(*caller);
            }
        }
        callers
    }

    /// Which statements call suspicious functions that they do not name, and which functions these are.
    fn unnamed(&self, suspicious: &HashSet<usize>) -> (Unnamed, Vec<Box<str>>) {
        let mut unnamed = Unnamed::default();
        let mut names = Vec::new();
        for (oid, dependent) in &self.dependents {
            let Some(index) = self.by_oid.get(oid).filter(|i| suspicious.contains(i)) else {
                continue;
            };
            match dependent {
                Dependent::Routine(_) => continue,
                Dependent::Trigger => unnamed.by_writes = true,
                Dependent::EventTrigger => unnamed.by_definitions = true,
                Dependent::Expression | Dependent::Other => unnamed.by_any = true,
            }
            names.push(self.routines[*index].name.clone());
        }
        for index in suspicious {
            let routine = &self.routines[*index];
            if routine.is_like_a_column {
                unnamed.by_any = true;
                names.push(routine.name.clone());
            }
        }
        names.sort_unstable();
        names.dedup();
        (unnamed, names)
    }
}

#[derive(Default)]
struct Callers {
    by_name: HashMap<Box<str>, Vec<usize>>,
    by_index: HashMap<usize, Vec<usize>>,
}

/// What is known of the functions of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Names that leave nothing behind, whichever function of the name is called.
    pub harmless: Vec<Box<str>>,
    /// Names that may.
    pub suspicious: Vec<Box<str>>,
    /// Functions, as `schema.name`, that keep something which the server cannot be asked for.
    pub keeping: Vec<Box<str>>,
    /// Which statements call suspicious functions that they do not name.
    pub unnamed: Unnamed,
    /// The names of these functions.
    pub called_unnamed: Vec<Box<str>>,
    /// What may write, if it is known.
    pub volatile: Option<Volatile>,
    /// What touches which tables, if it is known.
    pub touching: Option<Touching>,
}

impl Verdict {
    /// All of this for the classifier, and `pinning` ([`Functions::with_pinning`]).
    pub fn functions<'n>(&'n self, pinning: impl IntoIterator<Item = &'n str>) -> Functions {
        let keeping = self.keeping.iter().map(|name| &**name);
        let functions = Functions::new()
            .with_known(
                self.harmless.iter().map(|name| &**name),
                self.suspicious.iter().map(|name| &**name),
            )
            .with_pinning(pinning.into_iter().chain(keeping))
            .with_unnamed(self.unnamed);
        let functions = match &self.volatile {
            Some(volatile) => functions.with_volatile(volatile),
            None => functions,
        };
        match &self.touching {
            Some(touching) => functions.with_touching(touching),
            None => functions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effects, classify};

    fn catalog(routines: &[(&str, Language, &str)]) -> Catalog {
        let mut catalog = Catalog::new();
        for (i, (name, language, source)) in routines.iter().enumerate() {
            catalog.add(Routine {
                oid: i as u32,
                schema: "public",
                name,
                language: *language,
                source: source.as_bytes(),
                is_like_a_column: false,
                is_volatile: false,
                is_immutable: false,
            });
        }
        catalog
    }

    fn names(names: &[Box<str>]) -> Vec<&str> {
        names.iter().map(|n| &**n).collect()
    }

    #[test]
    fn suspicion_spreads_to_callers_and_no_further() {
        let verdict = catalog(&[
            ("leaf", Language::PlPgSql, "begin execute 'x'; end"),
            ("Middle", Language::Sql, "select leaf()"),
            (
                "top",
                Language::PlPgSql,
                "begin perform s.\"Middle\"(1); end",
            ),
            ("other", Language::Sql, "select beside()"),
            ("beside", Language::Sql, "select 1"),
            ("loop_a", Language::Sql, "select loop_b()"),
            ("loop_b", Language::Sql, "select loop_a()"),
        ])
        .judge();
        assert_eq!(names(&verdict.suspicious), ["Middle", "leaf", "top"]);
        assert_eq!(
            names(&verdict.harmless),
            ["beside", "loop_a", "loop_b", "other"]
        );
        assert!(verdict.unnamed.is_none());
    }

    #[test]
    fn languages_are_judged_by_what_is_known_of_them() {
        let verdict = catalog(&[
            ("st_area", Language::C, "ST_Area"),
            ("crosstab2", Language::C, "crosstab"),
            ("dblink_connect", Language::C, "dblink_connect"),
            ("citextin", Language::Internal, "textin"),
            ("put", Language::Internal, "set_config_by_name"),
            ("total", Language::Internal, "aggregate_dummy"),
            ("py", Language::Other, "pass"),
        ])
        .judge();
        assert_eq!(names(&verdict.harmless), ["citextin", "st_area", "total"]);
        assert_eq!(
            names(&verdict.suspicious),
            ["crosstab2", "dblink_connect", "put", "py"]
        );
        let functions = verdict.functions(["mine"]);
        let effects = |text: &str| classify(text.as_bytes(), &functions);
        assert!(effects("select dblink_connect('x')").contains(Effects::PINNED));
        assert!(effects("select mine()").contains(Effects::PINNED));
        assert_eq!(effects("select crosstab2('x')"), Effects::FUNCTION);
        assert_eq!(effects("select st_area(g)"), Effects::NONE);
    }

    #[test]
    fn two_functions_of_one_name_are_as_bad_as_the_worse() {
        let verdict = catalog(&[
            ("f", Language::Sql, "select 1"),
            ("f", Language::Sql, "select lastval()"),
        ])
        .judge();
        assert_eq!(names(&verdict.suspicious), ["f"]);
        assert!(verdict.harmless.is_empty());
    }

    #[test]
    fn an_aggregate_is_as_bad_as_what_it_is_made_of() {
        let mut aggregate = catalog(&[
            ("step", Language::PlPgSql, "begin perform setseed(1); end"),
            ("total", Language::Internal, "aggregate_dummy"),
        ]);
        aggregate.depends(0, Dependent::Routine(1));
        assert_eq!(names(&aggregate.judge().suspicious), ["step", "total"]);
    }

    #[test]
    fn a_suspicious_trigger_makes_writes_suspicious_and_functions_that_write() {
        let mut triggers = catalog(&[
            ("audit", Language::PlPgSql, "begin execute 'x'; end"),
            (
                "touch",
                Language::PlPgSql,
                "begin new.a = 1; return new; end",
            ),
            ("save", Language::Sql, "insert into t values (1)"),
            ("load_all", Language::Sql, "select save()"),
            ("look", Language::Sql, "select 1"),
        ]);
        triggers.depends(0, Dependent::Trigger);
        triggers.depends(1, Dependent::Trigger);
        let verdict = triggers.judge();
        assert!(verdict.unnamed.by_writes && !verdict.unnamed.by_any);
        assert_eq!(names(&verdict.called_unnamed), ["audit"]);
        assert_eq!(names(&verdict.suspicious), ["audit", "load_all", "save"]);
        assert_eq!(names(&verdict.harmless), ["look", "touch"]);
    }

    #[test]
    fn a_view_that_calls_what_writes_past_a_suspicious_trigger_is_suspicious_itself() {
        let mut catalog = catalog(&[
            ("audit", Language::PlPgSql, "begin execute 'x'; end"),
            (
                "log_and_return",
                Language::Sql,
                "insert into t values (1) returning a",
            ),
        ]);
        catalog.depends(0, Dependent::Trigger);
        catalog.depends(1, Dependent::Other);
        assert!(catalog.judge().unnamed.by_any);
    }

    #[test]
    fn what_is_called_like_a_column_may_be_called_by_any_statement() {
        let mut catalog = Catalog::new();
        catalog.add(Routine {
            oid: 1,
            schema: "public",
            name: "full_name",
            language: Language::Sql,
            source: b"select set_config('a.b', 'c', false)",
            is_like_a_column: true,
            is_volatile: false,
            is_immutable: false,
        });
        let functions = catalog.judge().functions([]);
        assert_eq!(
            classify(b"select u.full_name from users u", &functions),
            Effects::FUNCTION
        );
    }
}
