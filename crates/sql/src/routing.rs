//! Where a text may run: on the primary only, or on a hot standby with the same answer.
//!
//! A standby answers whatever writes nothing, takes no lock that it refuses, and asks nothing about the server itself.
//! What is not known to be such goes to the primary. Whatever makes a client keep its server (a WITH HOLD cursor, an
//! advisory lock, a seed) does so, too: the client may write next.

use std::fmt;

use crate::classify::judge;
use crate::functions::Functions;

/// Where a text may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum To {
    /// On the primary only.
    Primary,
    /// On a standby that is fresh enough, with the same answer.
    Replica,
    /// Anywhere: it reads no table and asks nothing that hosts answer differently. (SET, SAVEPOINT, COMMIT, nothing at all.)
    Any,
}

/// What a text says of the transaction that it begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Begins {
    /// It begins none.
    #[default]
    None,
    /// It begins one without an access mode, which is that of `default_transaction_read_only`.
    Plain,
    /// It begins a read-only one, by BEGIN READ ONLY or by SET TRANSACTION READ ONLY right behind BEGIN.
    ReadOnly,
}

/// Where a text may run, and why: what [`judge`](crate::judge) says beside [`Effects`](crate::Effects).
///
/// It speaks of the text alone. Within a transaction the server is where the transaction is; a session whose
/// `default_transaction_isolation` is serializable, which standbys refuse, goes to the primary with everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Routing {
    pub(crate) need: Option<Need>,
    pub(crate) asked: Option<To>,
    pub(crate) begins: Begins,
    pub(crate) reads: bool,
    pub(crate) redefines: bool,
}

impl Routing {
    /// Of what cannot be read.
    pub(crate) const UNREADABLE: Routing = Routing {
        need: Some(Need::of(Why::Unreadable)),
        asked: None,
        begins: Begins::None,
        reads: true,
        redefines: true,
    };

    /// Where it may run, if transactions are read-only unless they say otherwise, or not (`default_transaction_read_only`).
    /// What a comment asks for comes first.
    pub fn to(self, read_only_by_default: bool) -> To {
        match self.asked {
            Some(asked) => asked,
            None => self.judged(read_only_by_default),
        }
    }

    /// As [`Routing::to`], whatever a comment asks for.
    pub fn judged(self, read_only_by_default: bool) -> To {
        match self.begins {
            _ if self.need.is_some() => To::Primary,
            Begins::Plain if !read_only_by_default => To::Primary,
            Begins::Plain | Begins::ReadOnly => To::Replica,
            Begins::None if self.reads => To::Replica,
            Begins::None => To::Any,
        }
    }

    /// What a comment asks for: `/* pgweir: primary */` or `/* pgweir: replica */`, wherever it stands.
    pub fn asked(self) -> Option<To> {
        self.asked
    }

    /// Whether it may change what reading a relation means, or which relations only the primary has: what is known of the
    /// catalog's [`Volatile`](crate::Volatile) does not hold after it. (Functions are [`Effects::DEFINES`](crate::Effects::DEFINES).)
    pub fn redefines(self) -> bool {
        self.redefines
    }

    /// Whether it begins a transaction, and which.
    pub fn begins(self) -> Begins {
        self.begins
    }

    /// What is right for both readings of a text.
    pub(crate) fn or(self, other: Routing) -> Routing {
        Routing {
            need: self.need.or(other.need),
            asked: self.asked.or(other.asked),
            begins: match self.begins == other.begins {
                true => self.begins,
                false => Begins::Plain,
            },
            reads: self.reads || other.reads,
            redefines: self.redefines || other.redefines,
        }
    }
}

/// Why a text needs the primary, and the bytes of it that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub why: Why,
    pub start: u32,
    pub end: u32,
}

impl Need {
    pub const fn of(why: Why) -> Need {
        Need {
            why,
            start: 0,
            end: 0,
        }
    }

