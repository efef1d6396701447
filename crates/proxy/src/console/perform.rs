//! Carries out a command.

use std::cell::Cell;
use std::rc::Rc;

use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::sqlstate;

use super::command::{self, Command};
use super::courtesy::{Answer as Told, Courtesy};
use super::relation::{Head, Kind, Value};
use crate::client::card::ClientCard;
use crate::control::{Control, ControlError};
use crate::report::Refusal;
use crate::worker::Worker;

/// A NOTICE.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) message: String,
    pub(super) detail: Option<String>,
}

/// What a command brought.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) notices: Vec<Notice>,
    /// Columns and rows; `None` from a command that has none.
    pub(super) rows: Option<(Vec<Head>, Vec<Vec<Value>>)>,
    /// Of CommandComplete.
    pub(super) tag: String,
}

impl Answer {
    fn done(tag: &str) -> Self {
        Answer {
            tag: tag.to_owned(),
            ..Answer::default()
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let refusal = Refusal::new(error.sqlstate(), error.to_string());
        match error {
            ControlError::NoSuchDatabase(_) => refusal.hint("SHOW DATABASES lists them."),
            ControlError::NoSuchClient(_) => {
                refusal.hint("The column \"id\" of SHOW CLIENTS has it.")
            }
            _ => refusal,
        }
    }
}

/// The columns that a command will answer with; `None` from a command that has none.
pub(super) fn heads(command: &Command) -> Option<Vec<Head>> {
    match command {
        Command::Show(show) => Some(show.heads()),
        Command::Courtesy(Courtesy::Row { column, value, .. }) => Some(vec![Head {
            name: column,
            kind: match value {
                Told::Number(_) => Kind::Int4,
                Told::Text(_) => Kind::Text,
            },
        }]),
        _ => None,
    }
}

/// Carries out `command`. Given up half-way, it leaves in force what it has begun.
pub(super) async fn perform(
    worker: &Rc<Worker>,
    card: &ClientCard,
    status: &Cell<TransactionStatus>,
    command: &Command,
) -> Result<Answer, Refusal> {
    let control = Control(worker.shared.clone());
    let tag = match command {
        Command::Show(show) => {
            return Ok(Answer {
                rows: Some((show.heads(), show.rows(worker).await)),
                ..Answer::done("SHOW")
            });
        }
        Command::Help => {
            return Ok(Answer {
                notices: vec![Notice {
                    message: "Console usage".to_owned(),
                    detail: Some(command::help()),
                }],
                ..Answer::done("SHOW")
            });
        }
        Command::Reload => return reload(control).await,
        Command::Courtesy(courtesy) => return Ok(courteous(card, status, courtesy)),
        Command::Set { key, value } => {
            let tag = format!("SET {key}={value}");
            let (key, value) = (key.clone(), value.clone());
            aside(move || control.set(&key, &value)).await?;
            return Ok(Answer::done(&tag));
        }
        Command::Pause(database) => {
            control.pause(database.as_deref())?.await?;
            "PAUSE"
        }
        Command::Resume(database) => {
            control.resume(database.as_deref())?;
            "RESUME"
        }
        Command::Disable(database) => {
            control.disable(database)?;
            "DISABLE"
        }
        Command::Enable(database) => {
            control.enable(database)?;
            "ENABLE"
        }
        Command::Reconnect(database) => {
            control.reconnect(database.as_deref())?;
            "RECONNECT"
        }
        Command::Kill(database) => {
            control.kill(database.as_deref())?;
            "KILL"
        }
        Command::KillClient(id) => {
            control.kill_client(*id).await?;
            "KILL_CLIENT"
        }
        Command::Suspend => {
            control.suspend()?.await?;
            "SUSPEND"
        }
        Command::WaitClose(database) => {
            control.wait_close(database.as_deref())?.await?;
            "WAIT_CLOSE"
        }
        Command::TakeOver(_) => {
            let why = "TAKEOVER is what a process says that starts with -R, as a simple query";
            return Err(Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, why));
        }
        Command::Shutdown(kind) => {
            control.shutdown(*kind);
            "SHUTDOWN"
        }
    };
    Ok(Answer::done(tag))
}

async fn reload(control: Control) -> Result<Answer, Refusal> {
    let lines = aside(move || control.reload()).await?;
    let notice = |message| Notice {
        message,
        detail: None,
    };
    Ok(Answer {
        notices: lines.into_iter().map(notice).collect(),
        ..Answer::done("RELOAD")
    })
}

/// Does what reads files on another thread, so that this worker's clients do not wait for it.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(e) => Err(Refusal::new(sqlstate::INTERNAL_ERROR, e.to_string())),
    }
}

fn courteous(card: &ClientCard, status: &Cell<TransactionStatus>, courtesy: &Courtesy) -> Answer {
    match courtesy {
        Courtesy::Begin => {
            status.set(TransactionStatus::InTransaction);
            Answer::done("BEGIN")
        }
        Courtesy::End(tag) => {
            status.set(TransactionStatus::Idle);
            Answer::done(tag)
        }
        Courtesy::Nothing(tag) => Answer::done(tag),
        Courtesy::ApplicationName(name) => {
            card.application_name.replace(Some(name.as_str().into()));
            Answer::done("SET")
        }
        Courtesy::Row { column, value, tag } => {
            let (kind, value) = match value {
                Told::Number(n) => (Kind::Int4, Value::Number((*n).into())),
                Told::Text(text) => (Kind::Text, Value::from(*text)),
            };
            let head = Head { name: column, kind };
            Answer {
                rows: Some((vec![head], vec![vec![value]])),
                ..Answer::done(tag)
            }
        }
    }
}
