//! Parameters that the server reports: whose they are, and what the client is told of them.

use pgweir_sql::Effects;
use pgweir_wire::backend::{ParameterStatus, TransactionStatus};
use pgweir_wire::build;

use crate::client::ClientSession;
use crate::out::Out;
use crate::owed::{Hidden, Owed};
use crate::server::ServerSession;
use crate::settings::{Settings, SettingsTable};

/// Parameters that the server reports and no client can set.
const NOT_SETTABLE: &[&str] = &[
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
];

impl ServerSession {
    /// ParameterStatus while a client has the server: what the client set follows it, and what changed by itself, as
    /// when the server has read its configuration again, it is only told. Returns whether it passes as it is.
    pub(super) fn parameter(
        &mut self,
        client: Option<&mut ClientSession>,
        status: ParameterStatus<'_>,
        settings: &SettingsTable,
        out: &mut Out<'_>,
    ) -> bool {
        let hidden = matches!(self.owed.front(), Some(Owed::Hidden(_)));
        let (Ok(name), Ok(value)) = (
            std::str::from_utf8(status.name),
            std::str::from_utf8(status.value),
        ) else {
            return !hidden;
        };
        self.set_parameter(name, value);
        let lower = name.to_ascii_lowercase();
        let brought = match self.owed.front() {
            Some(Owed::Hidden(Hidden::Settings(wanted))) => Some(wanted),
            _ => self.ahead.as_ref().map(|ahead| &ahead.wanted),
        };
        if let Some(wanted) = brought {
            // What the pooler's own query does is not shown: it sets these, and with a role also the last two.
            return self.settings.get(&lower).is_none()
                && wanted.get(&lower).is_none()
                && !matches!(name, "is_superuser" | "session_authorization");
        }
        if hidden || client.is_none() {
            // A query of the pooler's own, such as a ROLLBACK, may change what a client has set.
            if self.settings.get(&lower).is_some() {
                self.settings = settings.with(&self.settings, name, value);
            }
            return !hidden;
        }
        if let Some(client) = client.as_deref()
            && !client.is_shared()
            && self.may_return_to_start(name, value)
            && let Some(initial) = client.initial.get(&lower)
        {
            // The pooler brings it back when the transaction has ended.
            build::parameter_status(out.insert(), status.name, initial.as_bytes());
            return false;
        }
        if let Some(client) = client
            && client.is_shared()
            && !NOT_SETTABLE.contains(&name)
        {
            // A parameter that the session has set does not follow the server's configuration.
            let is_set = |settings: &Settings| settings.get(&lower).is_some();
            if !self.may_have_set() && !is_set(&self.settings) && !is_set(&client.settings) {
                self.unexplained.push((name.into(), value.into()));
                return true;
            }
            self.settings = settings.with(&self.settings, name, value);
            // On a direct connection RESET would have returned to the value that the client started with.
            let initial = match self.resetting && self.is_reset_value(name, value) {
                true => client.initial.get(&lower),
                false => None,
            };
            let before = client.settings.clone();
            client.settings = settings.with(&before, name, initial.unwrap_or(value));
            if let Some(initial) = initial {
                if before.get(&lower) != Some(initial) {
                    build::parameter_status(out.insert(), status.name, initial.as_bytes());
                }
                return false;
            }
        }
        true
    }

    /// At ReadyForQuery all command tags have come: changes of parameters are the client's if one of them, or a word in
    /// what it sent, tells of such, and else the server's own. What a function did that none of them tells of is taken
    /// for the server's own too; it is removed with what the client left behind.
    #[cold]
    pub(super) fn explain(
        &mut self,
        mut client: Option<&mut ClientSession>,
        status: TransactionStatus,
        settings: &SettingsTable,
    ) {
        let explained = self.may_have_set();
        for (name, value) in std::mem::take(&mut self.unexplained) {
            if !explained && status != TransactionStatus::Idle {
                // SET LOCAL, or a reload that is told of once more only if it happens again.
            } else if !explained {
                let own = self.reset_values.iter_mut().find(|(n, _)| *n == name);
                if let Some((_, reset)) = own {
                    *reset = value;
                }
            } else if let Some(client) = client.as_deref_mut() {
                self.settings = settings.with(&self.settings, &name, &value);
                client.settings = settings.with(&client.settings, &name, &value);
            }
        }
        self.transaction.may(Effects::SETTINGS);
    }

    /// Whether something that the client has sent may have set a parameter.
    pub(super) fn may_have_set(&self) -> bool {
        let announced = matches!(
            self.owed.front(),
            Some(Owed::Query {
                changes: Some(_),
                ..
            })
        );
        announced || self.transaction.may_have_set()
    }

    /// Whether a change of a parameter, for a client of whose statements nobody knows which is executed, may be one back
    /// to its start.
    pub(super) fn may_return_to_start(&self, name: &str, value: &str) -> bool {
        (self.resetting || self.transaction.effects.contains(Effects::RESETS))
            && self.is_reset_value(name, value)
    }

    pub(super) fn is_reset_value(&self, name: &str, value: &str) -> bool {
        let mut values = self.reset_values.iter();
        values.any(|(n, v)| **n == *name && **v == *value)
    }
}
