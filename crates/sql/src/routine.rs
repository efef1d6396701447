//! What the source of a function may leave behind in the session of whoever calls it.
//!
//! Sources in SQL and PL/pgSQL are read token by token, like any text, but without a grammar: a statement begins behind
//! a semicolon and behind the words that open a block. A text that is put together at run time may do anything.

use crate::functions::{Functions, Known};
use crate::lexer::{Kind, Lexer, Strings, Token};
use crate::own::LEFT_OUT_PREFIXES;
use crate::unnamed::{DEFINITIONS, WRITES};
use crate::{Effects, classify};

/// What the classifier must not find. Not among it: what ends with the transaction, what CALL names, and the end of a
/// block, which looks like the end of a transaction.
const KEEPS: Effects = Effects::SETTINGS
    .union(Effects::TEMPORARY)
    .union(Effects::HOLDS)
    .union(Effects::LOCKS)
    .union(Effects::LOADS)
    .union(Effects::SEEDS)
    .union(Effects::READS_SEQUENCE)
    .union(Effects::LISTENS)
    .union(Effects::UNLISTENS)
    .union(Effects::LISTENING)
    .union(Effects::PREPARES)
    .union(Effects::EXECUTES)
    .union(Effects::DEALLOCATES)
    .union(Effects::UNSEEN);

/// Words that open a block, so that a statement begins behind them.
const OPENING: [&str; 5] = ["begin", "atomic", "then", "else", "loop"];

/// Statements that a function does not consist of unless it leaves something, or defines something.
const LEAVING: [&str; 8] = [
    "reset",
    "listen",
    "unlisten",
    "prepare",
    "deallocate",
    "discard",
    "load",
    "do",
];

/// Functions of PostgreSQL's own that are left out of its harmless ones for what does not matter here, or is looked at
/// more closely by the classifier.
const PASSING: [&str; 4] = ["nextval", "setval", "pg_notify", "set_config"];

/// What a source says.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// It may leave something behind by itself.
    pub keeps: bool,
    /// It may write to a table.
    pub writes: bool,
    /// The names in front of parentheses, in lower case: what it calls is among them.
    pub calls: Vec<Box<str>>,
}

/// Reads a source in SQL or PL/pgSQL. `own` are PostgreSQL's own functions, and nothing else.
pub(crate) fn read(text: &[u8], own: &Functions) -> Source {
    let mut source = Source {
        keeps: classify(text, own).intersects(KEEPS),
        ..Source::default()
    };
    let mut lexer = Lexer::new(text, Strings::Conforming);
    let mut last = Token::EDGE;
    loop {
        let token = lexer.next::<false>();
        match token.kind {
            Kind::Edge => break,
            Kind::Refused | Kind::Uncertain => {
                source.keeps = true;
                break;
            }
            Kind::Word => {
                let any = |words: &[&str]| words.iter().any(|word| token.is(text, word));
                let begins = matches!(last.kind, Kind::Edge | Kind::Semicolon)
                    || OPENING.iter().any(|word| last.is(text, word));
                source.keeps |= any(&["execute"])
                    || any(&["hold"]) && last.is(text, "with")
                    || begins && (any(&LEAVING) || any(&DEFINITIONS))
                    || begins && any(&["set"]) && stays_set(lexer.clone(), text);
                source.writes |= any(&WRITES);
            }
            Kind::Open => match last.kind {
                Kind::Word => source.call(last.of(text), own),
                Kind::Quoted => source.call(last.within(text), own),
                _ => {}
            },
            _ => {}
        }
        last = token;
    }
    source.keeps |= lexer.is_ambiguous();
    source.calls.sort_unstable();
    source.calls.dedup();
    source
}

impl Source {
    fn call(&mut self, name: &[u8], own: &Functions) {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let left_out = own.known(name.as_bytes()).is(Known::LEFT_OUT)
            || LEFT_OUT_PREFIXES
                .iter()
                .any(|start| name.starts_with(start));
        self.keeps |= left_out && !PASSING.contains(&&*name);
        self.calls.push(name.into());
    }
}

