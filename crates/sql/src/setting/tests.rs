use super::*;

fn set(name: &str, value: &str) -> Option<Setting> {
    set_to(name, value.to_owned())
}

fn local(name: &str, value: Option<&str>) -> Option<Setting> {
    Some(Setting::Local {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    })
}

#[test]
fn a_set_becomes_what_set_config_needs() {
    for (text, name, value) in [
        ("SET Work_Mem = '1MB'", "work_mem", "1MB"),
        ("set session work_mem to 4096;", "work_mem", "4096"),
        ("SET /* a */ x TO -- b\n on", "x", "on"),
        ("set x = OFF", "x", "off"),
        ("set x = Truely", "x", "truely"),
        ("set x = TRUE", "x", "true"),
        ("set x = \"Quoted\"", "x", "Quoted"),
        ("set x = 'it''s'", "x", "it's"),
        ("set x = ''", "x", ""),
        ("set x = 007", "x", "7"),
        ("set x = -1", "x", "-1"),
        ("set x = - 1.50", "x", "-1.50"),
        ("set x = +5", "x", "5"),
        ("set x = -0", "x", "0"),
        ("set x = 1e3", "x", "1e3"),
        ("set x = 99999999999", "x", "99999999999"),
        ("set my.name = 'a'", "my.name", "a"),
        ("set session.name = 'a'", "session.name", "a"),
        ("set local.name = 'a'", "local.name", "a"),
        ("set \"work_mem\" = '1MB'", "work_mem", "1MB"),
        ("set DateStyle = ISO, MDY", "datestyle", "iso, mdy"),
        ("set datestyle to 'ISO, DMY'", "datestyle", "ISO, DMY"),
        ("set search_path = public", "search_path", "public"),
        (
            "set search_path to Foo, \"Bar\"",
            "search_path",
            "foo, \"Bar\"",
        ),
        (
            "set search_path = \"$user\", public",
            "search_path",
            "\"$user\", public",
        ),
        ("set search_path = 'a, b'", "search_path", "\"a, b\""),
        (
            "set search_path = 'select', values, \"left\", 'temp'",
            "search_path",
            "\"select\", \"values\", \"left\", temp",
        ),
        ("set search_path = ''", "search_path", "\"\""),
        ("set search_path = 1", "search_path", "1"),
        ("set search_path = 'a\"b'", "search_path", "\"a\"\"b\""),
        ("set schema 'Foo'", "search_path", "\"Foo\""),
        ("set time zone 'Europe/Berlin'", "timezone", "Europe/Berlin"),
        ("SET TIME ZONE utc", "timezone", "utc"),
        ("set session time zone \"UTC\"", "timezone", "UTC"),
        ("set timezone = 'UTC'", "timezone", "UTC"),
        ("set timezone to -3", "timezone", "-3"),
        ("set names 'UTF8'", "client_encoding", "UTF8"),
        ("set role Alice", "role", "alice"),
        ("set role \"Alice\"", "role", "Alice"),
        ("set session role 'alice'", "role", "alice"),
        ("set role none", "role", "none"),
        ("set role to alice", "role", "alice"),
        (
            "set session authorization alice",
            "session_authorization",
            "alice",
        ),
        (
            "set session session authorization 'Bob'",
            "session_authorization",
            "Bob",
        ),
        ("set xml option document", "xmloption", "DOCUMENT"),
        (
            "set transaction_isolation to 'serializable'",
            "transaction_isolation",
            "serializable",
        ),
        ("set constraints.x = 1", "constraints.x", "1"),
    ] {
        assert_eq!(setting(text.as_bytes()), set(name, value), "{text}");
    }
}

#[test]
fn defaults_resets_and_local_settings_are_told_apart() {
    let default = |name: &str| Some(default_of(name));
    let reset = |name: &str| Some(reset_of(name));
    for (text, expected) in [
        ("set x to default", default("x")),
        ("set x = DEFAULT;", default("x")),
        ("set time zone local", default("timezone")),
        ("set time zone default", default("timezone")),
        ("set names", default("client_encoding")),
        ("set names default", default("client_encoding")),
        (
            "set session authorization default",
            default("session_authorization"),
        ),
        ("reset X", reset("x")),
        ("reset a.b", reset("a.b")),
        ("reset role", reset("role")),
        ("reset time zone", reset("timezone")),
        (
            "reset session authorization",
            reset("session_authorization"),
        ),
        (
            "reset transaction isolation level",
            reset("transaction_isolation"),
        ),
        ("RESET ALL", Some(Setting::ResetAll)),
        ("set local x = 1", local("x", Some("1"))),
        ("set local x to default", local("x", None)),
        ("SET LOCAL ROLE alice", local("role", Some("alice"))),
        (
            "set local session authorization alice",
            local("session_authorization", Some("alice")),
        ),
    ] {
        assert_eq!(setting(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_told_with_certainty_is_not_read() {
    let long = format!("set x = \"{}\"", "a".repeat(64));
    for text in [
        "",
        ";",
        "select 1",
        "set",
        "set x",
        "set x =",
        "set x = 1 2",
        "set x = 1, 2",
        "set x = a, b",
        "set x = 1; select 1",
        "set x = 1; set y = 2",
        "set x = E'a'",
        "set x = 'a\\'",
        "set x = $1",
        "set x = $$a$$",
        "set x = 'é'",
        "set x = é",
        "set x = user",
        "set x = 1_000",
        "set x = 0x1F",
        "set x = 'a' 'b'",
        "set x = 'a'\n'b'",
        "set x = u&\"a\"",
        "set x from current",
        "set \"X\" = 1",
        "set select = 1",
        "set left = 1",
        "set search_path = json",
        "set search_path = 'json'",
        "set transaction isolation level serializable",
        "set session characteristics as transaction read only",
        "set constraints all deferred",
        "set time zone 3",
        "set time zone -3",
        "set time zone interval '1' hour",
        "set time zone year",
        "set role user",
        "set schema public",
        "set catalog 'a'",
        "set names utf8",
        "set local",
        "set local x",
        "reset",
        "reset x y",
        "reset all all",
        "reset transaction isolation",
        &long,
    ] {
        assert_eq!(setting(text.as_bytes()), None, "{text}");
    }
    assert_eq!(setting(b"set x = '\xff'"), None);
}
