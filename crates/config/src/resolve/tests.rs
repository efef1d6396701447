use super::*;
use crate::kinds::{Count, Password, Text};
use proptest::prelude::*;

fn from_file() -> Origin {
    Origin::File {
        path: "pooler.toml".into(),
        line: Some(1),
    }
}

fn variables() -> BTreeMap<String, String> {
    let pairs = [
        ("PW", "s3cret"),
        ("TRAP", "file:/etc/passwd"),
        ("_x1", "${PW}"),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn resolved(kind: &dyn Describe, text: &str, origin: &Origin) -> Result<String, String> {
    resolve("password", kind, text, origin, &variables())
        .map(Cow::into_owned)
        .map_err(|kind| kind.to_string())
}

#[test]
fn variables_are_put_in_once_and_dollars_can_be_escaped() {
    let cases = [
        ("${PW}", "s3cret"),
        ("a${PW}b${PW}", "as3cretbs3cret"),
        ("${_x1}", "${PW}"),
        ("$${PW}", "${PW}"),
        ("$PW $$ $", "$PW $$ $"),
        (
            "SCRAM-SHA-256$4096:c2FsdA==$YQ==:YQ==",
            "SCRAM-SHA-256$4096:c2FsdA==$YQ==:YQ==",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            resolved(&Password, text, &from_file()),
            Ok(expected.to_owned()),
            "{text}"
        );
        assert_eq!(
            resolved(&Text, text, &from_file()),
            Ok(expected.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn a_missing_or_malformed_variable_is_an_error_that_says_so() {
    assert_eq!(
        resolved(&Password, "${NOPE}", &from_file()),
        Err(
            "password: the environment variable \"NOPE\" is not set (to write ${ itself, write \
             $${)"
                .to_owned()
        )
    );
    for text in ["${", "${}", "${a b}", "${1}", "${PW"] {
        let error = resolved(&Password, text, &from_file()).unwrap_err();
        assert!(
            error.starts_with("password: expected ${VAR}"),
            "{text}: {error}"
        );
    }
}

#[test]
fn numbers_and_values_from_elsewhere_are_taken_as_they_stand() {
    let environment = Origin::Environment {
        variable: "X".into(),
    };
    assert_eq!(
        resolved(&Count::ANY, "${PW}", &from_file()),
        Ok("${PW}".to_owned())
    );
    assert_eq!(
        resolved(&Password, "${PW}", &environment),
        Ok("${PW}".to_owned())
    );
    assert_eq!(
        resolved(&Text, "${PW}", &Origin::Console),
        Ok("${PW}".to_owned())
    );
    assert_eq!(
        resolved(&Password, "file:/x", &Origin::Console),
        Ok("file:/x".to_owned())
    );
}

#[test]
fn only_what_stands_there_makes_a_secret_a_file() {
    assert_eq!(
        resolved(&Password, "${TRAP}", &from_file()),
        Ok("file:/etc/passwd".to_owned())
    );
    assert_eq!(
        resolved(&Text, "file:/etc/passwd", &from_file()),
        Ok("file:/etc/passwd".into())
    );
}

#[test]
fn a_secrets_file_is_read_without_its_last_line_end() {
    let folder = std::env::temp_dir().join(format!("pgweir-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, contents, expected) in [
        ("plain", "s3cret", Some("s3cret")),
        ("unix", "s3cret\n", Some("s3cret")),
        ("windows", "s3cret\r\n", Some("s3cret")),
        ("blank-line", "s3cret\n\n", Some("s3cret\n")),
        ("empty", "\n", None),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, contents).unwrap();
        let found = resolved(&Password, &format!("file:{}", path.display()), &from_file());
        assert_eq!(found.ok().as_deref(), expected, "{name}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let error = resolved(&Password, "file:/nowhere/at/all", &from_file()).unwrap_err();
    assert!(
        error.starts_with("password: the secret's file \"/nowhere/at/all\" cannot be read: "),
        "{error}"
    );
}

proptest! {
    #[test]
    fn text_without_dollar_and_brace_stays_as_it_is(text in "[^$]*") {
        prop_assert_eq!(expand("host", &text, &variables()).unwrap(), text.as_str());
    }

    #[test]
    fn any_text_is_expanded_or_refused_without_panic(text in r"(\$|\{|\}|PW|é|.){0,30}") {
        let _ = expand("host", &text, &variables());
    }

    #[test]
    fn escaping_dollars_before_braces_gives_the_text_back(text in r"(\{|\}|PW|é|[^$]){0,30}") {
        let escaped = format!("$${{{text}");
        let expected = format!("${{{text}");
        prop_assert_eq!(expand("host", &escaped, &variables()).unwrap(), expected);
    }
}
