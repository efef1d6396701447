//! The configuration as a whole, and which of its values holds where.

use crate::settings::{Database, Global, Peer, User};
use crate::values::{CheckQuery, PoolMode, SessionState};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

/// The name of the entry that stands for every database that is not named.
pub(crate) const ANY_DATABASE: &str = "*";

/// The databases that are the console.
pub(crate) const CONSOLE_DATABASES: [&str; 2] = ["pgbouncer", "pgweir"];

/// A whole, valid configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[pgweir]`.
    pub global: Global,
    /// `[databases.NAME]` by NAME; `"*"` is any other.
    pub databases: BTreeMap<String, Database>,
    /// `[users.NAME]` by NAME. Users of the `auth_file` are not among them.
    pub users: BTreeMap<String, User>,
    /// `[peers.ID]` by ID. The instance's own may be among them, which means nothing.
    pub peers: BTreeMap<u16, Peer>,
    /// What held for global settings that were not given.
    pub defaults: Defaults,
}

/// Whose defaults the global settings have that a file leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Defaults {
    /// The declared ones.
    #[default]
    Pgweir,
    /// PgBouncer's, for a file of its format.
    PgBouncer,
}

/// The database that a client's name for it leads to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target<'c> {
    /// The entry's name: the client's, or `"*"`.
    pub entry: &'c str,
    /// The entry.
    pub database: &'c Database,
    /// The database's name on the server.
    pub dbname: &'c str,
}

/// What holds for the pool of one database and one user.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// When a server goes back to the pool.
    pub pool_mode: PoolMode,
    /// Server connections at most, without the reserve.
    pub pool_size: u32,
    /// Server connections kept open; not more than `pool_size`.
    pub min_pool_size: u32,
    /// Server connections on top of `pool_size` for clients that have waited long.
    pub reserve_pool_size: u32,
    /// How long such a client has waited; `None`: the reserve is off.
    pub reserve_pool_timeout: Option<Duration>,
    /// How long a client waits before it is refused; `None`: for ever.
    pub query_wait_timeout: Option<Duration>,
    /// The age at which a server is closed when it is released; zero: after its first use.
    pub server_lifetime: Duration,
    /// The time without use after which a server is closed; `None`: never.
    pub server_idle_timeout: Option<Duration>,
    /// The time without use after which a server is checked.
    pub server_check_delay: Duration,
    /// How it is checked.
    pub server_check_query: CheckQuery,
    /// The time between a failed connection and the next attempt.
    pub server_login_retry: Duration,
    /// Whether the server that was used longest ago comes first, instead of last.
    pub server_round_robin: bool,
    /// What is done with what clients leave in their sessions.
    pub session_state: SessionState,
    /// How many clients may keep a server; `None`: any number.
    pub max_pinned: Option<u32>,
    /// Functions for which a client keeps its server.
    pub pin_functions: Vec<String>,
}

/// What holds for the clients of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSettings {
    /// How long a query may run; `None`: for ever, as in the others.
    pub query_timeout: Option<Duration>,
    /// How long it may do nothing in a transaction.
    pub idle_transaction_timeout: Option<Duration>,
    /// How long a transaction may take.
    pub transaction_timeout: Option<Duration>,
    /// How long it may do nothing outside a transaction.
    pub client_idle_timeout: Option<Duration>,
}

/// How the secrets of users are found that have none in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthQuery<'c> {
    /// The database in which the query runs, as clients name it.
    pub database: &'c str,
    /// As whom it runs.
    pub user: &'c str,
    /// Its text, with `$1` for the name of the user that is looked for.
    pub query: &'c str,
}

/// The caps of one database; `None` is no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseLimits {
    /// Its server connections.
    pub max_db_connections: Option<u32>,
    /// Its clients.
    pub max_db_client_connections: Option<u32>,
}

/// The caps of one user; `None` is no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserLimits {
    /// Its server connections.
    pub max_user_connections: Option<u32>,
    /// Its clients.
    pub max_user_client_connections: Option<u32>,
}

impl Config {
    /// The database that a client means by `name`: the entry of that name, or else `"*"`.
    pub fn resolve<'c>(&'c self, name: &'c str) -> Option<Target<'c>> {
        // A client that asks for "*" itself names a database that cannot be meant.
        if name == ANY_DATABASE {
            return None;
        }
        let (entry, database) = self
            .databases
            .get_key_value(name)
            .or_else(|| self.databases.get_key_value(ANY_DATABASE))?;
        let dbname = database.dbname.as_deref().unwrap_or(name);
        Some(Target {
            entry,
            database,
            dbname,
        })
    }

    /// Whether `name` is a database of the console.
    pub fn is_console(name: &str) -> bool {
        CONSOLE_DATABASES.contains(&name)
    }

    /// The instance's number among its peers, if it has any.
    pub fn peer_id(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(u16::try_from(self.global.peer_id).ok()?)
    }