/// Whether SET, behind which `lexer` stands, outlives the transaction.
fn stays_set(mut lexer: Lexer<'_>, text: &[u8]) -> bool {
    let first = lexer.next::<false>();
    let second = lexer.next::<false>();
    // Names of parameters may begin with the words that make it a statement of another kind.
    let is_parameter =
        second.kind == Kind::Dot || second.is_byte(text, b'=') || second.is(text, "to");
    let passes = ["local", "transaction", "constraints"];
    is_parameter || second.is(text, "seed") || !passes.iter().any(|word| first.is(text, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(source: &str) -> bool {
        read(source.as_bytes(), &Functions::new()).keeps
    }

    #[test]
    fn sources_that_leave_nothing_are_harmless() {
        for source in [
            "select $1 + 1",
            "begin return a + b; end",
            "declare n int; begin select count(*) into n from t; if n > 3 then update t set a = 1; else delete from t; end if; return n; end;",
            "BEGIN NEW.updated_at = now(); RETURN NEW; END;",
            "begin for r in select * from t loop perform f(r.a); end loop; end",
            "begin insert into t (a) values (1) on conflict (a) do update set a = 2; return; end",
            "begin /* execute */ return 'execute; listen x'; -- set x = 1\n end",
            "begin return current_setting('app.user', true); end",
            "begin set local work_mem = '1MB'; set transaction read only; set constraints all deferred; end",
            "begin perform set_config('app.user', $1, true); end",
            "begin perform pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2); end",
            "begin perform pg_notify('a', 'b'); notify c; end",
            "begin return nextval('s'); end",
            "select temp, load, hold, listen, seed from readings",
            "BEGIN ATOMIC\n INSERT INTO t VALUES (1) RETURNING a;\nEND",
            "RETURN (a + b)",
            "<<outer>> declare x t.a%type; y t%rowtype; begin x := 1; for i in 1..10 loop exit outer when i = 3; end loop; raise notice '%', x; exception when others then null; end",
            "begin open c for select 1; fetch c into x; close c; return query select * from t; end",
            "#variable_conflict use_column\nbegin return case when a then b else c end; end",
            "merge into t using u on t.a = u.a when matched then update set b = 1 when not matched then insert (a, b) values (1, 2)",
        ] {
            assert!(!keeps(source), "{source}");
        }
    }

    #[test]
    fn sources_that_may_leave_something_are_not() {
        for source in [
            "select set_config('a.b', 'c', false)",
            "begin perform set_config('a.b', 'c', is_local); end",
            "begin set work_mem = '1MB'; end",
            "begin if a then set search_path = x; end if; end",
            "begin if a then b := 1; else set session x to 1; end if; end",
            "begin loop reset all; end loop; end",
            "begin set local seed = 0.5; end",
            "begin set local.x = 1; end",
            "begin set transaction_isolation = 'serializable'; end",
            "begin perform pg_advisory_lock(1); end",
            "begin perform pg_advisory_unlock(1); end",
            "begin perform pg_try_advisory_lock_shared(1, 2); end",
            "begin create temp table x (a int); end",
            "begin create temporary view x as select 1; end",
            "select * into temp x from t",
            "begin perform 'pg_temp.x'::regclass; end",
            "begin insert into pg_temp.x values (1); end",
            "begin return currval('s') + lastval(); end",
            "begin perform setseed(0.5); end",
            "listen x",
            "begin unlisten *; end",
            "begin prepare p as select 1; end",
            "begin deallocate all; end",
            "begin discard temp; end",
            "begin load 'x'; end",
            "declare c cursor with hold for select 1",
            "begin execute 'select 1'; end",
            "begin return query execute format('select %s', $1); end",
            "begin for r in execute x loop null; end loop; end",
            "begin open c for execute x; end",
            "begin do 'begin end'; end",
            "begin create table t (a int); end",
            "begin alter function f() volatile; end",
            "begin perform query_to_xml('select 1', true, true, ''); end",
            "begin perform pg_catalog.\"lastval\"(); end",
            "begin perform * from pg_prepared_statements; end",
            "update pg_settings set setting = 'x' where name = 'y'",
            "begin perform pg_replication_origin_session_setup('x'); end",
            "select 'a\\'; listen x --'",
            "select 'a",
            "select \\",
        ] {
            assert!(keeps(source), "{source}");
        }
    }

    #[test]
    fn what_is_called_and_whether_it_writes_is_told() {
        let own = Functions::new();
        let source = read(
            b"begin perform a(1), s.\"B\" (x), c; if (d) then insert into t (e) values (F(1)); end if; end",
            &own,
        );
        let calls: Vec<&str> = source.calls.iter().map(|c| &**c).collect();
        for called in ["a", "b", "f"] {
            assert!(calls.contains(&called), "{calls:?}");
        }
        assert!(!calls.contains(&"c") && source.writes);
        assert!(!read(b"select f(1)", &own).writes);
    }
}
