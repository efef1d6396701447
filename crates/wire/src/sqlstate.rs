//! The SQLSTATEs that the pooler itself reports. Source: PostgreSQL documentation, appendix A.

/// successful_completion: what notices carry.
pub const SUCCESS: &str = "00000";
/// connection_exception's member for a connection that was lost.
pub const CONNECTION_FAILURE: &str = "08006";
/// The server could not be reached.
pub const CANNOT_CONNECT: &str = "08001";
/// A message that breaks the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// Something the pooler does not do.
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// A user, a database or a rule that does not let the client in.
pub const INVALID_AUTHORIZATION: &str = "28000";
/// Wrong password, or no such user.
pub const INVALID_PASSWORD: &str = "28P01";
/// No such database.
pub const UNDEFINED_DATABASE: &str = "3D000";
/// A write in a transaction that is read-only, as all are on a standby.
pub const READ_ONLY_TRANSACTION: &str = "25006";
/// An idle transaction was open for too long.
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
/// A transaction took too long.
pub const TRANSACTION_TIMEOUT: &str = "25P04";
/// No such prepared statement.
pub const UNDEFINED_STATEMENT: &str = "26000";
/// A prepared statement of that name is there already.
pub const DUPLICATE_STATEMENT: &str = "42P05";
/// Statement that the console does not know.
pub const SYNTAX_ERROR: &str = "42601";
/// What a console user may not do.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// A name or value in the console that does not exist.
pub const UNDEFINED_OBJECT: &str = "42704";
/// A value out of what is allowed.
pub const INVALID_PARAMETER: &str = "22023";
/// A limit on connections is reached.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// A limit of the pooler on sizes.
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
/// The object is in a state that does not allow it.
pub const NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// A query was cancelled, by request or by timeout.
pub const QUERY_CANCELED: &str = "57014";
/// The connection is ended by an administrator.
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// The server or the pooler is not accepting connections now.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// A session was idle for too long.
pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
/// Something that must not happen.
pub const INTERNAL_ERROR: &str = "XX000";
