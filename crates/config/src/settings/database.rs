//! `[databases.NAME]`: where a database is, and what differs for it.

use super::section;
use crate::kinds::Timeout;
use crate::kinds::{Choice, Count, Delay, HostName, Limit, List, Or, Password, Port, Text};
use crate::secret::SecretText;
use crate::values::{Host, PoolMode, SessionState};
use std::time::Duration;

section! {
    /// One `[databases.NAME]` section. `None` in a setting that the global section has too means
    /// that the global value holds; [`Config::pool_settings`](crate::Config::pool_settings) says
    /// which one does.
    Database;

    "Where it is" {
        /// The server: a host name, an address, or the directory of its Unix socket.
        /// PgBouncer, when the host is not given, uses a Unix socket.
        host: Host = HostName, "127.0.0.1", Reload, OtherDefault("");
        /// The server's port; for a Unix socket it is part of the file's name.
        port: u16 = Port { min: 1 }, "5432", Reload, Same;
        /// The database's name on the server. When it is not given: NAME, or for `"*"` the name
        /// that the client asked for.
        dbname: Option<String> = Or(Text), "", Reload, Same;
    }

    "Who pgweir is to the server" {
        /// Log in to the server as this user, whoever the client is. When it is not given: as the
        /// client's user.
        user: Option<String> = Or(Text), "", Reload, Same;
        /// The password of `user`: as plain text, as an md5 hash (`md5…`) or as a SCRAM secret.
        /// `${VAR}` and `file:/path` keep it out of the file. It goes with `user`, without which
        /// it has no effect: then the client's user logs in with its own secret.
        password: Option<SecretText> = Password, "", Reload, Same;
        /// SQL that each new server connection runs before a client gets it, and again whenever what
        /// a client left behind was removed, which may have undone it. If it fails, the connection
        /// is closed; in PgBouncer that is only logged.
        connect_query: Option<String> = Or(Text), "", Reload, Same;
    }

    "Its pools" {
        /// `pool_mode` for this database.
        pool_mode: Option<PoolMode> = Or(Choice::<PoolMode>::NEW), "", Reload, Same;
        /// `default_pool_size` for this database.
        pool_size: Option<u32> = Or(Count::ANY), "", Reload, Same;
        /// `min_pool_size` for this database. Kept up without any client only if `user` is given,
        /// for otherwise there is no pool before a client comes.
        min_pool_size: Option<u32> = Or(Count::ANY), "", Reload, Same;
        /// `reserve_pool_size` for this database.
        reserve_pool_size: Option<u32> = Or(Count::ANY), "", Reload, Same;
        /// `server_lifetime` for this database.
        server_lifetime: Option<Duration> = Or(Delay::ANY), "", Reload, Same;
        /// `session_state` for this database.
        session_state: Option<SessionState> = Or(Choice::<SessionState>::NEW), "", Reload, Absent;
        /// `max_pinned` for each pool of this database.
        max_pinned: Option<Option<u32>> = Or(Limit), "", Reload, Absent;
        /// More functions as in `pin_functions`, for this database.
        pin_functions: Vec<String> = List, "", Reload, Absent;
        /// `query_wait_timeout` for this database.
        query_wait_timeout: Option<Option<Duration>> = Or(Timeout::SECONDS), "", Reload, Same;
    }

    "Its limits" {
        /// `max_db_connections` for this database.
        max_db_connections: Option<Option<u32>> = Or(Limit), "", Reload, Same;
        /// `max_db_client_connections` for this database.
        max_db_client_connections: Option<Option<u32>> = Or(Limit), "", Reload, Same;
    }
}
