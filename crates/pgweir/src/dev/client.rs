//! A small client: connects, logs in, asks. For setting up the database, and for the demonstration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use pgweir_auth::scram::client::{AwaitingFinal, Exchange};
use pgweir_auth::server_login::{Answer as Proof, Asked, KeySource, ServerCredential, answer};
use pgweir_auth::{KeyCache, Lookup, Nonce, ScramKeys, Secret};
use pgweir_wire::backend::{Authentication, ErrorFields, tag};
use pgweir_wire::{Header, MAX_MESSAGE_BYTES, Reader, WireError, build, frame, frontend, startup};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// The path of its Unix socket.
    Unix(PathBuf),
}

/// Who connects to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Login<'a> {
    /// The user.
    pub(crate) user: &'a str,
    /// Its password; `None` where none is asked for.
    pub(crate) password: Option<&'a str>,
    /// The database.
    pub(crate) database: &'a str,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The connection.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What came is not the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An ErrorResponse.
    #[error("{message} ({code})")]
    Server {
        /// SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
    },
    /// The login asks for what we do not have.
    #[error(transparent)]
    Login(#[from] pgweir_auth::server_login::Error),
    /// The server's part of SCRAM is wrong.
    #[error(transparent)]
    Scram(#[from] pgweir_auth::scram::client::Error),
    /// A message that does not belong there.
    #[error("unexpected message of type {:?}", char::from(*.0))]
    Unexpected(u8),
}

/// What a query brought: the last result's columns, and the rows of all results.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Their names.
    pub(crate) columns: Vec<String>,
    /// The values as text; `None` is NULL.
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// The value in `row` of the column called `name`.
    pub(crate) fn get(&self, row: usize, name: &str) -> Option<&str> {
        let column = self.columns.iter().position(|c| c == name)?;
        self.rows.get(row)?.get(column)?.as_deref()
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection that is logged in.
pub(crate) struct Client {
    socket: Box<dyn Duplex>,
    /// Bytes that came; those before `read` are done with.
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
}

impl Client {
    /// Connects and logs in. `keys` keeps what SCRAM derives from a password, for those who connect often.
    pub(crate) async fn connect(
        address: &Address,
        login: Login<'_>,
        keys: &KeyCache,
    ) -> Result<Client, ClientError> {
        let socket: Box<dyn Duplex> = match address {
            Address::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Box::new(socket)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let mut client = Client {
            socket,
            input: Vec::new(),
            read: 0,
            output: Vec::new(),
        };
        let parameters = [
            (&b"user"[..], login.user.as_bytes()),
            (b"database", login.database.as_bytes()),
            (b"application_name", b"pgweir dev"),
        ];
        startup::startup_message(&mut client.output, startup::VERSION_3_0, parameters);
        client.log_in(login, keys).await?;
        Ok(client)
    }

    async fn log_in(&mut self, login: Login<'_>, cache: &KeyCache) -> Result<(), ClientError> {
        let secret = login.password.map(|p| Secret::Plain(p.into()));
        let held = ServerCredential::of(secret.as_ref(), None);
        let mut scram = Scram::None;
        loop {
            let (tag, body) = self.message().await?;
            if tag == tag::READY_FOR_QUERY {
                return Ok(());
            }
            // Parameters, the key, notices.
            if tag != tag::AUTHENTICATION {
                continue;
            }
            let mut out = Vec::new();
            match (Authentication::read(body)?, std::mem::take(&mut scram)) {
                (Authentication::Ok, Scram::None) => {}
                (Authentication::Sasl { mechanisms }, Scram::None) => {
                    let asked = Asked::Sasl(&mechanisms);
                    if let Proof::Scram { binding, keys } = answer(asked, login.user, held, None)? {
                        let exchange = Exchange::new(binding, Nonce::from_random(rand::random()));
                        let mechanism = exchange.mechanism().name();
                        build::sasl_initial_response(&mut out, mechanism, &exchange.first());
                        scram = Scram::Started(exchange, keys);
                    }
                }
                (Authentication::SaslContinue(data), Scram::Started(exchange, keys)) => {
                    let challenge = exchange.challenge(data)?;
                    let keys = derived(keys, challenge.salt(), challenge.iterations(), cache);
                    let (response, awaiting) = challenge.respond(&keys);
                    build::sasl_response(&mut out, &response);
                    scram = Scram::Proved(awaiting);
                }
                (Authentication::SaslFinal(data), Scram::Proved(awaiting)) => {
                    awaiting.finish(data)?
                }
                (Authentication::CleartextPassword, Scram::None) => {
                    if let Proof::Password(password) =
                        answer(Asked::Cleartext, login.user, held, None)?
                    {
                        build::password(&mut out, password.as_bytes());
                    }
                }
                (Authentication::Md5Password { salt }, Scram::None) => {
                    if let Proof::Md5(response) =
                        answer(Asked::Md5 { salt }, login.user, held, None)?
                    {
                        build::password(&mut out, &response);
                    }
                }
                _ => return Err(ClientError::Unexpected(tag)),
            }
            self.output.extend(out);
        }
    }

    /// Runs one or more statements by the simple protocol.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Answer, ClientError> {
        build::query(&mut self.output, sql.as_bytes());
        self.answer().await
    }

    /// Runs one statement with parameters by the extended protocol.
    pub(crate) async fn execute(
        &mut self,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Answer, ClientError> {
        let out = &mut self.output;
        let definition = [sql.as_bytes(), &[0, 0, 0]].concat();
        build::parse(out, b"", &definition);
        build::message(out, frontend::tag::BIND, |out| {
            out.extend([0, 0, 0, 0]); // unnamed portal and statement, parameters as text
            out.extend((parameters.len() as u16).to_be_bytes());
            for p in parameters {
                out.extend((p.len() as u32).to_be_bytes());
                out.extend(p.as_bytes());
            }
            out.extend([0, 0]); // results as text
        });
        build::message(out, frontend::tag::EXECUTE, |out| out.extend([0; 5]));
        out.extend(build::SYNC);
        self.answer().await
    }

    /// Reads up to ReadyForQuery, so that the connection can be used again also after an error.
    async fn answer(&mut self) -> Result<Answer, ClientError> {
        let mut answer = Answer::default();
        let mut error = None;
        loop {
            match self.message().await {
                Ok((tag::READY_FOR_QUERY, _)) => return error.map_or(Ok(answer), Err),
                Ok((tag::ROW_DESCRIPTION, body)) => answer.columns = columns(body)?,
                Ok((tag::DATA_ROW, body)) => answer.rows.push(row(body)?),
                Ok(_) => {}
                Err(e @ ClientError::Server { .. }) => error = Some(e),
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends what is to be sent and takes the next message: its type and body.
    async fn message(&mut self) -> Result<(u8, &[u8]), ClientError> {
        if !self.output.is_empty() {
            self.socket.write_all(&self.output).await?;
            self.output.clear();
        }
        let total = loop {
            let rest = &self.input[self.read..];
            if let Some(header) = Header::peek(rest) {
                let total = header.check(MAX_MESSAGE_BYTES)?.total();
                if rest.len() >= total {
                    break total;
                }
            }
            if rest.is_empty() {
                self.input.clear();
                self.read = 0;
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        };
        let start = self.read;
        self.read += total;
        let (tag, body) = (
            self.input[start],
            &self.input[start + frame::HEADER_BYTES..self.read],
        );
        if tag == tag::ERROR_RESPONSE {
            let fields = ErrorFields::read(body);
            return Err(ClientError::Server {
                code: String::from_utf8_lossy(fields.code).into_owned(),
                message: String::from_utf8_lossy(fields.message).into_owned(),
            });
        }
        Ok((tag, body))
    }
}

#[derive(Default)]
enum Scram<'a> {
    #[default]
    None,
    Started(Exchange, KeySource<'a>),
    Proved(AwaitingFinal),
}

fn derived(
    source: KeySource<'_>,
    salt: &[u8],
    iterations: NonZeroU32,
    cache: &KeyCache,
) -> ScramKeys {
    match source {
        KeySource::Keys(keys) => keys.clone(),
        KeySource::Password(password) => {
            match cache.lookup(password.as_bytes(), salt, iterations) {
                Lookup::Ready(keys) => keys,
                Lookup::Missing(derivation) => derivation.run(),
            }
        }
    }
}

fn columns(body: &[u8]) -> Result<Vec<String>, WireError> {
    let mut r = Reader::new(tag::ROW_DESCRIPTION, body);
    let count = r.u16("number of columns")?;
    (0..count)
        .map(|_| {
            let name = String::from_utf8_lossy(r.cstr("column name")?).into_owned();
            r.bytes(18, "column description")?;
            Ok(name)
        })
        .collect()
}

fn row(body: &[u8]) -> Result<Vec<Option<String>>, WireError> {
    let mut r = Reader::new(tag::DATA_ROW, body);
    let count = r.u16("number of values")?;
    (0..count)
        .map(|_| match r.u32("length of a value")? {
            u32::MAX => Ok(None),
            length => {
                let value = r.bytes(length as usize, "value")?;
                Ok(Some(String::from_utf8_lossy(value).into_owned()))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_the_name_of_their_column() {
        let column = |name| build::Column {
            name,
            type_oid: 25,
            type_size: -1,
        };
        let mut out = Vec::new();
        build::row_description(&mut out, ["database", "cl_active"].map(column).into_iter());
        let columns = columns(&out[frame::HEADER_BYTES..]).unwrap();
        out.clear();
        build::data_row(&mut out, [None, Some("17")].into_iter());
        let rows = vec![row(&out[frame::HEADER_BYTES..]).unwrap()];
        let answer = Answer { columns, rows };
        assert_eq!(answer.get(0, "cl_active"), Some("17"));
        assert_eq!(answer.get(0, "database"), None);
        assert_eq!(answer.get(0, "maxwait"), None);
        assert_eq!(answer.get(1, "cl_active"), None);
    }
}
