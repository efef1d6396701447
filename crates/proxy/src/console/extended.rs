//! The extended protocol: statements and portals of one visitor.

use std::collections::HashMap;

use pgweir_wire::backend::{TransactionStatus, tag as answer};
use pgweir_wire::frontend::{Named, Parse, Target, tag};
use pgweir_wire::{Reader, build, sqlstate};

use super::command::Command;
use super::desk::{Desk, Stop};
use super::perform::heads;
use super::relation::{self, Formats, Head, Value};
use crate::report::Refusal;

/// Statements, and portals, that one visitor may have.
const MAX_NAMES: usize = 1000;

/// What a Parse made; `None` from an empty text.
type Prepared = Option<Command>;

/// What a Bind made.
#[derive(Debug)]
struct Portal {
    prepared: Prepared,
    formats: Formats,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Bound,
    /// Its command ran, and these rows are still to be fetched.
    Fetching {
        heads: Vec<Head>,
        rows: std::vec::IntoIter<Vec<Value>>,
        tag: String,
    },
    Done,
}

/// What a visitor has prepared.
#[derive(Debug, Default)]
pub(super) struct Extended {
    /// After an error: everything up to the next Sync is skipped.
    pub(super) skipping: bool,
    statements: HashMap<Vec<u8>, Prepared>,
    portals: HashMap<Vec<u8>, Portal>,
}

impl Extended {
    /// The end of a segment. Portals end with the transaction.
    pub(super) fn sync(&mut self, status: TransactionStatus) {
        self.skipping = false;
        if status == TransactionStatus::Idle {
            self.portals.clear();
        }
    }
}

impl Desk {
    /// Parse, Bind, Describe, Execute, Close.
    pub(super) async fn extended_step(&mut self, message: u8, body: &[u8]) -> Result<(), Stop> {
        match message {
            tag::PARSE => self.parse(&Parse::read(body)?),
            tag::BIND => self.bind(body),
            tag::DESCRIBE => self.describe(&Named::read(message, body)?),
            tag::EXECUTE => {
                let mut r = Reader::new(message, body);
                let name = r.cstr("portal name")?;
                let limit = r.u32("row limit")?;
                self.run(name, limit).await
            }
            _ => {
                let named = Named::read(message, body)?;
                match named.target {
                    Target::Statement => drop(self.extended.statements.remove(named.name)),
                    Target::Portal => drop(self.extended.portals.remove(named.name)),
                }
                self.out.extend_from_slice(&build::CLOSE_COMPLETE);
                Ok(())
            }
        }
    }

