use super::*;
use crate::kinds::Describe;
use crate::load::parse;
use crate::settings::{Database, Global, User};
use proptest::prelude::*;

fn loaded(text: &str) -> Loaded {
    parse("pgbouncer.ini", text, []).unwrap()
}

/// Asserts that what `loaded` is converted to reads back to the same.
fn reads_back(loaded: &Loaded) {
    let page = convert(loaded, "pgbouncer.ini").unwrap();
    let again = match parse("pooler.toml", &page, []) {
        Ok(again) => again.config,
        Err(errors) => panic!("{errors}\n{page}"),
    };
    let Config {
        global,
        databases,
        users,
        peers,
        defaults: _,
    } = &loaded.config;
    assert_eq!(&again.global, global, "{page}");
    assert_eq!(&again.databases, databases, "{page}");
    assert_eq!(&again.users, users, "{page}");
    assert_eq!(&again.peers, peers, "{page}");
}

#[test]
fn a_converted_file_has_what_differs_with_comments() {
    let loaded = loaded(
        "[databases]\nshop = host=h dbname=s password='p\"${x}' user=u\n\"a b\" = host=10.0.0.1,10.0.0.2\n\
         [pgbouncer]\nlisten_addr = *\nquery_timeout = 0.5\nlog_connections = 0\npkt_buf = 1\n\
         auth_type = trust\npeer_id = 1\n[users]\nu = pool_mode=session\n\
         [peers]\n1 = host=127.0.0.1\n12 = host=@twelve pool_size=3\n",
    );
    let page = convert(&loaded, "pgbouncer.ini").unwrap();
    for part in [
        "# Converted from pgbouncer.ini.\n",
        "# Warning: pgbouncer.ini:8: pkt_buf: has no effect: ",
        "\n[pgweir]\n",
        "\nlisten_addr = \"*\"\n",
        "\n# When a server connection goes back to its pool for other clients: when the client disconnects\n",
        "PgBouncer's default; pgweir's is\n# transaction.\npool_mode = \"session\"\n",
        "\nquery_timeout = 0.5\n",
        "\nlog_connections = false\n",
        "\n[databases.shop]\nhost = \"h\"\ndbname = \"s\"\nuser = \"u\"\npassword = \"p\\\"$${x}\"\n",
        "\n[databases.\"a b\"]\nhosts = \"10.0.0.1:5432, 10.0.0.2:5432\"\nload_balance_hosts = \"round-robin\"\n",
        "\n[users.u]\npool_mode = \"session\"\n",
        "\n[peers.1]\n\n[peers.12]\nhost = \"@twelve\"\npool_size = 3\n",
    ] {
        assert!(page.contains(part), "{part}\nis not in\n{page}");
    }
    reads_back(&loaded);
}

#[test]
fn a_password_that_would_name_a_file_is_not_converted() {
    let loaded =
        loaded("[databases]\na = host=h user=u password=file:x\n[pgbouncer]\nlisten_addr = *\n");
    let error = convert(&loaded, "a.ini").unwrap_err().to_string();
    assert!(
        error.starts_with("password in [databases.a] begins with \"file:\""),
        "{error}"
    );
}

/// A value that a setting of `kind` may have, from `seed`.
fn value_for(kind: &dyn Describe, seed: u32, text: &str) -> String {
    match kind.type_name() {
        "boolean" => (seed % 2).to_string(),
        "count" | "limit" => (seed % 100 + 1).to_string(),
        "port" => (seed % 1000 + 1).to_string(),
        "size" => (seed % 100_000 + 4096).to_string(),
        "duration" | "timeout" => format!("{}.{}", seed % 1000 + 1, seed % 7),
        "one of" => {
            let words = kind.expected().replace(" or ", ", ");
            let words: Vec<_> = words.split(", ").collect();
            words[seed as usize % words.len()].to_owned()
        }
        _ => text.to_owned(),
    }
}

/// Lines `key = value` (or words `key='value'`) for some settings of `S`.
fn some<S: Section>(seeds: &[(u32, u32, String)], quote: bool) -> String {
    let mut lines = String::new();
    for (which, seed, text) in seeds {
        let setting = &S::SETTINGS[*which as usize % S::SETTINGS.len()];
        let value = value_for(setting.kind, *seed, text);
        let _ = match quote {
            true => write!(lines, "{}='{}' ", setting.name, value.replace('\'', "''")),
            false => writeln!(lines, "{} = {value}", setting.name),
        };
    }
    lines
}

fn seeds(most: usize) -> impl Strategy<Value = Vec<(u32, u32, String)>> {
    let text = prop_oneof![r"[a-z/*]{1,8}", r#"[ -~é]{0,6}[!-~]"#, r"\$*\{?[a-z}]{1,3}"];
    prop::collection::vec((any::<u32>(), any::<u32>(), text), 0..most)
}

proptest! {
    #[test]
    fn what_a_file_is_converted_to_reads_back_to_the_same(
        global in seeds(6), database in seeds(5), user in seeds(3), name in "[ -~é]{1,6}",
    ) {
        let name = name.replace('"', "\"\"");
        let text = format!(
            "[pgbouncer]\nlisten_addr = *\n{}\n[databases]\n\"{name}\" = {}\n[users]\n\"{name}\" = {}\n",
            some::<Global>(&global, false),
            some::<Database>(&database, true),
            some::<User>(&user, true),
        );
        // What is not valid, or cannot be said otherwise, is not converted.
        if let Ok(loaded) = parse("pgbouncer.ini", &text, [])
            && convert(&loaded, "").is_ok()
        {
            reads_back(&loaded);
        }
    }
}
