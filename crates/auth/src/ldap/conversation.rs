//! One conversation with a directory, which says in the end whether a password is its user's.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::ber::{self, Malformed, Reader};
use super::options::{Names, Options, Search, Security};

/// The tags of messages (RFC 4511, section 4).
mod tag {
    pub(super) const BIND_REQUEST: u8 = 0x60;
    pub(super) const BIND_RESPONSE: u8 = 0x61;
    pub(super) const UNBIND_REQUEST: u8 = 0x42;
    pub(super) const SEARCH_REQUEST: u8 = 0x63;
    pub(super) const SEARCH_ENTRY: u8 = 0x64;
    pub(super) const SEARCH_DONE: u8 = 0x65;
    pub(super) const SEARCH_REFERENCE: u8 = 0x73;
    pub(super) const EXTENDED_REQUEST: u8 = 0x77;
    pub(super) const EXTENDED_RESPONSE: u8 = 0x78;
    pub(super) const INTERMEDIATE_RESPONSE: u8 = 0x79;
}

/// What is to be done next.
pub enum Step {
    /// This is to be sent, and then the next message read.
    Send(Zeroizing<Vec<u8>>),
    /// The next message is to be read.
    Read,
    /// TLS is to be started; then [`Conversation::secured`] goes on.
    StartTls,
    /// The password is right. This is a farewell that may be sent.
    Accepted(Zeroizing<Vec<u8>>),
}

/// Without what is sent: a password is in it.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Send(_) => "Send(..)",
            Step::Read => "Read",
            Step::StartTls => "StartTls",
            Step::Accepted(_) => "Accepted(..)",
        })
    }
}

/// Why a password is not known to be right. The texts are for the log: what the directory says is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is wrong, or its user is not there; no other directory is to be asked.
    #[error("{0}")]
    Refused(String),
    /// Nobody has said; another directory may.
    #[error("{0}")]
    Failed(String),
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Failure::Failed(format!("it sent what is no message of LDAP: {malformed}"))
    }
}

/// A conversation about one login.
pub struct Conversation {
    options: Arc<Options>,
    user: String,
    password: Zeroizing<Vec<u8>>,
    state: State,
    id: u32,
    /// Messages that were read and said nothing.
    idle: u32,
}

/// Without the password.
impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("user", &self.user)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    New,
    /// It was asked for TLS.
    Securing,
    /// The one who searches binds.
    Introducing,
    /// The names that were found.
    Searching(Option<String>),
    /// The user binds by this name.
    Binding(String),
}

/// How many references to other directories, and messages without a meaning here, are passed over.
const MAX_IDLE: u32 = 1000;

const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;

impl Conversation {
    /// A conversation with one server of `options`.
    pub fn new(options: Arc<Options>, user: &str, password: Zeroizing<Vec<u8>>) -> Self {
        Conversation {
            options,
            user: user.to_owned(),
            password,
            state: State::New,
            id: 0,
            idle: 0,
        }
    }

    /// What to send first.
    ///
    /// # Errors
    /// No directory needs to be asked.
    pub fn begin(&mut self) -> Result<Step, Failure> {
        // A bind without a password is one of nobody in particular, which directories let in (RFC 4513, 5.1.2).
        if self.password.is_empty() {
            return Err(Failure::Refused("the password is empty".to_owned()));
        }
        if self.options.security != Security::StartTls {
            return self.introduce();
        }
        self.state = State::Securing;
        Ok(Step::Send(self.message(|out| {
            ber::element(out, tag::EXTENDED_REQUEST, |out| {
                ber::bytes(out, 0x80, b"1.3.6.1.4.1.1466.20037");
            });
        })))
    }

    /// Goes on after [`Step::StartTls`].
    ///
    /// # Errors
    /// As for [`Conversation::begin`].
    pub fn secured(&mut self) -> Result<Step, Failure> {
        self.introduce()
    }

    /// Reads the next message, a whole one.
    ///
    /// # Errors
    /// The end of the conversation, but for a right password.
    pub fn read(&mut self, message: &[u8]) -> Result<Step, Failure> {
        let mut message = Reader(Reader(message).expect(ber::SEQUENCE)?);
        let id = message.number(ber::INTEGER)?;
        let (found, content) = message.element()?;
        let mut content = Reader(content);
        if id == 0 {
            let (_, why) = result(&mut content)?;
            return Err(Failure::Failed(format!("it ends the connection: {why}")));
        }
        if id != self.id {
            return Err(Failure::Failed(format!(
                "it answers request {id}, which was not asked"
            )));
        }
        match (&mut self.state, found) {
            (_, tag::INTERMEDIATE_RESPONSE) => self.pass_over(),
            (State::Securing, tag::EXTENDED_RESPONSE) => match result(&mut content)? {
                (SUCCESS, _) => Ok(Step::StartTls),
                (_, why) => Err(Failure::Failed(format!("it does not start TLS: {why}"))),
            },
            (State::Introducing, tag::BIND_RESPONSE) => match result(&mut content)? {
                (SUCCESS, _) => self.search(),
                (_, why) => Err(Failure::Failed(format!("bind as ldapbinddn failed: {why}"))),
            },
            (State::Searching(None), tag::SEARCH_ENTRY) => {
                let name = content.expect(ber::OCTET_STRING)?;
                let name = String::from_utf8(name.to_vec())
                    .map_err(|_| Failure::Failed("a name that it found is not UTF-8".to_owned()))?;
                self.state = State::Searching(Some(name));
                Ok(Step::Read)
            }
            (State::Searching(Some(_)), tag::SEARCH_ENTRY) => Err(not_unique()),
            (State::Searching(_), tag::SEARCH_REFERENCE) => self.pass_over(),
            (State::Searching(name), tag::SEARCH_DONE) => {
                let name = name.take();
                match (result(&mut content)?, name) {
                    ((SUCCESS, _), Some(name)) if name.is_empty() => Err(Failure::Failed(
                        "it found an entry that has no name".to_owned(),
                    )),
                    ((SUCCESS, _), Some(name)) => self.bind(name),
                    ((SUCCESS, _), None) => {
                        Err(Failure::Refused("the search found no entry".to_owned()))
                    }
                    ((SIZE_LIMIT_EXCEEDED, _), Some(_)) => Err(not_unique()),
                    ((_, why), _) => Err(Failure::Failed(format!("the search failed: {why}"))),
                }
            }
            (State::Binding(name), tag::BIND_RESPONSE) => match result(&mut content)? {
                (SUCCESS, _) => Ok(Step::Accepted(self.message(|out| {
                    ber::bytes(out, tag::UNBIND_REQUEST, &[]);
                }))),
                (code, why) => {
                    let what = format!("bind as {name:?} failed: {why}");
                    Err(match code {
                        BUSY | UNAVAILABLE => Failure::Failed(what),
                        _ => Failure::Refused(what),
                    })
                }
            },
            (_, other) => Err(Malformed::Tag(other).into()),
        }
    }

