//! SET and RESET, read exactly: what `set_config` needs to have the same effect.
//!
//! The source is PostgreSQL's grammar (`VariableSetStmt`, `VariableResetStmt`) and `flatten_set_variable_args`.

use crate::keywords::{Category, category, is_keyword};
use crate::lexer::{Kind, Token};
use crate::reading::Statement;

/// How many tokens a SET may have to be read.
const LONGEST: usize = 64;

/// The parameters by which PostgreSQL reads a text, the names in it and its constants: a prepared statement goes on
/// meaning what they said when it was parsed.
const READ_BY: [&str; 15] = [
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "intervalstyle",
    "lc_monetary",
    "role",
    "search_path",
    "session_authorization",
    "sql_inheritance",
    "standard_conforming_strings",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// What SET calls some of [`READ_BY`], by its first word.
const READ_BY_WORDS: [&str; 5] = ["names", "schema", "session", "time", "xml"];

/// Whether texts are read by the parameter `name` (in any case), so that the same text means something else with another
/// value of it.
pub fn is_read_by(name: &str) -> bool {
    READ_BY.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// The same for the first word behind SET or SET LOCAL.
pub(crate) fn is_read_by_word(word: &[u8]) -> bool {
    let is_it = |n: &&str| n.as_bytes().eq_ignore_ascii_case(word);
    READ_BY.iter().any(&is_it) || READ_BY_WORDS.iter().any(is_it)
}

/// What a SET or RESET asks for. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// The parameter gets a value for the session: what `set_config(name, value, false)` would do.
    Set {
        /// The parameter.
        name: String,
        /// Its value, as `set_config` takes it.
        value: String,
    },
    /// SET LOCAL, of whatever parameter.
    Local {
        /// The parameter.
        name: String,
        /// Its value, if one is given.
        value: Option<String>,
    },
    /// RESET of one parameter.
    Reset {
        /// The parameter.
        name: String,
    },
    /// RESET ALL
    ResetAll,
    /// DISCARD ALL, which resets roles too.
    DiscardAll,
    /// SET … TO DEFAULT, which has the effect of RESET.
    Default {
        /// The parameter.
        name: String,
    },
}

/// What `text` asks for if it is exactly one SET or RESET of run-time parameters, or DISCARD ALL. `None` for everything else, and for
/// what cannot be told with certainty from the text alone: SET … FROM CURRENT, SET SESSION CHARACTERISTICS, SET TIME ZONE
/// with a number or an interval, strings with escapes or with other characters than ASCII, keywords of which versions of
/// PostgreSQL think differently.
pub fn setting(text: &[u8]) -> Option<Setting> {
    let mut statement = Statement::of(text, LONGEST)?;
    if statement.take("reset") {
        return reset(statement);
    }
    if statement.take("discard") {
        return (statement.take("all") && statement.is_at_end()).then_some(Setting::DiscardAll);
    }
    if !statement.take("set") {
        return None;
    }
    // LOCAL and SESSION cannot name a parameter here, but they may be the first part of its name.
    let qualified = statement
        .peek_second()
        .is_some_and(|token| token.kind == Kind::Dot);
    let local = !qualified && statement.take("local");
    if !local && !qualified && statement.is("session") {
        let next = statement.peek_second()?;
        match statement.written(next).to_ascii_lowercase().as_str() {
            "characteristics" => return None,
            "authorization" => {}
            _ => {
                statement.next();
            }
        }
    }
    let setting = set(&mut statement)?;
    if !statement.is_at_end() {
        return None;
    }
    Some(match setting {
        Setting::Set { name, value } if local => Setting::Local {
            name,
            value: Some(value),
        },
        Setting::Default { name } if local => Setting::Local { name, value: None },
        setting => setting,
    })
}

fn reset(mut statement: Statement) -> Option<Setting> {
    let setting = if statement.take("all") {
        Setting::ResetAll
    } else if is_pair(&statement, "time", "zone") {
        take_pair(&mut statement);
        reset_of("timezone")
    } else if is_pair(&statement, "session", "authorization") {
        take_pair(&mut statement);
        reset_of("session_authorization")
    } else if is_pair(&statement, "transaction", "isolation") {
        take_pair(&mut statement);
        if !statement.take("level") {
            return None;
        }
        reset_of("transaction_isolation")
    } else {
        Setting::Reset {
            name: name(&mut statement)?,
        }
    };
    statement.is_at_end().then_some(setting)
}

fn set(statement: &mut Statement) -> Option<Setting> {
    if is_pair(statement, "time", "zone") {
        take_pair(statement);
        if statement.take("default") || statement.take("local") {
            return Some(default_of("timezone"));
        }
        let token = statement.next()?;
        let value = match token.kind {
            Kind::Word => {
                let (word, _) = statement.identifier(token)?;
                // The grammar wants an identifier here that is no keyword of any kind.
                (!is_keyword(&word)).then_some(word)?
            }
            Kind::Quoted => statement.identifier(token)?.0,
            _ => statement.string(token)?,
        };
        return set_to("timezone", value);
    }
    if is_pair(statement, "session", "authorization") {
        take_pair(statement);
        if statement.take("default") {
            return Some(default_of("session_authorization"));
        }
        let value = word_or_string(statement)?;
        return set_to("session_authorization", value);
    }
    let follows = statement.peek_second();
    let is_name = match follows {
        None => false,
        Some(token) => {
            token.kind == Kind::Dot
                || matches!(statement.written(token), "=")
                || statement.written(token).eq_ignore_ascii_case("to")
        }
    };
    if !is_name {
        return construct(statement);
    }
    let name = name(statement)?;
    if !statement.take_byte(b'=') && !statement.take("to") {
        return None;
    }
    if statement.take("default") {
        return Some(Setting::Default { name });
    }
    let value = list(statement, &name)?;
    Some(Setting::Set { name, value })
}

/// The forms of SET without an equals sign.
fn construct(statement: &mut Statement) -> Option<Setting> {
    if statement.take("role") {
        return set_to("role", word_or_string(statement)?);
    }
    if statement.take("names") {
        if statement.is_at_end() || statement.take("default") {
            return Some(default_of("client_encoding"));
        }
        let token = statement.next()?;
        return set_to("client_encoding", statement.string(token)?);
    }
    if statement.take("schema") {
        let token = statement.next()?;
        let schema = statement.string(token)?;
        return set_to("search_path", quoted_if_needed(schema)?);
    }
    if statement.take("xml") && statement.take("option") {
        let value = ["document", "content"]
            .into_iter()
            .find(|word| statement.take(word))?;
        return set_to("xmloption", value.to_ascii_uppercase());
    }
    None
}

/// The name of a parameter: `name` or `prefix.name`.
fn name(statement: &mut Statement) -> Option<String> {
    let mut name = String::new();
    loop {
        let token = statement.next()?;
        let part = statement.column_name(token)?;
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if !part.bytes().all(plain) || part.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        name.push_str(&part);
        match statement.peek() {
            Some(dot) if dot.kind == Kind::Dot => {
                statement.next();
                name.push('.');
            }
            _ => return Some(name),
        }
    }
}

/// How a parameter takes a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// Not at all.
    No,
    /// Its elements as they are.
    Plain,
    /// Its elements quoted as identifiers where they need it.
    Quoted,
}

