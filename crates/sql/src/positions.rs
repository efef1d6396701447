//! Where names of relations stand.

use crate::lexer::{Kind, Token};

/// Behind these a relation is named, or a list of them begins.
const OPENING: [&str; 4] = ["from", "join", "table", "copy"];

/// Behind these no relation is named until one of the others. All are reserved, so in the place of a keyword they are
/// nothing else.
const CLOSING: [&str; 10] = [
    "select",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "window",
    "returning",
];

/// Words behind whose parenthesis FROM stands between two arguments: `extract(year FROM x)`.
const WITH_FROM: [&str; 4] = ["extract", "substring", "trim", "overlay"];

/// So deep in parentheses lists are told apart; further in, every name may be a relation's.
const DEPTH: usize = 64;

/// Follows a text token by token, and says which names may be those of relations that are read: not what else a word may
/// be, such as a column, an alias or a variable, where that is plain. (What is written by UPDATE, INSERT and their like,
/// and what definitions name, it does not tell.)
pub(crate) struct Positions {
    /// One bit for each level of parentheses: a list of relations goes on there.
    lists: u64,
    /// Likewise: FROM stands between two arguments there.
    arguments: u64,
    depth: usize,
    /// The last tokens, the latest first.
    last: [Token; 3],
    /// The last FROM is one behind which relations are named.
    from_opens: bool,
    /// The name that came last began in the place of a relation.
    is_relation: bool,
}

impl Positions {
    pub fn new() -> Positions {
        Positions {
            lists: 0,
            arguments: 0,
            depth: 0,
            last: [Token::EDGE; 3],
            from_opens: false,
            is_relation: false,
        }
    }

    /// Takes the next token. True if it is a name, or a part of one, that may be a relation's.
    #[inline]
    pub fn take(&mut self, token: Token, text: &[u8]) -> bool {
        let before = self.last;
        let [last, ..] = before;
        self.last = [token, last, before[1]];
        match token.kind {
            Kind::Word | Kind::Quoted => {
                self.from_opens |= token.is(text, "from");
                if last.kind != Kind::Dot {
                    self.is_relation = self.may_follow(last, text);
                    if token.kind == Kind::Word && !last.is(text, "as") {
                        self.keyword(token, before, text);
                    }
                }
                return self.is_relation;
            }
            Kind::Open => {
                // A list goes on within, as in `FROM (a JOIN b …)`; the arguments of a function, or the names of columns, are
                // none.
                let inner = self.may_follow(last, text);
                self.depth += 1;
                self.set_list(inner);
                let is_plain = before[1].kind != Kind::Dot;
                self.set_arguments(is_plain && WITH_FROM.iter().any(|w| last.is(text, w)));
            }
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            Kind::Semicolon => {
                self.depth = 0;
                self.set_list(false);
            }
            _ => {}
        }
        false
    }

    fn may_follow(&self, last: Token, text: &[u8]) -> bool {
        match last.kind {
            Kind::Word if last.is(text, "from") => self.from_opens,
            Kind::Word => last.is(text, "only") || OPENING.iter().any(|word| last.is(text, word)),
            Kind::Open => self.is_in_list(),
            // `U&"…"` is one name of three tokens.
            Kind::Other => {
                last.is_byte(text, b'&') || last.is_byte(text, b',') && self.is_in_list()
            }
            _ => false,
        }
    }

    #[inline]
    fn keyword(&mut self, word: Token, before: [Token; 3], text: &[u8]) {
        if word.is(text, "from") {
            self.from_opens = !self.are_arguments() && !is_distinct(before, text);
            if !self.from_opens {
                return;
            }
        }
        if OPENING.iter().any(|w| word.is(text, w)) {
            self.set_list(true);
        } else if CLOSING.iter().any(|w| word.is(text, w)) {
            self.set_list(false);
        }
    }

    fn is_in_list(&self) -> bool {
        self.depth >= DEPTH || self.lists & 1 << self.depth != 0
    }

    fn are_arguments(&self) -> bool {
        self.depth < DEPTH && self.arguments & 1 << self.depth != 0
    }

    fn set_list(&mut self, is_list: bool) {
        set(&mut self.lists, self.depth, is_list);
    }

