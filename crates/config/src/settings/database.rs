//! `[databases.NAME]`: where a database is, and what differs for it.

use super::{SHORTEST_PROBE_INTERVAL, section};
use crate::kinds::{Bool, Choice, Count, Delay, HostName, Hosts, Lag, Limit, List, Or};
use crate::kinds::{Password, Port, RestAddresses, Text, Timeout};
use crate::secret::SecretText;
use crate::values::{Host, HostSpec, LoadBalanceHosts, PoolMode, ReadYourWrites, ReplicaLag};
use crate::values::{RestAddress, SessionState, TargetSessionAttrs, Topology};
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
        /// The servers, if there are several: a primary and its replicas, in any order, for which of them is the primary
        /// is found out. Up to 32, in place of `host` and `port`, each as `"10.0.0.1:5432"`, `"[::1]:5432"`,
        /// `"/var/run/postgresql"` (without a port it is 5432), or as a table
        /// `{ host = "10.0.0.3", port = 5432, weight = 2, zone = "b" }`. A host gets reads in proportion to its `weight`,
        /// from 1 to 1000, otherwise 1; `zone` is explained at the global setting of that name. In the environment they
        /// are written `10.0.0.1:5432, 10.0.0.3:5432 weight=2 zone=b`.
        hosts: Vec<HostSpec> = Hosts, "", Reload, Absent;
        /// Whatever roles the `hosts` have, use all of them alike, and find out nothing about them: each new server
        /// connection goes to the next one (`round-robin`, as many times in turn as its `weight` says), or to the one of
        /// the last until connecting fails there (`disable`). For hosts of which each can serve every statement. PgBouncer takes `round-robin` for every list
        /// of hosts in its `host`.
        load_balance_hosts: Option<LoadBalanceHosts> = Or(Choice::<LoadBalanceHosts>::NEW), "", Reload,
            OtherDefault("round-robin");
        /// The database's name on the server. When it is not given: NAME, or for `"*"` the name
        /// that the client asked for.
        dbname: Option<String> = Or(Text), "", Reload, Same;
    }

    "Its reads on replicas, and failover" {
        /// `read_write_split` for this database; needs `hosts`.
        read_write_split: Option<bool> = Or(Bool), "", Reload, Absent;
        /// `read_your_writes` for this database.
        read_your_writes: Option<ReadYourWrites> = Or(Choice::<ReadYourWrites>::NEW), "", Reload, Absent;
        /// `replica_wait` for this database.
        replica_wait: Option<Duration> = Or(Delay::ANY), "", Reload, Absent;
        /// `max_replica_lag` for this database.
        max_replica_lag: Option<ReplicaLag> = Or(Lag), "", Reload, Absent;
        /// `primary_reads` for this database.
        primary_reads: Option<bool> = Or(Bool), "", Reload, Absent;
        /// `failover_timeout` for this database.
        failover_timeout: Option<Duration> = Or(Delay::ANY), "", Reload, Absent;
        /// `topology` for this database; `patroni` needs the setting of that name.
        topology: Option<Topology> = Or(Choice::<Topology>::NEW), "", Reload, Absent;
        /// Patroni's REST addresses, such as `http://10.0.0.1:8008`, which are asked for `/cluster` with
        /// `topology = "patroni"`: the first that answers will do, so it is best to give every member's. Without a port it
        /// is 8008.
        patroni: Vec<RestAddress> = RestAddresses, "", Reload, Absent;
        /// `probe_interval` for this database.
        probe_interval: Option<Duration> = Or(Delay { min: SHORTEST_PROBE_INTERVAL }), "", Reload, Absent;
        /// `probe_user` for this database.
        probe_user: Option<String> = Or(Text), "", Reload, Absent;
        /// Give this name's clients only hosts of one role, with libpq's meanings: `any`, `primary`, `standby`,
        /// `prefer-standby`, `read-write` or `read-only`. For a name beside the database's usual one, for clients that
        /// choose the role themselves; so it does not go with `read_write_split`.
        target_session_attrs: TargetSessionAttrs = Choice::<TargetSessionAttrs>::NEW, "any", Reload, Absent;
    }

    "Who pgweir is to the server" {
        /// Log in to the server as this user, whoever the client is. When it is not given: as the
        /// client's user.
        user: Option<String> = Or(Text), "", Reload, Same;
        /// The password of `user`: as plain text, as an md5 hash (`md5…`) or as a SCRAM secret.
        /// `${VAR}` and `file:/path` keep it out of the file. It goes with `user`, without which
        /// it has no effect: then the client's user logs in with its own secret.
        password: Option<SecretText> = Password, "", Reload, Same;
        /// The `client_encoding` that server connections are opened with, and clients start with that ask for none.
        client_encoding: Option<String> = Or(Text), "", Reload, Same;
        /// The same for `DateStyle`.
        datestyle: Option<String> = Or(Text), "", Reload, Same;
        /// The same for `TimeZone`.
        timezone: Option<String> = Or(Text), "", Reload, Same;
        /// The same for `application_name`.
        application_name: Option<String> = Or(Text), "", Reload, Same;
        /// `auth_user` for clients of this database.
        auth_user: Option<String> = Or(Text), "", Reload, Same;
        /// `auth_query` for clients of this database.
        auth_query: Option<String> = Or(Text), "", Reload, Same;
        /// `auth_dbname` for clients of this database.
        auth_dbname: Option<String> = Or(Text), "", Reload, Same;
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
