//! Reading one statement exactly: its tokens, its identifiers, its strings.

use crate::keywords::{Category, category};
use crate::lexer::{Kind, Lexer, Strings, Token};

/// The longest identifier that the server does not cut, in bytes.
const LONGEST: usize = 63;

/// The tokens of a text that is exactly one statement.
pub(crate) struct Statement<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
}

impl<'a> Statement<'a> {
    /// The statement that `text` is, with at most `longest` tokens; `None` if it is none or several, or not to be read
    /// with certainty: a backslash, a string with a prefix, bytes that are not UTF-8.
    pub fn of(text: &'a [u8], longest: usize) -> Option<Statement<'a>> {
        if text.contains(&b'\\') {
            return None;
        }
        let mut lexer = Lexer::new(text, Strings::Conforming);
        let mut tokens = Vec::new();
        let mut ended = false;
        loop {
            let token = lexer.next::<false>();
            match token.kind {
                Kind::Edge => break,
                Kind::Semicolon => ended = !tokens.is_empty(),
                Kind::Refused | Kind::Uncertain | Kind::Coded => return None,
                _ if ended || tokens.len() == longest => return None,
                _ => tokens.push(token),
            }
        }
        Some(Statement {
            text: std::str::from_utf8(text).ok()?,
            tokens,
            at: 0,
        })
    }

    /// The next token, not taken.
    pub fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    /// The token after the next, not taken.
    pub fn peek_second(&self) -> Option<Token> {
        self.tokens.get(self.at + 1).copied()
    }

    /// Takes the next token.
    pub fn next(&mut self) -> Option<Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Whether the next token is this word.
    pub fn is(&self, word: &str) -> bool {
        self.peek()
            .is_some_and(|token| token.is(self.text.as_bytes(), word))
    }

    /// Takes the next token if it is this word.
    pub fn take(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    /// Takes the next token if it is this byte of punctuation.
    pub fn take_byte(&mut self, byte: u8) -> bool {
        let is = self
            .peek()
            .is_some_and(|token| token.is_byte(self.text.as_bytes(), byte));
        self.at += usize::from(is);
        is
    }

    /// `token` as it is written.
    pub fn written(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    /// The identifier that `token` is, in lower case unless it is quoted, and what it may name without quotes. `None` if
    /// it is none, or the server's encoding or limits would change it.
    pub fn identifier(&self, token: Token) -> Option<(String, Category)> {
        let written = self.written(token);
        let (name, category) = match token.kind {
            Kind::Word => {
                // How other letters are put into lower case depends on the server's encoding and locale.
                let name = written.is_ascii().then(|| written.to_ascii_lowercase())?;
                let category = category(&name);
                (name, category)
            }
            Kind::Quoted => {
                let name = written[1..written.len() - 1].replace("\"\"", "\"");
                (name, Category::Free)
            }
            _ => return None,
        };
        (!name.is_empty()).then_some((name, category))
    }

    /// Like [`Statement::identifier`], of the names that may name a column (`ColId`), and cut as the server does.
    pub fn column_name(&self, token: Token) -> Option<String> {
        let (mut name, category) = self.identifier(token)?;
        if !matches!(category, Category::Free | Category::ColumnName) {
            return None;
        }
        if name.len() > LONGEST {
            // Where it is cut between other characters depends on the server's encoding.
            if !name.is_ascii() {
                return None;
            }
            name.truncate(LONGEST);
        }
        Some(name)
    }

    /// What the string `token` says; `None` if it is none, or has other characters than ASCII, whose bytes depend on the
    /// client's encoding.
    pub fn string(&self, token: Token) -> Option<String> {
        let written = self.written(token);
        if token.kind != Kind::Text || !written.starts_with('\'') || !written.is_ascii() {
            return None;
        }
        Some(written[1..written.len() - 1].replace("''", "'"))
    }
}
