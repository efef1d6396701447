//! `auth_type`, and with `hba` the rules: by which method a client has to prove who it is.

use std::path::Path;
use std::sync::Arc;

use pgweir_auth::AuthType;
use pgweir_auth::hba::ident::Ident;
use pgweir_auth::hba::{Connection, Hba, Method};
use pgweir_config::Global;
use pgweir_wire::sqlstate;

use crate::client::authenticate::Claim;
use crate::external::{Authorities, Authority};
use crate::report::Refusal;
use crate::setup::SetupError;
use crate::stream::{Peer, Stream};

/// How clients prove who they are, for one configuration.
pub(crate) enum Policy {
    /// All in the same way.
    Same(Way),
    /// Each as the first rule says that is about it.
    Rules(Hba, Arc<Ident>, Authorities),
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Not at all, and it need not be anybody: its user counts for nothing.
    Any,
    /// By what is stored for its user.
    Secret(AuthType),
    /// Somebody else vouches for a name, which the map makes a user's.
    Voucher(Voucher, Option<String>),
    /// By a password that somebody else judges.
    Elsewhere(Authority),
}

/// Who says who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voucher {
    /// The authority that has issued its certificate.
    Certificate,
    /// The kernel, of the process at the other end of a Unix socket.
    Kernel,
}

impl Policy {
    /// Reads the files that the settings name.
    pub(crate) fn new(global: &Global) -> Result<Policy, SetupError> {
        use pgweir_config::AuthType as Configured;
        let way = match global.auth_type {
            Configured::Any => Way::Any,
            Configured::Trust => Way::Secret(AuthType::Trust),
            Configured::Plain => Way::Secret(AuthType::Plain),
            Configured::Md5 => Way::Secret(AuthType::Md5),
            Configured::ScramSha256 => Way::Secret(AuthType::ScramSha256),
            Configured::Cert => Way::Voucher(Voucher::Certificate, None),
            Configured::Ldap => {
                let authorities = Authorities::new(global, &[None], false)?;
                Way::Elsewhere(authorities.ldap(None).ok_or(SetupError::NoDirectory)?)
            }
            Configured::Pam => {
                let authorities = Authorities::new(global, &[], true)?;
                let pam = authorities.pam(None);
                Way::Elsewhere(pam.expect("it is there because it was asked for"))
            }
            Configured::Hba => return rules(global),
        };
        Ok(Policy::Same(way))
    }

    /// Whether some client's plain password is needed as a SCRAM secret.
    pub(crate) fn asks_for_scram(&self) -> bool {
        match self {
            Policy::Same(way) => matches!(way, Way::Secret(AuthType::ScramSha256)),
            Policy::Rules(hba, ..) => hba.methods().any(|m| *m == Method::ScramSha256),
        }
    }

    /// How a client has to prove who it is, or why it need not try.
    pub(crate) fn way(&self, claim: &Claim<'_>, peer: Peer, is_tls: bool) -> Result<Way, Refusal> {
        let (hba, authorities) = match self {
            Policy::Same(way) => return Ok(way.clone()),
            Policy::Rules(hba, _, authorities) => (hba, authorities),
        };
        let address = match peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix { .. } => None,
        };
        let rule = hba.find(&Connection {
            address,
            is_tls,
            is_replication: claim.is_replication,
            database: claim.database,
            user: claim.user,
        });
        let Some(rule) = rule else {
            return Err(no_entry("no pg_hba.conf entry for", claim, peer, is_tls));
        };
        tracing::debug!("C: {peer}: line {} of auth_hba_file holds", rule.line);
        Ok(match &rule.method {
            Method::Trust => Way::Secret(AuthType::Trust),
            Method::Plain => Way::Secret(AuthType::Plain),
            Method::Md5 => Way::Secret(AuthType::Md5),
            Method::ScramSha256 => Way::Secret(AuthType::ScramSha256),
            Method::Cert(map) => Way::Voucher(Voucher::Certificate, map.clone()),
            Method::Peer(map) => Way::Voucher(Voucher::Kernel, map.clone()),
            Method::Ldap(options) => {
                let directory = authorities.ldap(options.as_ref());
                Way::Elsewhere(directory.expect("no rules are taken without their directories"))
            }
            Method::Pam(service) => {
                let pam = authorities.pam(service.as_deref());
                Way::Elsewhere(pam.expect("PAM is there if a rule asks for it"))
            }
            Method::Reject => {
                return Err(no_entry(
                    "pg_hba.conf rejects connection for",
                    claim,
                    peer,
                    is_tls,
                ));
            }
        })
    }

    /// Whether somebody whom another vouches for as `system` may log in as `user`.
    pub(crate) fn admits(&self, map: Option<&str>, system: &str, user: &str) -> bool {
        match self {
            Policy::Same(_) => system == user,
            Policy::Rules(_, ident, _) => ident.admits(map, system, user),
        }
    }
}

