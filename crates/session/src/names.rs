//! Statements that clients prepare by SQL, and names that SQL and the protocol share.
//!
//! A name of the pooler's own stands for a statement of the protocol; only texts that speak of prepared statements
//! (EXECUTE, PREPARE, DEALLOCATE, the view `pg_prepared_statements`) see the client's own names. Before such a text, the
//! server is given those of the client's names that it speaks of.

use std::collections::HashMap;
use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::backend::{ErrorFieldIter, ErrorFields, tag};
use pgweir_wire::build;
use pgweir_wire::frontend::Target;

use crate::client::{ClientSession, Limits};
use crate::custom::CustomNames;
use crate::mend::quoted_name;
use crate::owed::{Closing, Hidden, Owed};
use crate::server::ServerSession;
use crate::statements::Statement;

/// A statement that a client prepared by SQL.
#[derive(Debug, Clone)]
pub(crate) struct SqlStatement {
    /// The whole text, `PREPARE name AS …`.
    text: Arc<[u8]>,
}

/// A client's names for them.
pub(crate) type SqlNames = HashMap<Box<[u8]>, SqlStatement>;

/// What a name that is no pooler's stands for on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Own {
    /// What this text prepared.
    Sql(Arc<[u8]>),
    /// The definition of this statement.
    Protocol(u64),
}

/// The text by which SQL prepared a name; `None` for a statement that the protocol prepared.
pub(crate) type OwnText = Option<Box<[u8]>>;

/// The clients' own names on a server.
pub(crate) type OwnNames = HashMap<Box<[u8]>, Own>;

impl SqlStatement {
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// What executing it may do.
    pub(crate) fn effects(&self, limits: &Limits) -> Effects {
        pgweir_sql::classify(&self.text, &limits.functions).without(Effects::PREPARES)
    }
}

/// The effects of a text that speaks of prepared statements, with what executing them may do in the place of EXECUTES;
/// what they may set is added to `custom`.
pub(crate) fn effects_with_executed(
    client: &ClientSession,
    text: &[u8],
    effects: Effects,
    limits: &Limits,
    custom: &mut CustomNames,
) -> Effects {
    let executes = effects.contains(Effects::EXECUTES);
    let mut all = effects.without(Effects::EXECUTES);
    match pgweir_sql::executed(text) {
        pgweir_sql::Executed::Any if executes => all |= Effects::PROCEDURE,
        pgweir_sql::Executed::Any => {}
        // DEALLOCATE ALL: its command tag says it all.
        pgweir_sql::Executed::Names(names) if names.is_empty() => {
            all = all.without(Effects::DEALLOCATES);
        }
        pgweir_sql::Executed::Names(names) if executes => {
            for name in names {
                let name = name.as_bytes();
                all |= match (client.sql_named(name), client.named(name)) {
                    (Some(sql), _) => {
                        custom.read(sql.text());
                        sql.effects(limits)
                    }
                    (None, Some(named)) => {
                        custom.read(named.statement.text());
                        named.statement.told(limits).effects
                    }
                    (None, None) => Effects::PROCEDURE,
                };
            }
        }
        pgweir_sql::Executed::Names(_) => {}
    }
    all
}

/// A statement that SQL prepared, and that could not be prepared on another server: a table is gone, for one.
#[derive(Debug)]
pub(crate) struct NotBrought {
    name: Box<[u8]>,
    /// The server's error, but for the position, which is one in another text than the client's.
    error: Box<[u8]>,
}

impl NotBrought {
    pub(crate) fn new(name: Box<[u8]>, body: &[u8]) -> Self {
        let mut error = Vec::new();
        build::message(&mut error, tag::ERROR_RESPONSE, |out| {
            for (kind, value) in ErrorFieldIter::new(body).filter(|(kind, _)| *kind != b'P') {
                out.push(kind);
                out.extend_from_slice(value);
                out.push(0);
            }
            out.push(0);
        });
        NotBrought {
            name,
            error: error.into(),
        }
    }
}

impl ServerSession {
    /// The error in the place of one that says that the client's query knows a prepared statement that could not be
    /// brought to this server; what a direct connection would say on executing it.
    pub(crate) fn error_of_name(&mut self, fields: &ErrorFields<'_>) -> Option<Box<[u8]>> {
        let not_brought = self.not_brought.take()?;
        let is_it = matches!(self.owed.front(), Some(Owed::Query { .. }))
            && fields.code == b"26000"
            && quoted_name(fields.message) == Some(&*not_brought.name);
        is_it.then_some(not_brought.error)
    }
}

/// How one name on a server is to be changed.
struct Step {
    name: Box<[u8]>,
    wanted: Option<Wanted>,
}

enum Wanted {
    Sql(Arc<[u8]>),
    Protocol(Arc<Statement>),
}

impl Wanted {
    fn own(&self) -> Own {
        match self {
            Wanted::Sql(text) => Own::Sql(text.clone()),
            Wanted::Protocol(statement) => Own::Protocol(statement.id()),
        }
    }
}

impl ServerSession {
    /// As [`ServerSession::bring_names`], for one name that SQL prepared and the protocol uses.
    pub(crate) fn bring_name(
        &mut self,
        client: &ClientSession,
        name: &[u8],
        to_server: &mut Vec<u8>,
    ) {
        self.bring_names(client, vec![name.into()], to_server);
    }

