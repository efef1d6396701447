//! Views of the messages that servers send.

use crate::{Reader, WireError};

/// Type bytes of server messages.
pub mod tag {
    #![allow(missing_docs)]
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// The transaction status byte of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block; everything but its end is refused.
    Failed,
}

impl TransactionStatus {
    /// Reads the body of a ReadyForQuery message.
    #[inline]
    pub fn read(body: &[u8]) -> Result<Self, WireError> {
        match body {
            [b'I'] => Ok(TransactionStatus::Idle),
            [b'T'] => Ok(TransactionStatus::InTransaction),
            [b'E'] => Ok(TransactionStatus::Failed),
            other => Err(WireError::Invalid {
                tag: tag::READY_FOR_QUERY,
                field: "transaction status",
                value: other.first().copied().unwrap_or(0).into(),
            }),
        }
    }

    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        }
    }
}

/// The fields of an ErrorResponse or NoticeResponse that the pooler looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// `V`, or `S` where the server does not send it: ERROR, FATAL, PANIC, …
    pub severity: &'a [u8],
    /// `C`: SQLSTATE, five characters.
    pub code: &'a [u8],
    /// `M`: the primary message.
    pub message: &'a [u8],
    /// `D`: detail, or empty.
    pub detail: &'a [u8],
    /// `H`: hint, or empty.
    pub hint: &'a [u8],
    /// `R`: the server's source routine that reported it, or empty.
    pub routine: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Reads as many fields as `body` holds whole; a body cut short yields the fields before the cut.
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = ErrorFields::default();
        for (kind, value) in ErrorFieldIter::new(body) {
            match kind {
                b'S' if fields.severity.is_empty() => fields.severity = value,
                b'V' => fields.severity = value,
                b'C' => fields.code = value,
                b'M' => fields.message = value,
                b'D' => fields.detail = value,
                b'H' => fields.hint = value,
                b'R' => fields.routine = value,
                _ => {}
            }
        }
        fields
    }

    /// True if the server ends the connection after this error.
    pub fn is_fatal(&self) -> bool {
        self.severity == b"FATAL" || self.severity == b"PANIC"
    }
}

/// The fields of an ErrorResponse or NoticeResponse in order: a type byte and a string each.
#[derive(Debug, Clone)]
pub struct ErrorFieldIter<'a> {
    rest: &'a [u8],
}

impl<'a> ErrorFieldIter<'a> {
    /// Iterates over `body`; it ends at the terminator or where the body was cut.
    pub fn new(body: &'a [u8]) -> Self {
        ErrorFieldIter { rest: body }
    }
}

impl<'a> Iterator for ErrorFieldIter<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let end = rest.iter().position(|&b| b == 0)?;
        self.rest = &rest[end + 1..];
        Some((kind, &rest[..end]))
    }
}

/// ParameterStatus: a run-time parameter's name and its value now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// For example `TimeZone`.
    pub name: &'a [u8],
    /// Its value in the server's own spelling.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads the body of a ParameterStatus message.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag::PARAMETER_STATUS, body);
        Ok(ParameterStatus {
            name: r.cstr("parameter name")?,
            value: r.cstr("parameter value")?,
        })
    }
}

/// BackendKeyData: what a CancelRequest for this connection must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendKey {
    /// The server process.
    pub pid: u32,
    /// 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Box<[u8]>,
}

impl BackendKey {
    /// Reads the body of a BackendKeyData message.
    pub fn read(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag::BACKEND_KEY_DATA, body);
        let pid = r.u32("process id")?;
        let secret = r.rest();
        if !(4..=256).contains(&secret.len()) {
            return Err(WireError::Invalid {
                tag: tag::BACKEND_KEY_DATA,
                field: "cancel key length",
                value: secret.len() as u32,
            });
        }
        Ok(BackendKey {
            pid,
            secret: secret.into(),
        })
    }
}

/// What an Authentication message asks for or says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// 0: the client is in.
    Ok,
    /// 3: send the password itself.
    CleartextPassword,
    /// 5: send the md5 response for this salt.
    Md5Password {
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// 10: choose one of these SASL mechanisms.
    Sasl {
        /// Names, best first.
        mechanisms: Vec<&'a [u8]>,
    },
    /// 11: the server's next SASL message.
    SaslContinue(&'a [u8]),
    /// 12: the server's last SASL message.
    SaslFinal(&'a [u8]),
    /// Any other: Kerberos, GSSAPI, SSPI, OAuth …
    Other(u32),
}

impl<'a> Authentication<'a> {
    /// Reads the body of an Authentication message.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag::AUTHENTICATION, body);
        Ok(match r.u32("authentication code")? {
            0 => Authentication::Ok,
            3 => Authentication::CleartextPassword,
            5 => {
                let s = r.bytes(4, "salt")?;
                Authentication::Md5Password {
                    salt: [s[0], s[1], s[2], s[3]],
                }
            }
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match r.cstr("SASL mechanisms")? {
                        b"" => break,
                        name => mechanisms.push(name),
                    }
                }
                Authentication::Sasl { mechanisms }
            }
            11 => Authentication::SaslContinue(r.rest()),
            12 => Authentication::SaslFinal(r.rest()),
            other => Authentication::Other(other),
        })
    }
}