impl Voucher {
    /// The name that is vouched for.
    pub(crate) async fn name(self, peer: Peer, stream: &Stream) -> Option<String> {
        match (self, peer) {
            (Voucher::Certificate, _) => stream.client_name(),
            (Voucher::Kernel, Peer::Unix { uid, .. }) => {
                // It may ask a directory elsewhere on the network.
                let found = tokio::task::spawn_blocking(move || {
                    nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
                });
                Some(found.await.ok()?.ok()??.name)
            }
            (Voucher::Kernel, Peer::Tcp(_)) => None,
        }
    }

    /// What a client hears for whom nobody vouches; PostgreSQL's.
    pub(crate) fn refusal(self, user: &str) -> Refusal {
        let kind = match self {
            Voucher::Certificate => "certificate",
            Voucher::Kernel => "Peer",
        };
        Refusal::new(
            sqlstate::INVALID_AUTHORIZATION,
            format!("{kind} authentication failed for user \"{user}\""),
        )
    }
}

/// PostgreSQL's words for a client that no rule lets in.
fn no_entry(what: &str, claim: &Claim<'_>, peer: Peer, is_tls: bool) -> Refusal {
    let host = match peer {
        Peer::Tcp(address) => address.ip().to_canonical().to_string(),
        Peer::Unix { .. } => "[local]".to_owned(),
    };
    let encryption = match is_tls {
        true => "SSL encryption",
        false => "no encryption",
    };
    Refusal::new(
        sqlstate::INVALID_AUTHORIZATION,
        format!(
            "{what} host \"{host}\", user \"{}\", database \"{}\", {encryption}",
            claim.user, claim.database
        ),
    )
}

fn rules(global: &Global) -> Result<Policy, SetupError> {
    let path = global.auth_hba_file.as_deref().unwrap_or(Path::new(""));
    let failed = |setting: &'static str, path: &Path, reason: String| SetupError::Rules {
        setting,
        path: path.to_owned(),
        reason,
    };
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
    let in_hba = |reason| failed("auth_hba_file", path, reason);
    let text = read(path).map_err(in_hba)?;
    // Files of names are looked for beside this one, as in PostgreSQL.
    let home = path.parent().unwrap_or(Path::new("."));
    let hba =
        Hba::parse(&text, &mut |file| read(&home.join(file))).map_err(|e| in_hba(e.to_string()))?;
    let ident = match &global.auth_ident_file {
        None => Ident::default(),
        Some(path) => read(path)
            .and_then(|text| Ident::parse(&text).map_err(|e| e.to_string()))
            .map_err(|reason| failed("auth_ident_file", path, reason))?,
    };
    if let Some((line, map)) = hba.maps().find(|(_, map)| !ident.has(map)) {
        let reason = format!("line {line}: auth_ident_file has no map \"{map}\"");
        return Err(in_hba(reason));
    }
    let directories: Vec<_> = hba
        .methods()
        .filter_map(|method| match method {
            Method::Ldap(options) => Some(options.clone()),
            _ => None,
        })
        .collect();
    let asks_pam = hba.methods().any(|m| matches!(m, Method::Pam(_)));
    let authorities = Authorities::new(global, &directories, asks_pam)?;
    Ok(Policy::Rules(hba, Arc::new(ident), authorities))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        let hba = Hba::parse(rules, &mut |_| Err(String::new())).unwrap();
        Policy::Rules(hba, Arc::default(), Authorities::default())
    }

    const CLAIM: Claim<'_> = Claim {
        user: "anna",
        database: "shop",
        is_replication: false,
    };

    #[test]
    fn who_is_not_let_in_hears_it_in_postgresqls_words() {
        let tcp = Peer::Tcp("[::ffff:10.1.2.3]:5000".parse().unwrap());
        let unix = Peer::Unix {
            uid: 0,
            pid: 1,
            port: 6432,
        };
        for (rules, peer, is_tls, expected) in [
            (
                "local all all trust",
                tcp,
                true,
                "no pg_hba.conf entry for host \"10.1.2.3\", user \"anna\", database \"shop\", SSL encryption",
            ),
            (
                "local all all reject",
                unix,
                false,
                "pg_hba.conf rejects connection for host \"[local]\", user \"anna\", database \"shop\", no encryption",
            ),
        ] {
            let refusal = policy(rules).way(&CLAIM, peer, is_tls).unwrap_err();
            assert_eq!(refusal.message, expected);
            assert_eq!(refusal.code, "28000");
        }
    }

    #[test]
    fn scram_secrets_are_derived_ahead_where_a_rule_asks_for_them() {
        assert!(policy("host all all all md5\nhost all all all scram-sha-256").asks_for_scram());
        assert!(!policy("host all all all md5").asks_for_scram());
    }
}
