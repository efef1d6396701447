//! Patroni's REST API: the answer of `GET /cluster`
//! (<https://patroni.readthedocs.io/en/latest/rest_api.html#cluster-status-endpoints>).

use serde_json::{Map, Value};

use crate::{Address, RouteError};

/// One member of a cluster that Patroni keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in Patroni's configuration.
    pub name: String,
    /// What Patroni says that it is.
    pub role: MemberRole,
    /// What Patroni says of its server: `running`, `streaming`, `in archive recovery`, `stopped`, …
    pub state: String,
    /// Where its server is reached.
    pub address: Address,
    /// Its timeline, if known.
    pub timeline: Option<u32>,
    /// How far it is behind, in bytes, if known.
    pub lag: Option<u64>,
    /// Tagged `noloadbalance`: it is not to be read from.
    pub no_load_balance: bool,
}

/// What Patroni says that a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberRole {
    /// `leader`, or `master` in old versions.
    Leader,
    /// The leader of a cluster that follows another one: a replica as far as writes go.
    StandbyLeader,
    /// `replica`, `sync_standby` or `quorum_standby`.
    Replica,
    /// Any other word.
    Other(String),
}

impl MemberRole {
    fn read(word: &str) -> Self {
        match word {
            "leader" | "master" => Self::Leader,
            "standby_leader" => Self::StandbyLeader,
            "replica" | "sync_standby" | "quorum_standby" => Self::Replica,
            other => Self::Other(other.to_owned()),
        }
    }

    pub(crate) fn leads(&self) -> bool {
        *self == Self::Leader
    }
}

impl Member {
    /// Why it should get no reads, by what Patroni says.
    pub(crate) fn no_reads(&self) -> Option<String> {
        if self.no_load_balance {
            return Some("noloadbalance".to_owned());
        }
        if let MemberRole::Other(role) = &self.role {
            return Some(format!("role is {role}"));
        }
        match self.state.as_str() {
            "running" | "streaming" | "in archive recovery" => None,
            state => Some(format!("state is {state}")),
        }
    }
}

/// Reads the members out of the answer. Members whose server Patroni gives no address of are left out: they have not
/// started yet.
///
/// # Errors
/// If it is not such an answer.
pub fn members(answer: &[u8]) -> Result<Vec<Member>, RouteError> {
    let nonsense = |what: String| RouteError::NotPatroni(what);
    let answer: Value = serde_json::from_slice(answer).map_err(|e| nonsense(e.to_string()))?;
    let members = answer
        .get("members")
        .and_then(Value::as_array)
        .ok_or_else(|| nonsense("expected an array \"members\"".to_owned()))?;
    let mut read = Vec::with_capacity(members.len());
    for (n, member) in members.iter().enumerate() {
        let member = member
            .as_object()
            .ok_or_else(|| nonsense(format!("expected an object as member {n}")))?;
        read.extend(one(member).map_err(|what| nonsense(format!("member {n}: {what}")))?);
    }
    Ok(read)
}

fn one(member: &Map<String, Value>) -> Result<Option<Member>, String> {
    let text = |key: &str| match member.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(format!("expected a string as \"{key}\", found {other}")),
    };
    let needed = |key: &str| text(key)?.ok_or_else(|| format!("expected \"{key}\""));
    let Some(host) = text("host")?.filter(|h| !h.is_empty()) else {
        return Ok(None);
    };
    let port = match number(member, "port")? {
        None => 5432,
        Some(port) => u16::try_from(port)
            .ok()
            .filter(|&port| port > 0)
            .ok_or_else(|| format!("expected a port, found {port}"))?,
    };
    let timeline = match number(member, "timeline")? {
        None => None,
        Some(n) => Some(u32::try_from(n).map_err(|_| format!("expected a timeline, found {n}"))?),
    };
    let no_load_balance = member
        .get("tags")
        .and_then(|tags| tags.get("noloadbalance"))
        .is_some_and(|tag| *tag == Value::Bool(true));
    Ok(Some(Member {
        name: needed("name")?.to_owned(),
        role: MemberRole::read(needed("role")?),
        state: needed("state")?.to_owned(),
        address: Address::new(host, port),
        timeline,
        lag: number(member, "lag")?,
        no_load_balance,
    }))
}

/// A number, where Patroni writes `"unknown"` for one that it does not know.
fn number(member: &Map<String, Value>, key: &str) -> Result<Option<u64>, String> {
    match member.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word == "unknown" => Ok(None),
        Some(value) => value
            .as_u64()
            .map(Some)
            .ok_or_else(|| format!("expected a number as \"{key}\", found {value}")),
    }
}

#[cfg(test)]
mod tests;
