//! `[users.NAME]`: a user's secret, and what differs for it.

use super::section;
use crate::kinds::{Choice, Count, Limit, Or, Password, Timeout};
use crate::secret::SecretText;
use crate::values::PoolMode;
use std::time::Duration;

section! {
    /// One `[users.NAME]` section. `None` in a setting that a database or the global section has
    /// too means that theirs holds; a user's value comes before a database's.
    User;

    "Who it is" {
        /// The secret the user logs in with, and with which pgweir logs in to the server for it:
        /// plain text, an md5 hash (`md5…`) or a SCRAM secret (`SCRAM-SHA-256$…`). `${VAR}` and
        /// `file:/path` keep it out of the file. In PgBouncer secrets stand in `auth_file`
        /// only; here in either, and this one comes first.
        password: Option<SecretText> = Password, "", Reload, Absent;
    }

    "Its pools" {
        /// `pool_mode` for this user.
        pool_mode: Option<PoolMode> = Or(Choice::<PoolMode>::NEW), "", Reload, Same;
        /// `default_pool_size` for this user's pools.
        pool_size: Option<u32> = Or(Count::ANY), "", Reload, Same;
        /// `reserve_pool_size` for this user's pools.
        reserve_pool_size: Option<u32> = Or(Count::ANY), "", Reload, Same;
    }

    "Its limits" {
        /// `max_user_connections` for this user.
        max_user_connections: Option<Option<u32>> = Or(Limit), "", Reload, Same;
        /// `max_user_client_connections` for this user.
        max_user_client_connections: Option<Option<u32>> = Or(Limit), "", Reload, Same;
        /// `query_timeout` for this user.
        query_timeout: Option<Option<Duration>> = Or(Timeout::SECONDS), "", Reload, Same;
        /// `query_wait_timeout` for this user.
        query_wait_timeout: Option<Option<Duration>> = Or(Timeout::SECONDS), "", Reload, Same;
        /// `idle_transaction_timeout` for this user.
        idle_transaction_timeout: Option<Option<Duration>> = Or(Timeout::SECONDS), "", Reload, Same;
        /// `transaction_timeout` for this user.
        transaction_timeout: Option<Option<Duration>> = Or(Timeout::SECONDS), "", Reload, Same;
        /// `client_idle_timeout` for this user.
        client_idle_timeout: Option<Option<Duration>> = Or(Timeout::SECONDS), "", Reload, Same;
    }
}
