//! What the statements do that are about their session.

use pgweir_wire::build;

use super::objects::ChannelChange;
use super::parameters::Refused;
use super::transaction::Level;
use super::{Backend, Done, Failure, Prepared, Transaction, failure, syntax_error};
use crate::model::statement::{Session, Statement};

/// What a statement returns.
pub(super) struct Returned {
    rows: Vec<Vec<Option<String>>>,
    tag: String,
}

fn nothing(tag: &str) -> Done<Returned> {
    Ok(Returned {
        rows: Vec::new(),
        tag: tag.into(),
    })
}

fn rows(rows: impl IntoIterator<Item = String>) -> Done<Returned> {
    let rows: Vec<_> = rows.into_iter().map(|r| vec![Some(r)]).collect();
    Ok(Returned {
        tag: format!("SELECT {}", rows.len()),
        rows,
    })
}

fn refused(name: &str, why: Refused) -> Failure {
    match why {
        Refused::NoSuchParameter => failure(
            "42704",
            format!("unrecognized configuration parameter \"{name}\""),
        ),
        Refused::InvalidValue => {
            failure("22023", format!("invalid value for parameter \"{name}\""))
        }
    }
}

fn no_table(name: &str) -> Failure {
    failure("42P01", format!("relation \"{name}\" does not exist"))
}

impl Backend {
    /// Runs `s`, and sends what comes of it.
    pub(super) fn run_session(&mut self, s: &Session, text: &str) -> Done {
        let returned = self.carry_out(s, text)?;
        for row in &returned.rows {
            build::data_row(&mut self.unsent, row.iter().map(Option::as_deref));
        }
        build::command_complete(&mut self.unsent, &returned.tag);
        Ok(())
    }

