//! Statements that clients prepare by SQL, and names that SQL and the protocol share.
//!
//! A name of the pooler's own stands for a statement of the protocol; only texts that speak of prepared statements
//! (EXECUTE, PREPARE, DEALLOCATE, the view `pg_prepared_statements`) see the client's own names. Before such a text, the
//! server is given those of the client's names that it speaks of.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::backend::{ErrorFieldIter, ErrorFields, TransactionStatus, tag};
use pgweir_wire::build;
use pgweir_wire::frontend::Target;

use crate::client::{ClientSession, Limits};
use crate::custom::CustomNames;
use crate::holds::Holds;
use crate::mend::quoted_name;
use crate::naming::prepare_of;
use crate::owed::{Closing, Hidden, Owed};
use crate::server::ServerSession;
use crate::statements::Statement;

/// A statement that a client prepared by SQL.
#[derive(Debug, Clone)]
pub(crate) struct SqlStatement {
    /// `PREPARE name AS …`, without what its text did besides.
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
    /// What was another client's, and of which a Close was sent that an error may skip: it is closed once more before the
    /// name is used. With the text if SQL prepared it.
    Closing(Option<Arc<[u8]>>),
}

/// The text by which SQL prepared a name; `None` for a statement that the protocol prepared.
pub(crate) type OwnText = Option<Box<[u8]>>;

/// The clients' own names on a server.
pub(crate) type OwnNames = HashMap<Box<[u8]>, Own>;

impl SqlStatement {
    pub(crate) fn new(text: Arc<[u8]>) -> Self {
        SqlStatement { text }
    }

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
                        let text = named.statement.text();
                        custom.read(text);
                        // Nobody follows its exact changes: they are asked for.
                        pgweir_sql::classify(text, &limits.functions)
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
    /// Appends to `to_server` what gives the server the client's own names that `text` speaks of, and takes others'
    /// away. The server stands between two segments.
    pub(crate) fn bring_names(
        &mut self,
        client: &ClientSession,
        text: &[u8],
        to_server: &mut Vec<u8>,
    ) {
        let names = self.names_in(client, text);
        self.bring(client, names, to_server);
    }

    /// As [`ServerSession::bring_names`], for one name that SQL prepared and the protocol uses.
    pub(crate) fn bring_name(
        &mut self,
        client: &ClientSession,
        name: &[u8],
        to_server: &mut Vec<u8>,
    ) {
        self.bring(client, vec![name.into()], to_server);
    }

    /// Within a segment, where nothing can be prepared by SQL: appends to `to_server` what takes those of the names that
    /// `text` speaks of away that are not the client's.
    pub(crate) fn hide_names(
        &mut self,
        client: &ClientSession,
        text: &[u8],
        to_server: &mut Vec<u8>,
    ) {
        let names = self.names_in(client, text);
        self.hide(client, names, to_server);
    }

    fn hide(&mut self, client: &ClientSession, names: Vec<Box<[u8]>>, to_server: &mut Vec<u8>) {
        for Step { name, .. } in self.names_to_change(client, names) {
            if self.own.contains_key(&name) {
                build::close(to_server, Target::Statement, &name);
                self.owe(Owed::Close(Closing::Unnamed));
                self.doubt_name(name);
            }
        }
    }

    /// Names that are others' on this server, or that SQL prepared for the client and this server lacks: what a function
    /// does may speak of them.
    pub(crate) fn names_in_reach_of_functions(&self, client: &ClientSession) -> Vec<Box<[u8]>> {
        let is_failed = self.status == TransactionStatus::Failed;
        if is_failed || self.own.is_empty() && !client.has_sql_names() {
            return Vec::new();
        }
        let all: BTreeSet<&Box<[u8]>> = self.own.keys().chain(client.sql_names()).collect();
        let names = all.into_iter().cloned().collect();
        let steps = self.names_to_change(client, names).into_iter();
        steps.map(|step| step.name).collect()
    }

    /// Gives the server `names` as the client knows them, if it stands between two segments; else takes away those that
    /// are others'.
    pub(crate) fn bring_or_hide(
        &mut self,
        client: &ClientSession,
        names: Vec<Box<[u8]>>,
        is_between: bool,
        to_server: &mut Vec<u8>,
    ) {
        match is_between {
            true => self.bring(client, names, to_server),
            false => self.hide(client, names, to_server),
        }
    }

    /// Notes that `client` closes `name`, which may be there for another client.
    pub(crate) fn closes_anothers(&mut self, client: &ClientSession, name: &[u8]) {
        if self.is_anothers(client, name) {
            self.doubt_name(name.into());
        }
    }

    fn doubt_name(&mut self, name: Box<[u8]>) {
        let text = match self.own.remove(&name) {
            Some(Own::Sql(text)) => Some(text),
            Some(Own::Closing(text)) => text,
            Some(Own::Protocol(_)) | None => None,
        };
        self.own.insert(name, Own::Closing(text));
    }

    fn bring(&mut self, client: &ClientSession, names: Vec<Box<[u8]>>, to_server: &mut Vec<u8>) {
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

    fn names_in(&self, client: &ClientSession, text: &[u8]) -> Vec<Box<[u8]>> {
        match pgweir_sql::executed(text) {
            pgweir_sql::Executed::Names(names) => names
                .into_iter()
                .map(|n| n.into_bytes().into_boxed_slice())
                .collect(),
            pgweir_sql::Executed::Any => {
                let all = self.own.keys().chain(client.all_names());
                let all: BTreeSet<&Box<[u8]>> = all.collect();
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
        let mut before = std::mem::take(&mut self.own);
        // What was brought or taken away since is still to be answered.
        for owed in self.owed.iter() {
            if let Owed::Hidden(Hidden::Name(name)) = owed
                && let Some((name, own)) = before.remove_entry(name)
            {
                self.own.insert(name, own);
            }
        }
        let mut made = Vec::new();
        for (name, text) in found {
            if self.own.contains_key(&name) {
                continue;
            }
            let known = before.get(&name);
            let text: OwnText = match text {
                None => None,
                Some(text) => match prepare_of(&text, &name) {
                    Some(prepares) => Some(Box::from(prepares)),
                    None if matches!(known, Some(Own::Sql(t)) if is_within(t, &text)) => {
                        self.own.extend(before.remove_entry(&name));
                        continue;
                    }
                    None => {
                        // Nothing prepares it elsewhere.
                        self.holds |= Holds::LIBRARY;
                        continue;
                    }
                },
            };
            let own = match (text, known) {
                (Some(text), Some(Own::Sql(t))) if **t == *text => Own::Sql(t.clone()),
                // It was not closed, and is no client's of this one.
                (Some(text), Some(own @ Own::Closing(Some(t)))) if **t == *text => own.clone(),
                (Some(text), _) => Own::Sql(text.into()),
                (None, Some(own @ (Own::Protocol(_) | Own::Closing(_)))) => own.clone(),
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
        // What the server had under the name is gone; the client's name is only if it was the client's.
        for (name, own) in before {
            if self.own.contains_key(&name) {
                continue;
            }
            match own {
                Own::Sql(text) => {
                    if client.sql_named(&name).is_some_and(|sql| sql.text == text) {
                        client.forget_sql(&name);
                    }
                }
                Own::Closing(_) => {}
                Own::Protocol(id) => {
                    if client.named(&name).is_some_and(|n| n.statement.id() == id) {
                        client.forget(&name);
                    }
                }
            }
        }
    }
}

/// True if the server's text is one of which `text` is a part.
fn is_within(text: &[u8], whole: &[u8]) -> bool {
    !text.is_empty() && whole.windows(text.len()).any(|part| part == text)
}
