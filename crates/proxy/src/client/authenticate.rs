//! The proof that a client is who it says.

use std::rc::Rc;

use pgweir_auth::client_login::{Decision, Method, PlainCheck, check_plain, decide, refusal};
use pgweir_auth::lookup::Found;
use pgweir_auth::scram::server::Exchange;
use pgweir_auth::{
    Account, AuthType, KeyCache, Mechanism, Mock, ScramKeys, ScramSecret, ScramSource, Secret,
};
use pgweir_config::Config;
use pgweir_wire::frontend::{SaslInitial, tag};
use pgweir_wire::{build, sqlstate};
use tokio::io::AsyncWriteExt;

use crate::client::elsewhere::{self, Newcomer};
use crate::client::login::Stop;
use crate::client::lookup::{self, Answer};
use crate::client::policy::Way;
use crate::message::{Inbox, ReadError};
use crate::pools::Credentials;
use crate::report::Refusal;
use crate::setup::Setup;
use crate::stream::{Peer, Stream};
use crate::worker::Worker;

/// Who a client says it is, and where it wants to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'c> {
    pub(crate) user: &'c str,
    pub(crate) database: &'c str,
    /// It wants to replicate the whole cluster, for which rules of databases do not hold.
    pub(crate) is_replication: bool,
}

/// The longest password or SASL message, as in PostgreSQL (`PG_MAX_AUTH_TOKEN_LENGTH`).
const MAX_AUTH_BYTES: u32 = 65_535;

/// What is stored for a user, and what stands in for it where nothing is.
pub(super) struct Known {
    /// `None`: no such user.
    secret: Option<Option<Secret>>,
    mock: Mock,
    /// Where it was found, if not in the configuration.
    answer: Option<Answer>,
}

/// Asks the client for its password in the way that is configured for it, and judges the answer. What comes of it are
/// the credentials for servers that the configuration does not have.
///
/// `out` holds what is to be sent first. A client that is not known is put through the same as one that is.
pub(crate) async fn client(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    inbox: &mut Inbox,
    setup: &Setup,
    claim: Claim<'_>,
    peer: Peer,
    out: &mut Vec<u8>,
) -> Result<Credentials, Stop> {
    let logins = &setup.logins;
    let user = claim.user;
    let (auth_type, refused) = match logins.policy.way(&claim, peer, stream.is_tls())? {
        Way::Any => {
            return match may_be_anybody(setup, claim.database) {
                true => Ok(Credentials::default()),
                false => Err(needs_own_user(claim.database).into()),
            };
        }
        Way::Secret(auth_type) => {
            let refused = Refusal::new(sqlstate::INVALID_PASSWORD, refusal(user));
            (auth_type, refused)
        }
        Way::Voucher(voucher, map) => {
            let refused = voucher.refusal(user);
            let name = voucher.name(peer, stream).await;
            let admitted = name
                .as_deref()
                .is_some_and(|n| logins.policy.admits(map.as_deref(), n, user));
            if !admitted {
                let name = name.as_deref().unwrap_or("nobody");
                tracing::info!("login of user \"{user}\" is refused to {name:?} at {peer}");
                return Err(refused.into());
            }
            // Such a user must be known all the same.
            (AuthType::Trust, refused)
        }
        Way::Elsewhere(authority) => {
            let newcomer = Newcomer {
                stream,
                inbox,
                out,
                peer,
            };
            return elsewhere::client(worker, setup, claim, &authority, newcomer).await;
        }
    };
    let mut known = know(worker, setup, claim, None).await?;
    let decision = known.decide(auth_type, user, &worker.shared.keys);
    if let Some(why) = decision.doomed {
        tracing::info!("login of user \"{user}\" cannot succeed: {why}");
    }
    let end_point = match stream.is_tls() {
        true => setup.client_tls.end_point(),
        false => None,
    };
    let mut ask = Ask {
        worker,
        stream,
        inbox,
        out,
        end_point,
    };
    let judged = match ask.ask(decision.method, user).await? {
        // Whether or not there is such a user: only that way the time does not tell.
        Judged::Wrong(evidence) if known.is_remembered() => {
            known = know(worker, setup, claim, known.answer.as_ref()).await?;
            let decision = known.decide(auth_type, user, &worker.shared.keys);
            evidence.judge(worker, decision.method, user).await
        }
        judged => judged,
    };
    let Judged::Right(keys) = judged else {
        return Err(refused.into());
    };
    let has_scram = matches!(known.secret, Some(Some(Secret::Scram(_))));
    Ok(Credentials {
        keys: keys.filter(|_| has_scram),
        secret: known.answer.and(known.secret).flatten(),
        shown: None,
    })
}

/// Whether clients of `database` need not be anybody: it has a user of its own, or is the console.
fn may_be_anybody(setup: &Setup, database: &str) -> bool {
    // That there is no such database is told later.
    let found = setup.config.resolve(database);
    Config::is_console(database) || found.is_none_or(|found| found.database.user.is_some())
}

fn needs_own_user(database: &str) -> Refusal {
    Refusal::new(
        sqlstate::INVALID_AUTHORIZATION,
        format!("auth_type any needs a user of database \"{database}\" itself"),
    )
    .hint("Name it in the pooler's configuration: user in [databases.NAME].")
}

