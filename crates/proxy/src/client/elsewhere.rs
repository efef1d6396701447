//! Passwords that are not judged here: by a directory, or by PAM.

use std::rc::Rc;

use pgweir_auth::Secret;
use pgweir_config::Config;
use pgweir_wire::{build, sqlstate};
use zeroize::Zeroizing;

use crate::client::authenticate::{Claim, ask_password, know};
use crate::client::login::Stop;
use crate::external::{Authority, Question, Verdict};
use crate::message::Inbox;
use crate::pools::Credentials;
use crate::report::Refusal;
use crate::setup::Setup;
use crate::stream::{Peer, Stream};
use crate::worker::Worker;

/// What a client may send ahead of the answer to its password.
const MAX_AHEAD_BYTES: usize = 64 << 10;

/// A client on its way in.
pub(super) struct Newcomer<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) inbox: &'a mut Inbox,
    /// What is to be sent first.
    pub(super) out: &'a mut Vec<u8>,
    pub(super) peer: Peer,
}

/// Asks the client for its password, in clear text, and the authority for its word on it. Servers that the client's user
/// is to log in to are given the same password.
pub(super) async fn client(
    worker: &Rc<Worker>,
    setup: &Setup,
    claim: Claim<'_>,
    authority: &Authority,
    client: Newcomer<'_>,
) -> Result<Credentials, Stop> {
    let user = claim.user;
    let Newcomer {
        stream,
        inbox,
        out,
        peer,
    } = client;
    build::authentication_cleartext(out);
    let password = Zeroizing::new(ask_password(stream, inbox, out).await?);
    if password.contains(&0) {
        // A text to PAM and to servers, so what is behind it would not count. PostgreSQL's words.
        let what = "invalid password packet size";
        return Err(Refusal::new(sqlstate::PROTOCOL_VIOLATION, what).into());
    }
    let verdict = match password.is_empty() {
        // Whatever others make of it, nobody has proved anything by it.
        true => {
            tracing::info!("login of user {user:?} is refused: the password is empty");
            Verdict::Wrong
        }
        false => {
            let question = Question {
                user: user.to_owned(),
                password: password.clone(),
                peer,
            };
            tokio::select! {
                verdict = authority.judge(&worker.shared.desks, question) => verdict,
                () = inbox.until_gone(stream, MAX_AHEAD_BYTES) => return Err(Stop::Gone),
            }
        }
    };
    // Only of who has proved to be somebody: the others hear the same, known or not.
    if verdict == Verdict::Right && is_admitted(worker, setup, claim, authority).await? {
        return Ok(credentials(setup, claim, &password));
    }
    Err(match verdict {
        Verdict::Unknown => cannot_ask(authority),
        Verdict::Right | Verdict::Wrong => refusal(authority, user),
    }
    .into())
}

/// Whether somebody whose password is right is one of ours. PAM is asked in the place of what is stored; a directory is
/// asked for the passwords of the users there are, if something says which these are.
async fn is_admitted(
    worker: &Rc<Worker>,
    setup: &Setup,
    claim: Claim<'_>,
    authority: &Authority,
) -> Result<bool, Stop> {
    let config = &setup.config;
    let is_said = config.global.auth_file.is_some()
        || config.global.auth_user.is_some()
        || config.auth_query(claim.database).is_some();
    if matches!(authority, Authority::Pam(_)) || !is_said {
        return Ok(true);
    }
    let mut known = know(worker, setup, claim, None).await?;
    if !known.is_somebody() && known.is_remembered() {
        known = know(worker, setup, claim, known.answer()).await?;
    }
    let is_known = known.is_somebody();
    if !is_known {
        tracing::info!("login of user {:?} is refused: no such user", claim.user);
    }
    Ok(is_known)
}

/// For servers, where they are logged in to as the client's user.
fn credentials(setup: &Setup, claim: Claim<'_>, password: &[u8]) -> Credentials {
    let found = setup.config.resolve(claim.database);
    let as_itself = !Config::is_console(claim.database)
        && found.is_some_and(|found| found.database.user.is_none());
    let text = String::from_utf8(password.to_vec()).ok();
    Credentials {
        shown: text.filter(|_| as_itself).map(Secret::Plain),
        ..Credentials::default()
    }
}

/// PostgreSQL's words.
fn refusal(authority: &Authority, user: &str) -> Refusal {
    Refusal::new(
        sqlstate::INVALID_AUTHORIZATION,
        format!(
            "{} authentication failed for user \"{user}\"",
            authority.name()
        ),
    )
}

fn cannot_ask(authority: &Authority) -> Refusal {
    Refusal::new(
        sqlstate::CANNOT_CONNECT_NOW,
        format!("the pooler cannot ask {} now", authority.name()),
    )
    .hint("Its log says why.")
}
