//! The proof that a client is who it says.

use std::rc::Rc;

use pgweir_auth::client_login::{Decision, Method, PlainCheck, check_plain, decide, refusal};
use pgweir_auth::scram::server::Exchange;
use pgweir_auth::{Mechanism, ScramKeys, ScramSecret};
use pgweir_wire::frontend::{SaslInitial, tag};
use pgweir_wire::{build, sqlstate};
use tokio::io::AsyncWriteExt;

use crate::client::login::Stop;
use crate::message::{Inbox, ReadError};
use crate::report::Refusal;
use crate::setup::Setup;
use crate::stream::Stream;
use crate::worker::Worker;

/// What a login proved beyond the user's identity.
pub(crate) enum Proof {
    /// Nothing that is of further use.
    Identity,
    /// The keys that log in to a server which stores the same SCRAM secret.
    Keys(ScramKeys),
}

/// The longest password or SASL message, as in PostgreSQL (`PG_MAX_AUTH_TOKEN_LENGTH`).
const MAX_AUTH_BYTES: u32 = 65_535;

/// Asks the client for its password in the way that is configured for it, and judges the answer.
///
/// `out` holds what is to be sent first. A client that is not known is put through the same as one that is.
pub(crate) async fn client(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    inbox: &mut Inbox,
    setup: &Setup,
    user: &str,
    out: &mut Vec<u8>,
) -> Result<Proof, Stop> {
    let logins = &setup.logins;
    let Decision { method, doomed } = decide(
        logins.auth_type,
        user,
        logins.account(user),
        &logins.mock,
        &worker.shared.keys,
    );
    if let Some(why) = doomed {
        tracing::info!("login of user \"{user}\" cannot succeed: {why}");
    }
    let refused = || Stop::Told(Refusal::new(sqlstate::INVALID_PASSWORD, refusal(user)));
    let proof = match method {
        Method::Accept => return Ok(Proof::Identity),
        Method::Refuse => return Err(refused()),
        Method::Plain(secret) => {
            build::authentication_cleartext(out);
            let password = ask_password(stream, inbox, out).await?;
            match check_plain(&secret, user, &password, &worker.shared.keys) {
                PlainCheck::Accepted(Some(keys)) => Proof::Keys(keys),
                PlainCheck::Accepted(None) => Proof::Identity,
                PlainCheck::Refused => return Err(refused()),
                PlainCheck::Derive(derivation) => {
                    let derived = tokio::task::spawn_blocking(move || derivation.run()).await;
                    Proof::Keys(derived.ok().flatten().ok_or_else(refused)?)
                }
            }
        }
        Method::Md5(hash) => {
            let mut salt = [0; 4];
            worker.random(&mut salt);
            build::authentication_md5(out, salt);
            let response = ask_password(stream, inbox, out).await?;
            if !hash.verify(&response, salt) {
                return Err(refused());
            }
            Proof::Identity
        }
        Method::Scram(source) => {
            let secret = match source {
                pgweir_auth::ScramSource::Ready(secret) => secret,
                pgweir_auth::ScramSource::Derive(derivation) => {
                    let salt = derivation.salt().to_vec();
                    let iterations = derivation.iterations();
                    let keys = worker.derive(derivation).await;
                    ScramSecret::new(&salt, iterations, &keys)
                }
            };
            let end_point = match stream.is_tls() {
                true => setup.client_tls.end_point(),
                false => None,
            };
            let stored = matches!(
                logins.account(user),
                pgweir_auth::Account::Known(Some(pgweir_auth::Secret::Scram(_)))
            );
            let keys = scram(worker, stream, inbox, out, secret, end_point)
                .await
                .map_err(|e| match e {
                    ScramStop::Stop(stop) => stop,
                    ScramStop::Wrong => refused(),
                })?;
            match stored {
                true => Proof::Keys(keys),
                false => Proof::Identity,
            }
        }
    };
    Ok(proof)
}

/// Sends what is in `out` and reads a PasswordMessage; the password is without its final zero byte.
async fn ask_password(
    stream: &mut Stream,
    inbox: &mut Inbox,
    out: &mut Vec<u8>,
) -> Result<Vec<u8>, Stop> {
    let mut body = ask(stream, inbox, out).await?;
    if body.pop() != Some(0) {
        return Err(
            Refusal::new(sqlstate::PROTOCOL_VIOLATION, "invalid password packet size").into(),
        );
    }
    Ok(body)
}

async fn ask(stream: &mut Stream, inbox: &mut Inbox, out: &mut Vec<u8>) -> Result<Vec<u8>, Stop> {
    stream.write_all(out).await?;
    stream.flush().await?;
    out.clear();
    let message = inbox.next(stream, MAX_AUTH_BYTES).await?;
    match message.tag {
        tag::PASSWORD => Ok(message.body),
        other => Err(Refusal::new(
            sqlstate::PROTOCOL_VIOLATION,
            format!("expected password response, got message type {other}"),
        )
        .into()),
    }
}

enum ScramStop {
    Stop(Stop),
    Wrong,
}

impl<E: Into<Stop>> From<E> for ScramStop {
    fn from(e: E) -> Self {
        ScramStop::Stop(e.into())
    }
}

async fn scram(
    worker: &Worker,
    stream: &mut Stream,
    inbox: &mut Inbox,
    out: &mut Vec<u8>,
    secret: ScramSecret,
    end_point: Option<&[u8]>,
) -> Result<ScramKeys, ScramStop> {
    use pgweir_auth::scram::server::Error;
    let judged = |e: Error| match e {
        Error::Failed => ScramStop::Wrong,
        other => {
            let mut refusal = Refusal::new(other.sqlstate(), other.to_string());
            refusal.detail = other.detail().map(Into::into);
            ScramStop::Stop(Stop::Told(refusal))
        }
    };
    let names: Vec<&str> = Mechanism::offered(end_point.is_some())
        .iter()
        .map(|m| m.name())
        .collect();
    build::authentication_sasl(out, &names);
    let body = ask(stream, inbox, out).await?;
    let initial = SaslInitial::read(&body).map_err(ReadError::Wire)?;
    let exchange =
        Exchange::new(initial.mechanism, end_point, secret, worker.nonce()).map_err(judged)?;
    let first = match initial.response {
        Some(first) => first.to_vec(),
        None => {
            build::authentication_sasl_continue(out, b"");
            ask(stream, inbox, out).await?
        }
    };
    let (challenge, challenged) = exchange.first(&first).map_err(judged)?;
    build::authentication_sasl_continue(out, &challenge);
    let last = ask(stream, inbox, out).await?;
    let verified = challenged.finish(&last).map_err(judged)?;
    build::authentication_sasl_final(out, &verified.server_final);
    Ok(verified.keys)
}
