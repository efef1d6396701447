//! Rules between settings: what cannot work together, and what has no effect.

mod routing;

use crate::config::Config;
use crate::load::Origins;
use crate::problem::{Problem, ProblemKind, Warning};
use crate::settings::{Database, Global};
use crate::source::Place;
use crate::values::{AuthType, CheckQuery, PoolMode, SslMode};

/// What the rules found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What cannot be used.
    pub(crate) problems: Vec<Problem>,
    /// What can, but is hardly meant.
    pub(crate) warnings: Vec<Warning>,
}

/// Holds `config` to every rule; `origins` says which settings were given, and where.
pub(crate) fn check(config: &Config, origins: &Origins) -> Findings {
    let mut rules = Rules {
        origins,
        findings: Findings::default(),
    };
    rules.listening(&config.global);
    rules.tls(&config.global);
    rules.users(config);
    rules.pools(config);
    rules.without_effect(&config.global);
    rules.nothing_to_route(config);
    rules.peers(config);
    for (name, database) in &config.databases {
        rules.database(config, name, database);
        rules.routing(&config.global, name, database);
    }
    rules.findings
}

struct Rules<'a> {
    origins: &'a Origins,
    findings: Findings,
}

impl Rules<'_> {
    fn conflict(&mut self, key: &'static str, reason: impl Into<String>) {
        self.conflict_in(&Place::Global, key, reason);
    }

    fn conflict_in(&mut self, place: &Place, key: &'static str, reason: impl Into<String>) {
        let origin = self.origins.of(place, key);
        let kind = ProblemKind::Conflict {
            key,
            reason: reason.into(),
        };
        self.findings.problems.push(Problem { origin, kind });
    }

    fn warn(&mut self, place: &Place, key: &'static str, message: impl Into<String>) {
        let origin = self.origins.of(place, key);
        self.findings.warnings.push(Warning {
            origin,
            key,
            message: message.into(),
        });
    }

    /// Warns of global settings that were given although `why` they do nothing.
    fn idle(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            if self.origins.given(&Place::Global, key).is_some() {
                self.warn(&Place::Global, key, format!("has no effect: {why}"));
            }
        }
    }

    fn listening(&mut self, global: &Global) {
        if global.unix_socket_dir.is_none() {
            if global.listen_addr.is_empty() {
                self.conflict(
                    "listen_addr",
                    "expected at least one address to listen on, or *, or a unix_socket_dir",
                );
            }
            self.idle(
                &["unix_socket_mode", "unix_socket_group"],
                "unix_socket_dir is empty",
            );
        } else if global.listen_addr.is_empty() && global.listen_port == 0 {
            self.conflict(
                "listen_port",
                "the Unix socket is named after it, and there is no address whose port it could take",
            );
        }
    }

    fn tls(&mut self, global: &Global) {
        let client = global.client_tls_sslmode;
        let key = global.client_tls_key_file.is_some();
        let certificate = global.client_tls_cert_file.is_some();
        if client != SslMode::Disable && !(key && certificate) {
            self.conflict(
                "client_tls_sslmode",
                format!("{client} needs client_tls_key_file and client_tls_cert_file"),
            );
        }
        if client.verifies_certificate() && global.client_tls_ca_file.is_none() {
            self.conflict(
                "client_tls_sslmode",
                format!("{client} needs client_tls_ca_file"),
            );
        }
        if client == SslMode::Disable {
            self.idle(
                &[
                    "client_tls_key_file",
                    "client_tls_cert_file",
                    "client_tls_ca_file",
                ],
                "client_tls_sslmode is disable",
            );
        }
        let server = global.server_tls_sslmode;
        if server.verifies_certificate() && global.server_tls_ca_file.is_none() {
            self.conflict(
                "server_tls_sslmode",
                format!("{server} needs server_tls_ca_file"),
            );
        }
        if global.server_tls_key_file.is_some() != global.server_tls_cert_file.is_some() {
            let (given, missing) = match global.server_tls_key_file {
                Some(_) => ("server_tls_key_file", "server_tls_cert_file"),
                None => ("server_tls_cert_file", "server_tls_key_file"),
            };
            self.conflict(given, format!("needs {missing} too"));
        }
        if server == SslMode::Disable {
            self.idle(
                &[
                    "server_tls_key_file",
                    "server_tls_cert_file",
                    "server_tls_ca_file",
                ],
                "server_tls_sslmode is disable",
            );
        }
    }

    fn users(&mut self, config: &Config) {
        let global = &config.global;
        let nobody = config.users.values().all(|user| user.password.is_none());
        let lets_in = matches!(
            global.auth_type,
            AuthType::Any | AuthType::Trust | AuthType::Hba | AuthType::Ldap | AuthType::Pam
        );
        let asked = global.auth_user.is_some()
            || config
                .databases
                .values()
                .any(|database| database.auth_user.is_some());
        if global.auth_file.is_none() && nobody && !asked && !lets_in {
            self.warn(
                &Place::Global,
                "auth_type",
                format!(
                    "{} lets nobody in yet: give users and their passwords in auth_file or in \
                     [users.NAME]",
                    global.auth_type
                ),
            );
        }
        if global.auth_type == AuthType::Cert && !global.client_tls_sslmode.verifies_certificate() {
            self.conflict(
                "auth_type",
                "cert needs client_tls_sslmode = verify-ca or verify-full",
            );
        }
        let by_rules = global.auth_type == AuthType::Hba;
        if !by_rules && global.auth_type != AuthType::Ldap {
            self.idle(
                &["auth_ldap_options", "auth_ldap_ca_file"],
                "auth_type is neither ldap nor hba",
            );
        }
        if global.auth_type == AuthType::Ldap && global.auth_ldap_options.is_none() {
            self.conflict("auth_type", "ldap needs auth_ldap_options");
        }
        if !by_rules && global.auth_type != AuthType::Pam {
            self.idle(&["auth_pam_service"], "auth_type is neither pam nor hba");
        }
        match global.auth_type {
            AuthType::Hba if global.auth_hba_file.is_none() => {
                self.conflict("auth_type", "hba needs auth_hba_file");
            }
            AuthType::Hba => {}
            _ => self.idle(
                &["auth_hba_file", "auth_ident_file"],
                "auth_type is not hba",
            ),
        }
        if let Some(name) = &global.auth_dbname {
            self.auth_dbname(config, &Place::Global, name);
        }
        if config.databases.is_empty() {
            self.warn(
                &Place::Global,
                "databases",
                "clients can reach only the console: give a [databases.NAME]",
            );
        }
    }

    fn auth_dbname(&mut self, config: &Config, place: &Place, name: &str) {
        if Config::is_console(name) || config.resolve(name).is_none() {
            self.conflict_in(
                place,
                "auth_dbname",
                format!("there is no [databases.{name}] to run auth_query in"),
            );
        }
    }

    fn pools(&mut self, config: &Config) {
        let global = &config.global;
        let place = Place::Global;
        let largest: u64 = config
            .databases
            .values()
            .map(|database| u64::from(database.pool_size.unwrap_or(global.default_pool_size)))
            .sum();
        if u64::from(global.max_client_conn) < largest {
            self.warn(
                &place,
                "max_client_conn",
                format!(
                    "{} clients are fewer than the {largest} server connections that one pool of \
                     each database may have",
                    global.max_client_conn
                ),
            );
        }
        if global.min_pool_size > global.default_pool_size {
            let size = global.default_pool_size;
            self.warn(
                &place,
                "min_pool_size",
                format!(
                    "{} is more than default_pool_size, {size}, which holds",
                    global.min_pool_size
                ),
            );
        }
        let reserved = config
            .databases
            .values()
            .map(|database| database.reserve_pool_size)
            .chain(config.users.values().map(|user| user.reserve_pool_size))
            .chain([Some(global.reserve_pool_size)])
            .any(|size| size.is_some_and(|size| size > 0));
        match (global.reserve_pool_timeout, global.query_wait_timeout) {
            (None, _) if reserved => {
                self.idle(&["reserve_pool_size"], "reserve_pool_timeout is 0");
            }
            (Some(reserve), Some(wait)) if reserved && reserve >= wait => self.warn(
                &place,
                "reserve_pool_timeout",
                "is not below query_wait_timeout: waiting clients are refused before the reserve \
                 is opened to them",
            ),
            _ if !reserved => self.idle(&["reserve_pool_timeout"], "reserve_pool_size is 0"),
            _ => {}
        }
        let session_mode = config
            .databases
            .values()
            .map(|database| database.pool_mode)
            .chain(config.users.values().map(|user| user.pool_mode))
            .chain([Some(global.pool_mode)])
            .any(|mode| mode == Some(PoolMode::Session));
        if global.server_reset_query.is_none() && global.server_reset_query_always {
            self.idle(
                &["server_reset_query_always"],
                "server_reset_query is empty",
            );
        } else if !session_mode && !global.server_reset_query_always {
            self.idle(
                &["server_reset_query"],
                "no pool is in session mode; in the others it runs only with \
                 server_reset_query_always",
            );
        }
    }

    fn without_effect(&mut self, global: &Global) {
        if global.server_check_query == CheckQuery::Off {
            self.idle(&["server_check_delay"], "server_check_query is empty");
        }
        if !global.tcp_keepalive {
            self.idle(
                &["tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt"],
                "tcp_keepalive is off",
            );
        }
        if global.max_prepared_statements == 0 {
            self.idle(
                &[
                    "prepare_unnamed",
                    "prepared_statement_cache_size",
                    "max_prepared_statement_bytes",
                    "max_client_prepared_statements",
                ],
                "max_prepared_statements is 0",
            );
        } else if global.prepared_statement_cache_size < global.max_prepared_statements {
            self.warn(
                &Place::Global,
                "prepared_statement_cache_size",
                "is below max_prepared_statements, which no server connection can then reach",
            );
        }
    }

    fn peers(&mut self, config: &Config) {
        const LARGEST: u16 = 16383;
        let own = config.global.peer_id;
        if let Some(&first) = config.peers.keys().next()
            && own == 0
        {
            self.of_peer(first, "have no effect: peer_id is 0");
        }
        for &id in config.peers.keys().filter(|id| **id > LARGEST) {
            let message = format!("{id} is no instance's peer_id: the largest is {LARGEST}");
            self.of_peer(id, message);
        }
    }

    fn of_peer(&mut self, id: u16, message: impl Into<String>) {
        self.findings.warnings.push(Warning {
            origin: self.origins.of(&Place::Peer(id), "host"),
            key: "peers",
            message: message.into(),
        });
    }

    fn database(&mut self, config: &Config, name: &str, database: &Database) {
        let place = Place::Database(name.to_owned());
        let global = &config.global;
        if database.password.is_some() && database.user.is_none() {
            self.warn(&place, "password", "has no effect without user");
        }
        if let Some(auth_dbname) = &database.auth_dbname {
            self.auth_dbname(config, &place, auth_dbname);
        }
        let pool_size = database.pool_size.unwrap_or(global.default_pool_size);
        if let Some(min) = database.min_pool_size.filter(|min| *min > pool_size) {
            self.warn(
                &place,
                "min_pool_size",
                format!("{min} is more than the pool size, {pool_size}, which holds"),
            );
        }
        if let Some(cap) = config.database_limits(database).max_db_connections
            && let Some(size) = database.pool_size.filter(|size| *size > cap)
        {
            self.warn(
                &place,
                "pool_size",
                format!("{size} is more than max_db_connections, {cap}, which holds"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
