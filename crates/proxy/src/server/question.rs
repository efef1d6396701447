//! A query of the pooler's own with a parameter, whose rows it reads.

use std::io;
use std::time::Duration;

use pgweir_sql::{Effects, Functions};
use pgweir_wire::backend::{ErrorFields, TransactionStatus, tag};
use pgweir_wire::{Reader, WireError, build, sqlstate};
use tokio::io::AsyncWriteExt;

use crate::message::{Inbox, ReadError};
use crate::report::Refusal;
use crate::server::Server;
use crate::worker::Worker;

/// A query in the extended protocol.
pub(crate) struct Question<'q> {
    pub(crate) query: &'q str,
    /// `$1`, as text; of whatever type the query makes it.
    pub(crate) parameter: &'q str,
}

/// The rows of an answer, as text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// No row that is worth reading is longer, in bytes.
const ROW_BYTES: u32 = 64 << 10;

/// More rows are not read: whoever asks wants one.
const ROWS: usize = 2;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks a server that is free, and leaves it free and clean. After an error its state is not known.
pub(crate) async fn ask(
    worker: &Worker,
    server: &mut Server,
    question: &Question<'_>,
) -> Result<Rows, Refusal> {
    let mut out = Vec::new();
    write(question, &mut out);
    server.session.passed_by();
    let rows = match tokio::time::timeout(TIMEOUT, converse(server, &out)).await {
        Ok(rows) => rows?,
        Err(_) => {
            let seconds = TIMEOUT.as_secs();
            return Err(lost(&format!("no answer within {seconds} s")));
        }
    };
    // A function that it calls may leave anything behind.
    if pgweir_sql::classify(question.query.as_bytes(), &Functions::new()) != Effects::NONE {
        let mut out = Vec::new();
        server.session.upkeep(b"DISCARD ALL", &mut out);
        server.session.discarded(&worker.shared.nothing_set);
        server.connect_again(&mut out);
        server.converse(worker, out).await?;
    }
    Ok(rows)
}

fn write(question: &Question<'_>, out: &mut Vec<u8>) {
    let mut definition = question.query.as_bytes().to_vec();
    // The end of the text, and no types.
    definition.extend_from_slice(&[0; 3]);
    build::parse(out, b"", &definition);
    build::message(out, b'B', |out| {
        // Portal, statement, no formats, one parameter.
        out.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
        out.extend_from_slice(&(question.parameter.len() as u32).to_be_bytes());
        out.extend_from_slice(question.parameter.as_bytes());
        out.extend_from_slice(&[0, 0]);
    });
    // A row more than are wanted tells that there are more.
    build::message(out, b'E', |out| {
        out.push(0);
        out.extend_from_slice(&(ROWS as u32).to_be_bytes());
    });
    out.extend_from_slice(&build::SYNC);
}

async fn converse(server: &mut Server, bytes: &[u8]) -> Result<Rows, Refusal> {
    let stream = &mut server.stream;
    stream.write_all(bytes).await.map_err(|e| lost(&e))?;
    stream.flush().await.map_err(|e| lost(&e))?;
    let mut inbox = Inbox::default();
    let mut rows = Rows::new();
    loop {
        let message = match inbox.next(stream, ROW_BYTES).await {
            Ok(message) => message,
            Err(ReadError::Io(e)) => return Err(lost(&e)),
            Err(ReadError::Wire(e)) => return Err(invalid(&e)),
        };
        match message.tag {
            tag::DATA_ROW => rows.push(row(&message.body).map_err(|e| invalid(&e))?),
            tag::ERROR_RESPONSE => {
                let fields = ErrorFields::read(&message.body);
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                return Err(Refusal::new(&text(fields.code), text(fields.message)));
            }
            // The session would have to hear of it, which it does not by this way.
            tag::PARAMETER_STATUS => {
                return Err(Refusal::new(
                    sqlstate::NOT_IN_PREREQUISITE_STATE,
                    "it changes a parameter of its session",
                ));
            }
            tag::READY_FOR_QUERY => {
                let status = TransactionStatus::read(&message.body).map_err(|e| invalid(&e))?;
                return match (status, inbox.is_empty()) {
                    (TransactionStatus::Idle, true) => Ok(rows),
                    (TransactionStatus::Idle, false) => Err(lost(&"the server says more")),
                    _ => Err(Refusal::new(
                        sqlstate::NOT_IN_PREREQUISITE_STATE,
                        "it leaves a transaction open",
                    )),
                };
            }
            _ => {}
        }
    }
}

fn row(body: &[u8]) -> Result<Vec<Option<String>>, WireError> {
    let mut reader = Reader::new(tag::DATA_ROW, body);
    let columns = reader.u16("column count")?;
    let mut row = Vec::new();
    for _ in 0..columns {
        let length = reader.u32("column length")?;
        row.push(match length {
            u32::MAX => None,
            n => {
                let bytes = reader.bytes(n as usize, "column")?;
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        });
    }
    Ok(row)
}

fn lost(why: &dyn std::fmt::Display) -> Refusal {
    let why = format!("connection to the server was lost: {why}");
    Refusal::new(sqlstate::CONNECTION_FAILURE, why)
}

fn invalid(why: &WireError) -> Refusal {
    Refusal::new(
        sqlstate::PROTOCOL_VIOLATION,
        io::Error::other(why.clone()).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_their_nulls() {
        let mut body = vec![0, 3, 0, 0, 0, 2];
        body.extend_from_slice(b"ab\xff\xff\xff\xff\0\0\0\0");
        let read = row(&body).unwrap();
        assert_eq!(read, [Some("ab".to_owned()), None, Some(String::new())]);
        for cut in 0..body.len() {
            assert!(row(&body[..cut]).is_err(), "{cut}");
        }
    }
}
