//! From a text to statements, and from a statement to words.

use crate::report::Refusal;
use pgweir_wire::sqlstate;

/// A word of a statement, or what stands between words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// As it was written: a keyword, a name, a number.
    Word(String),
    /// `"…"`, without the quotes.
    Name(String),
    /// `'…'`, without the quotes.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    /// Whether it is this keyword, which is in capitals.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// One statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) tokens: Vec<Token>,
    /// Where each token begins in `text`.
    starts: Vec<usize>,
    /// Without comments before or after it, and without its semicolon.
    pub(super) text: String,
}

impl Statement {
    /// What is written from the token `n` on.
    pub(super) fn text_from(&self, n: usize) -> &str {
        self.starts.get(n).map_or("", |&at| self.text[at..].trim())
    }

    fn push(
        &mut self,
        token: Token,
        source: &str,
        start: usize,
        end: usize,
        text_start: &mut usize,
    ) {
        if self.tokens.is_empty() {
            *text_start = start;
        }
        self.tokens.push(token);
        self.starts.push(start - *text_start);
        self.text = source[*text_start..end].to_owned();
    }
}

/// The statements of `source`, without empty ones.
///
/// Errors if a quoted text or a comment has no end.
pub(super) fn statements(source: &str) -> Result<Vec<Statement>, Refusal> {
    let mut found = Vec::new();
    let mut current = Statement::default();
    let mut text_start = 0;
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let (token, length) = match c {
            c if c.is_whitespace() => (None, c.len_utf8()),
            _ if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => (None, comment(rest)?),
            ';' => {
                if !current.tokens.is_empty() {
                    found.push(std::mem::take(&mut current));
                }
                (None, 1)
            }
            '\'' => {
                let (text, length) = quoted(rest, '\'')?;
                (Some(Token::Text(text)), length)
            }
            '"' => {
                let (name, length) = quoted(rest, '"')?;
                (Some(Token::Name(name)), length)
            }
            c if in_word(c) => {
                let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
                (Some(Token::Word(rest[..length].to_owned())), length)
            }
            c => (Some(Token::Mark(c)), c.len_utf8()),
        };
        if let Some(token) = token {
            current.push(token, source, at, at + length, &mut text_start);
        }
        at += length;
    }
    if !current.tokens.is_empty() {
        found.push(current);
    }
    Ok(found)
}

/// What names of databases are made of without quotes, and values: `30s`, `scram-sha-256`, `/etc/file.crt`.
fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '-' | '.' | '/')
}

/// The quoted text that `rest` begins with, and how long it is with its quotes; a doubled quote is one.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Refusal> {
    let mut text = String::new();
    let mut inside = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = inside.next() {
        if c != quote {
            text.push(c);
        } else if inside.next_if(|&(_, next)| next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((text, at + 1));
        }
    }
    Err(unterminated("quoted string", rest))
}

/// How long the comment is that `rest` begins with; they nest, as in PostgreSQL.
fn comment(rest: &str) -> Result<usize, Refusal> {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return Ok(at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Err(unterminated("/* comment", rest))
}

fn unterminated(what: &str, rest: &str) -> Refusal {
    let begins: String = rest.chars().take(20).collect();
    Refusal::new(
        sqlstate::SYNTAX_ERROR,
        format!("unterminated {what} at or near \"{begins}\""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<Vec<Token>> {
        let found = statements(source).expect("valid");
        found.into_iter().map(|s| s.tokens).collect()
    }

    fn word(w: &str) -> Token {
        Token::Word(w.to_owned())
    }

    #[test]
    fn statements_are_split_at_semicolons_and_empty_ones_are_left_out() {
        let expected = vec![
            vec![word("show"), word("pools")],
            vec![word("SHOW"), word("VERSION")],
        ];
        assert_eq!(words(";; show  pools ;\n;SHOW VERSION;"), expected);
        assert!(words(" ; -- nothing\n").is_empty());
    }

    #[test]
    fn comments_are_no_part_of_a_statement() {
        let source = "/* ; /* a */ */ SHOW -- which\n /* ' */ STATS";
        assert_eq!(words(source), vec![vec![word("SHOW"), word("STATS")]]);
    }

    #[test]
    fn quotes_keep_semicolons_and_doubled_quotes_are_one() {
        let expected = vec![vec![
            word("SET"),
            word("a"),
            Token::Mark('='),
            Token::Text("it's; so".into()),
        ]];
        assert_eq!(words("SET a='it''s; so'"), expected);
        let expected = vec![vec![word("PAUSE"), Token::Name("My \"db\"".into())]];
        assert_eq!(words(r#"PAUSE "My ""db""""#), expected);
    }

    #[test]
    fn what_has_no_end_is_an_error() {
        for source in ["SHOW 'a", "PAUSE \"a", "/* a /* b */"] {
            let error = statements(source).expect_err(source);
            assert_eq!(error.code, sqlstate::SYNTAX_ERROR);
        }
    }

    #[test]
    fn the_text_of_a_statement_is_what_stands_between_its_ends() {
        let found = statements(" SHOW a; SET x =  b, 'ç' -- c\n; ").expect("valid");
        assert_eq!(found[1].text, "SET x =  b, 'ç'");
        assert_eq!(found[1].text_from(3), "b, 'ç'");
        assert_eq!(found[1].text_from(9), "");
    }
}