    fn set_arguments(&mut self, are: bool) {
        set(&mut self.arguments, self.depth, are);
    }
}

fn set(bits: &mut u64, depth: usize, is: bool) {
    if depth < DEPTH {
        *bits = *bits & !(1 << depth) | u64::from(is) << depth;
    }
}

/// Whether `… IS DISTINCT` or `… IS NOT DISTINCT` came last, the latest first. (A column may be named `is`.)
fn is_distinct([last, before, first]: [Token; 3], text: &[u8]) -> bool {
    last.is(text, "distinct")
        && (before.is(text, "is") && first.kind != Kind::Dot
            || before.is(text, "not") && first.is(text, "is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::{Lexer, Strings};

    /// Whether `s` may be a relation's name somewhere in `text`.
    fn names_s(text: &str) -> bool {
        let mut lexer = Lexer::new(text.as_bytes(), Strings::Conforming);
        let mut positions = Positions::new();
        loop {
            let token = lexer.next::<false>();
            let is_relation = positions.take(token, text.as_bytes());
            match token.kind {
                Kind::Edge => return false,
                _ if is_relation && text[token.start..token.end].trim_matches('"') == "s" => {
                    return true;
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_relation_is_named_wherever_one_is_read() {
        for text in [
            "select 1 from s",
            "select 1 from only s",
            "select 1 from only (s)",
            "select 1 from public.s",
            "select 1 from \"s\"",
            "select 1 from t, s",
            "select 1 from t as x, s as y",
            "select 1 from t join s using (a)",
            "select 1 from t natural join s",
            "select 1 from (s join t on true)",
            "select 1 from (((t)) join u on true), s",
            "select 1 from t join u on t.a = u.b, s",
            "select 1 from t join u on t.where = u.b, s",
            "select 1 from t join u on case when a then b end, s",
            "select 1 from f(1, (select 2 where true)), s",
            "select (select a from s), 2 from t",
            "select 1 where exists (select from t, s)",
            "table s",
            "table only s",
            "select 1 union table s",
            "copy s to stdout",
            "copy s (a) to stdout",
            "copy (select 1 from s) to stdout",
            "begin for r in select * from s loop end loop; end",
            "begin return query select 1; perform 1 from s; end",
            "select extract(year from x), 1 from s",
            "select extract(year from (select a from s)) from t",
            "select 1 from t where a is distinct from (select b from s)",
            "select distinct 1 from s",
            "select a distinct from s",
            "select a.is distinct from s",
            "select a as distinct from s",
            "select x.trim(a), 1 from s",
            "select trim(a) from s",
            "select trim(both 'x' from a) from s",
        ] {
            assert!(names_s(text), "{text}");
        }
    }

    #[test]
    fn columns_aliases_and_variables_are_no_relations() {
        for text in [
            "select s from t",
            "select a, s from t",
            "select s.a from t s",
            "select a, s.b from t as s",
            "select count(s), max(a, s) from t",
            "select 1 from t where s = 1 and a in (s, 2)",
            "select 1 from t order by a, s limit s",
            "select 1 from t group by a, s having s > 1",
            "select a from t union select b, s from u",
            "declare s int; begin s := 1; select a, b into r, s from t; return s; end",
            "with s as (select 1) select 2",
            "select f(a, s) from t where g(s)",
            "select $1[s], s operator(pg_catalog.-) 1 from generate_series(1, 2, 1) as g(s)",
            "select 1 from f(s), t as x (a, s) join u using (s)",
            "select extract(year from s), substring(s from s for s) from t",
            "select trim(both from s), trim(a from s), overlay(s placing a from s for 2) from t",
            "select 1 from t where a is distinct from s or b is not distinct from s",
            "(s = 1)",
            "s",
        ] {
            assert!(!names_s(text), "{text}");
        }
    }

    #[test]
    fn what_is_too_deep_to_be_told_apart_may_be_a_relation() {
        let deep = format!("select {}a, s{}", "(".repeat(DEPTH), ")".repeat(DEPTH));
        assert!(names_s(&deep));
        assert!(!names_s("select (a, s)"));
    }
}
