//! The debts of a server towards its client, in order.

use std::sync::Arc;

use crate::client::NamedStatement;
use crate::inventory::Inventory;
use crate::prepared::Entry;
use crate::settings::Settings;
use crate::statements::Statement;
use crate::told::Change;

/// An answer that is due.
#[derive(Debug)]
pub(crate) enum Owed {
    /// To a Query or a FunctionCall: whatever comes, up to ReadyForQuery.
    Query {
        undo: Undo,
        /// What it changes of the settings, if it is carried out.
        changes: Option<Arc<[Change]>>,
    },
    /// An error to what was sent in the place of a message that the pooler refuses; the client gets this one instead.
    Refused {
        error: Box<[u8]>,
        undo: Undo,
        /// In the place of a Query: ReadyForQuery follows.
        is_query: bool,
    },
    /// To a query of the pooler's own, up to ReadyForQuery; the client sees nothing of it.
    Hidden(Hidden),
    /// ReadyForQuery for a Sync.
    Sync {
        /// CopyDone or CopyFail was sent since the message before: the Sync is not one that a COPY swallows.
        after_copy_end: bool,
    },
    /// ReadyForQuery after an error that the client does not see, because the segment will be sent again.
    Mend(Box<Mend>),
    /// ParseComplete.
    Parse {
        of: Parsing,
        /// Whether the client asked for it.
        shown: bool,
        undo: Undo,
    },
    /// BindComplete, from this statement of the pooler's if it is one.
    Bind(Option<Used>),
    /// RowDescription or NoData (for a statement, after ParameterDescription).
    Describe(Option<Used>),
    /// CommandComplete, EmptyQueryResponse or PortalSuspended, after rows or a COPY; what it changes of the settings
    /// then.
    Execute(Option<Arc<[Change]>>),
    /// CloseComplete.
    Close(Closing),
    /// Nothing from the server: the pooler answers when everything before is answered.
    Local(Local),
}

impl Owed {
    /// What to take back in the client's session if the server skips the message.
    pub(crate) fn undo(&self) -> Option<&Undo> {
        match self {
            Owed::Query { undo, .. }
            | Owed::Refused { undo, .. }
            | Owed::Parse { undo, .. }
            | Owed::Local(Local::Parse(undo) | Local::Close(undo)) => Some(undo),
            _ => None,
        }
    }

    /// As [`Owed::undo`].
    pub(crate) fn into_undo(self) -> Option<Undo> {
        match self {
            Owed::Query { undo, .. }
            | Owed::Refused { undo, .. }
            | Owed::Parse { undo, .. }
            | Owed::Local(Local::Parse(undo) | Local::Close(undo)) => Some(undo),
            _ => None,
        }
    }

    /// True if it answers something that makes, uses or takes away `statement` on the server.
    pub(crate) fn is_about(&self, statement: &Arc<Statement>) -> bool {
        let it = match self {
            Owed::Bind(Some(used)) | Owed::Describe(Some(used)) => &used.statement,
            Owed::Parse { of, .. } => match of {
                Parsing::Ours(s, _) => s,
                Parsing::Duplicate(duplicate) => &duplicate.statement,
                Parsing::Unnamed(_) | Parsing::Theirs => return false,
            },
            Owed::Close(Closing::Ours(entry)) => &entry.statement,
            _ => return false,
        };
        Arc::ptr_eq(it, statement)
    }

    pub(crate) fn undo_mut(&mut self) -> Option<&mut Undo> {
        match self {
            Owed::Query { undo, .. }
            | Owed::Refused { undo, .. }
            | Owed::Parse { undo, .. }
            | Owed::Local(Local::Parse(undo) | Local::Close(undo)) => Some(undo),
            _ => None,
        }
    }
}

/// What a Parse that was sent makes on the server.
#[derive(Debug)]
pub(crate) enum Parsing {
    /// A statement of the pooler's, by the Parse of this number.
    Ours(Arc<Statement>, u64),
    /// The server's unnamed statement, by the Parse of this number.
    Unnamed(u64),
    /// Nothing: the client has the name already, and the server is to say so.
    Duplicate(Box<Duplicate>),
    /// A statement under the client's own name, which the pooler does not follow.
    Theirs,
}

/// A Parse under a name that the client has already.
#[derive(Debug)]
pub(crate) struct Duplicate {
    pub(crate) name: Box<[u8]>,
    /// What the name stands for.
    pub(crate) statement: Arc<Statement>,
    /// Whether text and types are the same.
    pub(crate) is_same: bool,
}

/// What a Close that was sent takes away.
#[derive(Debug)]
pub(crate) enum Closing {
    /// What the client asked to be closed.
    Asked,
    /// A statement of the pooler's, which comes back if the Close is skipped.
    Ours(Entry),
    /// The server's unnamed statement, which was not the client's.
    Unnamed,
}

/// A statement of the pooler's in the place of a client's.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) statement: Arc<Statement>,
    /// Stands for the name that the client used; `None` for its unnamed statement.
    pub(crate) number: Option<u32>,
}

/// An answer that the pooler gives itself.
#[derive(Debug)]
pub(crate) enum Local {
    /// ParseComplete.
    Parse(Undo),
    /// CloseComplete.
    Close(Undo),
}

/// What a query of the pooler's own is for.
#[derive(Debug)]
pub(crate) enum Hidden {
    /// The server has these settings afterwards.
    Settings(Arc<Settings>),
    /// Parse, Bind and Execute of one statement ahead of a segment, in its transaction; no ReadyForQuery.
    Ahead,
    /// To bring the server into a known state, or to see that it is alive.
    Upkeep,
    /// What RESET returned to the server's own values has the client's start values again.
    Start,
    /// The clients' own name is on the server or is not; if it fails, it is not.
    Name(Box<[u8]>),
    /// What the client has left in the server.
    Inventory(Box<Inventory>),
}

/// How to take back what a message changed in the client's session if the server skips it after an error.
#[derive(Debug)]
pub(crate) enum Undo {
    Nothing,
    /// Parse under this name: the name is not taken.
    Forget(Box<[u8]>),
    /// Close of this name: it still stands for the statement.
    Restore(Box<[u8]>, NamedStatement),
    /// Parse or Close of the unnamed statement, or a Query: it was this one.
    Unnamed(Option<Arc<Statement>>),
}

/// A segment that will be sent again after its statement is prepared anew.
#[derive(Debug)]
pub(crate) struct Mend {
    pub(crate) statement: Arc<Statement>,
    /// What takes its place in the segment; the same one if it was only lost.
    pub(crate) by: Arc<Statement>,
    pub(crate) segment: Vec<Owed>,
}
