//! The statements that do something to their session, in SQL as the pooler reads it.

use super::Statement;
use super::tokens::Words;

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// `SET [LOCAL] NAME TO VALUE`
    Set {
        name: String,
        value: String,
        local: bool,
    },
    /// `SELECT set_config('NAME', 'VALUE', LOCAL), …`
    SetConfig(Vec<(String, String, bool)>),
    /// The pooler's: `SELECT set_config(n,v,false) FROM (VALUES ('NAME', 'VALUE'), …) …`, for those that nobody has set.
    SetUnset(Vec<(String, String)>),
    /// `RESET NAME`, `SET NAME TO DEFAULT`
    Reset(String),
    ResetAll,
    /// `RESET ROLE`, `RESET SESSION AUTHORIZATION`
    ResetIdentity,
    DiscardAll,
    DiscardTemp,
    DiscardSequences,
    /// `CREATE TEMP TABLE NAME() [ON COMMIT DROP]`
    CreateTemp {
        name: String,
        drops: bool,
    },
    /// `DROP TABLE NAME`
    DropTemp(String),
    /// `TABLE NAME`
    Table(String),
    /// `DECLARE NAME CURSOR WITH HOLD FOR …`
    Declare(String),
    /// `CLOSE NAME`
    CloseCursor(String),
    CloseAll,
    /// `SELECT pg_advisory_lock_shared(N)`
    Lock(String),
    /// `SELECT pg_advisory_unlock_shared(N)`
    Unlock(String),
    UnlockAll,
    /// `PREPARE NAME AS …`
    Prepare {
        name: String,
        statement: Box<Statement>,
    },
    /// `EXECUTE NAME`
    Execute(String),
    /// `DEALLOCATE NAME`
    Deallocate(String),
    DeallocateAll,
    Listen(String),
    Unlisten(String),
    UnlistenAll,
    /// `SELECT pg_listening_channels()`
    Channels,
    /// `SELECT unseen('…')`, `DO '…'`: the text is a function's to run.
    Unseen {
        text: String,
        is_call: bool,
    },
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    /// `SELECT * FROM everything`: settings, and what the backend holds.
    Everything,
    /// `SELECT * FROM pg_prepared_statements` but for the pooler's own.
    Names,
    /// The question that the pooler asks, in its parts.
    Inventory(Vec<String>),
}

const NAMES: &str =
    "SELECT * FROM pg_prepared_statements WHERE NOT pg_catalog.starts_with(name,'PGWEIR_')";

impl Session {
    /// Reads one statement; `None` if it is none of these.
    pub fn read(text: &str) -> Option<Session> {
        if text == NAMES {
            return Some(Session::Names);
        }
        let is_question = ["'s' END", "'i',", "'t',", "'c',", "'l',", "'n',", "'P' END"]
            .iter()
            .any(|mark| text.starts_with("SELECT ") && text.contains(mark));
        if is_question {
            let parts = text.split(" UNION ALL ").map(str::to_owned);
            return Some(Session::Inventory(parts.collect()));
        }
        let mut w = Words::new(text)?;
        if w.take("SELECT pg_catalog.set_config(n,v,false) FROM (VALUES") {
            return set_unset(&mut w);
        }
        let read = Session::read_words(&mut w, text)?;
        w.is_at_end().then_some(read)
    }