    fn parse(&mut self, parse: &Parse<'_>) -> Result<(), Stop> {
        let statements = &self.extended.statements;
        if !parse.name.is_empty() && statements.contains_key(parse.name) {
            return Err(Refusal::new(
                sqlstate::DUPLICATE_STATEMENT,
                format!(
                    "prepared statement \"{}\" already exists",
                    lossy(parse.name)
                ),
            )
            .into());
        }
        room(statements.len())?;
        let prepared = self.understand_one(parse.text())?;
        self.extended
            .statements
            .insert(parse.name.to_vec(), prepared);
        self.out.extend_from_slice(&build::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Stop> {
        let mut r = Reader::new(tag::BIND, body);
        let portal = r.cstr("portal name")?;
        let statement = r.cstr("statement name")?;
        let formats = r.u16("number of parameter formats")?;
        r.bytes(usize::from(formats) * 2, "parameter formats")?;
        let parameters = r.u16("number of parameters")?;
        let prepared = self.prepared(statement)?.clone();
        if parameters > 0 {
            return Err(Refusal::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {parameters} parameters, but prepared statement \"{}\" requires 0",
                    lossy(statement)
                ),
            )
            .hint("Commands of the console take no parameters: write values into their text.")
            .into());
        }
        let mut formats = Vec::new();
        for _ in 0..r.u16("number of result formats")? {
            match r.u16("result format")? {
                format @ 0..=1 => formats.push(format),
                other => {
                    return Err(Refusal::new(
                        sqlstate::INVALID_PARAMETER,
                        format!("unsupported format code: {other}"),
                    )
                    .into());
                }
            }
        }
        let columns = prepared.as_ref().and_then(heads).map_or(0, |h| h.len());
        if formats.len() > 1 && formats.len() != columns {
            return Err(Refusal::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but query has {columns} columns",
                    formats.len()
                ),
            )
            .into());
        }
        room(self.extended.portals.len())?;
        let bound = Portal {
            prepared,
            formats: Formats(formats),
            progress: Progress::Bound,
        };
        self.extended.portals.insert(portal.to_vec(), bound);
        self.out.extend_from_slice(&build::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, named: &Named<'_>) -> Result<(), Stop> {
        let (columns, formats) = match named.target {
            Target::Statement => {
                let columns = self.prepared(named.name)?.as_ref().and_then(heads);
                build::message(&mut self.out, answer::PARAMETER_DESCRIPTION, |out| {
                    out.extend_from_slice(&0u16.to_be_bytes());
                });
                (columns, Formats::default())
            }
            Target::Portal => {
                let portal = self.portal(named.name)?;
                let columns = portal.prepared.as_ref().and_then(heads);
                (columns, portal.formats.clone())
            }
        };
        match columns {
            Some(columns) => relation::describe(&mut self.out, &columns, &formats),
            None => self.out.extend_from_slice(&build::NO_DATA),
        }
        Ok(())
    }

    /// Execute. `limit` is the number of rows to send at most; 0 is no limit.
    async fn run(&mut self, name: &[u8], limit: u32) -> Result<(), Stop> {
        let portal = self.portal(name)?;
        if let Progress::Bound = portal.progress {
            let Some(command) = portal.prepared.clone() else {
                self.out.extend_from_slice(&build::EMPTY_QUERY_RESPONSE);
                return Ok(());
            };
            let answer = self.execute(&command).await?;
            let (heads, rows) = answer.rows.unwrap_or_default();
            self.portal(name)?.progress = Progress::Fetching {
                heads,
                rows: rows.into_iter(),
                tag: answer.tag,
            };
        }
        let mut out = std::mem::take(&mut self.out);
        let sent = self.fetch(name, limit, &mut out);
        self.out = out;
        sent
    }

    fn fetch(&mut self, name: &[u8], limit: u32, out: &mut Vec<u8>) -> Result<(), Stop> {
        let portal = self.portal(name)?;
        let Progress::Fetching { heads, rows, tag } = &mut portal.progress else {
            return Err(Refusal::new(
                sqlstate::NOT_IN_PREREQUISITE_STATE,
                format!("portal \"{}\" cannot be run", lossy(name)),
            )
            .into());
        };
        let limit = match limit {
            0 => usize::MAX,
            n => n as usize,
        };
        for row in rows.take(limit) {
            relation::data(out, heads, &row, &portal.formats);
        }
        if rows.len() > 0 {
            build::message(out, answer::PORTAL_SUSPENDED, |_| {});
        } else {
            build::command_complete(out, tag);
            portal.progress = Progress::Done;
        }
        Ok(())
    }

    fn prepared(&self, name: &[u8]) -> Result<&Prepared, Refusal> {
        self.extended.statements.get(name).ok_or_else(|| {
            Refusal::new(
                sqlstate::UNDEFINED_STATEMENT,
                match name {
                    b"" => "unnamed prepared statement does not exist".to_owned(),
                    name => format!("prepared statement \"{}\" does not exist", lossy(name)),
                },
            )
        })
    }

    fn portal(&mut self, name: &[u8]) -> Result<&mut Portal, Refusal> {
        self.extended.portals.get_mut(name).ok_or_else(|| {
            // PostgreSQL's undefined_cursor.
            Refusal::new(
                "34000",
                format!("portal \"{}\" does not exist", lossy(name)),
            )
        })
    }
}

fn room(used: usize) -> Result<(), Refusal> {
    match used < MAX_NAMES {
        true => Ok(()),
        false => Err(Refusal::new(
            sqlstate::PROGRAM_LIMIT_EXCEEDED,
            format!("the console keeps at most {MAX_NAMES} prepared statements and portals"),
        )
        .hint("Close those that are no longer needed.")),
    }
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}
