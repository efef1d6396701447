//! A client that changes functions, or what calls them: what is known of functions holds no longer.

use pgweir_sql::Effects;
use pgweir_wire::backend::TransactionStatus;

use crate::client::ClientSession;
use crate::server::ServerSession;

/// What the client's statements have done to functions, and to triggers, views and their like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Definitions {
    #[default]
    Unchanged,
    /// Changed in the transaction block that is open: nobody else sees it before the block ends.
    Within,
    /// Others may see them changed at any moment.
    Changing,
    /// The server has said that they changed, which was not foreseen; the transaction may have ended since.
    Unforeseen,
}

impl ServerSession {
    /// True from when others may see functions changed by the client, until its transaction has ended. It is told before
    /// the server is, so that nobody can see a change of which nothing is known.
    #[inline]
    pub fn changes_functions(&self) -> bool {
        matches!(
            self.definitions,
            Definitions::Changing | Definitions::Unforeseen
        )
    }

    /// Notes that [`ServerSession::changes_functions`] was heard.
    pub fn change_is_known(&mut self) {
        if self.definitions == Definitions::Unforeseen {
            self.definitions = match self.is_in_upkeep() {
                true => Definitions::Unchanged,
                false => Definitions::Changing,
            };
        }
    }

    /// Notes that functions have changed while a transaction is under way: what its texts call may be another thing by
    /// now.
    #[cold]
    pub fn functions_changed(&mut self) {
        self.tables_changed();
        self.transaction.may(Effects::FUNCTION);
    }

    /// Notes what statements that are sent next do to functions. Returns what else they do.
    pub(crate) fn note_definitions(&mut self, client: &ClientSession, effects: Effects) -> Effects {
        let may_end = effects.intersects(Effects::RELEASES | Effects::PROCEDURE | Effects::UNSEEN);
        if effects.contains(Effects::DEFINES) {
            // Where nobody follows which statement is executed, the end of a block is not seen before it comes.
            let within = client.rewrites()
                && self.status == TransactionStatus::InTransaction
                && self.owed.is_empty()
                && !may_end;
            if !within {
                self.definitions = Definitions::Changing;
            } else if self.definitions == Definitions::Unchanged {
                self.definitions = Definitions::Within;
            }
            // The next statement may call what this one defines.
            self.functions_changed();
        } else if may_end && self.definitions == Definitions::Within {
            self.definitions = Definitions::Changing;
        }
        effects.without(Effects::DEFINES)
    }

    /// CommandComplete tells of a change of which the text did not, because it was not read.
    #[cold]
    pub(crate) fn defined(&mut self) {
        if self.definitions == Definitions::Unchanged {
            self.definitions = Definitions::Unforeseen;
            self.functions_changed();
        }
    }

    /// The server is idle outside a transaction, and owes the client nothing.
    #[inline]
    pub(crate) fn definitions_settled(&mut self) {
        if self.definitions != Definitions::Unforeseen {
            self.definitions = Definitions::Unchanged;
        }
    }
}
