use super::*;
use crate::catalog::{Catalog, Dependent, Relation as Defined, Routine};

/// A catalog of these tables, to which more is added.
pub(crate) fn of(tables: &[&str]) -> Catalog {
    let mut catalog = Catalog::new();
    for name in tables {
        relation(&mut catalog, name, b'r');
    }
    catalog
}

pub(crate) fn relation(catalog: &mut Catalog, name: &str, kind: u8) {
    catalog.table(TableFact::Relation {
        name,
        kind,
        has_rules: false,
    });
}

pub(crate) fn view(catalog: &mut Catalog, name: &str, definition: &str) {
    catalog.relation(Defined {
        name,
        is_of_primary: false,
        definition: definition.as_bytes(),
    });
}

/// A function in PL/pgSQL: `oid`, `name`, `volatility`, `source`.
pub(crate) fn function(
    catalog: &mut Catalog,
    oid: u32,
    name: &str,
    volatility: char,
    source: &str,
) {
    routine(catalog, oid, name, volatility, Language::PlPgSql, source);
}

fn routine(
    catalog: &mut Catalog,
    oid: u32,
    name: &str,
    volatility: char,
    language: Language,
    source: &str,
) {
    catalog.add(Routine {
        oid,
        schema: "public",
        name,
        language,
        source: source.as_bytes(),
        is_like_a_column: false,
        is_volatile: volatility == 'v',
        is_immutable: volatility == 'i',
    });
}

/// The names among `candidates` that are touched; `None` if any may be.
fn named<'c>(tables: Tables, candidates: &[&'c str]) -> Option<Vec<&'c str>> {
    let known = tables.known()?;
    let of = candidates.iter().copied();
    Some(
        of.filter(|name| known.contains(&table_number(name)))
            .collect(),
    )
}

const TABLES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

struct Found(Touching);

impl Found {
    fn of(catalog: Catalog) -> Found {
        Found(catalog.judge().touching.expect("tables are known"))
    }

    fn touch(&self, name: &str) -> Touch {
        let mut names = self.0.names().iter();
        names.find(|(n, _)| **n == *name).expect("is known").1
    }

    fn read(&self, name: &str) -> Option<Vec<&'static str>> {
        named(self.touch(name).read.expect("a relation"), &TABLES)
    }

    fn written(&self, name: &str) -> Option<Vec<&'static str>> {
        named(self.touch(name).write.expect("a relation"), &TABLES)
    }

    fn called(&self, name: &str) -> Option<Vec<&'static str>> {
        named(self.touch(name).call.expect("a function"), &TABLES)
    }
}

#[test]
fn a_plain_table_is_touched_by_itself() {
    let found = Found::of(of(&TABLES));
    assert_eq!(found.read("a"), Some(vec!["a"]));
    assert_eq!(found.written("b"), Some(vec!["b"]));
}

#[test]
fn without_facts_of_tables_nothing_is_known() {
    let mut catalog = Catalog::new();
    function(&mut catalog, 20000, "g", 's', "select 1");
    assert_eq!(catalog.judge().touching, None);
}

#[test]
fn parents_and_children_are_read_and_written_as_one() {
    let mut catalog = of(&TABLES);
    for (parent, child) in [("c", "b"), ("c", "d"), ("d", "e")] {
        catalog.table(TableFact::Inherits { parent, child });
    }
    let found = Found::of(catalog);
    for name in ["b", "c", "d", "e"] {
        assert_eq!(found.read(name), Some(vec!["b"]), "{name}");
        assert_eq!(found.written(name), Some(vec!["b"]), "{name}");
    }
    assert_eq!(found.written("a"), Some(vec!["a"]));
}

#[test]
fn what_cascades_is_written_with_what_it_refers_to() {
    let mut catalog = of(&TABLES);
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")] {
        catalog.table(TableFact::Cascades { from, to });
    }
    let found = Found::of(catalog);
    assert_eq!(found.written("b"), Some(vec!["a", "b", "c"]));
    assert_eq!(found.written("d"), Some(vec!["a", "b", "c", "d"]));
    assert_eq!(found.written("e"), Some(vec!["e"]));
    assert_eq!(found.read("a"), Some(vec!["a"]));
}

