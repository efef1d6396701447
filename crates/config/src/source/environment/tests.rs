use super::*;

fn overrides(variables: &[(&str, &str)], sections: &[Place]) -> (Vec<String>, Vec<String>) {
    let document = Document {
        sections: sections
            .iter()
            .map(|place| (place.clone(), Origin::Console))
            .collect(),
        ..Document::default()
    };
    let variables = variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut problems = Vec::new();
    let found = read(&variables, &document, &mut problems);
    let entry = |entry: &Entry| format!("{} {} = {}", entry.place, entry.key, entry.value.text);
    (
        found.entries.iter().map(entry).collect(),
        problems.iter().map(Problem::to_string).collect(),
    )
}

#[test]
fn a_variable_names_a_section_and_a_key() {
    let (entries, problems) = overrides(
        &[
            ("HOME", "/root"),
            ("PGWEIR_LOG", "debug"),
            ("PGWEIR__DATABASES__SHOP__HOST", "h"),
            ("PGWEIR__PGWEIR__LISTEN_PORT", "6433"),
            ("PGWEIR__USERS__MY__APP__PASSWORD", "x"),
        ],
        &[],
    );
    assert_eq!(
        entries,
        [
            "[databases.shop] host = h",
            "[pgweir] listen_port = 6433",
            "[users.my__app] password = x"
        ]
    );
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn a_name_is_that_of_an_existing_section_in_any_case() {
    let shop = Place::Database("Shop".into());
    let variable = ("PGWEIR__DATABASES__SHOP__HOST", "h");
    assert_eq!(
        overrides(&[variable], std::slice::from_ref(&shop)).0,
        ["[databases.Shop] host = h"]
    );
    let lower = Place::Database("shop".into());
    assert_eq!(
        overrides(&[variable], &[shop, lower]).0,
        ["[databases.shop] host = h"]
    );
    let user = Place::User("Shop".into());
    assert_eq!(
        overrides(&[variable], &[user]).0,
        ["[databases.shop] host = h"]
    );
    let any = Place::Database("*".into());
    let variable = ("PGWEIR__DATABASES__*__HOST", "h");
    assert_eq!(
        overrides(&[variable], &[any]).0,
        ["[databases.\"*\"] host = h"]
    );
}

#[test]
fn a_peer_is_named_by_its_number() {
    let (entries, problems) = overrides(&[("PGWEIR__PEERS__2__POOL_SIZE", "7")], &[]);
    assert_eq!(entries, ["[peers.2] pool_size = 7"]);
    assert_eq!(problems, [""; 0]);
}

#[test]
fn what_starts_as_an_override_but_names_nothing_is_a_problem() {
    for variable in [
        "PGWEIR__LISTEN_PORT",
        "PGWEIR__",
        "PGWEIR__PGWEIR__",
        "PGWEIR__DATABASES__HOST",
        "PGWEIR__DATABASES____HOST",
        "PGWEIR__SERVERS__A__HOST",
        "PGWEIR__PEERS__A__HOST",
        "PGWEIR__PEERS__0__HOST",
        "PGWEIR__PEERS__1__",
    ] {
        let (entries, problems) = overrides(&[(variable, "1")], &[]);
        assert!(entries.is_empty(), "{variable}");
        assert_eq!(
            problems,
            [format!(
                "environment variable {variable}: expected PGWEIR__PGWEIR__KEY, \
                 PGWEIR__DATABASES__NAME__KEY, PGWEIR__USERS__NAME__KEY or PGWEIR__PEERS__ID__KEY"
            )]
        );
    }
}

#[test]
fn two_variables_for_one_setting_are_a_problem() {
    let (entries, problems) = overrides(
        &[
            ("PGWEIR__PGWEIR__WORKERS", "1"),
            ("PGWEIR__PGWEIR__workers", "2"),
        ],
        &[],
    );
    assert_eq!(entries.len(), 1);
    assert_eq!(
        problems,
        [
            "environment variable PGWEIR__PGWEIR__workers: setting workers in [pgweir] is given twice"
        ]
    );
}