    fn pass_over(&mut self) -> Result<Step, Failure> {
        self.idle += 1;
        match self.idle > MAX_IDLE {
            true => Err(Failure::Failed("it says nothing, at length".to_owned())),
            false => Ok(Step::Read),
        }
    }

    /// The first bind: that of the user, or of the one who searches for it.
    fn introduce(&mut self) -> Result<Step, Failure> {
        let options = self.options.clone();
        match &options.names {
            Names::Made { .. } => match options.names.made(&self.user) {
                Some(name) => self.bind(name),
                None => Err(Failure::Refused(
                    "the user has characters in its name that a name in the directory cannot have"
                        .to_owned(),
                )),
            },
            Names::Searched(search) => {
                self.state = State::Introducing;
                let request = self.bind_request(&search.bind_name, search.bind_password.as_bytes());
                Ok(Step::Send(request))
            }
        }
    }

    fn search(&mut self) -> Result<Step, Failure> {
        let options = self.options.clone();
        let Names::Searched(search) = &options.names else {
            unreachable!("only who searches is introduced");
        };
        self.state = State::Searching(None);
        let user = std::mem::take(&mut self.user);
        let request = self.message(|out| search_request(out, search, &user));
        Ok(Step::Send(request))
    }

    fn bind(&mut self, name: String) -> Result<Step, Failure> {
        let password = std::mem::take(&mut self.password);
        let request = self.bind_request(&name, &password);
        self.state = State::Binding(name);
        Ok(Step::Send(request))
    }

    fn bind_request(&mut self, name: &str, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let room = name.len() + password.len();
        self.message_of(room, |out| {
            ber::element(out, tag::BIND_REQUEST, |out| {
                ber::number(out, ber::INTEGER, 3);
                ber::bytes(out, ber::OCTET_STRING, name.as_bytes());
                ber::bytes(out, 0x80, password);
            });
        })
    }

    fn message(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
        self.message_of(0, write)
    }

    /// A request with the next number. It is never moved while it grows to `room` and what every one needs, so that no
    /// copy of a password stays behind.
    fn message_of(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
        self.id += 1;
        let mut out = Zeroizing::new(Vec::with_capacity(room + 64));
        ber::element(&mut out, ber::SEQUENCE, |out| {
            ber::number(out, ber::INTEGER, self.id);
            write(out);
        });
        out
    }
}

fn not_unique() -> Failure {
    Failure::Refused("the search found more than one entry".to_owned())
}

fn search_request(out: &mut Vec<u8>, search: &Search, user: &str) {
    ber::element(out, tag::SEARCH_REQUEST, |out| {
        ber::bytes(out, ber::OCTET_STRING, search.base.as_bytes());
        ber::number(out, ber::ENUMERATED, search.scope as u32);
        // Aliases are not followed; two entries are as bad as more; no limit of time; values do not count.
        ber::number(out, ber::ENUMERATED, 0);
        ber::number(out, ber::INTEGER, 2);
        ber::number(out, ber::INTEGER, 0);
        ber::bytes(out, ber::BOOLEAN, &[0xff]);
        search.filter.write(out, user);
        // "1.1" is no attribute (RFC 4511, section 4.5.1.8).
        ber::element(out, ber::SEQUENCE, |out| {
            ber::bytes(out, ber::OCTET_STRING, b"1.1");
        });
    });
}

/// The code of a result, and the code with what the directory says of it.
fn result(content: &mut Reader<'_>) -> Result<(u32, String), Malformed> {
    let code = content.number(ber::ENUMERATED)?;
    let _matched = content.expect(ber::OCTET_STRING)?;
    let said = content.expect(ber::OCTET_STRING)?;
    let mut text = match name(code) {
        Some(name) => format!("{name} ({code})"),
        None => format!("result code {code}"),
    };
    if !said.is_empty() {
        let said = String::from_utf8_lossy(&said[..said.len().min(200)]);
        text.push_str(&format!(": {:?}", said.trim_end_matches('\0')));
    }
    Ok((code, text))
}

/// RFC 4511's names for the results that a login may have.
fn name(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        SIZE_LIMIT_EXCEEDED => "sizeLimitExceeded",
        8 => "strongerAuthRequired",
        10 => "referral",
        13 => "confidentialityRequired",
        19 => "constraintViolation",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        BUSY => "busy",
        UNAVAILABLE => "unavailable",
        53 => "unwillingToPerform",
        _ => return None,
    })
}