    fn read_words(w: &mut Words, text: &str) -> Option<Session> {
        Some(if w.take("set") {
            return set(w);
        } else if w.take("reset") {
            reset(w)?
        } else if w.take("discard") {
            match w.name()?.as_str() {
                "all" => Session::DiscardAll,
                "temp" => Session::DiscardTemp,
                "sequences" => Session::DiscardSequences,
                _ => return None,
            }
        } else if w.take("create temp table") {
            let name = w.name()?;
            let columns = w.take("()");
            let drops = w.take("on commit drop");
            columns.then_some(Session::CreateTemp { name, drops })?
        } else if w.take("drop table") {
            Session::DropTemp(w.name()?)
        } else if w.take("table") {
            Session::Table(w.name()?)
        } else if w.take("declare") {
            let name = w.name()?;
            let holds = w.take("cursor with hold for select 1");
            holds.then_some(Session::Declare(name))?
        } else if w.take("close all") {
            Session::CloseAll
        } else if w.take("close") {
            Session::CloseCursor(w.name()?)
        } else if w.take("prepare") {
            let name = w.name()?;
            let statement = text.split_once(" AS ")?.1;
            while w.next().is_some() {}
            let statement = Box::new(Statement::read(statement)?);
            Session::Prepare { name, statement }
        } else if w.take("execute") {
            Session::Execute(w.name()?)
        } else if w.take("deallocate all") {
            Session::DeallocateAll
        } else if w.take("deallocate") {
            Session::Deallocate(w.name()?)
        } else if w.take("listen") {
            Session::Listen(w.name()?)
        } else if w.take("unlisten *") {
            Session::UnlistenAll
        } else if w.take("unlisten") {
            Session::Unlisten(w.name()?)
        } else if w.take("do") {
            let text = w.text()?;
            let is_call = false;
            Session::Unseen { text, is_call }
        } else if w.take("savepoint") {
            Session::Savepoint(w.name()?)
        } else if w.take("rollback to") {
            Session::RollbackTo(w.name()?)
        } else if w.take("release") {
            Session::Release(w.name()?)
        } else if w.take("select") {
            select(w)?
        } else {
            return None;
        })
    }

    /// True if a failed transaction block accepts it.
    pub fn ends_transaction(&self) -> bool {
        matches!(self, Session::RollbackTo(_))
    }

    pub fn returns_rows(&self) -> bool {
        matches!(
            self,
            Session::SetConfig(_)
                | Session::SetUnset(_)
                | Session::Table(_)
                | Session::Lock(_)
                | Session::Unlock(_)
                | Session::UnlockAll
                | Session::Channels
                | Session::Unseen { is_call: true, .. }
                | Session::Everything
                | Session::Names
                | Session::Inventory(_)
        )
    }
}

fn set_unset(w: &mut Words) -> Option<Session> {
    let mut sets = Vec::new();
    loop {
        let name = w.take("(").then(|| w.text())??;
        let value = w.take(",").then(|| w.text())??;
        sets.push((name, value));
        if !w.take("),") {
            return w.take(")").then_some(Session::SetUnset(sets));
        }
    }
}

fn set(w: &mut Words) -> Option<Session> {
    let local = w.take("local");
    if !local {
        w.take("session");
    }
    let name = if w.take("role") {
        "role".to_owned()
    } else {
        let name = w.long_name()?;
        if !w.take("to") && !w.take("=") {
            return None;
        }
        name
    };
    if w.take("default") {
        return w.is_at_end().then_some(Session::Reset(name));
    }
    // What the pooler sends for a role has TO in it.
    if name == "role" {
        w.take("to");
    }
    let value = w.values()?;
    Some(Session::Set { name, value, local })
}

fn reset(w: &mut Words) -> Option<Session> {
    Some(if w.take("all") {
        Session::ResetAll
    } else if w.take("session authorization") || w.take("role") {
        Session::ResetIdentity
    } else {
        Session::Reset(w.long_name()?)
    })
}

fn select(w: &mut Words) -> Option<Session> {
    if w.take("* from everything") {
        return Some(Session::Everything);
    }
    let mut sets = Vec::new();
    loop {
        w.take("pg_catalog.");
        let function = w.name()?;
        if !w.take("(") {
            return None;
        }
        let one = match function.as_str() {
            "set_config" => {
                let name = w.text()?;
                let value = w.take(",").then(|| w.text())??;
                let local = w.take(", true");
                if !local && !w.take(", false") {
                    return None;
                }
                sets.push((name, value, local));
                None
            }
            "pg_advisory_lock_shared" => Some(Session::Lock(w.name()?)),
            "pg_advisory_unlock_shared" => Some(Session::Unlock(w.name()?)),
            "pg_advisory_unlock_all" => Some(Session::UnlockAll),
            "pg_listening_channels" => Some(Session::Channels),
            "unseen" => {
                let (text, is_call) = (w.text()?, true);
                Some(Session::Unseen { text, is_call })
            }
            _ => return None,
        };
        if !w.take(")") {
            return None;
        }
        if let Some(one) = one {
            return Some(one);
        }
        if !w.take(",") {
            return Some(Session::SetConfig(sets));
        }
    }
}
