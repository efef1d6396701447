//! Builders: each appends one whole message to a buffer.

use crate::backend::{self, TransactionStatus};
use crate::frontend::{self, Target};

/// Appends a message of type `tag` whose body `body` writes; the length word is filled in afterwards.
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn cstr(out: &mut Vec<u8>, s: &[u8]) {
    out.extend_from_slice(s);
    out.push(0);
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    out.extend_from_slice(&[backend::tag::READY_FOR_QUERY, 0, 0, 0, 5, status.byte()]);
}

/// ParseComplete.
pub const PARSE_COMPLETE: [u8; 5] = [backend::tag::PARSE_COMPLETE, 0, 0, 0, 4];
/// CloseComplete.
pub const CLOSE_COMPLETE: [u8; 5] = [backend::tag::CLOSE_COMPLETE, 0, 0, 0, 4];
/// BindComplete.
pub const BIND_COMPLETE: [u8; 5] = [backend::tag::BIND_COMPLETE, 0, 0, 0, 4];
/// NoData.
pub const NO_DATA: [u8; 5] = [backend::tag::NO_DATA, 0, 0, 0, 4];
/// EmptyQueryResponse.
pub const EMPTY_QUERY_RESPONSE: [u8; 5] = [backend::tag::EMPTY_QUERY_RESPONSE, 0, 0, 0, 4];
/// Sync.
pub const SYNC: [u8; 5] = [frontend::tag::SYNC, 0, 0, 0, 4];
/// Terminate.
pub const TERMINATE: [u8; 5] = [frontend::tag::TERMINATE, 0, 0, 0, 4];
/// Flush.
pub const FLUSH: [u8; 5] = [frontend::tag::FLUSH, 0, 0, 0, 4];

/// How an ErrorResponse or NoticeResponse begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection stays.
    Error,
    /// The connection ends.
    Fatal,
    /// For information; sent as NoticeResponse.
    Notice,
    /// Something to worry about; sent as NoticeResponse.
    Warning,
}

impl Severity {
    /// As PostgreSQL spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
        }
    }
}

/// The text of an ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What it means for the connection.
    pub severity: Severity,
    /// SQLSTATE.
    pub code: &'a str,
    /// In PostgreSQL's style: lower case, no full stop.
    pub message: &'a str,
    /// A whole sentence with more, or `None`.
    pub detail: Option<&'a str>,
    /// What to do, or `None`.
    pub hint: Option<&'a str>,
}

impl Report<'_> {
    /// An error of this SQLSTATE that leaves the connection as it is, without a message yet.
    pub fn error(code: &str) -> Report<'_> {
        Report {
            severity: Severity::Error,
            code,
            message: "",
            detail: None,
            hint: None,
        }
    }
}

/// ErrorResponse or NoticeResponse, by the report's severity.
pub fn report(out: &mut Vec<u8>, report: Report<'_>) {
    let tag = match report.severity {
        Severity::Error | Severity::Fatal => backend::tag::ERROR_RESPONSE,
        Severity::Notice | Severity::Warning => backend::tag::NOTICE_RESPONSE,
    };
    message(out, tag, |out| {
        let severity = report.severity.as_str();
        let fields = [
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(report.code)),
            (b'M', Some(report.message)),
            (b'D', report.detail),
            (b'H', report.hint),
        ];
        for (kind, value) in fields {
            if let Some(value) = value {
                out.push(kind);
                // A zero byte would end the field: it can only come from a client's own malformed text.
                out.extend(value.bytes().filter(|&b| b != 0));
                out.push(0);
            }
        }
        out.push(0);
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, backend::tag::PARAMETER_STATUS, |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    message(out, backend::tag::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// NegotiateProtocolVersion: the newest minor version understood, and the `_pq_.` options that were not.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, version: u32, unknown: &[&[u8]]) {
    message(out, backend::tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
        for name in unknown {
            cstr(out, name);
        }
    });
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, &[]);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut Vec<u8>) {
    authentication(out, 3, &[]);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    authentication(out, 5, &salt);
}

/// AuthenticationSASL with the mechanisms offered, best first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    let mut list = Vec::new();
    for m in mechanisms {
        cstr(&mut list, m.as_bytes());
    }
    list.push(0);
    authentication(out, 10, &list);
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 11, data);
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 12, data);
}

fn authentication(out: &mut Vec<u8>, code: u32, data: &[u8]) {
    message(out, backend::tag::AUTHENTICATION, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// PasswordMessage.
pub fn password(out: &mut Vec<u8>, password: &[u8]) {
    message(out, frontend::tag::PASSWORD, |out| cstr(out, password));
}

/// SASLInitialResponse.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, frontend::tag::PASSWORD, |out| {
        cstr(out, mechanism.as_bytes());
        out.extend_from_slice(&(data.len() as u32).to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// SASLResponse.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, frontend::tag::PASSWORD, |out| {
        out.extend_from_slice(data)
    });
}

/// Query.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, frontend::tag::QUERY, |out| cstr(out, text));
}

/// Parse of `definition` (text, terminator and parameter types, as in [`frontend::Parse`]) under `name`.
pub fn parse(out: &mut Vec<u8>, name: &[u8], definition: &[u8]) {
    message(out, frontend::tag::PARSE, |out| {
        cstr(out, name);
        out.extend_from_slice(definition);
    });
}

/// Bind of the unnamed portal to the unnamed statement, which has no parameters; results come as text.
pub fn bind_unnamed(out: &mut Vec<u8>) {
    message(out, frontend::tag::BIND, |out| {
        // Two names, and counts of parameters' formats, parameters, and results' formats.
        out.extend_from_slice(&[0; 8]);
    });
}

/// Execute of the unnamed portal, to its end.
pub fn execute_unnamed(out: &mut Vec<u8>) {
    message(out, frontend::tag::EXECUTE, |out| {
        out.extend_from_slice(&[0; 5])
    });
}

/// Describe.
pub fn describe(out: &mut Vec<u8>, target: Target, name: &[u8]) {
    named(out, frontend::tag::DESCRIBE, target, name);
}

/// Close.
pub fn close(out: &mut Vec<u8>, target: Target, name: &[u8]) {
    named(out, frontend::tag::CLOSE, target, name);
}

fn named(out: &mut Vec<u8>, tag: u8, target: Target, name: &[u8]) {
    message(out, tag, |out| {
        out.push(match target {
            Target::Statement => b'S',
            Target::Portal => b'P',
        });
        cstr(out, name);
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, backend::tag::COMMAND_COMPLETE, |out| {
        cstr(out, tag.as_bytes());
    });
}

/// A column of [`row_description`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type's OID in `pg_type`.
    pub type_oid: u32,
    /// The type's size in bytes; -1 if it varies.
    pub type_size: i16,
}

/// RowDescription, every column in text format.
pub fn row_description<'c>(out: &mut Vec<u8>, columns: impl ExactSizeIterator<Item = Column<'c>>) {
    message(out, backend::tag::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for c in columns {
            cstr(out, c.name.as_bytes());
            out.extend_from_slice(&[0; 6]); // no table, no column number in one
            out.extend_from_slice(&c.type_oid.to_be_bytes());
            out.extend_from_slice(&c.type_size.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&0u16.to_be_bytes());
        }
    });
}

/// DataRow with values in text format; `None` is NULL.
pub fn data_row<'v>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'v str>>) {
    message(out, backend::tag::DATA_ROW, |out| {
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for v in values {
            match v {
                Some(v) => {
                    out.extend_from_slice(&(v.len() as u32).to_be_bytes());
                    out.extend_from_slice(v.as_bytes());
                }
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
    });
}
