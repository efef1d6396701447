//! What a text does to its session according to PostgreSQL's own parser: the least that `pgweir_sql::classify` must say.

use pgweir_sql::{Effects, own};
use serde_json::{Map, Value};

mod primary;

pub use primary::needs_primary;

/// The effects that the parse tree of `text` shows; `None` if PostgreSQL's parser refuses the text.
pub fn expected(text: &str) -> Option<Effects> {
    let parsed = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).ok()?;
    let mut found = Found::default();
    for statement in &parsed.protobuf.stmts {
        let node = statement.stmt.as_ref()?.node.as_ref()?;
        let tree = serde_json::to_value(node).expect("a parse tree is plain data");
        found.statement(&tree);
    }
    if found.updates && found.names_settings {
        found.effects |= Effects::SETTINGS;
    }
    Some(found.effects)
}

#[derive(Default)]
struct Found {
    effects: Effects,
    updates: bool,
    names_settings: bool,
}

impl Found {
    /// A statement as a whole: an object with one key, the name of its node.
    fn statement(&mut self, tree: &Value) {
        let Some((kind, node)) = tree.as_object().and_then(|object| object.iter().next()) else {
            return;
        };
        self.effects |= match kind.as_str() {
            "VariableSetStmt" => set(node),
            "DiscardStmt"
                if number(node, "target") == pg_query::protobuf::DiscardMode::DiscardAll as i64 =>
            {
                Effects::SETTINGS
                    | Effects::RESETS
                    | Effects::DEALLOCATES
                    | Effects::UNLISTENS
                    | Effects::RELEASES
            }
            "DiscardStmt" | "ClosePortalStmt" | "AlterObjectSchemaStmt" => Effects::RELEASES,
            "LoadStmt" => Effects::LOADS,
            "ListenStmt" => Effects::LISTENS,
            "UnlistenStmt" => Effects::UNLISTENS | Effects::RELEASES,
            "NotifyStmt" => Effects::NOTIFIES,
            "PrepareStmt" => Effects::PREPARES,
            "DeallocateStmt" => Effects::DEALLOCATES,
            "CallStmt" | "DoStmt" | "CreateExtensionStmt" | "AlterExtensionStmt" => {
                Effects::PROCEDURE
            }
            "TransactionStmt" => transaction(node),
            // CURSOR_OPT_HOLD
            "DeclareCursorStmt" if number(node, "options") & 0x20 != 0 => Effects::HOLDS,
            kind if kind.starts_with("Drop") => Effects::RELEASES,
            _ => Effects::NONE,
        };
        self.walk(tree);
    }

    fn walk(&mut self, tree: &Value) {
        match tree {
            Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            Value::Object(object) => {
                self.object(object);
                for (key, value) in object {
                    match key.as_str() {
                        "FuncCall" => self.call(value),
                        "ExecuteStmt" => self.effects |= Effects::EXECUTES,
                        "UpdateStmt" => self.updates = true,
                        _ => {}
                    }
                    self.walk(value);
                }
            }
            _ => {}
        }
    }

    /// What may be said of any node by its fields: those of a table's name.
    fn object(&mut self, object: &Map<String, Value>) {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("relpersistence") == "t" || text("schemaname").starts_with("pg_temp") {
            self.effects |= Effects::TEMPORARY;
        }
        match text("relname") {
            "pg_settings" => self.names_settings = true,
            "pg_prepared_statements" => self.effects |= Effects::EXECUTES,
            _ => {}
        }
    }

    fn call(&mut self, call: &Value) {
        if number(call, "funcformat") == pg_query::protobuf::CoercionForm::CoerceSqlSyntax as i64 {
            return;
        }
        let parts: Vec<&str> = call["funcname"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| part["node"]["String"]["sval"].as_str())
            .collect();
        let Some((name, schemas)) = parts.split_last() else {
            return;
        };
        self.effects |= match *name {
            "set_config" if is_true(call["args"].get(2)) => Effects::NONE,
            "set_config" => Effects::SETTINGS,
            "nextval" | "setval" => Effects::ADVANCES_SEQUENCE,
            "currval" | "lastval" => Effects::READS_SEQUENCE,
            "setseed" => Effects::SEEDS,
            "pg_notify" => Effects::NOTIFIES,
            "pg_listening_channels" => Effects::LISTENING,
            "pg_prepared_statement" => Effects::EXECUTES,
            "pg_advisory_lock"
            | "pg_advisory_lock_shared"
            | "pg_try_advisory_lock"
            | "pg_try_advisory_lock_shared" => Effects::LOCKS,
            "pg_advisory_unlock" | "pg_advisory_unlock_all" | "pg_advisory_unlock_shared" => {
                Effects::RELEASES
            }
            name if own::HARMLESS.contains(&name) => Effects::NONE,
            _ => Effects::FUNCTION,
        };
        let of_catalog = schemas.last().is_none_or(|schema| *schema == "pg_catalog");
        if !of_catalog {
            self.effects |= Effects::FUNCTION;
        }
        if schemas
            .last()
            .is_some_and(|schema| schema.starts_with("pg_temp"))
        {
            self.effects |= Effects::TEMPORARY;
        }
    }
}

fn set(node: &Value) -> Effects {
    use pg_query::protobuf::VariableSetKind as Kind;
    let kind = Kind::try_from(number(node, "kind") as i32).unwrap_or(Kind::Undefined);
    let name = node["name"].as_str().unwrap_or_default();
    let local = node["is_local"].as_bool().unwrap_or_default();
    let seeds = if name.eq_ignore_ascii_case("seed") && kind != Kind::VarReset {
        Effects::SEEDS
    } else {
        Effects::NONE
    };
    let settings = match kind {
        _ if local => Effects::NONE,
        Kind::VarSetMulti if name.starts_with("TRANSACTION") => Effects::NONE,
        Kind::VarSetDefault | Kind::VarSetCurrent | Kind::VarReset | Kind::VarResetAll => {
            Effects::SETTINGS | Effects::RESETS
        }
        _ => Effects::SETTINGS,
    };
    settings | seeds
}

fn transaction(node: &Value) -> Effects {
    use pg_query::protobuf::TransactionStmtKind as Kind;
    let begins = if node["chain"].as_bool().unwrap_or_default() {
        Effects::BEGINS
    } else {
        Effects::NONE
    };
    match Kind::try_from(number(node, "kind") as i32).unwrap_or(Kind::Undefined) {
        Kind::TransStmtBegin | Kind::TransStmtStart => Effects::BEGINS,
        Kind::TransStmtCommit | Kind::TransStmtRollback | Kind::TransStmtPrepare => {
            Effects::ENDS | Effects::RELEASES | begins
        }
        Kind::TransStmtRollbackTo => Effects::RELEASES,
        _ => Effects::NONE,
    }
}

fn number(node: &Value, key: &str) -> i64 {
    node[key].as_i64().unwrap_or_default()
}

fn is_true(argument: Option<&Value>) -> bool {
    let constant =
        argument.map(|argument| &argument["node"]["AConst"]["val"]["Boolval"]["boolval"]);
    constant.and_then(Value::as_bool).unwrap_or_default()
}
