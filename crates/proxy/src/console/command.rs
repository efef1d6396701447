//! The commands: one table says how each is written, who may give it, and what it does.

use pgweir_wire::sqlstate;

use super::courtesy::{self, Courtesy};
use super::lexer::{Statement, Token};
use super::show::{SHOWS, Show, client_of_ptr};
use crate::gate::Shutdown;
use crate::report::Refusal;

/// What a user may do at the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rights {
    /// `stats_users`: look.
    Look,
    /// `admin_users`: everything.
    Everything,
}

/// A statement that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Show(Show),
    Help,
    Set {
        key: String,
        value: String,
    },
    Reload,
    Pause(Option<String>),
    Resume(Option<String>),
    Disable(String),
    Enable(String),
    Reconnect(Option<String>),
    Kill(Option<String>),
    KillClient(u64),
    Suspend,
    WaitClose(Option<String>),
    Shutdown(Shutdown),
    /// Another process of the pooler asks for this one's place, and understands this format.
    TakeOver(u32),
    /// What drivers send without being asked.
    Courtesy(Courtesy),
}

/// What is declared of a command.
pub(super) struct Declared {
    /// The first word.
    pub(super) word: &'static str,
    /// What follows it, as SHOW HELP says it.
    pub(super) arguments: &'static str,
    pub(super) rights: Rights,
    read: fn(&Arguments<'_>) -> Result<Command, Refusal>,
}

/// In the order of SHOW HELP.
pub(super) const COMMANDS: &[Declared] = &[
    Declared {
        word: "SHOW",
        arguments: "",
        rights: Rights::Look,
        read: show,
    },
    Declared {
        word: "SET",
        arguments: "key = arg",
        rights: Rights::Everything,
        read: set,
    },
    Declared {
        word: "RELOAD",
        arguments: "",
        rights: Rights::Everything,
        read: |a| a.none(Command::Reload),
    },
    Declared {
        word: "PAUSE",
        arguments: "[<db>]",
        rights: Rights::Everything,
        read: |a| a.database().map(Command::Pause),
    },
    Declared {
        word: "RESUME",
        arguments: "[<db>]",
        rights: Rights::Everything,
        read: |a| a.database().map(Command::Resume),
    },
    Declared {
        word: "DISABLE",
        arguments: "<db>",
        rights: Rights::Everything,
        read: |a| a.one_database().map(Command::Disable),
    },
    Declared {
        word: "ENABLE",
        arguments: "<db>",
        rights: Rights::Everything,
        read: |a| a.one_database().map(Command::Enable),
    },
    Declared {
        word: "RECONNECT",
        arguments: "[<db>]",
        rights: Rights::Everything,
        read: |a| a.database().map(Command::Reconnect),
    },
    Declared {
        word: "KILL",
        arguments: "[<db>]",
        rights: Rights::Everything,
        read: |a| a.database().map(Command::Kill),
    },
    Declared {
        word: "KILL_CLIENT",
        arguments: "<client_id>",
        rights: Rights::Everything,
        read: kill_client,
    },
    Declared {
        word: "SUSPEND",
        arguments: "",
        rights: Rights::Everything,
        read: |a| a.none(Command::Suspend),
    },
    Declared {
        word: "SHUTDOWN",
        arguments: "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",
        rights: Rights::Everything,
        read: shutdown,
    },
    Declared {
        word: "TAKEOVER",
        arguments: "<format>",
        rights: Rights::Everything,
        read: take_over,
    },
    Declared {
        word: "WAIT_CLOSE",
        arguments: "[<db>]",
        rights: Rights::Everything,
        read: |a| a.database().map(Command::WaitClose),
    },
];

/// Understands a statement, and sees whether the user may give it.
pub(super) fn understand(statement: &Statement, rights: Rights) -> Result<Command, Refusal> {
    if let Some(courtesy) = courtesy::recognize(statement) {
        return Ok(Command::Courtesy(courtesy));
    }
    let first = statement.tokens.first();
    let declared = COMMANDS
        .iter()
        .find(|c| first.is_some_and(|t| t.is(c.word)))
        .ok_or_else(|| unknown(statement))?;
    let command = (declared.read)(&Arguments(statement))?;
    let needed = match &command {
        Command::Show(show) => show.declared().rights,
        _ => declared.rights,
    };
    match rights >= needed {
        true => Ok(command),
        false => Err(
            Refusal::new(sqlstate::INSUFFICIENT_PRIVILEGE, "admin access needed")
                .hint("The pooler's setting admin_users names who has it."),
        ),
    }
}

/// The text of SHOW HELP.
pub(super) fn help() -> String {
    let mut help = String::from("\n\tSHOW HELP");
    for (n, show) in SHOWS.iter().enumerate() {
        help.push_str(if n % 6 == 5 { "\n\tSHOW " } else { "|" });
        help.push_str(show.word);
    }
    for command in &COMMANDS[1..] {
        help.push_str(&format!("\n\t{} {}", command.word, command.arguments));
        help.truncate(help.trim_end().len());
    }
    help
}

fn unknown(statement: &Statement) -> Refusal {
    Refusal::new(
        sqlstate::SYNTAX_ERROR,
        format!("invalid command '{}', use SHOW HELP;", statement.text),
    )
    .hint("SHOW HELP lists what the console understands.")
}

/// What stands after a command's first word.
struct Arguments<'s>(&'s Statement);

