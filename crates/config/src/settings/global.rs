//! `[pgweir]`: what holds for the whole process, and the defaults of databases and users.

use super::{SHORTEST_PROBE_INTERVAL, section};
use crate::kinds::{
    Bool, Check, Choice, Ciphers, Count, Delay, Lag, Ldap, Limit, List, Listen, Mode, Or, Path,
};
use crate::kinds::{Port, Protocols, Size, Text, Timeout, Unit};
use crate::values::{
    AuthType, CheckQuery, LdapOptions, ListenAddress, ListenLost, LogFormat, LogLevel, PoolMode,
    SessionState,
};
use crate::values::{
    Preference, ReadYourWrites, ReplicaLag, SslMode, SyslogFacility, TlsProtocols, Topology,
};
use std::path::PathBuf;
use std::time::Duration;

const LARGEST_MESSAGE: u64 = 0x7fff_ffff;
const GIGABYTE: u64 = 1 << 30;

section! {
    /// The `[pgweir]` section. In a timeout `None` is off, in a limit `None` is no limit.
    Global;

    "Listening" {
        /// The addresses to listen on, separated by commas; `*` is all of them. PgBouncer by
        /// default listens on no address. Sockets that systemd passes (LISTEN_FDS) come in the place of this, and of
        /// `unix_socket_dir`.
        listen_addr: Vec<String> = List, "127.0.0.1", Restart, OtherDefault("");
        /// The TCP port to listen on. 0 is any free one; the log says which.
        listen_port: u16 = Port { min: 0 }, "6432", Restart, Same;
        /// The directory of the Unix socket to listen on, whose file is `.s.PGSQL.<listen_port>` in it; `@name` is one
        /// in Linux's abstract namespace, which has no file. Nothing: no Unix socket. A file that is left of a process
        /// that has ended is replaced. Whoever can write in the directory can put another socket in this one's place.
        unix_socket_dir: Option<PathBuf> = Path, "", Restart, OtherDefault("/tmp");
        /// The permissions of the Unix socket's file, in octal: who may write to it may connect.
        unix_socket_mode: u32 = Mode, "0777", Restart, Same;
        /// The group of the Unix socket's file, by name or number. Nothing: that of the process.
        unix_socket_group: Option<String> = Or(Text), "", Restart, Same;
        /// Let other processes listen on the same addresses; the kernel shares the connections out among them. For
        /// a restart without a gap, as the workers of one process use all cores.
        so_reuseport: bool = Bool, "0", Restart, Same;
        /// The number, from 1 to 16383, of this instance among several that clients cannot tell apart: they listen on one
        /// port, or stand behind one load balancer. It is part of the cancel keys that clients get from then on, so that an
        /// instance that is asked to cancel for another one's client passes the request on, to the one of that number in
        /// `[peers.ID]`. 0 is no number: cancel requests are for this instance.
        peer_id: u32 = Count { min: 0, max: 16383 }, "0", Reload, Same;
        /// How many connections may wait in the kernel to be accepted. The kernel's own limit
        /// (`net.core.somaxconn`) holds too.
        listen_backlog: u32 = Count::from(1), "1024", Restart, OtherDefault("128");
        /// Worker threads, each with its own share of the clients. 0 is one per core.
        workers: u32 = Count { min: 0, max: 1024 }, "0", Restart, Absent;
        /// How many clients may be connected at once. Each needs a file descriptor, and each
        /// server connection one more, so `ulimit -n` has to allow it.
        max_client_conn: u32 = Count::from(1), "1000", Reload, OtherDefault("100");
    }

    "Pools" {
        /// When a server connection goes back to its pool for other clients: when the client
        /// disconnects (`session`), when its transaction ends (`transaction`), or after each query
        /// (`statement`, in which transactions of several statements are refused).
        pool_mode: PoolMode = Choice::<PoolMode>::NEW, "transaction", Reload,
            OtherDefault("session");
        /// How many server connections a pool may have. There is one pool for each pair of
        /// database and user.
        default_pool_size: u32 = Count::ANY, "20", Reload, Same;
        /// How many server connections a pool keeps open even if they are not needed.
        min_pool_size: u32 = Count::ANY, "0", Reload, Same;
        /// How many more server connections a pool may have when a client has waited for
        /// `reserve_pool_timeout`.
        reserve_pool_size: u32 = Count::ANY, "0", Reload, Same;
        /// How long a client waits before the reserve is opened to it. 0 turns the reserve off.
        reserve_pool_timeout: Option<Duration> = Timeout::SECONDS, "5", Reload, Same;
        /// For how long a pool of a database that `"*"` stands for is remembered when it has neither clients nor server
        /// connections; its statistics go with it. A pool that never had a server connection is forgotten at once.
        autodb_idle_timeout: Option<Duration> = Timeout::SECONDS, "3600", Reload, Same;
        /// The same for every pool, also those of databases that have a section of their own. 0 is never.
        pool_idle_timeout: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// Give out the idle server connection that was used longest ago instead of the latest
        /// one. Spreads the work evenly, but keeps more connections than the load needs from
        /// ever being idle long enough to be closed.
        server_round_robin: bool = Bool, "0", Reload, Same;
    }

    "Session state in transaction mode" {
        /// What is done with what a client leaves in its session when its transaction ends, in transaction and
        /// statement mode. `full`: all of it works as on a direct connection: settings, LISTEN and SQL's PREPARE follow
        /// the client from server to server, and for what lives in one server's process (temporary tables, cursors WITH
        /// HOLD, session advisory locks) the client keeps its server until that is gone. `error`: as `full`, but a
        /// statement for which the client would keep its server is refused. `settings`: settings follow the client, all
        /// else is removed before the next client comes. `off`: as `settings`, for those settings only that the server
        /// reports.
        session_state: SessionState = Choice::<SessionState>::NEW, "full", Reload, Absent;
        /// What happens to clients that LISTEN, in transaction and statement mode, when the
        /// connection that listens for all of them is lost: a `notice` says that notifications may
        /// have been missed, or their connections end (`disconnect`). It is opened again either way.
        listen_lost: ListenLost = Choice::<ListenLost>::NEW, "notice", Reload, Absent;
        /// How many clients of one pool may keep a server for what lives in its process. 0 is no limit.
        max_pinned: Option<u32> = Limit, "0", Reload, Absent;
        /// Functions that keep something in the server's process, for which a client keeps its server until it
        /// disconnects: names as `nextval` or `schema.name`, with `*` at the end for all that begin so.
        pin_functions: Vec<String> = List, "", Reload, Absent;
        /// How often the functions of each database are read again, to know which of them can leave something in a
        /// session at all: after a transaction that called any other, the server is asked what it left. What clients
        /// define through pgweir is noticed at once; this is for what is defined past it, or by other functions. Each
        /// time takes a connection of its own for some milliseconds, outside the pools. 0 is never, so that calls of
        /// functions that are not PostgreSQL's own are always asked about. Nothing is read with `session_state = off`.
        function_catalog_refresh: Option<Duration> = Timeout::SECONDS, "5min", Reload, Absent;
    }

    "Reads on replicas, and failover" {
        /// Send statements that cannot write to the replicas among a database's `hosts`, and all others to the primary.
        /// Otherwise everything goes to the primary. Databases without `hosts` have nothing to split.
        read_write_split: bool = Bool, "0", Reload, Absent;
        /// Whose writes a read sees although it goes to a replica. `all`: those of every client of the database that were
        /// answered before the read came, as on the primary. `session`: those of the client that reads; of other clients'
        /// it may miss the latest. `off`: it may miss the client's own latest writes too.
        read_your_writes: ReadYourWrites = Choice::<ReadYourWrites>::NEW, "all", Reload, Absent;
        /// How long a read may wait for a replica that has not got to the writes it has to see, before it goes to the
        /// primary. 0 is not at all.
        replica_wait: Duration = Delay::ANY, "0", Reload, Absent;
        /// A replica that is further behind the primary than this gets no reads: a time, an amount of WAL with its unit
        /// (`16MB`), or one of each (`10s, 16MB`). 0 is no bound. A replica that has replayed everything is not
        /// behind, however long ago that was written.
        max_replica_lag: ReplicaLag = Lag, "10s", Reload, Absent;
        /// Whether the primary serves reads when no replica can. If not, they wait for a replica as clients wait for a
        /// server connection.
        primary_reads: bool = Bool, "1", Reload, Absent;
        /// How long statements that need the primary wait for a new one when the old one is gone; after that they get an
        /// error. 0 is not at all.
        failover_timeout: Duration = Delay::ANY, "30s", Reload, Absent;
        /// Who says which of a database's `hosts` is the primary. `probe`: the hosts themselves, by their roles and
        /// timelines. `patroni`: Patroni, asked at the database's `patroni` addresses, which also says what hosts there
        /// are; a leader that is itself in recovery is not taken for the primary.
        topology: Topology = Choice::<Topology>::NEW, "probe", Reload, Absent;
        /// How often each host is asked for its role and position. While something is wrong, or reads wait for replicas,
        /// hosts are asked more often.
        probe_interval: Duration = Delay { min: SHORTEST_PROBE_INTERVAL }, "1s", Reload, Absent;
        /// The user as whom the hosts of databases that have several are probed; its password is in `auth_file` or under
        /// `[users]`. A member of `pg_read_all_stats` learns which timeline a replica follows as soon as it does. Nothing:
        /// the user of the database's first client.
        probe_user: Option<String> = Or(Text), "", Reload, Absent;
        /// The zone in which pgweir runs. Replicas of this zone, as `hosts` gives theirs, get the reads for as long as one
        /// of them can serve them. Nothing: zones do not count.
        zone: Option<String> = Or(Text), "", Reload, Absent;
    }

    "Limits" {
        /// How many server connections one database may have, over all its pools.
        max_db_connections: Option<u32> = Limit, "0", Reload, Same;
        /// How many server connections one user may have, over all its pools.
        max_user_connections: Option<u32> = Limit, "0", Reload, Same;
        /// How many clients may be connected to one database.
        max_db_client_connections: Option<u32> = Limit, "0", Reload, Same;
        /// How many clients may be connected as one user.
        max_user_client_connections: Option<u32> = Limit, "0", Reload, Same;
        /// The longest message that is passed on in either direction. Long messages stream
        /// through, so this does not bound memory; it stops what must be a mistake.
        max_packet_size: u64 = Size { min: 1024, max: LARGEST_MESSAGE }, "2147483647", Reload, Same;
        /// End clients that use the simple query protocol, which can bring several statements in one text and so makes
        /// more of an SQL injection. Only clients that use the extended protocol for everything can stay then; the console
        /// and replication connections are not held to it.
        disable_pqexec: bool = Bool, "0", Restart, Same;
        /// How many bytes may wait in memory for a client or a server that reads slowly. Past
        /// that, nothing more is read from its peer until it catches up.
        client_buffer_size: u64 = Size { min: 4096, max: GIGABYTE }, "64kB", Reload, Absent;
    }

    "Server connections" {
        /// Close a server connection that is this old as soon as no client uses it. 0 closes each
        /// after one use.
        server_lifetime: Duration = Delay::ANY, "3600", Reload, Same;
        /// Close a server connection that no client has used for this long. 0 is never.
        server_idle_timeout: Option<Duration> = Timeout::SECONDS, "600", Reload, Same;
        /// End clients in session mode, between two transactions, whose server connection is to be closed because of
        /// RECONNECT, a reload that changed where it leads, or a host name that changed its addresses. Otherwise they keep
        /// it until they disconnect. In the other modes there is nothing to wait for.
        server_fast_close: bool = Bool, "0", Reload, Same;
        /// How long connecting and logging in to a server may take. 0 is as long as it takes.
        server_connect_timeout: Option<Duration> = Timeout::SECONDS, "15", Reload, Same;
        /// How long to wait, after connecting to a server failed, before it is tried again.
        server_login_retry: Duration = Delay::ANY, "15", Reload, Same;
        /// The query that shows that an idle server connection still works. `<empty>` is the empty
        /// query, nothing is no check.
        server_check_query: CheckQuery = Check, "<empty>", Reload, Same;
        /// A server connection that has been idle for longer than this is checked before a client
        /// gets it. 0 checks it every time.
        server_check_delay: Duration = Delay::ANY, "30", Reload, Same;
        /// What a server connection runs when a client leaves it in session mode, so that the
        /// next one finds nothing of it. Nothing is no reset.
        server_reset_query: Option<String> = Or(Text), "DISCARD ALL", Reload, Same;
        /// Run `server_reset_query` in the other pool modes too, after every transaction. Costs a
        /// round trip each, and is a work-around for applications that are not fit for
        /// transaction mode.
        server_reset_query_always: bool = Bool, "0", Reload, Same;
    }

    "Timeouts" {
        /// How long one query may run; after that its server connection is closed. 0 is off. Set
        /// it a little longer than the server's own `statement_timeout`.
        query_timeout: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// How long a client may wait for a server connection; after that it gets an error and is
        /// disconnected. 0 is off.
        query_wait_timeout: Option<Duration> = Timeout::SECONDS, "120", Reload, Same;
        /// Tell a client by a NOTICE that it waits for a server connection, after this long. 0 is
        /// off.
        query_wait_notify: Option<Duration> = Timeout::SECONDS, "5", Reload, Same;
        /// How long a client may do nothing outside a transaction before it is disconnected. 0 is
        /// off.
        client_idle_timeout: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// How long a client may take to log in. 0 is off.
        client_login_timeout: Option<Duration> = Timeout::SECONDS, "60", Reload, Same;
        /// How long a client may do nothing inside a transaction before it is disconnected. 0 is
        /// off.
        idle_transaction_timeout: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// How long one transaction may take. 0 is off.
        transaction_timeout: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// How long a cancel request may wait for a connection to the server. 0 is off.
        cancel_wait_timeout: Option<Duration> = Timeout::SECONDS, "10", Reload, Same;
        /// How long SUSPEND waits for buffers to empty; clients that have not emptied theirs by
        /// then are disconnected. 0 is off.
        suspend_timeout: Option<Duration> = Timeout::SECONDS, "10", Reload, Same;
    }

    "Prepared statements" {
        /// How many prepared statements each server connection keeps in transaction and statement
        /// mode. 0 turns their tracking off: then prepared statements work in session mode only.
        max_prepared_statements: u32 = Count::ANY, "200", Reload, Same;
        /// Keep unnamed statements prepared on the servers too, from their second use on. Drivers
        /// that send the same text with each query then have it parsed and planned once. The risk:
        /// after five uses PostgreSQL may choose a generic plan, which does not look at the
        /// parameters' values; where such a plan is bad, turn this off, or set
        /// `plan_cache_mode = force_custom_plan` on the server.
        prepare_unnamed: bool = Bool, "1", Reload, Absent;
        /// How many different statements are remembered in the whole process, so that all clients
        /// share them. Those that no client has asked for the longest are forgotten first.
        prepared_statement_cache_size: u32 = Count::from(1), "10000", Reload, Absent;
        /// A statement whose text is longer than this is never remembered: it is sent to the
        /// server each time.
        max_prepared_statement_bytes: u64 = Size { min: 1024, max: GIGABYTE }, "16MB", Reload,
            Absent;
        /// How many prepared statements one client may have at a time, so that none can fill the
        /// memory with them. One more is an error, after which the client goes on.
        max_client_prepared_statements: Option<u32> = Limit, "10000", Reload, Absent;
    }

    "Start-up parameters" {
        /// Start-up parameters that a client may send although pgweir does not keep track of them;
        /// they have no effect. Others are refused.
        ignore_startup_parameters: Vec<String> = List, "", Reload, Same;
        /// Add the client's address and port to the `application_name` that the server sees.
        application_name_add_host: bool = Bool, "0", Reload, Same;
        /// A NOTICE that each client gets when it has logged in.
        login_notify_message: Option<String> = Or(Text), "", Reload, Same;
    }

    "Authentication of clients" {
        /// How clients prove who they are. `md5` uses SCRAM for users whose stored secret is a
        /// SCRAM secret. `trust` asks for no proof, but the user must be known; with `any` it need not be: then each
        /// database has a `user` of its own, and everybody is an administrator of the console. `cert` takes the common
        /// name of the client's certificate, which must be the user's and known. `ldap` and `pam` ask for the password in
        /// clear text, as `plain` does, and have a directory (`auth_ldap_options`) or PAM (`auth_pam_service`) say whether
        /// it is right; servers are then given it in the client's name. With `ldap` the user must also be known if there
        /// is an `auth_file` or an `auth_user`; with `pam` it need not be. `hba` has `auth_hba_file` say which of these it
        /// is for whom.
        auth_type: AuthType = Choice::<AuthType>::NEW, "md5", Reload, Same;
        /// A file of users and their secrets, one `"user" "secret"` per line.
        auth_file: Option<PathBuf> = Path, "", Reload, Same;
        /// Rules as in PostgreSQL's pg_hba.conf, read with `auth_type = "hba"`: `local`, `host`, `hostssl` and
        /// `hostnossl`; databases by name, `all`, `sameuser` and `replication`; users by name and `all`; names from
        /// `@file` beside this one; addresses with masks, and `all`; the methods `trust`, `reject`, `md5`,
        /// `scram-sha-256`, `password`, `cert` and `peer`, the last two with `map=`, `ldap` with the options of
        /// `auth_ldap_options` or without any to go by that, and `pam`, maybe with `pamservice=`. Roles' members, names of
        /// hosts, `samehost` and `samenet` are not known here. A line that is not understood is an error.
        auth_hba_file: Option<PathBuf> = Path, "", Reload, Same;
        /// Maps as in PostgreSQL's pg_ident.conf, for the rules with `map=`: the map's name, the name that a certificate
        /// or the system vouches for, and the user; `/` begins a regular expression, whose first group is `\1` in the
        /// user, and `all` is any user.
        auth_ident_file: Option<PathBuf> = Path, "", Reload, Same;
        /// Which directory judges passwords with `auth_type = "ldap"`, and for rules of `auth_hba_file` that do not say, by
        /// PostgreSQL's options: `NAME=VALUE`, separated by blanks or commas, values in double quotes where one of
        /// these is in them. `ldapserver` (several with blanks between are asked in turn), `ldapport`, `ldapscheme` (`ldap`
        /// or `ldaps`), `ldaptls=1` for StartTLS; the user's name between `ldapprefix` and `ldapsuffix`; or a search below
        /// `ldapbasedn` as `ldapbinddn` with `ldapbindpasswd`, by `ldapsearchattribute` or `ldapsearchfilter` (with
        /// `$username`), which has to find one entry; `ldapurl` is short for some of them. Certificates are checked as
        /// libldap does, by `TLS_CACERT` and `TLS_REQCERT` of `/etc/ldap/ldap.conf` or the environment, unless
        /// `auth_ldap_ca_file` is given.
        auth_ldap_options: Option<LdapOptions> = Or(Ldap), "", Reload, Same;
        /// The authorities from which the certificates of directories must come. Nothing: libldap's, or the system's.
        auth_ldap_ca_file: Option<PathBuf> = Path, "", Reload, Absent;
        /// The service as which PAM is asked: the name of a file in `/etc/pam.d`. PgBouncer's is always `pgbouncer`.
        /// Modules run as the user that pgweir runs as: `pam_unix` judges other users' passwords for root only.
        auth_pam_service: String = Text, "pgbouncer", Reload, Absent;
        /// The user as whom `auth_query` is run for clients whose user has no secret in `auth_file` or `[users.NAME]`.
        /// Its own secret is there. Nothing: such clients are not let in.
        auth_user: Option<String> = Or(Text), "", Reload, Same;
        /// The query that finds a user's secret, given the user's name as `$1`: one row with the name and the secret, in
        /// any form that `auth_file` takes. No row, or NULL for the name: no such user. It runs in a pool of its database
        /// like any other query. Reading `pg_authid` takes a superuser; a function that is SECURITY DEFINER does not.
        auth_query: String = Text, "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin",
            Reload, Same;
        /// The database, of those in `[databases.NAME]`, in which `auth_query` runs. Nothing: the one that the client asks
        /// for, and for the console none. With a database `"*"` it should be given, or clients that nobody knows yet can
        /// have the pooler try to connect to any name.
        auth_dbname: Option<String> = Or(Text), "", Reload, Same;
        /// How long the answer of `auth_query` is believed, be it that there is no such user. A login that fails by an
        /// answer from before has it asked anew. 0 is asked for each login, and only once for those that come together.
        auth_query_lifetime: Duration = Delay::ANY, "10s", Reload, Absent;
        /// How many rounds the keys of passwords are derived with that are stored as plain text, for clients that log in by
        /// SCRAM. More make a stolen exchange harder to guess from, and each login dearer. A stored SCRAM secret has its
        /// own number.
        scram_iterations: u32 = Count::from(1), "4096", Reload, Same;
        /// Users who may do everything on the console.
        admin_users: Vec<String> = List, "", Reload, Same;
        /// Users who may look at the console (SHOW), but change nothing.
        stats_users: Vec<String> = List, "", Reload, Same;
    }

    "TLS to clients" {
        /// Whether clients may or must use TLS. `verify-ca` and `verify-full` also ask for a
        /// client certificate from `client_tls_ca_file`; both take any name in it.
        client_tls_sslmode: SslMode = Choice::<SslMode>::NEW, "disable", Reload, Same;
        /// The private key for `client_tls_cert_file`, in PEM.
        client_tls_key_file: Option<PathBuf> = Path, "", Reload, Same;
        /// The certificate shown to clients, in PEM, with those that it needs up to the root.
        client_tls_cert_file: Option<PathBuf> = Path, "", Reload, Same;
        /// Certificates of the authorities that clients' certificates must come from, in PEM.
        client_tls_ca_file: Option<PathBuf> = Path, "", Reload, Same;
        /// TLS versions spoken with clients: `secure` (1.2 and 1.3), or a list of `tlsv1.2` and
        /// `tlsv1.3`.
        client_tls_protocols: TlsProtocols = Protocols, "secure", Reload, Same;
        /// Cipher suites for clients by TLS 1.2, as a cipher list of OpenSSL. What of it is not spoken is left out: here are
        /// ECDHE with AES-GCM and ChaCha20-Poly1305 only. Nothing left is an error. An order that is given holds; else the
        /// client's does.
        client_tls_ciphers: Preference = Ciphers::Suites, "default", Reload, Same;
        /// Cipher suites for clients by TLS 1.3, by name. Nothing is all.
        client_tls13_ciphers: Preference = Ciphers::Suites13, "", Reload, Same;
        /// Groups for the key exchange with clients: `auto` for all, or a list of `X25519`, `prime256v1` and `secp384r1`.
        client_tls_ecdhcurve: Preference = Ciphers::Groups, "auto", Reload, Same;
    }

    "TLS to servers" {
        /// Whether to use TLS to servers, with libpq's meanings. `verify-full` looks for the host
        /// among the certificate's subject alternative names; if those name no host and no
        /// address, its common name counts, unless an authority's certificate constrains names.
        server_tls_sslmode: SslMode = Choice::<SslMode>::NEW, "prefer", Reload, Same;
        /// The private key for `server_tls_cert_file`, in PEM.
        server_tls_key_file: Option<PathBuf> = Path, "", Reload, Same;
        /// The certificate to show to servers that ask for one, in PEM.
        server_tls_cert_file: Option<PathBuf> = Path, "", Reload, Same;
        /// Certificates of the authorities that servers' certificates must come from, in PEM.
        server_tls_ca_file: Option<PathBuf> = Path, "", Reload, Same;
        /// TLS versions spoken with servers: `secure` (1.2 and 1.3), or a list of `tlsv1.2` and
        /// `tlsv1.3`.
        server_tls_protocols: TlsProtocols = Protocols, "secure", Reload, Same;
        /// Cipher suites for servers by TLS 1.2; as `client_tls_ciphers`.
        server_tls_ciphers: Preference = Ciphers::Suites, "default", Reload, Same;
        /// Cipher suites for servers by TLS 1.3; as `client_tls13_ciphers`.
        server_tls13_ciphers: Preference = Ciphers::Suites13, "", Reload, Same;
    }

    "TCP" {
        /// Let the kernel probe connections on which nothing moves.
        tcp_keepalive: bool = Bool, "1", Reload, Same;
        /// How long nothing moves before the first probe. 0 is the kernel's own setting.
        tcp_keepidle: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// The time between probes. 0 is the kernel's own setting.
        tcp_keepintvl: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// How many probes go unanswered before the connection is lost. 0 is the kernel's own
        /// setting.
        tcp_keepcnt: u32 = Count { min: 0, max: 127 }, "0", Reload, Same;
        /// How long sent data may stay unacknowledged before the connection is lost. 0 is the
        /// kernel's own setting. As in PgBouncer, a plain number is milliseconds.
        tcp_user_timeout: Option<Duration> = Timeout(Unit::Milliseconds), "0", Reload, Same;
        /// The size of the kernel's buffers for each connection, in bytes, either way. 0 is the kernel's own setting,
        /// by which they grow as they are needed.
        tcp_socket_buffer: u32 = Count::ANY, "0", Reload, Same;
    }

    "Names of hosts" {
        /// For how long the addresses of a name are used at most before it is looked up again; if DNS gives a shorter time,
        /// that holds. While a name is in use it is looked up again by itself, and server connections to addresses that it
        /// has no longer are closed as soon as no client uses them. 0 looks a name up for each connection.
        dns_max_ttl: Duration = Delay::ANY, "15", Reload, Same;
        /// For how long it is believed that a name has no address, or that no DNS server answers. Addresses that are known
        /// are used beyond their time while no server answers.
        dns_nxdomain_ttl: Duration = Delay::ANY, "15", Reload, Same;
        /// How often to look whether a zone of DNS has another serial number; its names are looked up again then, whatever
        /// their times say. The zone of a name is what is behind its first dot. 0 is never.
        dns_zone_check_period: Option<Duration> = Timeout::SECONDS, "0", Reload, Same;
        /// The file that says which DNS servers to ask, in the place of `/etc/resolv.conf`: `nameserver` (also as
        /// `[10.0.0.1]:5353`), `search`, `domain`, and of `options` `ndots`, `timeout`, `attempts` and `use-vc`. It is read
        /// again when it has changed.
        resolv_conf: Option<PathBuf> = Path, "", Restart, Same;
    }

    "Log and statistics" {
        /// How often averages are computed and, with `log_stats`, logged.
        stats_period: Duration = Delay { min: Duration::from_secs(1) }, "60", Reload, Same;
        /// Log each client that logs in.
        log_connections: bool = Bool, "1", Reload, Same;
        /// Log each client that leaves, and why.
        log_disconnections: bool = Bool, "1", Reload, Same;
        /// Log each error that pgweir itself sends to a client.
        log_pooler_errors: bool = Bool, "1", Reload, Same;
        /// Log a line of statistics every `stats_period`.
        log_stats: bool = Bool, "1", Reload, Same;
        /// The shape of a log line: `text`, `json`, or `pgbouncer` for lines as PgBouncer writes them, which is the default
        /// for a `pgbouncer.ini`.
        log_format: LogFormat = Choice::<LogFormat>::NEW, "text", Restart, Absent;
        /// The least severe line that is logged.
        log_level: LogLevel = Choice::<LogLevel>::NEW, "info", Reload, Absent;
        /// How much more than `log_level` is logged: 1 is one level more, 2 is everything. Each `-v` on the command
        /// line adds 1.
        verbose: Option<u32> = Or(Count::ANY), "", Reload, Same;
        /// A file to which log lines are appended, besides stderr, which `-q` and `-d` on the command line turn off. It is
        /// opened anew at each reload, so that it can be rotated.
        logfile: Option<PathBuf> = Path, "", Reload, Same;
        /// Send log lines to syslog, too.
        syslog: bool = Bool, "0", Reload, Same;
        /// What syslog is told the lines are of: `daemon`, `user`, `auth`, `local0` to `local7` and so on.
        syslog_facility: SyslogFacility = Choice::<SyslogFacility>::NEW, "daemon", Reload, Same;
        /// The name under which the lines stand in syslog.
        syslog_ident: String = Text, "pgweir", Reload, OtherDefault("pgbouncer");
        /// Where Prometheus and load balancers ask, by HTTP: `/metrics` and `/health`, as `127.0.0.1:9127` or `*:9127`.
        /// Whoever reaches it may read them: there is no login and no TLS. Nothing is nowhere.
        metrics_listen: Option<ListenAddress> = Or(Listen), "", Reload, Absent;
    }

    "The process" {
        /// A file for the number of the process: written at the start, removed at the end. A second process with the
        /// same file does not start. `-d` on the command line needs it.
        pidfile: Option<PathBuf> = Path, "", Restart, Same;
        /// The system's user to run as, to which pgweir changes if it was started by root. `-u` on the command line comes
        /// first.
        user: Option<String> = Or(Text), "", Restart, Same;
    }
}
