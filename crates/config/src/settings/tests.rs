use super::*;
use crate::foreign;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// PgBouncer's own SHOW CONFIG: name, default, changeable.
fn pgbouncer() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    include_str!("pgbouncer-1.25.txt").lines().map(|line| {
        let mut columns = line.split(" | ");
        let mut column = || columns.next().unwrap().trim();
        (column(), column(), column() == "yes")
    })
}

fn every_default_parses_and_renders_back<S: Section + Default>() {
    let defaults = S::default();
    for setting in S::SETTINGS {
        let mut section = S::default();
        (setting.set)(&mut section, setting.default).unwrap();
        assert!((setting.same)(&defaults, &section), "{}", setting.name);
        (setting.set)(&mut section, &(setting.render)(&defaults)).unwrap();
        assert!((setting.same)(&defaults, &section), "{}", setting.name);
    }
}

#[test]
fn every_settings_default_renders_and_parses_back_to_itself() {
    every_default_parses_and_renders_back::<Global>();
    every_default_parses_and_renders_back::<Database>();
    every_default_parses_and_renders_back::<User>();
    every_default_parses_and_renders_back::<Peer>();
}

fn names<S: Section>() -> Vec<&'static str> {
    S::SETTINGS.iter().map(|setting| setting.name).collect()
}

#[test]
fn no_name_is_declared_twice_and_every_setting_is_documented() {
    fn check<S: Section>() {
        let names = names::<S>();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for setting in S::SETTINGS {
            assert!(
                setting.doc.trim_end().ends_with('.'),
                "{}: {}",
                setting.name,
                setting.doc
            );
        }
    }
    check::<Global>();
    check::<Database>();
    check::<User>();
    check::<Peer>();
}

#[test]
fn settings_shared_with_pgbouncer_have_its_defaults_unless_declared_otherwise() {
    let defaults = Global::default();
    for (name, default, changeable) in pgbouncer() {
        let Some(setting) = Global::setting(name) else {
            continue;
        };
        match setting.pgbouncer {
            PgBouncer::Same => assert_eq!((setting.render)(&defaults), default, "{name}"),
            PgBouncer::OtherDefault(other) => {
                assert_eq!(other, default, "{name}");
                assert_ne!((setting.render)(&defaults), default, "{name}");
            }
            PgBouncer::Absent => panic!("{name} is in PgBouncer"),
        }
        assert_eq!(
            setting.changeable == Changeable::Reload,
            changeable,
            "{name}"
        );
    }
}

#[test]
fn settings_said_to_be_shared_with_pgbouncer_are_in_its_list() {
    let theirs: BTreeSet<_> = pgbouncer().map(|(name, ..)| name).collect();
    for setting in Global::SETTINGS {
        let shared = setting.pgbouncer != PgBouncer::Absent;
        assert_eq!(theirs.contains(setting.name), shared, "{}", setting.name);
    }
}

#[test]
fn every_setting_of_pgbouncer_is_here_or_has_a_reason_not_to_be() {
    for (name, ..) in pgbouncer() {
        let here = Global::setting(name).is_some();
        assert_ne!(here, foreign::reason(name).is_some(), "{name}");
    }
    let theirs: BTreeSet<_> = pgbouncer().map(|(name, ..)| name).collect();
    for name in foreign::FOREIGN.iter().flat_map(|(names, _)| *names) {
        assert!(theirs.contains(name), "{name}");
    }
}

#[test]
fn the_page_for_pgbouncers_users_has_a_row_for_every_setting() {
    let page = include_str!("../../../../docs/pgbouncer.md");
    for (name, ..) in pgbouncer() {
        let start = format!("| `{name}` | ");
        let mut rows = page.lines().filter_map(|line| line.strip_prefix(&start));
        let row = rows.next().unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(rows.next(), None, "{name} has two rows");
        let (here, note) = row.split_once(" | ").unwrap();
        let known: &[&str] = match Global::setting(name) {
            Some(_) => &["same", "better"],
            // What it asks for may be had without it.
            None if foreign::is_had_anyway(name, "any") => &["better"],
            None => &["not here"],
        };
        assert!(known.contains(&here), "{name}: {here}");
        let has_reason = !note.trim_end_matches('|').trim().is_empty();
        assert!(here == "same" || has_reason, "{name}: {here}, and not why");
    }
}

fn any_value_is_refused_or_renders_back<S: Section + Default>(text: &str) {
    for setting in S::SETTINGS {
        let mut section = S::default();
        if (setting.set)(&mut section, text).is_err() || setting.kind.is_secret() {
            continue;
        }
        let mut again = S::default();
        (setting.set)(&mut again, &(setting.render)(&section)).unwrap();
        assert!(
            (setting.same)(&section, &again),
            "{} = {text:?}",
            setting.name
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_renders_back_to_the_same_value(
        text in prop_oneof![
            ".*",
            r"[0-9]{0,20}(\.[0-9]{0,20})?[ ]?(us|ms|s|min|h|d|B|kB|MB|GB|TB)?",
            r"(secure|all|tlsv1\.[0-4]|session|yes|no|<empty>|[,: *a-z]){0,5}",
        ],
    ) {
        any_value_is_refused_or_renders_back::<Global>(&text);
        any_value_is_refused_or_renders_back::<Database>(&text);
        any_value_is_refused_or_renders_back::<User>(&text);
        any_value_is_refused_or_renders_back::<Peer>(&text);
    }
}
