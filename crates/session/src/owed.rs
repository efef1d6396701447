//! The debts of a server towards its client, in order.

use std::sync::Arc;

use crate::settings::Settings;
use crate::statements::Statement;

/// An answer that is due.
#[derive(Debug)]
pub(crate) enum Owed {
    /// To a Query or a FunctionCall: whatever comes, up to ReadyForQuery.
    Query,
    /// To a query of the pooler's own, up to ReadyForQuery; the client sees nothing of it.
    Hidden(Hidden),
    /// ReadyForQuery for a Sync.
    Sync,
    /// ReadyForQuery after an error that the client does not see, because the segment will be sent again.
    Mend(Box<Mend>),
    /// ParseComplete.
    Parse {
        /// What is prepared under its own name on the server; `None` for the server's unnamed statement.
        statement: Option<Arc<Statement>>,
        /// Whether the client asked for it.
        shown: bool,
        undo: Undo,
    },
    /// BindComplete, from this statement of the pooler's if it is one.
    Bind(Option<Arc<Statement>>),
    /// RowDescription or NoData (for a statement, after ParameterDescription).
    Describe(Option<Arc<Statement>>),
    /// CommandComplete, EmptyQueryResponse or PortalSuspended, after rows or a COPY.
    Execute,
    /// CloseComplete.
    Close {
        /// What left the server to make room, so the client did not ask for it.
        evicted: Option<Arc<Statement>>,
    },
    /// Nothing from the server: the pooler answers when everything before is answered.
    Local(Local),
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
    /// To bring the server into a known state, or to see that it is alive.
    Upkeep,
}

/// How to take back what a message changed in the client's session if the server skips it after an error.
#[derive(Debug)]
pub(crate) enum Undo {
    Nothing,
    /// Parse under this name: the name is not taken.
    Forget(Box<[u8]>),
    /// Close of this name: it still stands for the statement.
    Restore(Box<[u8]>, Arc<Statement>),
    /// Parse or Close of the unnamed statement: it was this one.
    Unnamed(Option<Arc<Statement>>),
}

/// A segment that will be sent again after `statement` is prepared anew.
#[derive(Debug)]
pub(crate) struct Mend {
    pub(crate) statement: Arc<Statement>,
    pub(crate) segment: Vec<Owed>,
}