impl Arguments<'_> {
    fn all(&self) -> &[Token] {
        &self.0.tokens[1..]
    }

    fn none(&self, command: Command) -> Result<Command, Refusal> {
        match self.all() {
            [] => Ok(command),
            _ => Err(unknown(self.0)),
        }
    }

    fn database(&self) -> Result<Option<String>, Refusal> {
        match self.all() {
            [] => Ok(None),
            [Token::Word(name) | Token::Name(name)] => Ok(Some(name.clone())),
            _ => Err(unknown(self.0)),
        }
    }

    fn one_database(&self) -> Result<String, Refusal> {
        self.database()?
            .ok_or_else(|| Refusal::new(sqlstate::SYNTAX_ERROR, "a database is required"))
    }
}

fn show(arguments: &Arguments<'_>) -> Result<Command, Refusal> {
    match arguments.all() {
        [] => Ok(Command::Help),
        [word] if word.is("HELP") => Ok(Command::Help),
        [word] => SHOWS
            .iter()
            .find(|show| word.is(show.word))
            .map(|show| Command::Show(show.show))
            .ok_or_else(|| unknown(arguments.0)),
        _ => Err(unknown(arguments.0)),
    }
}

fn set(arguments: &Arguments<'_>) -> Result<Command, Refusal> {
    let (key, value) = match arguments.all() {
        [Token::Word(key) | Token::Name(key), is, value @ ..]
            if *is == Token::Mark('=') || is.is("TO") =>
        {
            (key, value)
        }
        _ => return Err(unknown(arguments.0)),
    };
    let value = match value {
        [Token::Text(text) | Token::Name(text)] => text.clone(),
        // Lists and SQL need no quotes.
        _ => arguments.0.text_from(3).to_owned(),
    };
    Ok(Command::Set {
        key: key.clone(),
        value,
    })
}

fn kill_client(arguments: &Arguments<'_>) -> Result<Command, Refusal> {
    match arguments.all() {
        [Token::Word(id) | Token::Text(id)] => match client_id(id) {
            Some(id) => Ok(Command::KillClient(id)),
            None => Err(Refusal::new(
                sqlstate::SYNTAX_ERROR,
                format!("invalid client id \"{id}\""),
            )
            .hint("The column \"id\" of SHOW CLIENTS has it.")),
        },
        _ => Err(unknown(arguments.0)),
    }
}

/// The column "id" of SHOW CLIENTS, or "ptr", as older scripts have it.
fn client_id(text: &str) -> Option<u64> {
    client_of_ptr(text).or_else(|| text.parse().ok())
}

fn take_over(arguments: &Arguments<'_>) -> Result<Command, Refusal> {
    match arguments.all() {
        [Token::Word(format)] => match format.parse() {
            Ok(format) => Ok(Command::TakeOver(format)),
            Err(_) => Err(unknown(arguments.0)),
        },
        _ => Err(unknown(arguments.0)),
    }
}

fn shutdown(arguments: &Arguments<'_>) -> Result<Command, Refusal> {
    let kind = match arguments.all() {
        [] => Shutdown::Now,
        [word] if word.is("WAIT_FOR_SERVERS") => Shutdown::WaitForServers,
        [word] if word.is("WAIT_FOR_CLIENTS") => Shutdown::WaitForClients,
        _ => return Err(unknown(arguments.0)),
    };
    Ok(Command::Shutdown(kind))
}

#[cfg(test)]
mod tests;
