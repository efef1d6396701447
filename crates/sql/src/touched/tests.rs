use std::sync::LazyLock;

use super::*;
use crate::functions::table_number;
use crate::touching::tests::{function, of, relation, view};

const TABLES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut catalog = of(&TABLES);
    relation(&mut catalog, "v", b'v');
    view(&mut catalog, "v", "SELECT * FROM a, b");
    relation(&mut catalog, "s", b'S');
    relation(&mut catalog, "calling", b'v');
    function(
        &mut catalog,
        1,
        "here",
        's',
        "select current_setting('port')",
    );
    function(
        &mut catalog,
        2,
        "count_up",
        'v',
        "begin update c set n = n + 1; end",
    );
    function(&mut catalog, 3, "anything", 'v', "begin execute x; end");
    view(&mut catalog, "calling", "SELECT count_up(1)");
    catalog.judge().functions([])
});

/// The names of the tables, joined; `any`.
fn said(text: &str, how: Touched) -> String {
    let found = touched(text.as_bytes(), &FUNCTIONS, how);
    let Some(known) = found.known() else {
        return "any".to_owned();
    };
    let names = TABLES
        .iter()
        .filter(|name| known.contains(&table_number(name)));
    names.copied().collect()
}

#[test]
fn a_read_touches_what_it_names() {
    for (text, tables) in [
        ("select 1", ""),
        ("", ""),
        ("select x from a", "a"),
        ("SELECT x FROM Public.\"a\" y WHERE y.z = $1", "a"),
        (
            "select a from b, c as x join only d using (q), lateral (select 1 from e) z",
            "bcde",
        ),
        ("select (select max(x) from a), exists(select from b)", "ab"),
        ("table a", "a"),
        ("values (1, 'x'), (2, lower('y'))", ""),
        (
            "select * from (values (1, true), (2, null)) as t(n, ok), a",
            "a",
        ),
        (
            "select 1 from a union all (select 2 from b) order by 1, n limit 3",
            "ab",
        ),
        (
            "with x as (select 1 from a), y(n) as not materialized (select 1 from x) select * from y, b",
            "ab",
        ),
        (
            "with recursive t(n) as (select 1 union select n + 1 from t) select * from t",
            "",
        ),
        (
            "select extract(year from at), trim(both from n) from a where n is distinct from m",
            "a",
        ),
        (
            "select * from generate_series(1, 2) as g(n), jsonb_each(x) e, a",
            "a",
        ),
        ("select n || ' ' || here() from a", "a"),
        (
            "select x::numeric(3, 1), cast(y as varchar(3)), array[1, 2] from a",
            "a",
        ),
        (
            "select count(*) filter (where x), row_number() over (partition by y) from a",
            "a",
        ),
        ("select * from v", "ab"),
        ("copy a to stdout", "a"),
        ("copy public.a (x, y) to stdout (format csv)", "a"),
        ("copy (select 1 from a) to stdout", "a"),
        ("declare x cursor for select 1 from a", "a"),
        ("select 1 from a; select 1 from b", "ab"),
        ("set search_path = x; select 1 from a; commit", "a"),
        (
            "select 'insert into b', $$ delete from b $$, \"update\" from a -- from b",
            "a",
        ),
        ("select x.update, y.delete from a", "a"),
    ] {
        assert_eq!(said(text, Touched::Read), tables, "{text}");
    }
}

#[test]
fn a_read_that_is_not_understood_touches_any_table() {
    for text in [
        "select 1 from unheard_of",
        "select 1 from a, s.unheard_of",
        "select 1 from pg_class",
        "select unheard_of(x) from a",
        "select query_to_xml('select 1 from b', true, true, '') from a",
        "select pg_total_relation_size('b') from a",
        "select anything()",
        "select * from calling, unheard_of",
        "select 1 from \"odd\"\"name\"",
        "select 1 from u&\"\\0061\"",
        "select 1 from \u{e4}",
        "select 'x\\'' from a, '",
        "select 1 from a where x = 'y\\' and z = 'w'",
        "explain analyze select 1 from a",
        "fetch all from x",
        "execute x",
        "prepare x as select 1 from a",
        "select 1 from a; vacuum",
        "with x as (select 1) select * from y",
        "select 1 from a, 'open",
        "insert into a values (1)",
    ] {
        assert_eq!(said(text, Touched::Read), "any", "{text}");
    }
}

