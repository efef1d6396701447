//! What a text of SQL does to the session it runs in, judged without a grammar and without I/O.
//!
//! [`classify`] reads every text that passes, so it must be quick: it says what the statements *may* do, errs on the side
//! of caution, and says nothing of a plain query. [`setting`], [`channel`] and [`executed`] read the few statements that
//! the pooler carries out itself: exactly, or not at all. [`judge`] is [`classify`] with one answer more: where the text
//! may run, and [`route`] says that to people.

mod before;
mod block;
mod calls;
mod catalog;
mod channel;
mod classify;
mod comments;
mod effects;
mod executed;
mod extensions;
mod functions;
mod keywords;
mod lexer;
pub mod own;
mod positions;
pub mod primary;
mod reading;
mod routine;
mod routing;
mod setting;
mod statements;
mod tables;
mod touched;
mod touching;
mod unnamed;
mod verbs;
mod volatile;
mod walk;
mod words;

pub use catalog::{Catalog, Dependent, Language, Relation, Routine, Verdict};
pub use channel::{Channel, channel};
pub use classify::{classify, classify_written, judge};
pub use effects::Effects;
pub use executed::{Executed, Naming, executed, naming};
pub use functions::{Functions, Unnamed};
pub use routing::{Begins, Reason, Route, Routing, To, route};
pub use setting::{Setting, is_read_by, setting};
pub use statements::statements;
pub use tables::{Tables, Touch};
pub use touched::{Touched, touched};
pub use touching::{TableFact, Touching};
pub use volatile::Volatile;