fn list(statement: &mut Statement, name: &str) -> Option<String> {
    let lists = match name {
        "search_path"
        | "temp_tablespaces"
        | "local_preload_libraries"
        | "session_preload_libraries"
        | "shared_preload_libraries"
        | "unix_socket_directories" => Lists::Quoted,
        "datestyle" => Lists::Plain,
        _ => Lists::No,
    };
    let mut values = String::new();
    loop {
        values.push_str(&element(statement, lists)?);
        if !statement.take_byte(b',') {
            return Some(values);
        }
        if lists == Lists::No {
            return None;
        }
        values.push_str(", ");
    }
}

fn element(statement: &mut Statement, lists: Lists) -> Option<String> {
    let negative = statement.take_byte(b'-');
    let signed = negative || statement.take_byte(b'+');
    let token = statement.next()?;
    if token.kind == Kind::Number {
        return number(statement, token, negative);
    }
    if signed {
        return None;
    }
    let value = match token.kind {
        Kind::Word => {
            let (word, category) = statement.identifier(token)?;
            let allowed = match category {
                Category::Free | Category::ColumnName | Category::TypeOrFunction => true,
                Category::Reserved => matches!(word.as_str(), "true" | "false" | "on"),
                Category::Depends => word != "system_user",
            };
            allowed.then_some(word)?
        }
        Kind::Quoted => statement.identifier(token)?.0,
        _ => statement.string(token)?,
    };
    if token.kind != Kind::Text && !is_kept(&value) {
        return None;
    }
    match lists {
        Lists::Quoted => quoted_if_needed(value),
        Lists::No | Lists::Plain => Some(value),
    }
}

/// A number as the server writes it down.
fn number(statement: &Statement, token: Token, negative: bool) -> Option<String> {
    let written = statement.written(token);
    // What is no number in older versions, or several tokens in them, is left to the server.
    let adjoins_word = statement
        .peek()
        .is_some_and(|next| next.start == token.end && next.kind == Kind::Word);
    if adjoins_word {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    Some(match written.parse::<i32>() {
        Ok(0) => "0".to_owned(),
        Ok(integer) => format!("{sign}{integer}"),
        Err(_) => format!("{sign}{written}"),
    })
}

/// A role: any word that is not reserved, or a string.
fn word_or_string(statement: &mut Statement) -> Option<String> {
    let token = statement.next()?;
    let value = match token.kind {
        Kind::Word => {
            let (word, category) = statement.identifier(token)?;
            (!matches!(category, Category::Reserved | Category::Depends)).then_some(word)?
        }
        Kind::Quoted => statement.identifier(token)?.0,
        _ => return statement.string(token),
    };
    is_kept(&value).then_some(value)
}

/// Whether the server keeps an identifier as it is.
fn is_kept(identifier: &str) -> bool {
    identifier.is_ascii() && identifier.len() <= 63
}

/// What `quote_identifier` makes of it; `None` if that depends on the server's version.
fn quoted_if_needed(value: String) -> Option<String> {
    let plain = value
        .bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && value.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let free = match category(&value) {
        Category::Free => true,
        Category::Depends => return None,
        _ => false,
    };
    Some(if plain && free {
        value
    } else {
        format!("\"{}\"", value.replace('"', "\"\""))
    })
}

fn is_pair(statement: &Statement, first: &str, second: &str) -> bool {
    statement.is(first)
        && statement
            .peek_second()
            .is_some_and(|token| statement.written(token).eq_ignore_ascii_case(second))
}

fn take_pair(statement: &mut Statement) {
    statement.next();
    statement.next();
}

fn set_to(name: &str, value: String) -> Option<Setting> {
    Some(Setting::Set {
        name: name.to_owned(),
        value,
    })
}

fn default_of(name: &str) -> Setting {
    Setting::Default {
        name: name.to_owned(),
    }
}

fn reset_of(name: &str) -> Setting {
    Setting::Reset {
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
