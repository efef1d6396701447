use super::*;
use proptest::prelude::*;

fn read_all(text: &str) -> (Document, Vec<String>) {
    let mut problems = Vec::new();
    let document = read(Path::new("pooler.toml"), text, &mut problems);
    (document, problems.iter().map(Problem::to_string).collect())
}

fn problems(text: &str) -> Vec<String> {
    read_all(text).1
}

#[test]
fn sections_and_settings_come_in_order_with_their_lines() {
    let (document, problems) = read_all(
        "# head\n\n[pgweir]\nworkers = 2\nadmin_users = [\"b\", \"a\"]\n\n[users.app]\n\
         [databases.\"*\"]\r\nhost = 'x'\r\nport = 0x10\nquery_wait_timeout = 0.5\n",
    );
    assert!(problems.is_empty(), "{problems:?}");
    let entries: Vec<_> = document
        .entries
        .iter()
        .map(|entry| {
            let Entry {
                place,
                key,
                value,
                origin,
            } = entry;
            format!(
                "{}: {place} {key} = {} ({:?})",
                origin.line(),
                value.text,
                value.shape
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            "4: [pgweir] workers = 2 (Bare)",
            "5: [pgweir] admin_users = b,a (List)",
            "9: [databases.\"*\"] host = x (Text)",
            "10: [databases.\"*\"] port = 16 (Bare)",
            "11: [databases.\"*\"] query_wait_timeout = 0.5 (Bare)",
        ]
    );
    assert!(
        document
            .sections
            .iter()
            .any(|(place, _)| *place == Place::User("app".into()))
    );
}

#[test]
fn numbers_of_every_form_reach_the_settings_in_decimal() {
    let text = "[pgweir]\na = 1_000\nb = 0x1F\nc = +5\nd = -3\ne = 0o17\nf = +1.5\ng = 1_0.5\n\
                h = 99999999999999999999\n";
    let (document, problems) = read_all(text);
    assert!(problems.is_empty(), "{problems:?}");
    let texts: Vec<_> = document
        .entries
        .iter()
        .map(|entry| entry.value.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "1000",
            "31",
            "5",
            "-3",
            "15",
            "1.5",
            "10.5",
            "99999999999999999999"
        ]
    );
}

#[test]
fn lines_are_counted_the_same_with_a_byte_order_mark_and_carriage_returns() {
    let (document, problems) = read_all("\u{feff}# one\r\n[pgweir]\r\nworkers = 1\r\n");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(document.entries[0].origin.to_string(), "pooler.toml:3");
}

#[test]
fn dotted_keys_and_inline_tables_are_sections_too() {
    let (document, problems) =
        read_all("pgweir.workers = 1\n[databases]\nshop = { host = \"h\", port = 1 }\n");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(document.entries.len(), 3);
}

#[test]
fn an_unknown_section_is_named_with_the_one_that_was_meant() {
    let cases = [
        (
            "[pgwier]",
            "unknown section [pgwier]; did you mean [pgweir]?",
        ),
        (
            "[pgbouncer]",
            "unknown section [pgbouncer]; here it is called [pgweir]",
        ),
        (
            "[database.shop]",
            "unknown section [database]; did you mean [databases.NAME]?",
        ),
        (
            "[peer.2]",
            "unknown section [peer]; did you mean [peers.ID]?",
        ),
        (
            "[peers.two]",
            "expected the number of a peer, from 1 to 16383, not \"two\"",
        ),
        (
            "[general]",
            "unknown section [general]; expected [pgweir], [databases.NAME], [users.NAME] or [peers.ID]",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            problems(text),
            [format!("pooler.toml:1: {expected}")],
            "{text}"
        );
    }
}

#[test]
fn a_value_where_a_section_should_be_is_named_with_the_right_form() {
    let text = "listen_port = 6432\npgweir = 1\n[databases]\nshop = \"host=h\"\n";
    assert_eq!(
        problems(text),
        [
            "pooler.toml:1: \"listen_port\" stands outside any section; global settings belong in \
             [pgweir]",
            "pooler.toml:2: expected a section, such as [pgweir], not a value",
            "pooler.toml:4: expected a section, such as [databases.NAME], not a value",
        ]
    );
}

#[test]
fn a_repeated_key_or_section_is_found_at_its_second_place() {
    let text = "[pgweir]\nworkers = 1\nworkers = 2\n[users.a]\n[users.a] # again\n[nonsense]\n";
    assert_eq!(
        problems(text),
        [
            "pooler.toml:3: setting workers is given twice",
            "pooler.toml:5: section [users.a] is given twice",
            "pooler.toml:6: unknown section [nonsense]; expected [pgweir], [databases.NAME], \
             [users.NAME] or [peers.ID]",
        ]
    );
}

#[test]
fn broken_syntax_is_told_with_its_line_and_nothing_else_is_judged() {
    let found = problems("[nonsense]\nworkers = = 1\n[pgweir\n");
    assert!(
        found[0].starts_with("pooler.toml:2: not valid TOML: "),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .all(|problem| problem.contains("not valid TOML")),
        "{found:?}"
    );
}

#[test]
fn a_list_element_with_a_comma_is_not_taken_apart() {
    let (document, _) = read_all("[pgweir]\nadmin_users = [\"a,b\"]\nstats_users = [[1]]\n");
    assert!(
        document
            .entries
            .iter()
            .all(|entry| entry.value.shape == Shape::Unsuitable)
    );
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in r#"([\[\]="'.,#\r\n a-z0-9{}é$-]|.){0,200}"#) {
        read_all(&text);
    }
}

#[test]
fn tables_in_a_list_become_words_that_read_back() {
    let cases = [
        (
            "[\"a:1\", { host = \"b\", port = 2 }]",
            "a:1,host=b port=2 (Tables)",
        ),
        (
            "[{ zone = \"it's b, c\", weight = 0x10 }]",
            "zone='it''s b, c' weight=16 (Tables)",
        ),
        ("[{ host = [1] }]", "[…] (Unsuitable)"),
        ("[{ host = { a = 1 } }]", "[…] (Unsuitable)"),
        ("[\"a,b\", { host = \"c\" }]", "[…] (Unsuitable)"),
        ("[]", " (List)"),
    ];
    for (list, expected) in cases {
        let (document, problems) = read_all(&format!("[pgweir]\nhosts = {list}\n"));
        assert!(problems.is_empty(), "{problems:?}");
        let value = &document.entries[0].value;
        assert_eq!(format!("{} ({:?})", value.text, value.shape), expected);
    }
}