    /// The reason, with the name that is in `text`.
    fn reason(self, text: &[u8]) -> Reason {
        let written = text.get(self.start as usize..self.end as usize);
        let name = || String::from_utf8_lossy(written.unwrap_or_default()).to_ascii_lowercase();
        match self.why {
            Why::Statement => Reason::Statement(name()),
            Why::Function => Reason::Function(name()),
            Why::Unknown => Reason::UnknownFunction(name()),
            Why::Relation => Reason::Relation(name()),
            Why::RowLock => Reason::RowLock,
            Why::SelectInto => Reason::SelectInto,
            Why::Copy => Reason::Copy,
            Why::ReadWrite => Reason::ReadWrite,
            Why::Serializable => Reason::Serializable,
            Why::Setting => Reason::Setting(name()),
            Why::Unnamed => Reason::Unnamed,
            Why::CatalogUnread => Reason::CatalogUnread,
            Why::Execute => Reason::Execute,
            Why::Temporary => Reason::Temporary,
            Why::Keeps => Reason::Keeps,
            Why::Unreadable => Reason::Unreadable,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Statement,
    Function,
    Unknown,
    Relation,
    RowLock,
    SelectInto,
    Copy,
    ReadWrite,
    Serializable,
    Setting,
    Unnamed,
    CatalogUnread,
    Execute,
    Temporary,
    Keeps,
    Unreadable,
}

/// Why a text goes where it goes. Its `Display` is short and does not change from version to version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A comment says so.
    Comment,
    /// It only reads.
    Read,
    /// It reads nothing that a host has.
    Nothing,
    /// It begins a read-only transaction.
    ReadOnlyTransaction,
    /// It begins a transaction that may write.
    Transaction,
    /// A statement that writes, defines or locks, by its first word.
    Statement(String),
    /// A function that is volatile, or asks about the server.
    Function(String),
    /// A function of which nothing is known, or whose name another one has that is volatile.
    UnknownFunction(String),
    /// A relation that standbys have not, or have otherwise, or that calls volatile functions; or a view of the server's
    /// own state.
    Relation(String),
    /// FOR UPDATE and its like.
    RowLock,
    /// SELECT INTO.
    SelectInto,
    /// COPY, other than TO STDOUT.
    Copy,
    /// READ WRITE.
    ReadWrite,
    /// Serializable isolation, which standbys do not have.
    Serializable,
    /// A parameter that says which kind of server it is.
    Setting(String),
    /// An operator, a cast or a type of the database calls a volatile function.
    Unnamed,
    /// What the database's views, operators and casts call is not known.
    CatalogUnread,
    /// EXECUTE of a statement that another text prepared.
    Execute,
    /// Temporary tables.
    Temporary,
    /// It leaves something in its server, which the client then keeps.
    Keeps,
    /// The text cannot be read with certainty.
    Unreadable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Statement(verb) => return f.write_str(verb),
            Reason::Function(name) => return write!(f, "volatile function {name}"),
            Reason::UnknownFunction(name) if name.is_empty() => "unknown function",
            Reason::UnknownFunction(name) => return write!(f, "unknown function {name}"),
            Reason::Relation(name) => return write!(f, "relation {name}"),
            Reason::Setting(name) => return write!(f, "setting {name}"),
            Reason::Comment => "comment",
            Reason::Read => "read",
            Reason::Nothing => "nothing read",
            Reason::ReadOnlyTransaction => "read only transaction",
            Reason::Transaction => "transaction",
            Reason::RowLock => "row lock",
            Reason::SelectInto => "select into",
            Reason::Copy => "copy",
            Reason::ReadWrite => "read write",
            Reason::Serializable => "serializable",
            Reason::Unnamed => "volatile operator or cast",
            Reason::CatalogUnread => "catalog not read",
            Reason::Execute => "execute",
            Reason::Temporary => "temporary table",
            Reason::Keeps => "session state",
            Reason::Unreadable => "unreadable text",
        })
    }
}

/// Where a text goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where.
    pub to: To,
    /// Why.
    pub reason: Reason,
}

/// Where `text` goes by itself, in a session whose transactions may write, and why: for people to read.
/// [`judge`](crate::judge) is the same for the way of every statement.
pub fn route(text: &[u8], functions: &Functions) -> Route {
    let (_, routing) = judge(text, functions);
    let to = routing.to(false);
    let reason = match (routing.asked, routing.need) {
        (Some(_), _) => Reason::Comment,
        (None, Some(need)) => need.reason(text),
        (None, None) => match routing.begins {
            Begins::Plain => Reason::Transaction,
            Begins::ReadOnly => Reason::ReadOnlyTransaction,
            Begins::None if routing.reads => Reason::Read,
            Begins::None => Reason::Nothing,
        },
    };
    Route { to, reason }
}

#[cfg(test)]
mod tests;
