//! The words of a statement, as far as the model's statements have any.

/// One token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// In lower case; numbers as well.
    Word(String),
    /// Between quotation marks, which stand for nothing but themselves.
    Quoted(String),
    /// A literal.
    Text(String),
    Sign(char),
}

/// The tokens of `text`; `None` if a literal or a quoted name does not end.
pub fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
        match c {
            c if c.is_whitespace() => {}
            '\'' | '"' => {
                let mut value = String::new();
                loop {
                    match chars.next()? {
                        d if d != c => value.push(d),
                        _ if chars.next_if_eq(&c).is_some() => value.push(c),
                        _ => break,
                    }
                }
                tokens.push(match c {
                    '\'' => Token::Text(value),
                    _ => Token::Quoted(value),
                });
            }
            c if is_part(&c) => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(is_part) {
                    word.push(next);
                }
                tokens.push(Token::Word(word.to_ascii_lowercase()));
            }
            c => tokens.push(Token::Sign(c)),
        }
    }
    Some(tokens)
}

/// Reads tokens one after another.
#[derive(Debug)]
pub struct Words {
    tokens: std::vec::IntoIter<Token>,
}

impl Words {
    pub fn new(text: &str) -> Option<Words> {
        let tokens = tokens(text)?.into_iter();
        Some(Words { tokens })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.as_slice().first()
    }

    pub fn next(&mut self) -> Option<Token> {
        self.tokens.next()
    }

    pub fn is_at_end(&self) -> bool {
        self.peek().is_none()
    }

    /// Takes `phrase`, of words and signs, if it comes next.
    pub fn take(&mut self, phrase: &str) -> bool {
        let wanted = tokens(phrase).unwrap_or_default();
        let next = self.tokens.as_slice();
        let comes = next.starts_with(&wanted);
        if comes {
            self.tokens.nth(wanted.len() - 1);
        }
        comes
    }

    /// Takes a name: a word, or something between quotation marks.
    pub fn name(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }

    /// Takes a name that may have several parts.
    pub fn long_name(&mut self) -> Option<String> {
        let mut name = self.name()?;
        while self.take(".") {
            name = format!("{name}.{}", self.name()?);
        }
        Some(name)
    }

    /// Takes a literal.
    pub fn text(&mut self) -> Option<String> {
        match self.next()? {
            Token::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes values between commas, to the end.
    pub fn values(&mut self) -> Option<String> {
        let mut values = Vec::new();
        loop {
            match self.next()? {
                Token::Word(v) | Token::Quoted(v) | Token::Text(v) => values.push(v),
                Token::Sign(_) => return None,
            }
            if !self.take(",") {
                return self.is_at_end().then(|| values.join(", "));
            }
        }
    }
}