#[test]
fn triggers_and_defaults_write_what_their_functions_do() {
    let mut catalog = of(&TABLES);
    for (table, function) in [
        ("a", 20001),
        ("b", 20002),
        ("c", 20003),
        ("d", 99999),
        ("e", 1000),
    ] {
        catalog.table(TableFact::Runs { table, function });
    }
    function(
        &mut catalog,
        20001,
        "touch_it",
        'v',
        "begin new.at := now(); return new; end",
    );
    function(
        &mut catalog,
        20002,
        "log",
        'v',
        "begin insert into Public.C values (new.*); return new; end",
    );
    function(
        &mut catalog,
        20003,
        "number",
        'v',
        "begin execute 'update a'; return new; end",
    );
    let found = Found::of(catalog);
    assert_eq!(found.written("a"), Some(vec!["a"]));
    assert_eq!(found.written("b"), None, "c runs anything");
    assert_eq!(found.written("d"), None, "a function that was not told of");
    assert_eq!(
        found.written("e"),
        Some(vec!["e"]),
        "one of PostgreSQL's own"
    );
    assert_eq!(found.read("b"), Some(vec!["b"]));
}

#[test]
fn functions_touch_what_they_name_and_what_they_call_does() {
    let mut catalog = of(&TABLES);
    relation(&mut catalog, "v", b'v');
    view(
        &mut catalog,
        "v",
        "SELECT a.x FROM a JOIN public.\"b\" USING (x)",
    );
    for (oid, name, volatility, source) in [
        (1, "none", 's', "begin return current_setting('port'); end"),
        (2, "reads_a", 's', "select x from a"),
        (
            3,
            "reads_v",
            'v',
            "begin return (select count(*) from v); end",
        ),
        (4, "writes_c", 'v', "begin update c set n = n + 1; end"),
        (5, "writes_v", 'v', "begin delete from v; end"),
        (6, "calls", 's', "select reads_a(writes_c(1))"),
        (7, "loop_a", 's', "select loop_b() from e"),
        (8, "loop_b", 's', "select loop_a() from f"),
        (9, "advances", 'v', "select nextval('s')"),
        (10, "truncates", 'v', "begin truncate a; end"),
        (
            11,
            "maps",
            's',
            "select query_to_xml('select 1 from a', true, true, '')",
        ),
        (12, "measures", 's', "select pg_relation_size('a')"),
        (13, "hides", 's', "select 1 from U&\"\\0061\""),
        (14, "odd", 's', "select 'x\\'' from a"),
        (15, "nested", 'v', "begin do 'delete from a'; end"),
        (16, "stores", 'v', "select lo_put(1, 0, 'x')"),
        (17, "accented", 's', "select 1 from \u{c4}"),
    ] {
        function(&mut catalog, oid, name, volatility, source);
    }
    let found = Found::of(catalog);
    assert_eq!(found.read("v"), Some(vec!["a", "b"]));
    assert_eq!(found.written("v"), None);
    assert!(found.touch("v").runs && !found.touch("a").runs);
    for (name, tables) in [
        ("none", Some(vec![])),
        ("reads_a", Some(vec!["a"])),
        ("reads_v", Some(vec!["a", "b"])),
        ("writes_c", Some(vec!["c"])),
        ("writes_v", None),
        ("calls", Some(vec!["a", "c"])),
        ("loop_a", Some(vec!["e", "f"])),
        ("loop_b", Some(vec!["e", "f"])),
        ("advances", Some(vec![])),
        ("truncates", None),
        ("maps", None),
        ("measures", None),
        ("hides", None),
        ("odd", None),
        ("nested", None),
        ("stores", None),
        ("accented", None),
    ] {
        assert_eq!(found.called(name), tables, "{name}");
    }
}

