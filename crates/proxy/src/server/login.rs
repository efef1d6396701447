//! The pooler's login to PostgreSQL.

use std::io;

use pgweir_auth::scram::client::Exchange;
use pgweir_auth::server_login::{Answer, Asked, KeySource, ServerCredential, answer};
use pgweir_auth::{Lookup, ScramKeys, Secret};
use pgweir_wire::backend::{Authentication, BackendKey, ErrorFields, ParameterStatus, tag};
use pgweir_wire::{build, sqlstate, startup};
use tokio::io::AsyncWriteExt;

use crate::message::{Inbox, ReadError};
use crate::pools::{Credentials, Live};
use crate::report::Refusal;
use crate::server::connect::Target;
use crate::stream::Stream;
use crate::worker::Worker;

/// What a server told at its login.
#[derive(Debug, Default)]
pub(crate) struct LoggedIn {
    pub(crate) parameters: Vec<(Box<str>, Box<str>)>,
    pub(crate) key: Option<BackendKey>,
}

/// The longest message that can come during a login, in bytes.
const LOGIN_MESSAGE_BYTES: u32 = 64 << 10;

/// Logs in on a fresh stream to `target`, with `parameters` to start with.
pub(crate) async fn log_in(
    worker: &Worker,
    stream: &mut Stream,
    credentials: &Credentials,
    live: &Live,
    target: &Target,
    parameters: &[(&str, &str)],
) -> Result<LoggedIn, Refusal> {
    let lost = |e: io::Error| {
        Refusal::new(
            sqlstate::CANNOT_CONNECT,
            format!(
                "server {}:{} closed the connection during login: {e}",
                target.host, target.port
            ),
        )
    };
    let mut out = Vec::new();
    let who = [
        (&b"user"[..], target.user.as_bytes()),
        (b"database", target.dbname.as_bytes()),
    ];
    let parameters = parameters.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    startup::startup_message(
        &mut out,
        startup::VERSION_3_0,
        who.into_iter().chain(parameters),
    );
    stream.write_all(&out).await.map_err(lost)?;

    let binding = stream.server_end_point();
    let stored = live.secret.as_ref().or(credentials.secret.as_ref());
    let secret = credentials.shown.as_ref().or(stored);
    let held = ServerCredential::of(secret, credentials.keys.as_ref());
    let refused = |e: &dyn std::fmt::Display| {
        Refusal::new(
            sqlstate::CANNOT_CONNECT,
            format!(
                "login to server {}:{} as \"{}\" failed: {e}",
                target.host, target.port, target.user
            ),
        )
    };
    let mut inbox = Inbox::default();
    let mut scram = Scram::None;
    let mut logged_in = LoggedIn::default();
    loop {
        let message = inbox
            .next(stream, LOGIN_MESSAGE_BYTES)
            .await
            .map_err(|e| match e {
                ReadError::Io(e) => lost(e),
                ReadError::Wire(e) => {
                    Refusal::new(sqlstate::PROTOCOL_VIOLATION, format!("server login: {e}"))
                }
            })?;
        let protocol = |e: pgweir_wire::WireError| {
            Refusal::new(sqlstate::PROTOCOL_VIOLATION, format!("server login: {e}"))
        };
        out.clear();
        match message.tag {
            tag::AUTHENTICATION => match Authentication::read(&message.body).map_err(protocol)? {
                Authentication::Ok => {
                    if let Scram::Challenged(_) | Scram::Started(_) = scram {
                        return Err(refused(
                            &"the server did not prove that it knows the password",
                        ));
                    }
                }
                Authentication::SaslContinue(data) => match std::mem::take(&mut scram) {
                    Scram::Started(exchange) => {
                        let challenge = exchange.challenge(data).map_err(|e| refused(&e))?;
                        let keys = match held {
                            ServerCredential::Plain(password) => {
                                let found = worker.shared.keys.lookup(
                                    password.as_bytes(),
                                    challenge.salt(),
                                    challenge.iterations(),
                                );
                                match found {
                                    Lookup::Ready(keys) => keys,
                                    Lookup::Missing(derivation) => worker.derive(derivation).await,
                                }
                            }
                            ServerCredential::ScramKeys(keys) => {
                                same_secret(secret, &challenge, keys).map_err(|e| refused(&e))?
                            }
                            _ => return Err(refused(&"no password for SCRAM")),
                        };
                        let (response, awaiting) = challenge.respond(&keys);
                        build::sasl_response(&mut out, &response);
                        scram = Scram::Challenged(awaiting);
                    }
                    _ => return Err(refused(&"unexpected AuthenticationSASLContinue")),
                },
                Authentication::SaslFinal(data) => match std::mem::take(&mut scram) {
                    Scram::Challenged(awaiting) => {
                        awaiting.finish(data).map_err(|e| refused(&e))?
                    }
                    _ => return Err(refused(&"unexpected AuthenticationSASLFinal")),
                },
                request => {
                    let mechanisms;
                    let asked = match request {
                        Authentication::CleartextPassword => Asked::Cleartext,
                        Authentication::Md5Password { salt } => Asked::Md5 { salt },
                        Authentication::Sasl { mechanisms: m } => {
                            mechanisms = m;
                            Asked::Sasl(&mechanisms)
                        }
                        Authentication::Other(code) => Asked::Other(code),
                        Authentication::Ok
                        | Authentication::SaslContinue(_)
                        | Authentication::SaslFinal(_) => unreachable!("matched above"),
                    };
                    let answer = answer(asked, &target.user, held, binding.as_deref())
                        .map_err(|e| refused(&e).hint(e.hint()))?;
                    match answer {
                        Answer::Password(password) => {
                            build::password(&mut out, password.as_bytes());
                        }
                        Answer::Md5(response) => build::password(&mut out, &response),
                        Answer::Scram {
                            binding,
                            keys: source,
                        } => {
                            debug_assert!(matches!(
                                (source, held),
                                (KeySource::Password(_), ServerCredential::Plain(_))
                                    | (KeySource::Keys(_), ServerCredential::ScramKeys(_))
                            ));
                            let exchange = Exchange::new(binding, worker.nonce());
                            build::sasl_initial_response(
                                &mut out,
                                exchange.mechanism().name(),
                                &exchange.first(),
                            );
                            scram = Scram::Started(exchange);
                        }
                    }
                }
            },
            tag::PARAMETER_STATUS => {
                let status = ParameterStatus::read(&message.body).map_err(protocol)?;
                logged_in.parameters.push((
                    String::from_utf8_lossy(status.name).into(),
                    String::from_utf8_lossy(status.value).into(),
                ));
            }
            tag::BACKEND_KEY_DATA => {
                logged_in.key = Some(BackendKey::read(&message.body).map_err(protocol)?);
            }
            tag::READY_FOR_QUERY => return Ok(logged_in),
            tag::ERROR_RESPONSE => {
                let fields = ErrorFields::read(&message.body);
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                let some = |b: &[u8]| (!b.is_empty()).then(|| text(b));
                return Err(Refusal {
                    code: text(fields.code),
                    message: text(fields.message),
                    detail: some(fields.detail),
                    hint: some(fields.hint),
                });
            }
            tag::NOTICE_RESPONSE | tag::NEGOTIATE_PROTOCOL_VERSION => {}
            other => {
                return Err(Refusal::new(
                    sqlstate::PROTOCOL_VIOLATION,
                    format!(
                        "server login: unexpected message type {:?}",
                        char::from(other)
                    ),
                ));
            }
        }
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
        }
    }
}

#[derive(Default)]
enum Scram {
    #[default]
    None,
    Started(Exchange),
    Challenged(pgweir_auth::scram::client::AwaitingFinal),
}

/// The keys that a client's login proved, if the server asks for the secret they belong to.
fn same_secret(
    secret: Option<&Secret>,
    challenge: &pgweir_auth::scram::client::Challenge,
    keys: &ScramKeys,
) -> Result<ScramKeys, &'static str> {
    match secret {
        Some(Secret::Scram(secret)) if !challenge.is_for(secret) => Err(
            "the SCRAM secret stored here has another salt or iteration count than the server's; copy it from pg_authid.rolpassword",
        ),
        _ => Ok(keys.clone()),
    }
}
