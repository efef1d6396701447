//! PostgreSQL's keywords, versions 13 to 18, by what each may name without quotes.
//!
//! From `pg_get_keywords()` of PostgreSQL 15 and `kwlist.h` of 18: `tests/server.rs` compares with the server that is
//! installed. Each list is sorted.

/// Name anything.
#[rustfmt::skip]
pub(crate) const UNRESERVED: &[&str] = &[
    "abort", "absent", "absolute", "access", "action", "add", "admin", "after", "aggregate", "also", "alter",
    "always", "asensitive", "assertion", "assignment", "at", "atomic", "attach", "attribute", "backward", "before",
    "begin", "breadth", "by", "cache", "call", "called", "cascade", "cascaded", "catalog", "chain", "characteristics",
    "checkpoint", "class", "close", "cluster", "columns", "comment", "comments", "commit", "committed", "compression",
    "conditional", "configuration", "conflict", "connection", "constraints", "content", "continue", "conversion",
    "copy", "cost", "csv", "cube", "current", "cursor", "cycle", "data", "database", "day", "deallocate", "declare",
    "defaults", "deferred", "definer", "delete", "delimiter", "delimiters", "depends", "depth", "detach",
    "dictionary", "disable", "discard", "document", "domain", "double", "drop", "each", "empty", "enable", "encoding",
    "encrypted", "enforced", "enum", "error", "escape", "event", "exclude", "excluding", "exclusive", "execute",
    "explain", "expression", "extension", "external", "family", "filter", "finalize", "first", "following", "force",
    "format", "forward", "function", "functions", "generated", "global", "granted", "groups", "handler", "header",
    "hold", "hour", "identity", "if", "immediate", "immutable", "implicit", "import", "include", "including",
    "increment", "indent", "index", "indexes", "inherit", "inherits", "inline", "input", "insensitive", "insert",
    "instead", "invoker", "isolation", "keep", "key", "keys", "label", "language", "large", "last", "leakproof",
    "level", "listen", "load", "local", "location", "lock", "locked", "logged", "mapping", "match", "matched",
    "materialized", "maxvalue", "merge", "method", "minute", "minvalue", "mode", "month", "move", "name", "names",
    "nested", "new", "next", "nfc", "nfd", "nfkc", "nfkd", "no", "normalized", "nothing", "notify", "nowait", "nulls",
    "object", "objects", "of", "off", "oids", "old", "omit", "operator", "option", "options", "ordinality", "others",
    "over", "overriding", "owned", "owner", "parallel", "parameter", "parser", "partial", "partition", "passing",
    "password", "path", "period", "plan", "plans", "policy", "preceding", "prepare", "prepared", "preserve", "prior",
    "privileges", "procedural", "procedure", "procedures", "program", "publication", "quote", "quotes", "range",
    "read", "reassign", "recheck", "recursive", "ref", "referencing", "refresh", "reindex", "relative", "release",
    "rename", "repeatable", "replace", "replica", "reset", "restart", "restrict", "return", "returns", "revoke",
    "role", "rollback", "rollup", "routine", "routines", "rows", "rule", "savepoint", "scalar", "schema", "schemas",
    "scroll", "search", "second", "security", "sequence", "sequences", "serializable", "server", "session", "set",
    "sets", "share", "show", "simple", "skip", "snapshot", "source", "sql", "stable", "standalone", "start",
    "statement", "statistics", "stdin", "stdout", "storage", "stored", "strict", "string", "strip", "subscription",
    "support", "sysid", "system", "tables", "tablespace", "target", "temp", "template", "temporary", "text", "ties",
    "transaction", "transform", "trigger", "truncate", "trusted", "type", "types", "uescape", "unbounded",
    "uncommitted", "unconditional", "unencrypted", "unknown", "unlisten", "unlogged", "until", "update", "vacuum",
    "valid", "validate", "validator", "value", "varying", "version", "view", "views", "virtual", "volatile",
    "whitespace", "within", "without", "work", "wrapper", "write", "xml", "year", "yes", "zone",
];

