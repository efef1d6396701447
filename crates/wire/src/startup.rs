//! The untyped packets that open a connection: a length word, a code, and what the code calls for.

use crate::{Reader, WireError};

/// Protocol 3.0: `0x0003_0000`.
pub const VERSION_3_0: u32 = 3 << 16;
/// Protocol 3.2: long cancel keys (PostgreSQL 18).
pub const VERSION_3_2: u32 = (3 << 16) | 2;

/// PostgreSQL's own bound for a start-up packet, length word included (`MAX_STARTUP_PACKET_LENGTH` is without it).
pub const MAX_STARTUP_BYTES: u32 = 10_004;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// A packet that opens a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening<'a> {
    /// The client would like TLS; one byte answers: `S` or `N`.
    SslRequest,
    /// The client would like GSSAPI encryption; one byte answers: `G` or `N`.
    GssEncRequest,
    /// Cancel what another connection is doing.
    CancelRequest {
        /// The process id from that connection's BackendKeyData.
        pid: u32,
        /// The secret from it: 4 bytes, or up to 256 since 3.2.
        secret: &'a [u8],
    },
    /// The start of a session.
    Startup(Startup<'a>),
}

/// StartupMessage: the version asked for, and parameters in the order sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup<'a> {
    /// Major version in the upper 16 bits, minor in the lower.
    pub version: u32,
    /// Names and values.
    pub parameters: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Startup<'a> {
    /// The last value sent for `name`.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.parameters
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|&(_, v)| v)
    }
}

/// Bytes of the whole packet that starts with `bytes`, once its length word is there.
///
/// Errors if no packet of that length can open a connection.
pub fn packet_bytes(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(head) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*head);
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(WireError::Length { tag: 0, length });
    }
    Ok(Some(length as usize))
}

impl<'a> Opening<'a> {
    /// Reads a whole packet, length word included (its size is what [`packet_bytes`] said).
    pub fn read(packet: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(0, packet);
        r.u32("length")?;
        let code = r.u32("protocol version")?;
        match code {
            SSL_REQUEST => Ok(Opening::SslRequest),
            GSSENC_REQUEST => Ok(Opening::GssEncRequest),
            CANCEL_REQUEST => {
                let pid = r.u32("process id")?;
                let secret = r.rest();
                if !(4..=256).contains(&secret.len()) {
                    return Err(WireError::Invalid {
                        tag: 0,
                        field: "cancel key length",
                        value: secret.len() as u32,
                    });
                }
                Ok(Opening::CancelRequest { pid, secret })
            }
            version if version >> 16 == 3 => {
                let mut parameters = Vec::new();
                loop {
                    match r.cstr("parameter name")? {
                        b"" => break,
                        name => parameters.push((name, r.cstr("parameter value")?)),
                    }
                }
                if !r.rest().is_empty() {
                    return Err(WireError::Invalid {
                        tag: 0,
                        field: "layout: expected terminator as last byte",
                        value: r.rest().len() as u32,
                    });
                }
                Ok(Opening::Startup(Startup {
                    version,
                    parameters,
                }))
            }
            other => Err(WireError::Invalid {
                tag: 0,
                field: "protocol version",
                value: other,
            }),
        }
    }
}

/// Appends an SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&8u32.to_be_bytes());
    out.extend_from_slice(&SSL_REQUEST.to_be_bytes());
}

/// Appends a CancelRequest.
pub fn cancel_request(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    out.extend_from_slice(&(12 + secret.len() as u32).to_be_bytes());
    out.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
    out.extend_from_slice(&pid.to_be_bytes());
    out.extend_from_slice(secret);
}

/// Appends a StartupMessage of `version` with `parameters`.
pub fn startup_message<'p>(
    out: &mut Vec<u8>,
    version: u32,
    parameters: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&version.to_be_bytes());
    for (name, value) in parameters {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out.push(0);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
