//! What needs the primary according to PostgreSQL's own parser: the least that `pgweir_sql::judge` must send there.

use pgweir_sql::{own, primary};
use serde_json::Value;

/// Whether the parse tree of `text` shows something that a hot standby refuses, or answers otherwise; `None` if
/// PostgreSQL's parser refuses the text.
pub fn needs_primary(text: &str) -> Option<bool> {
    let parsed = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).ok()?;
    let mut begins = false;
    let mut read_only = false;
    let mut needs = false;
    for statement in &parsed.protobuf.stmts {
        let node = statement.stmt.as_ref()?.node.as_ref()?;
        let tree = serde_json::to_value(node).expect("a parse tree is plain data");
        let (kind, node) = tree.as_object()?.iter().next()?;
        if kind == "TransactionStmt" {
            use pg_query::protobuf::TransactionStmtKind as Kind;
            let kind = Kind::try_from(node["kind"].as_i64()? as i32).ok()?;
            begins |= matches!(kind, Kind::TransStmtBegin | Kind::TransStmtStart);
            needs |= matches!(
                kind,
                Kind::TransStmtPrepare
                    | Kind::TransStmtCommitPrepared
                    | Kind::TransStmtRollbackPrepared
            );
        }
        let options = node.to_string();
        read_only |= options.contains("transaction_read_only");
        needs |= options.contains("\"serializable\"") && kind == "TransactionStmt";
        needs |= statement_needs(kind, node);
    }
    Some(needs || begins && !read_only)
}

fn statement_needs(kind: &str, node: &Value) -> bool {
    match kind {
        "ExplainStmt" => {
            let analyzes = node["options"].as_array().is_some_and(|options| {
                let names = |o: &Value| o["node"]["DefElem"]["defname"] == "analyze";
                options.iter().any(names)
            });
            let explained = node["query"]["node"].as_object();
            let explained = explained.and_then(|object| object.iter().next());
            analyzes && explained.is_none_or(|(kind, node)| statement_needs(kind, node))
        }
        "CopyStmt" => {
            node["is_from"] == true
                || node["is_program"] == true
                || node["filename"]
                    .as_str()
                    .is_some_and(|name| !name.is_empty())
                || walk(node)
        }
        "SelectStmt" | "DeclareCursorStmt" | "PrepareStmt" => walk(node),
        "TransactionStmt" | "VariableSetStmt" | "VariableShowStmt" | "FetchStmt"
        | "ClosePortalStmt" | "DiscardStmt" | "DeallocateStmt" | "ConstraintsSetStmt" => false,
        _ => true,
    }
}

fn walk(tree: &Value) -> bool {
    match tree {
        Value::Array(values) => values.iter().any(walk),
        Value::Object(object) => object.iter().any(|(key, value)| {
            let needs = match key.as_str() {
                "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "IntoClause" => true,
                "locking_clause" => value.as_array().is_some_and(|list| !list.is_empty()),
                "into_clause" => !value.is_null(),
                "FuncCall" => call(value),
                "relname" => value.as_str().is_some_and(|name| {
                    name.starts_with("pg_stat") || name == "pg_locks" || name == "pg_settings"
                }),
                _ => false,
            };
            needs || walk(value)
        }),
        _ => false,
    }
}

fn call(call: &Value) -> bool {
    if call["funcformat"].as_i64() == Some(pg_query::protobuf::CoercionForm::CoerceSqlSyntax as i64)
    {
        return false;
    }
    let parts = call["funcname"].as_array();
    let name = parts
        .and_then(|parts| parts.last())
        .and_then(|part| part["node"]["String"]["sval"].as_str())
        .unwrap_or_default();
    match name {
        "set_config" | "current_setting" => false,
        name => !own::HARMLESS.contains(&name) || primary::needs_function(name),
    }
}