    /// What is wrong with `statement` before it is executed.
    pub(super) fn analyze(&self, statement: &Statement) -> Done {
        match statement {
            Statement::Session(Session::Table(name))
                if !self.objects.temporary.contains_key(name) =>
            {
                Err(no_table(name))
            }
            Statement::Session(Session::Execute(name)) => {
                let prepared = self.named.get(name.as_bytes());
                match prepared.and_then(|p| p.statement.as_ref()) {
                    Some(executed @ Statement::Session(Session::Table(_))) => {
                        self.analyze(executed)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn carry_out(&mut self, s: &Session, text: &str) -> Done<Returned> {
        let no_block = |command: &str| {
            failure(
                "25P01",
                format!("{command} can only be used in transaction blocks"),
            )
        };
        let in_block = self.transaction == Transaction::Block;
        match s {
            Session::Set { name, value, local } => {
                let set = self.parameters.set(name, value, *local);
                set.map_err(|why| refused(name, why))?;
                nothing("SET")
            }
            Session::SetConfig(sets) => {
                for (name, value, local) in sets {
                    let name = name.to_ascii_lowercase();
                    let set = self.parameters.set(&name, value, *local);
                    set.map_err(|why| refused(&name, why))?;
                }
                rows([sets.iter().map(|s| &*s.1).collect::<Vec<_>>().join("|")])
            }
            Session::SetUnset(sets) => {
                let unset: Vec<_> = sets
                    .iter()
                    .filter(|(name, _)| !self.parameters.is_set(name))
                    .collect();
                for (name, value) in &unset {
                    let set = self.parameters.set(name, value, false);
                    set.map_err(|why| refused(name, why))?;
                }
                rows(unset.into_iter().map(|(_, value)| value.clone()))
            }
            Session::Reset(name) => {
                let reset = self.parameters.reset(name);
                reset.map_err(|why| refused(name, why))?;
                nothing("RESET")
            }
            Session::ResetAll => {
                self.parameters.reset_all();
                nothing("RESET")
            }
            Session::ResetIdentity => {
                self.parameters.reset_role();
                nothing("RESET")
            }
            Session::DiscardAll => {
                if !self.alone {
                    return Err(failure(
                        "25001",
                        "DISCARD ALL cannot run inside a transaction block",
                    ));
                }
                self.portals.clear();
                self.named.clear();
                self.parameters.reset_role();
                self.parameters.reset_all();
                self.objects.drop_all();
                self.objects.pending.push(ChannelChange::UnlistenAll);
                nothing("DISCARD ALL")
            }
            Session::DiscardTemp => {
                self.objects.temporary.clear();
                nothing("DISCARD TEMP")
            }
            Session::DiscardSequences => nothing("DISCARD SEQUENCES"),
            Session::Savepoint(_) if !in_block => Err(no_block("SAVEPOINT")),
            Session::Release(_) if !in_block => Err(no_block("RELEASE SAVEPOINT")),
            Session::RollbackTo(_) if !in_block && self.transaction != Transaction::Failed => {
                Err(no_block("ROLLBACK TO SAVEPOINT"))
            }
            Session::Savepoint(name) => {
                let level = Level::new(name, &self.parameters, &self.objects);
                self.levels.push(level);
                nothing("SAVEPOINT")
            }
            Session::Release(name) => {
                let depth = self.savepoint(name)?;
                self.levels.truncate(depth);
                self.objects.release(depth);
                nothing("RELEASE")
            }
            Session::RollbackTo(name) => {
                let depth = self.savepoint(name)?;
                self.return_to(depth);
                self.transaction = Transaction::Block;
                nothing("ROLLBACK")
            }
            Session::Prepare { name, statement } => {
                self.analyze(statement)?;
                if self.named.contains_key(name.as_bytes()) {
                    return Err(failure(
                        "42P05",
                        format!("prepared statement \"{name}\" already exists"),
                    ));
                }
                let prepared = Prepared {
                    statement: Some((**statement).clone()),
                    text: text.as_bytes().to_vec(),
                    source: self.source.clone(),
                    generation: self.generation,
                    from_sql: true,
                };
                self.named.insert(name.as_bytes().to_vec(), prepared);
                nothing("PREPARE")
            }
            Session::Execute(name) => {
                let prepared = self.prepared(name.as_bytes())?;
                match prepared.statement {
                    Some(Statement::Session(inner)) if !matches!(inner, Session::Execute(_)) => {
                        self.analyze(&Statement::Session(inner.clone()))?;
                        let source = std::mem::replace(&mut self.source, prepared.source);
                        let text = String::from_utf8_lossy(&prepared.text);
                        let done = self.carry_out(&inner, &text);
                        self.source = source;
                        done
                    }
                    Some(Statement::Rows(n)) => {
                        let text = String::from_utf8_lossy(&prepared.text).into_owned();
                        rows((0..n).map(|i| format!("{text} {i}")))
                    }
                    _ => Err(failure("0A000", "the model does not execute this")),
                }
            }
            Session::Deallocate(name) => {
                self.prepared(name.as_bytes())?;
                self.named.remove(name.as_bytes());
                nothing("DEALLOCATE")
            }
            Session::DeallocateAll => {
                self.named.clear();
                nothing("DEALLOCATE ALL")
            }
            Session::Unseen { text, is_call } => {
                let inner = match Statement::read(text) {
                    Some(Statement::Session(inner)) => inner,
                    _ => return Err(syntax_error()),
                };
                let source = std::mem::replace(&mut self.source, text.clone().into_bytes());
                let done = self.carry_out(&inner, text);
                self.source = source;
                done?;
                match is_call {
                    true => rows(["done".to_owned()]),
                    false => nothing("DO"),
                }
            }
            Session::Everything => {
                let o = &self.objects;
                let parameters = self.parameters.iter();
                // What was never set and what was and is not are not to be told apart.
                let parameters = parameters.filter(|(n, v)| !(n.contains('.') && v.is_empty()));
                let all = parameters.map(|(n, v)| format!("{n}={v}"));
                let temporary = o.temporary.keys().map(|t| format!("table {t}"));
                let cursors = o.cursors.keys().map(|c| format!("cursor {c}"));
                let locks = o.locks.iter().map(|(l, n)| format!("lock {l} {n}"));
                rows(all.chain(temporary).chain(cursors).chain(locks))
            }
            Session::Names => rows(self.own_names().map(|(name, p)| {
                let text = String::from_utf8_lossy(&p.text).into_owned();
                format!("{name} {} {text}", p.from_sql)
            })),
            Session::Inventory(parts) => {
                let rows = parts.iter().flat_map(|p| self.inventory(p));
                Ok(Returned {
                    rows: rows.map(Vec::from).collect(),
                    tag: "SELECT".into(),
                })
            }
            object => self.handle(object),
        }
    }

    /// What makes, shows and takes away the objects of the process.
    fn handle(&mut self, s: &Session) -> Done<Returned> {
        let depth = self.levels.len().saturating_sub(1);
        let objects = &mut self.objects;
        match s {
            Session::CreateTemp { name, drops } => {
                if objects.temporary.contains_key(name) {
                    return Err(failure(
                        "42P07",
                        format!("relation \"{name}\" already exists"),
                    ));
                }
                objects.temporary.insert(name.clone(), *drops);
                nothing("CREATE TABLE")
            }
            Session::DropTemp(name) => match objects.temporary.remove(name) {
                Some(_) => nothing("DROP TABLE"),
                None => Err(failure("42P01", format!("table \"{name}\" does not exist"))),
            },
            Session::Table(name) => rows([format!("a row of {name}")]),
            Session::Declare(name) => {
                if objects.cursors.contains_key(name) {
                    return Err(failure(
                        "42P03",
                        format!("cursor \"{name}\" already exists"),
                    ));
                }
                objects.cursors.insert(name.clone(), Some(depth));
                nothing("DECLARE CURSOR")
            }
            Session::CloseCursor(name) => match objects.cursors.remove(name) {
                Some(_) => nothing("CLOSE CURSOR"),
                None => Err(failure(
                    "34000",
                    format!("cursor \"{name}\" does not exist"),
                )),
            },
            Session::CloseAll => {
                objects.cursors.clear();
                nothing("CLOSE CURSOR ALL")
            }
            Session::Lock(key) => {
                *objects.locks.entry(key.clone()).or_default() += 1;
                rows([String::new()])
            }
            Session::Unlock(key) => {
                let held = objects.locks.get(key).copied().unwrap_or(0);
                match held {
                    0 => {
                        self.warn("01000", "you don't own a lock of type ShareLock");
                        return rows(["f".to_owned()]);
                    }
                    1 => {
                        objects.locks.remove(key);
                    }
                    more => {
                        objects.locks.insert(key.clone(), more - 1);
                    }
                }
                rows(["t".to_owned()])
            }
            Session::UnlockAll => {
                objects.locks.clear();
                rows([String::new()])
            }
            Session::Listen(channel) => {
                objects.pending.push(ChannelChange::Listen(channel.clone()));
                nothing("LISTEN")
            }
            Session::Unlisten(channel) => {
                let change = ChannelChange::Unlisten(channel.clone());
                objects.pending.push(change);
                nothing("UNLISTEN")
            }
            Session::UnlistenAll => {
                objects.pending.push(ChannelChange::UnlistenAll);
                nothing("UNLISTEN")
            }
            Session::Channels => rows(objects.listening.iter().cloned().collect::<Vec<_>>()),
            other => unreachable!("carried out before: {other:?}"),
        }
    }

    /// The depth of the subtransaction that the savepoint `name` began.
    fn savepoint(&self, name: &str) -> Done<usize> {
        let found = self.levels.iter().rposition(|l| l.name == name);
        found
            .filter(|depth| *depth > 0)
            .ok_or_else(|| failure("3B001", format!("savepoint \"{name}\" does not exist")))
    }
}