    /// How many cancel requests may be on their way to `peer` at once.
    pub fn peer_pool_size(&self, peer: &Peer) -> u32 {
        peer.pool_size.unwrap_or(self.global.default_pool_size)
    }

    /// How users are found who log in to the database that they call `name`, if they are; the console is one, too.
    pub fn auth_query<'c>(&'c self, name: &'c str) -> Option<AuthQuery<'c>> {
        let global = &self.global;
        let own = match Self::is_console(name) {
            true => None,
            false => self.resolve(name).map(|target| target.database),
        };
        let of = |pick: fn(&Database) -> &Option<String>| own.and_then(|d| pick(d).as_deref());
        let user = of(|d| &d.auth_user).or(global.auth_user.as_deref())?;
        let query = of(|d| &d.auth_query).unwrap_or(&global.auth_query);
        let database = of(|d| &d.auth_dbname)
            .or(global.auth_dbname.as_deref())
            .or(own.is_some().then_some(name))?;
        let found = AuthQuery {
            database,
            user,
            query,
        };
        (!query.is_empty()).then_some(found)
    }

    /// Everyone as whom `auth_query` may run in the database that clients call `name`.
    pub fn auth_query_users<'c>(&'c self, name: &'c str) -> impl Iterator<Item = &'c str> {
        let databases = self.databases.iter().filter(move |(other, database)| {
            let runs_in = database.auth_dbname.as_ref();
            let runs_in = runs_in
                .or(self.global.auth_dbname.as_ref())
                .unwrap_or(other);
            runs_in == name || *other == ANY_DATABASE
        });
        let own = databases.filter_map(|(_, database)| database.auth_user.as_deref());
        own.chain(self.global.auth_user.as_deref())
    }

    /// What holds for the pool of `database` and the client user `user`, who need not have a
    /// section.
    pub fn pool_settings(&self, database: &Database, user: &str) -> PoolSettings {
        let global = &self.global;
        let user = self.users.get(user);
        let pool_size = user
            .and_then(|user| user.pool_size)
            .or(database.pool_size)
            .unwrap_or(global.default_pool_size);
        PoolSettings {
            pool_mode: user
                .and_then(|user| user.pool_mode)
                .or(database.pool_mode)
                .unwrap_or(global.pool_mode),
            pool_size,
            min_pool_size: database
                .min_pool_size
                .unwrap_or(global.min_pool_size)
                .min(pool_size),
            reserve_pool_size: user
                .and_then(|user| user.reserve_pool_size)
                .or(database.reserve_pool_size)
                .unwrap_or(global.reserve_pool_size),
            reserve_pool_timeout: global.reserve_pool_timeout,
            query_wait_timeout: user
                .and_then(|user| user.query_wait_timeout)
                .or(database.query_wait_timeout)
                .unwrap_or(global.query_wait_timeout),
            server_lifetime: database.server_lifetime.unwrap_or(global.server_lifetime),
            server_idle_timeout: global.server_idle_timeout,
            server_check_delay: global.server_check_delay,
            server_check_query: global.server_check_query.clone(),
            server_login_retry: global.server_login_retry,
            server_round_robin: global.server_round_robin,
            session_state: database.session_state.unwrap_or(global.session_state),
            max_pinned: database.max_pinned.unwrap_or(global.max_pinned),
            pin_functions: [&*global.pin_functions, &*database.pin_functions].concat(),
        }
    }

    /// What holds for clients that log in as `user`, who need not have a section.
    pub fn client_settings(&self, user: &str) -> ClientSettings {
        let global = &self.global;
        let user = self.users.get(user);
        let of = |pick: fn(&User) -> Option<Option<Duration>>, otherwise| {
            user.and_then(pick).unwrap_or(otherwise)
        };
        ClientSettings {
            query_timeout: of(|user| user.query_timeout, global.query_timeout),
            idle_transaction_timeout: of(
                |user| user.idle_transaction_timeout,
                global.idle_transaction_timeout,
            ),
            transaction_timeout: of(|user| user.transaction_timeout, global.transaction_timeout),
            client_idle_timeout: of(|user| user.client_idle_timeout, global.client_idle_timeout),
        }
    }

    /// The caps of `database`.
    pub fn database_limits(&self, database: &Database) -> DatabaseLimits {
        DatabaseLimits {
            max_db_connections: database
                .max_db_connections
                .unwrap_or(self.global.max_db_connections),
            max_db_client_connections: database
                .max_db_client_connections
                .unwrap_or(self.global.max_db_client_connections),
        }
    }

    /// The caps of `user`, who need not have a section.
    pub fn user_limits(&self, user: &str) -> UserLimits {
        let user = self.users.get(user);
        UserLimits {
            max_user_connections: user
                .and_then(|user| user.max_user_connections)
                .unwrap_or(self.global.max_user_connections),
            max_user_client_connections: user
                .and_then(|user| user.max_user_client_connections)
                .unwrap_or(self.global.max_user_client_connections),
        }
    }
}

#[cfg(test)]
mod tests;