    /// Within a segment, where nothing can be prepared by SQL: appends to `to_server` what takes those of `names` away
    /// that are not the client's.
    pub(crate) fn hide_names(
        &mut self,
        client: &ClientSession,
        names: Vec<Box<[u8]>>,
        to_server: &mut Vec<u8>,
    ) {
        for Step { name, .. } in self.names_to_change(client, names) {
            if self.own.contains_key(&name) {
                build::close(to_server, Target::Statement, &name);
                self.owe(Owed::Close(Closing::Unnamed));
                // An error may skip the Close: it is closed once more before it is used.
                self.own.insert(name, Own::Sql(Arc::default()));
            }
        }
    }

    /// Appends to `to_server` what gives the server those of `names` that are the client's, and takes others' away. The
    /// server stands between two segments.
    pub(crate) fn bring_names(
        &mut self,
        client: &ClientSession,
        names: Vec<Box<[u8]>>,
        to_server: &mut Vec<u8>,
    ) {
        for Step { name, wanted } in self.names_to_change(client, names) {
            build::close(to_server, Target::Statement, &name);
            if let Some(Wanted::Protocol(statement)) = &wanted {
                build::parse(to_server, &name, statement.definition());
            }
            to_server.extend_from_slice(&build::SYNC);
            self.owed
                .push_back(Owed::Hidden(Hidden::Name(name.clone())));
            if let Some(Wanted::Sql(text)) = &wanted {
                build::query(to_server, text);
                self.unnamed = None;
                self.owed
                    .push_back(Owed::Hidden(Hidden::Name(name.clone())));
            }
            match wanted {
                Some(wanted) => self.own.insert(name, wanted.own()),
                None => self.own.remove(&name),
            };
        }
    }

    /// True if the names that texts speak of may differ between the client and the server.
    pub(crate) fn may_lack_names(&self, client: &ClientSession) -> bool {
        !self.own.is_empty() || client.statements() > 0 || client.has_sql_names()
    }

    /// True if `name` is there for another client, and `client` must not reach it.
    pub(crate) fn is_anothers(&self, client: &ClientSession, name: &[u8]) -> bool {
        !self.own.is_empty() && self.own.contains_key(name) && client.sql_named(name).is_none()
    }

    /// True if `name` was prepared by SQL, and this server does not have it.
    pub(crate) fn lacks_sql_name(&self, client: &ClientSession, name: &[u8]) -> bool {
        client
            .sql_named(name)
            .is_some_and(|sql| self.own.get(name) != Some(&Own::Sql(sql.text.clone())))
    }

    /// The names that SQL prepared, for the client or, on this server, for others.
    pub(crate) fn names_of_sql(&self, client: &ClientSession) -> Vec<Box<[u8]>> {
        if self.own.is_empty() && !client.has_sql_names() {
            return Vec::new();
        }
        let mut names: Vec<_> = self.own.keys().chain(client.all_sql_names()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().cloned().collect()
    }

    /// The names that `text` speaks of.
    pub(crate) fn names_in(&self, client: &ClientSession, text: &[u8]) -> Vec<Box<[u8]>> {
        match pgweir_sql::executed(text) {
            pgweir_sql::Executed::Names(names) => names
                .into_iter()
                .map(|n| n.into_bytes().into_boxed_slice())
                .collect(),
            pgweir_sql::Executed::Any => {
                let all = self.own.keys().chain(client.all_names());
                let all: std::collections::BTreeSet<&Box<[u8]>> = all.collect();
                all.into_iter().cloned().collect()
            }
        }
    }

    fn names_to_change(&self, client: &ClientSession, names: Vec<Box<[u8]>>) -> Vec<Step> {
        let steps = names.into_iter().filter_map(|name| {
            let wanted = match (client.sql_named(&name), client.named(&name)) {
                (Some(sql), _) => Some(Wanted::Sql(sql.text.clone())),
                (None, Some(named)) => Some(Wanted::Protocol(named.statement.clone())),
                (None, None) => None,
            };
            let is_right = self.own.get(&name) == wanted.as_ref().map(Wanted::own).as_ref();
            (!is_right).then_some(Step { name, wanted })
        });
        steps.collect()
    }

    /// The server says which names it has now: `found` with the texts of those that SQL prepared.
    pub(crate) fn own_names_are(
        &mut self,
        found: Vec<(Box<[u8]>, OwnText)>,
        client: Option<&mut ClientSession>,
    ) {
        let before = std::mem::take(&mut self.own);
        let mut made = Vec::new();
        for (name, text) in found {
            let known = before.get(&name);
            let own = match (text, known) {
                (Some(text), Some(Own::Sql(t))) if **t == *text => Own::Sql(t.clone()),
                (Some(text), _) => Own::Sql(text.into()),
                (None, Some(own @ Own::Protocol(_))) => own.clone(),
                // Of a client whose statements the pooler does not place.
                (None, _) => continue,
            };
            if let Own::Sql(text) = &own
                && known != Some(&own)
            {
                made.push((name.clone(), text.clone()));
            }
            self.own.insert(name, own);
        }
        let Some(client) = client else { return };
        for (name, text) in made {
            client.remember_sql(name, SqlStatement { text });
        }
        for name in before.keys().filter(|name| !self.own.contains_key(*name)) {
            client.forget_sql(name);
            client.forget(name);
        }
    }
}
