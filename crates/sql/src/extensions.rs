//! Functions of well-known extensions that are written in C and yet not harmless.

/// Names, or with `*` how names begin, of functions that keep something in the server's process of which the server
/// tells nobody: dblink's connections, isn's weak mode, orafce's packages, hypopg's indexes, pg_variables' variables.
const KEEPING: &[&str] = &[
    "dblink_connect",
    "dblink_connect_u",
    "dblink_open",
    "isn_weak",
    "dbms_*",
    "hypopg_create_index",
    "hypopg_hide_index",
    "pgv_set*",
    "pgv_insert",
    "pg_background_launch",
];

/// Schemas whose functions do: orafce's packages.
const KEEPING_SCHEMAS: &[&str] = &["dbms_*", "plvsubst", "utl_file"];

/// Names of functions that set parameters, or run a text that they are given: pg_trgm, set_user, tablefunc, xml2.
const SUSPICIOUS: &[&str] = &[
    "set_limit",
    "set_user*",
    "reset_user",
    "crosstab*",
    "connectby*",
    "xpath_table",
];

/// Functions of PostgreSQL's own that leave something behind, by the names that LANGUAGE internal has for them.
const INTERNAL: &[&str] = &[
    "set_config_by_name",
    "setseed",
    "lastval",
    "currval_oid",
    "pg_advisory_lock_*",
    "pg_advisory_unlock*",
    "pg_try_advisory_lock_*",
    "pg_listening_channels",
    "pg_prepared_statement",
    "query_to_xml*",
    "cursor_to_xml*",
    "ts_stat*",
    "tsquery_rewrite_query",
    "binary_upgrade_*",
    "pg_replication_origin_*",
];

/// Functions in C that are not declared immutable, and read and write no table: contrib's triggers, pg_trgm, pgcrypto,
/// unaccent, uuid-ossp.
const TABLELESS: &[&str] = &[
    "gen_random_*",
    "gen_salt",
    "insert_username",
    "moddatetime",
    "pgp_pub_encrypt*",
    "pgp_sym_encrypt*",
    "set_limit",
    "show_limit",
    "similarity_op",
    "strict_word_similarity_*",
    "unaccent*",
    "uuid_generate_*",
    "word_similarity_*",
];

fn is_among(name: &str, list: &[&str]) -> bool {
    list.iter().any(|listed| match listed.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *listed,
    })
}

/// Whether the C function `schema.name` keeps something that the server cannot be asked for.
pub(crate) fn keeps(schema: &str, name: &str) -> bool {
    is_among(name, KEEPING) || is_among(schema, KEEPING_SCHEMAS)
}

/// Whether the C function `name` may leave something that the server can be asked for.
pub(crate) fn is_suspicious(name: &str) -> bool {
    is_among(name, SUSPICIOUS)
}

/// Whether the C function `name` reads and writes no table, however it is declared.
pub(crate) fn is_tableless(name: &str) -> bool {
    is_among(name, TABLELESS)
}

/// Whether the server's own function that LANGUAGE internal calls `symbol` may leave something.
pub(crate) fn internal_is_suspicious(symbol: &str) -> bool {
    is_among(symbol, INTERNAL)
}
