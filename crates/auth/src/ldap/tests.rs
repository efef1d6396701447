use std::sync::Arc;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::ber::{self, Reader, message_bytes};
use super::filter::Filter;
use super::options::Scope;
use super::*;

fn read(options: &[(&'static str, &'static str)]) -> Result<Options, OptionsError> {
    Options::read(options.iter().copied())
}

const SIMPLE: &[(&str, &str)] = &[
    ("ldapserver", "ldap.example.net"),
    ("ldapprefix", "uid="),
    ("ldapsuffix", ",dc=example,dc=net"),
];

const SEARCH: &[(&str, &str)] = &[
    ("ldapserver", "ldap.example.net"),
    ("ldapbasedn", "dc=example,dc=net"),
    ("ldapbinddn", "cn=reader"),
    ("ldapbindpasswd", "hunter2"),
];

fn talk(options: &[(&'static str, &'static str)], user: &str) -> Conversation {
    let options = Arc::new(read(options).unwrap());
    Conversation::new(options, user, Zeroizing::new(b"secret".to_vec()))
}

fn sent(step: Result<Step, Failure>) -> Vec<u8> {
    match step {
        Ok(Step::Send(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// The operation of a message: its tag, and what is in it.
fn operation(message: &[u8]) -> (u8, Vec<u8>) {
    assert_eq!(message_bytes(message), Ok(Some(message.len())));
    let mut message = Reader(Reader(message).expect(ber::SEQUENCE).unwrap());
    message.number(ber::INTEGER).unwrap();
    let (tag, content) = message.element().unwrap();
    assert!(message.0.is_empty());
    (tag, content.to_vec())
}

/// The name and the password of a bind request.
fn bound(message: &[u8]) -> (String, String) {
    let (tag, content) = operation(message);
    assert_eq!(tag, 0x60);
    let mut content = Reader(&content);
    assert_eq!(content.number(ber::INTEGER), Ok(3));
    let mut text = |tag| String::from_utf8(content.expect(tag).unwrap().to_vec()).unwrap();
    (text(ber::OCTET_STRING), text(0x80))
}

fn answer(id: u32, tag: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    ber::element(&mut out, ber::SEQUENCE, |out| {
        ber::number(out, ber::INTEGER, id);
        ber::element(out, tag, write);
    });
    out
}

fn result(id: u32, tag: u8, code: u32, said: &str) -> Vec<u8> {
    answer(id, tag, |out| {
        ber::number(out, ber::ENUMERATED, code);
        ber::bytes(out, ber::OCTET_STRING, b"");
        ber::bytes(out, ber::OCTET_STRING, said.as_bytes());
    })
}

fn entry(id: u32, name: &str) -> Vec<u8> {
    answer(id, 0x64, |out| {
        ber::bytes(out, ber::OCTET_STRING, name.as_bytes());
        ber::element(out, ber::SEQUENCE, |_| {});
    })
}

#[test]
fn options_have_postgresqls_meanings() {
    let options = read(SIMPLE).unwrap();
    assert_eq!(options.servers[0].to_string(), "ldap.example.net:389");
    assert_eq!(options.security, Security::None);
    let several = read(&[
        ("ldapserver", "one  ::1 [::2]"),
        ("ldapscheme", "ldaps"),
        ("ldapsuffix", "@example.net"),
    ]);
    let several = several.unwrap();
    let servers: Vec<_> = several.servers.iter().map(Server::to_string).collect();
    assert_eq!(servers, ["one:636", "[::1]:636", "[::2]:636"]);
    assert_eq!(several.security, Security::Tls);
    let tls = read(&[("ldapserver", "a"), ("ldaptls", "1"), ("ldapbasedn", "b")]).unwrap();
    assert_eq!(
        (tls.security, tls.servers[0].port),
        (Security::StartTls, 389)
    );
}

#[test]
fn a_url_is_the_same_as_the_options_that_it_stands_for() {
    let searched = |filter: Option<&str>, scope| {
        let options::Names::Searched(mut search) = read(SEARCH).unwrap().names else {
            panic!("it is searched");
        };
        search.bind_name.clear();
        search.bind_password.clear();
        search.scope = scope;
        search.filter = filter.map_or(Filter::user("uid"), |f| Filter::parse(f).unwrap());
        options::Names::Searched(search)
    };
    for (url, server, names) in [
        (
            "ldap://127.0.0.1:12345/dc=example,dc=net?uid?sub",
            "127.0.0.1:12345",
            searched(None, Scope::Sub),
        ),
        (
            "ldaps://h/dc=example%2Cdc=net??one?(mail=$username)",
            "h:636",
            searched(Some("(mail=$username)"), Scope::One),
        ),
        (
            "LDAP://[::1]:3/dc=example,dc=net",
            "[::1]:3",
            searched(None, Scope::Base),
        ),
    ] {
        let options = Options::read([("ldapurl", url)]).unwrap();
        assert_eq!(options.servers[0].to_string(), server, "{url}");
        assert_eq!(options.names, names, "{url}");
    }
}

#[test]
fn options_that_cannot_be_used_say_why_and_not_the_password() {
    const SERVER: (&str, &str) = ("ldapserver", "a");
    const BASE: (&str, &str) = ("ldapbasedn", "b");
    for (options, reason) in [
        (
            &[("ldapscope", "sub")][..],
            "there is no option \"ldapscope\"",
        ),
        (
            &[("ldapport", "0")],
            "ldapport: expected a port, found \"0\"",
        ),
        (
            &[("ldaptls", "yes")],
            "ldaptls: expected 0 or 1, found \"yes\"",
        ),
        (
            &[("ldapscheme", "ldapi")],
            "ldapscheme: expected ldap or ldaps, found \"ldapi\"",
        ),
        (
            &[BASE],
            "ldapserver has to name a server: none is looked for by DNS",
        ),
        (
            &[SERVER],
            "one of ldapprefix, ldapsuffix and ldapbasedn is needed",
        ),
        (
            &[SERVER, BASE, ("ldapprefix", "x")],
            "ldapprefix cannot be given together with ldapbasedn",
        ),
        (
            &[SERVER, ("ldapsuffix", "x"), ("ldapbindpasswd", "hunter2")],
            "ldapsuffix cannot be given together with ldapbindpasswd",
        ),
        (
            &[
                SERVER,
                BASE,
                ("ldapsearchattribute", "uid"),
                ("ldapsearchfilter", "(a=b)"),
            ],
            "ldapsearchattribute cannot be given together with ldapsearchfilter",
        ),
        (
            &[SERVER, BASE, ("ldapsearchattribute", "uid=*)(")],
            "ldapsearchattribute: expected the name of an attribute, found \"uid=*)(\"",
        ),
        (
            &[("ldapserver", "a:389"), BASE],
            "ldapserver: expected names or addresses with blanks between, found \"a:389\"; the port is ldapport",
        ),
        (
            &[SERVER, ("ldaptls", "1"), ("ldapscheme", "ldaps"), BASE],
            "ldaptls=1 cannot be given together with ldapscheme=ldaps",
        ),
        (
            &[("ldapurl", "ldapi://%2ftmp")],
            "ldapurl: expected ldap:// or ldaps:// at the beginning",
        ),
        (
            &[("ldapurl", "ldap://a:x/b")],
            "ldapurl: expected a port, found \"x\"",
        ),
        (
            &[("ldapurl", "ldap://a/b?c?all")],
            "ldapurl: expected base, one or sub, found \"all\"",
        ),
        (
            &[("ldapurl", "ldap://a/b?c?sub?(d=e)?x")],
            "ldapurl: extensions (\"x\") are not supported",
        ),
        (
            &[("ldapurl", "ldap://a/b?c?sub?(d=e)")],
            "ldapsearchattribute cannot be given together with ldapsearchfilter",
        ),
        (
            &[("ldapurl", "ldap://a/%zz")],
            "ldapurl: expected two hexadecimal digits behind each %",
        ),
    ] {
        assert_eq!(read(options).unwrap_err().to_string(), reason);
    }
    assert!(!format!("{:?}", read(SEARCH).unwrap()).contains("hunter2"));
}

#[test]
fn a_name_is_one_value_of_the_name_that_is_made_of_it() {
    for (user, name) in [
        ("anna", "uid=anna,dc=example,dc=net"),
        ("anna,ou=boss", r"uid=anna\,ou\=boss,dc=example,dc=net"),
        (" a b ", r"uid=\ a b\ ,dc=example,dc=net"),
        ("#1\\", r"uid=\#1\\,dc=example,dc=net"),
        ("a+b\"<>;", r#"uid=a\+b\"\<\>\;,dc=example,dc=net"#),
        ("a\r\nb", r"uid=a\0d\0ab,dc=example,dc=net"),
        ("é*()", "uid=é*(),dc=example,dc=net"),
    ] {
        let request = sent(talk(SIMPLE, user).begin());
        assert_eq!(bound(&request), (name.to_owned(), "secret".to_owned()));
    }
}

#[test]
fn a_name_that_is_not_made_of_values_takes_no_characters_that_mean_something() {
    const AT: &[(&str, &str)] = &[("ldapserver", "a"), ("ldapsuffix", "@example.net")];
    let request = sent(talk(AT, "anna.x").begin());
    assert_eq!(bound(&request).0, "anna.x@example.net");
    for user in ["cn=admin,dc=example", "a@b", "a\\b", "a\nb"] {
        let refused = talk(AT, user).begin();
        assert!(matches!(refused, Err(Failure::Refused(_))), "{user:?}");
    }
}

#[test]
fn an_empty_password_is_refused_before_anybody_is_asked() {
    for options in [SIMPLE, SEARCH] {
        let options = Arc::new(read(options).unwrap());
        let mut talk = Conversation::new(options, "anna", Zeroizing::default());
        assert!(matches!(talk.begin(), Err(Failure::Refused(_))));
    }
}

#[test]
fn the_directory_has_the_word_on_a_password() {
    for (code, accepted, another) in [
        (0, true, false),
        (49, false, false),
        (53, false, false),
        (14, false, false),
        (51, false, true),
        (52, false, true),
    ] {
        let mut talk = talk(SIMPLE, "anna");
        sent(talk.begin());
        match talk.read(&result(1, 0x61, code, "because\nof that")) {
            Ok(Step::Accepted(farewell)) => {
                assert!(accepted, "{code}");
                assert_eq!(operation(&farewell).0, 0x42);
            }
            Err(failure) => {
                assert!(!accepted, "{code}");
                let failed = matches!(failure, Failure::Failed(_));
                assert_eq!(failed, another, "{code}");
                // On one line of the log.
                assert!(
                    failure.to_string().contains("\"because\\nof that\""),
                    "{failure}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_is_searched_for_binds_by_the_one_name_that_was_found() {
    let mut talk = talk(SEARCH, "anna");
    let introduction = sent(talk.begin());
    assert_eq!(bound(&introduction), ("cn=reader".into(), "hunter2".into()));
    let search = sent(talk.read(&result(1, 0x61, 0, "")));
    assert_eq!(operation(&search).0, 0x63);
    let reference = answer(2, 0x73, |out| {
        ber::bytes(out, ber::OCTET_STRING, b"ldap://x")
    });
    assert!(matches!(talk.read(&reference), Ok(Step::Read)));
    assert!(matches!(
        talk.read(&entry(2, "cn=Anna,dc=x")),
        Ok(Step::Read)
    ));
    let bind = sent(talk.read(&result(2, 0x65, 0, "")));
    assert_eq!(bound(&bind), ("cn=Anna,dc=x".into(), "secret".into()));
    assert!(matches!(
        talk.read(&result(3, 0x61, 0, "")),
        Ok(Step::Accepted(_))
    ));
}

#[test]
fn more_or_fewer_entries_than_one_are_refused() {
    let found = |entries: &[&str], code| {
        let mut talk = talk(SEARCH, "anna");
        sent(talk.begin());
        sent(talk.read(&result(1, 0x61, 0, "")));
        for name in entries {
            match talk.read(&entry(2, name)) {
                Ok(Step::Read) => {}
                other => return other.map(drop),
            }
        }
        talk.read(&result(2, 0x65, code, "")).map(drop)
    };
    assert_eq!(found(&["cn=a"], 0), Ok(()));
    for (entries, code) in [(&[][..], 0), (&["cn=a", "cn=b"], 0), (&["cn=a"], 4)] {
        let refused = found(entries, code);
        assert!(
            matches!(refused, Err(Failure::Refused(_))),
            "{entries:?} {code}"
        );
    }
    for (entries, code) in [(&[][..], 32), (&[], 4), (&["cn=a"], 3), (&[""], 0)] {
        let failed = found(entries, code);
        assert!(
            matches!(failed, Err(Failure::Failed(_))),
            "{entries:?} {code}"
        );
    }
}

#[test]
fn nothing_is_said_without_tls_where_it_is_asked_for() {
    let options = [SIMPLE, &[("ldaptls", "1")]].concat();
    let mut talk = talk(&options, "anna");
    assert_eq!(operation(&sent(talk.begin())).0, 0x77);
    assert!(matches!(
        talk.read(&result(1, 0x78, 0, "")),
        Ok(Step::StartTls)
    ));
    assert_eq!(bound(&sent(talk.secured())).1, "secret");
    let mut talk = self::talk(&options, "anna");
    sent(talk.begin());
    let refused = talk.read(&result(1, 0x78, 2, "no TLS here"));
    assert!(matches!(refused, Err(Failure::Failed(_))), "{refused:?}");
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    for message in [
        result(2, 0x61, 0, ""),
        result(1, 0x65, 0, ""),
        result(1, 0x78, 0, ""),
        entry(1, "cn=a"),
        // Notice of disconnection.
        result(0, 0x78, 52, "closing"),
        b"\x30\x00".to_vec(),
        b"\x30\x03\x02\x01\x01".to_vec(),
    ] {
        let mut talk = talk(SIMPLE, "anna");
        sent(talk.begin());
        let failed = talk.read(&message);
        assert!(matches!(failed, Err(Failure::Failed(_))), "{message:?}");
    }
}

#[test]
fn references_are_passed_over_but_not_for_ever() {
    let mut talk = talk(SEARCH, "anna");
    sent(talk.begin());
    sent(talk.read(&result(1, 0x61, 0, "")));
    let reference = answer(2, 0x73, |_| {});
    let passed = (0..2000)
        .take_while(|_| talk.read(&reference).is_ok())
        .count();
    assert_eq!(passed, 1000);
}

#[test]
fn filters_are_written_as_the_protocol_has_them() {
    let written = |text: &str, user: &str| {
        let mut out = Vec::new();
        Filter::parse(text).unwrap().write(&mut out, user);
        out
    };
    // RFC 4511, section 4.5.1, and RFC 4515, section 4.
    for (text, bytes) in [
        ("(cn=a)", &b"\xa3\x07\x04\x02cn\x04\x01a"[..]),
        ("cn=a", b"\xa3\x07\x04\x02cn\x04\x01a"),
        ("(cn>=a)", b"\xa5\x07\x04\x02cn\x04\x01a"),
        ("(cn<=a)", b"\xa6\x07\x04\x02cn\x04\x01a"),
        ("(cn~=a)", b"\xa8\x07\x04\x02cn\x04\x01a"),
        ("(cn=*)", b"\x87\x02cn"),
        ("(cn=)", b"\xa3\x06\x04\x02cn\x04\x00"),
        ("(cn=\\2a\\5C)", b"\xa3\x08\x04\x02cn\x04\x02*\\"),
        (
            "(cn=a*b*c)",
            b"\xa4\x0f\x04\x02cn\x30\x09\x80\x01a\x81\x01b\x82\x01c",
        ),
        ("(cn=*b*)", b"\xa4\x09\x04\x02cn\x30\x03\x81\x01b"),
        ("(!(a=b))", b"\xa2\x08\xa3\x06\x04\x01a\x04\x01b"),
        (
            "(&(a=b)(c=*))",
            b"\xa0\x0b\xa3\x06\x04\x01a\x04\x01b\x87\x01c",
        ),
        ("(|(a=*)(b=*))", b"\xa1\x06\x87\x01a\x87\x01b"),
        (
            "(a:dn:2.4:=b)",
            b"\xa9\x0e\x81\x032.4\x82\x01a\x83\x01b\x84\x01\xff",
        ),
        ("(:2.4:=b)", b"\xa9\x08\x81\x032.4\x83\x01b"),
    ] {
        assert_eq!(written(text, ""), bytes, "{text}");
    }
    let both = "(|(uid=$username)(mail=$username@x))";
    let expected = "(|(uid=a\\2a)(mail=a\\2a@x))";
    assert_eq!(written(both, "a*"), written(expected, ""));
}

#[test]
fn what_is_no_filter_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "expected an attribute, = and a value, found \"\""),
        ("(a=b", "expected ')' at the end"),
        ("(a=b))", "unexpected \")\" behind the filter"),
        ("(a=b)(c=d)", "unexpected \"(c=d)\" behind the filter"),
        ("(a b=c)", "expected an attribute, found \"a b=c\""),
        (
            "($username=c)",
            "expected an attribute, found \"$username=c\"",
        ),
        (
            "(a=\\zz)",
            "expected two hexadecimal digits behind each \\ in \"\\\\zz\"",
        ),
        ("(a=b(c=d))", "expected ')' before \"(c=d))\""),
        (
            ":=b",
            "expected an attribute or a rule before :=, found \":=b\"",
        ),
    ] {
        assert_eq!(Filter::parse(text).unwrap_err(), reason, "{text}");
    }
    let deep = format!("{}(a=b){}", "(!".repeat(40), ")".repeat(40));
    assert_eq!(
        Filter::parse(&deep).unwrap_err(),
        "more than 32 filters in each other"
    );
}

#[test]
fn a_message_is_as_long_as_it_says_and_never_longer_than_anything_asked_for() {
    for (bytes, expected) in [
        (&b""[..], Ok(None)),
        (b"\x30", Ok(None)),
        (b"\x30\x82\x01", Ok(None)),
        (b"\x30\x05", Ok(Some(7))),
        (b"\x30\x82\x01\x00", Ok(Some(260))),
        (b"\x30\x80", Err(Malformed::Length)),
        (b"\x30\x85", Err(Malformed::Length)),
        (b"\x30\x84\xff\xff\xff\xff", Err(Malformed::Long)),
        (b"HTTP/1.1 400", Err(Malformed::Tag(b'H'))),
    ] {
        assert_eq!(message_bytes(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn long_contents_are_written_with_long_lengths() {
    for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
        let mut out = Vec::new();
        ber::bytes(&mut out, ber::OCTET_STRING, &vec![b'x'; length]);
        let content = Reader(&out).expect(ber::OCTET_STRING).unwrap();
        assert_eq!(content.len(), length);
    }
}

proptest! {
    #[test]
    fn numbers_are_read_as_they_were_written(n in 0..=0x7fff_ffffu32) {
        let mut out = Vec::new();
        ber::number(&mut out, ber::INTEGER, n);
        prop_assert_eq!(Reader(&out).number(ber::INTEGER), Ok(n));
    }

    #[test]
    fn no_message_makes_the_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        operation in 0x60..0x7au8,
        searches in any::<bool>(),
    ) {
        let _ = message_bytes(&bytes);
        let mut talk = talk(if searches { SEARCH } else { SIMPLE }, "anna");
        sent(talk.begin());
        let _ = talk.read(&bytes);
        let _ = talk.read(&answer(1, operation, |out| out.extend_from_slice(&bytes)));
    }

    #[test]
    fn no_user_name_makes_another_filter_or_leaves_its_value(user in ".{0,20}") {
        let mut out = Vec::new();
        Filter::user("uid").write(&mut out, &user);
        let mut compared = Reader(Reader(&out).expect(0xa3).unwrap());
        prop_assert_eq!(compared.expect(ber::OCTET_STRING).unwrap(), b"uid");
        prop_assert_eq!(compared.expect(ber::OCTET_STRING).unwrap(), user.as_bytes());
        prop_assert!(compared.0.is_empty());
    }

    #[test]
    fn no_text_makes_the_readers_of_options_panic(text in "[ -~é]{0,30}") {
        let _ = Filter::parse(&text);
        let _ = Filter::parse(&format!("({text})"));
        for prefix in ["", "ldap://", "ldap://h/"] {
            let _ = Options::read([("ldapurl", &*format!("{prefix}{text}"))]);
        }
    }
}