#[test]
fn a_write_touches_what_it_writes_to() {
    for (text, tables) in [
        ("insert into a values (1)", "a"),
        (
            "insert into public.\"a\" (x, y) select x, y from b where z = 1 returning *",
            "a",
        ),
        (
            "insert into a as t (x) values (1) on conflict (x) do update set y = 2",
            "a",
        ),
        ("update only a set x = 1 from b where a.y = b.y", "a"),
        ("update a set (x, y) = (select 1, 2 from b)", "a"),
        ("delete from a using public.b, c where a.x = b.x", "a"),
        (
            "with x as (delete from a returning *) insert into b select * from x",
            "ab",
        ),
        (
            "with x as (update a set y = 1 returning *), z as (insert into c select * from x) select 1 from d",
            "ac",
        ),
        (
            "merge into a using b on a.x = b.x when matched then update set y = 1 \
          when not matched then insert (x) values (1) when not matched by source then delete",
            "a",
        ),
        ("copy a from stdin", "a"),
        ("copy public.a (x, y) from stdin with (format csv)", "a"),
        (
            "begin; insert into a values (1); update b set x = 1; commit",
            "ab",
        ),
        ("select count_up(1)", "c"),
        ("insert into a select * from calling", "ac"),
        ("select x from a for update", ""),
        (
            "select x from a where y = 1 for no key update of a skip locked",
            "",
        ),
        (
            "select nextval('s'), pg_advisory_lock(1), txid_current()",
            "",
        ),
        (
            "select * from pg_stat_activity where pid <> pg_backend_pid()",
            "",
        ),
        ("insert into a select 1 from a, b, c", "a"),
    ] {
        assert_eq!(said(text, Touched::Written), tables, "{text}");
    }
}

#[test]
fn a_write_that_is_not_understood_touches_any_table() {
    for text in [
        "insert into unheard_of values (1)",
        "insert into v values (1)",
        "insert into a select * from unheard_of",
        "insert into a values (unheard_of(1))",
        "insert into a values (anything())",
        "delete from a using s.unheard_of where true",
        "merge into a using unheard_of on true when matched then delete",
        "select 1 into a from b",
        "create table x (y int)",
        "truncate a",
        "call p()",
        "do 'delete from a'",
        "execute x",
        "prepare transaction 'x'",
        "commit prepared 'x'",
        "rollback prepared 'x'",
        "refresh materialized view v",
        "explain analyze insert into a values (1)",
        "copy v from stdin",
        "copy a from stdin where anything()",
        "lock table a",
        "update",
        "insert",
        "update (a) set x = 1",
        "select lo_put(1, 0, 'x')",
        "select setval('s', 1), query_to_xml('x', true, true, '')",
        "update a set x = 1; drop table b",
        "insert into a values ('x\\''); delete from b; --')",
        "update u&\"\\0061\" set x = 1",
        "update \"A\"\"\" set x = 1",
    ] {
        assert_eq!(said(text, Touched::Written), "any", "{text}");
    }
}

#[test]
fn nothing_is_known_without_a_catalog() {
    let found = touched(b"select 1", &Functions::new(), Touched::Read);
    assert!(found.is_any());
}

/// Whatever a text is, what is said of two of its statements in one text is said of both.
#[test]
fn statements_of_one_text_touch_what_each_does() {
    let texts = [
        "select 1 from a",
        "select 1 from b, c",
        "table d",
        "select 1 from x",
        "select here()",
    ];
    let of = |text: &str| touched(text.as_bytes(), &FUNCTIONS, Touched::Read);
    for first in texts {
        for second in texts {
            let both = format!("{first}; {second}");
            assert_eq!(of(&both), of(first).and(of(second)), "{both}");
        }
    }
}