/// What is stored for a user: in the configuration, or else where `auth_query` finds it.
pub(super) async fn know(
    worker: &Rc<Worker>,
    setup: &Setup,
    claim: Claim<'_>,
    doubted: Option<&Answer>,
) -> Result<Known, Stop> {
    let logins = &setup.logins;
    let stored = match logins.account(claim.user) {
        Account::Known(secret) => Some(secret.cloned()),
        Account::Unknown => None,
    };
    let mut known = Known {
        secret: stored,
        mock: logins.mock.clone(),
        answer: None,
    };
    if matches!(known.secret, Some(Some(_))) {
        return Ok(known);
    }
    if let Some(asks) = setup.config.auth_query(claim.database) {
        let answer = lookup::find(worker, &asks, claim.user, doubted).await?;
        if let Found::User(secret) = &answer.found {
            known.secret = Some(secret.clone());
        }
        known.mock = logins.mock.in_style(worker.shared.lookups.style());
        known.answer = Some(answer);
    }
    Ok(known)
}

impl Known {
    /// There is such a user.
    pub(super) fn is_somebody(&self) -> bool {
        self.secret.is_some()
    }

    /// It was found out before this login came, so it may be otherwise by now.
    pub(super) fn is_remembered(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.is_old)
    }

    /// What `auth_query` has said.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    fn decide(&self, auth_type: AuthType, user: &str, keys: &KeyCache) -> Decision {
        let account = match &self.secret {
            None => Account::Unknown,
            Some(secret) => Account::Known(secret.as_ref()),
        };
        decide(auth_type, user, account, &self.mock, keys)
    }
}

enum Judged {
    /// With the keys of a SCRAM secret, where they came to light.
    Right(Option<ScramKeys>),
    Wrong(Evidence),
}

/// What a client has answered that is not right, but may be by another secret.
enum Evidence {
    Password(Vec<u8>),
    Md5 {
        response: Vec<u8>,
        salt: [u8; 4],
    },
    /// Not by any other.
    Nothing,
}

impl Evidence {
    async fn judge(self, worker: &Worker, method: Method, user: &str) -> Judged {
        match (self, method) {
            (Evidence::Password(password), Method::Plain(secret)) => {
                judge_plain(worker, &secret, user, password).await
            }
            (Evidence::Md5 { response, salt }, Method::Md5(hash)) => {
                match hash.verify(&response, salt) {
                    true => Judged::Right(None),
                    false => Judged::Wrong(Evidence::Nothing),
                }
            }
            // Such a user is known by now.
            (_, Method::Accept) => Judged::Right(None),
            _ => Judged::Wrong(Evidence::Nothing),
        }
    }
}

async fn judge_plain(worker: &Worker, secret: &Secret, user: &str, password: Vec<u8>) -> Judged {
    let keys = match check_plain(secret, user, &password, &worker.shared.keys) {
        PlainCheck::Accepted(keys) => Some(keys),
        PlainCheck::Refused => None,
        PlainCheck::Derive(derivation) => {
            let derived = tokio::task::spawn_blocking(move || derivation.run()).await;
            derived.ok().flatten().map(Some)
        }
    };
    match keys {
        Some(keys) => Judged::Right(keys),
        None => Judged::Wrong(Evidence::Password(password)),
    }
}

/// The conversation with one client.
struct Ask<'a> {
    worker: &'a Rc<Worker>,
    stream: &'a mut Stream,
    inbox: &'a mut Inbox,
    out: &'a mut Vec<u8>,
    /// tls-server-end-point of the certificate that the client was shown.
    end_point: Option<&'a [u8]>,
}

impl Ask<'_> {
    async fn ask(&mut self, method: Method, user: &str) -> Result<Judged, Stop> {
        Ok(match method {
            Method::Accept => Judged::Right(None),
            Method::Refuse => Judged::Wrong(Evidence::Nothing),
            Method::Plain(secret) => {
                build::authentication_cleartext(self.out);
                let password = ask_password(self.stream, self.inbox, self.out).await?;
                judge_plain(self.worker, &secret, user, password).await
            }
            Method::Md5(hash) => {
                let mut salt = [0; 4];
                self.worker.random(&mut salt);
                build::authentication_md5(self.out, salt);
                let response = ask_password(self.stream, self.inbox, self.out).await?;
                match hash.verify(&response, salt) {
                    true => Judged::Right(None),
                    false => Judged::Wrong(Evidence::Md5 { response, salt }),
                }
            }
            Method::Scram(source) => {
                let secret = match source {
                    ScramSource::Ready(secret) => secret,
                    ScramSource::Derive(derivation) => {
                        let salt = derivation.salt().to_vec();
                        let iterations = derivation.iterations();
                        let keys = self.worker.derive(derivation).await;
                        ScramSecret::new(&salt, iterations, &keys)
                    }
                };
                let Ask {
                    worker,
                    stream,
                    inbox,
                    out,
                    end_point,
                } = self;
                match scram(worker, stream, inbox, out, secret, *end_point).await {
                    Ok(keys) => Judged::Right(Some(keys)),
                    Err(ScramStop::Wrong) => Judged::Wrong(Evidence::Nothing),
                    Err(ScramStop::Stop(stop)) => return Err(stop),
                }
            }
        })
    }
}

/// Sends what is in `out` and reads a PasswordMessage; the password is without its final zero byte.
pub(super) async fn ask_password(
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