#[test]
fn of_other_languages_what_is_declared_is_believed_where_postgresql_demands_it() {
    let mut catalog = of(&TABLES);
    for (oid, name, volatility, language, source) in [
        (1, "c_immutable", 'i', Language::C, ""),
        (2, "c_stable", 's', Language::C, ""),
        (3, "uuid_generate_v4", 'v', Language::C, ""),
        (4, "total", 'i', Language::Internal, "aggregate_dummy"),
        (5, "step", 's', Language::PlPgSql, "select 1 from a"),
        (6, "other", 'i', Language::Other, ""),
    ] {
        routine(&mut catalog, oid, name, volatility, language, source);
    }
    catalog.depends(5, Dependent::Routine(4));
    let found = Found::of(catalog);
    assert_eq!(found.called("c_immutable"), Some(vec![]));
    assert_eq!(found.called("c_stable"), None);
    assert_eq!(found.called("uuid_generate_v4"), Some(vec![]));
    assert_eq!(found.called("total"), Some(vec!["a"]));
    assert_eq!(found.called("other"), None);
}

#[test]
fn an_operator_that_looks_something_up_makes_every_text_touch_any_table() {
    for (source, is_known) in [("select true", true), ("select true from a", false)] {
        let mut catalog = of(&TABLES);
        function(&mut catalog, 20001, "compares", 's', source);
        catalog.depends(20001, Dependent::Expression);
        assert_eq!(catalog.judge().touching.is_some(), is_known, "{source}");
    }
}

#[test]
fn policies_are_run_by_reading_and_writing() {
    let mut catalog = of(&TABLES);
    view(&mut catalog, "a", "(owner = CURRENT_USER)");
    view(
        &mut catalog,
        "b",
        "(EXISTS ( SELECT 1 FROM c WHERE c.id = b.id))",
    );
    catalog.table(TableFact::Check {
        table: "d",
        expression: b"(EXISTS ( SELECT 1 FROM e))",
    });
    let found = Found::of(catalog);
    assert_eq!(found.read("a"), Some(vec!["a"]));
    assert_eq!(found.read("b"), Some(vec!["b", "c"]));
    assert_eq!(found.written("b"), Some(vec!["b", "c"]));
    assert_eq!(found.written("d"), Some(vec!["d", "e"]));
    assert!(found.touch("b").runs);
}

#[test]
fn a_name_stands_for_whatever_has_it() {
    let mut catalog = of(&TABLES);
    // Another schema's.
    relation(&mut catalog, "b", b'v');
    view(&mut catalog, "b", "TABLE c");
    relation(&mut catalog, "A", b'r');
    relation(&mut catalog, "kept", b'm');
    relation(&mut catalog, "elsewhere", b'f');
    catalog.table(TableFact::Relation {
        name: "d",
        kind: b'r',
        has_rules: true,
    });
    // Of which nobody has told as a relation.
    view(&mut catalog, "unheard", "TABLE a");
    let found = Found::of(catalog);
    assert_eq!(found.read("a"), Some(vec!["a"]));
    assert_eq!(found.read("b"), Some(vec!["b", "c"]));
    assert_eq!(found.written("b"), None);
    assert_eq!(found.read("d"), None);
    assert_eq!(found.written("d"), None);
    assert!(found.read("kept").is_some());
    assert_eq!(found.written("kept"), None);
    assert_eq!(found.read("elsewhere"), None);
    assert_eq!(found.read("unheard"), None);
}

#[test]
fn a_trigger_writes_to_the_table_that_its_function_names() {
    let mut catalog = of(&TABLES);
    catalog.table(TableFact::Runs {
        table: "a",
        function: 20001,
    });
    let source = "begin insert into b values (new.id); return new; end";
    function(&mut catalog, 20001, "log_it", 'v', source);
    let found = Found::of(catalog);
    assert_eq!(found.written("a"), Some(vec!["a", "b"]));
}