/// Name columns and tables, but not functions: many are constructs that look like a function.
#[rustfmt::skip]
pub(crate) const COLUMN_NAMES: &[&str] = &[
    "between", "bigint", "bit", "boolean", "char", "character", "coalesce", "dec", "decimal", "exists", "extract",
    "float", "greatest", "grouping", "inout", "int", "integer", "interval", "least", "national", "nchar", "none",
    "normalize", "nullif", "numeric", "out", "overlay", "position", "precision", "real", "row", "setof", "smallint",
    "substring", "time", "timestamp", "treat", "trim", "values", "varchar", "xmlattributes", "xmlconcat",
    "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize",
    "xmltable",
];

/// Name functions and types, but not columns and tables.
#[rustfmt::skip]
pub(crate) const TYPES_OR_FUNCTIONS: &[&str] = &[
    "authorization", "binary", "collation", "concurrently", "cross", "current_schema", "freeze", "full", "ilike",
    "inner", "is", "isnull", "join", "left", "like", "natural", "notnull", "outer", "overlaps", "right", "similar",
    "tablesample", "verbose",
];

/// Name nothing.
#[rustfmt::skip]
pub(crate) const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast", "check",
    "collate", "column", "constraint", "create", "current_catalog", "current_date", "current_role", "current_time",
    "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except",
    "false", "fetch", "for", "foreign", "from", "grant", "group", "having", "in", "initially", "intersect", "into",
    "lateral", "leading", "limit", "localtime", "localtimestamp", "not", "null", "offset", "on", "only", "or",
    "order", "placing", "primary", "references", "returning", "select", "session_user", "some", "symmetric", "table",
    "then", "to", "trailing", "true", "union", "unique", "user", "using", "variadic", "when", "where", "window",
    "with",
];

/// No keywords in 13, and not free in 18.
#[rustfmt::skip]
pub(crate) const RESERVED_LATER: &[&str] = &[
    "json", "json_array", "json_arrayagg", "json_exists", "json_object", "json_objectagg", "json_query",
    "json_scalar", "json_serialize", "json_table", "json_value", "merge_action", "system_user",
];

/// What a word may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Category {
    /// Not a keyword, or one that may name anything.
    Free,
    /// One of [`COLUMN_NAMES`].
    ColumnName,
    /// One of [`TYPES_OR_FUNCTIONS`].
    TypeOrFunction,
    /// One of [`RESERVED`].
    Reserved,
    /// One of [`RESERVED_LATER`]: it depends on the server's version.
    Depends,
}

/// What `word`, in lower case, may name.
pub(crate) fn category(word: &str) -> Category {
    [
        (COLUMN_NAMES, Category::ColumnName),
        (TYPES_OR_FUNCTIONS, Category::TypeOrFunction),
        (RESERVED, Category::Reserved),
        (RESERVED_LATER, Category::Depends),
    ]
    .into_iter()
    .find(|(words, _)| words.binary_search(&word).is_ok())
    .map_or(Category::Free, |(_, category)| category)
}

/// Whether `word`, in lower case, is a keyword in any version.
pub(crate) fn is_keyword(word: &str) -> bool {
    category(word) != Category::Free || UNRESERVED.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_sorted() {
        for list in [
            UNRESERVED,
            COLUMN_NAMES,
            TYPES_OR_FUNCTIONS,
            RESERVED,
            RESERVED_LATER,
        ] {
            assert!(list.is_sorted());
        }
    }

    #[test]
    fn a_word_is_found_in_its_list() {
        assert_eq!(category("select"), Category::Reserved);
        assert_eq!(category("varchar"), Category::ColumnName);
        assert_eq!(category("left"), Category::TypeOrFunction);
        assert_eq!(category("temp"), Category::Free);
        assert_eq!(category("json_table"), Category::Depends);
    }
}
