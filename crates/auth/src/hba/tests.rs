use super::*;
use crate::hba::ident::Ident;
use proptest::prelude::*;

fn no_files(file: &str) -> Result<String, String> {
    Err(format!("{file} is not there"))
}

fn hba(text: &str) -> Hba {
    Hba::parse(text, &mut no_files).unwrap()
}

/// By TCP in clear text, from 10.1.2.3, as anna to the database shop.
fn client() -> Connection<'static> {
    Connection {
        address: Some([10, 1, 2, 3].into()),
        is_tls: false,
        is_replication: false,
        database: "shop",
        user: "anna",
    }
}

fn is_about(line: &str, client: Connection<'_>) -> bool {
    hba(line).find(&client).is_some()
}

#[test]
fn the_first_rule_that_is_about_a_client_holds() {
    let rules =
        hba("# who\n\nhost shop anna 10.1.0.0/16 reject\nhost all all all trust # others\n");
    let rule = rules.find(&client()).unwrap();
    assert_eq!((rule.line, &rule.method), (3, &Method::Reject));
    let other = Connection {
        user: "otto",
        ..client()
    };
    let rule = rules.find(&other).unwrap();
    assert_eq!((rule.line, &rule.method), (4, &Method::Trust));
    assert!(hba("").find(&client()).is_none());
}

#[test]
fn rules_are_about_the_ways_that_they_name() {
    for (kind, socket, plain, tls) in [
        ("local all all trust", true, false, false),
        ("host all all all trust", false, true, true),
        ("hostssl all all all trust", false, false, true),
        ("hostnossl all all all trust", false, true, false),
    ] {
        let by = |address, is_tls| {
            let client = Connection {
                address,
                is_tls,
                ..client()
            };
            is_about(kind, client)
        };
        let address = client().address;
        let found = (by(None, false), by(address, false), by(address, true));
        assert_eq!(found, (socket, plain, tls), "{kind}");
    }
}

#[test]
fn databases_and_users_are_told_by_name_and_keyword() {
    for (names, database, user, expected) in [
        ("all all", "shop", "anna", true),
        ("shop anna", "shop", "anna", true),
        ("shop anna", "Shop", "anna", false),
        ("a,shop otto,anna", "shop", "anna", true),
        ("a , shop otto ,anna", "shop", "anna", true),
        ("a,b anna", "shop", "anna", false),
        ("sameuser all", "anna", "anna", true),
        ("sameuser all", "shop", "anna", false),
        ("\"sameuser\" all", "sameuser", "anna", true),
        ("\"sameuser\" all", "anna", "anna", false),
        ("\"all\" anna", "shop", "anna", false),
        ("all \"all\"", "shop", "anna", false),
        ("all \"all\"", "shop", "all", true),
        ("\"my shop\" \"a\"\"b\"", "my shop", "a\"b", true),
        ("replication all", "shop", "anna", false),
        ("\"+group\" \"/x\"", "+group", "/x", true),
    ] {
        let line = format!("host {names} all trust");
        let client = Connection {
            database,
            user,
            ..client()
        };
        assert_eq!(is_about(&line, client), expected, "{line}");
    }
}

#[test]
fn replication_is_no_database() {
    for (database, expected) in [
        ("all", false),
        ("shop", false),
        ("sameuser", false),
        ("replication", true),
        ("all,replication", true),
        ("\"replication\"", false),
    ] {
        let client = Connection {
            is_replication: true,
            ..client()
        };
        let line = format!("host {database} all all trust");
        assert_eq!(is_about(&line, client), expected, "{line}");
    }
}

#[test]
fn addresses_are_told_by_their_leading_bits() {
    for (network, address, expected) in [
        ("10.1.2.3/32", "10.1.2.3", true),
        ("10.1.2.3/32", "10.1.2.4", false),
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.9.9.9/8", "10.1.2.3", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false),
        ("10.0.0.0 255.0.0.0", "10.1.2.3", true),
        ("10.0.0.0 255.0.0.255", "10.1.2.3", false),
        // By a socket for both families.
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::/0", "::ffff:10.1.2.3", false),
        ("::/0", "fd00::1", true),
        ("::1/128", "::1", true),
        ("::1/128", "::2", false),
        ("fd00::/8", "fdff::1", true),
        ("fd00:: ff00::", "fdff::1", true),
        ("fd00::/8", "10.1.2.3", false),
        ("all", "::1", true),
    ] {
        let client = Connection {
            address: Some(address.parse().unwrap()),
            ..client()
        };
        let line = format!("host all all {network} trust");
        assert_eq!(is_about(&line, client), expected, "{line}: {address}");
    }
}

#[test]
fn every_method_is_read_with_its_map() {
    let map = |name: &str| Some(name.to_owned());
    for (line, method) in [
        ("host all all all trust", Method::Trust),
        ("host all all all reject", Method::Reject),
        ("host all all all password", Method::Plain),
        ("host all all all md5", Method::Md5),
        ("host all all all scram-sha-256", Method::ScramSha256),
        ("hostssl all all all cert", Method::Cert(None)),
        ("hostssl all all all cert map=m", Method::Cert(map("m"))),
        ("local all all peer", Method::Peer(None)),
        ("local all all peer map=\"a b\"", Method::Peer(map("a b"))),
        ("local all all \\\n  md5", Method::Md5),
    ] {
        assert_eq!(hba(line).rules[0].method, method, "{line}");
    }
    let rules = hba("local all all peer map=one\nhostssl all all all cert map=two\n");
    assert_eq!(rules.maps().collect::<Vec<_>>(), [(1, "one"), (2, "two")]);
}

#[test]
fn names_can_stand_in_files() {
    let mut asked = Vec::new();
    let mut files = |file: &str| {
        asked.push(file.to_owned());
        Ok("# some\nshop, other\n\"third one\"\n".to_owned())
    };
    let rules = Hba::parse("host @names \"@anna\",anna all trust", &mut files).unwrap();
    assert_eq!(asked, ["names"]);
    for (database, expected) in [("shop", true), ("third one", true), ("some", false)] {
        let client = Connection {
            database,
            ..client()
        };
        assert_eq!(rules.find(&client).is_some(), expected, "{database}");
    }
    let nested = Hba::parse("host @a all all trust", &mut |_| Ok("@b".to_owned()));
    let expected = "line 1: a: line 1: @b is not supported: files in files";
    assert_eq!(nested.unwrap_err().to_string(), expected);
}

#[test]
fn a_line_that_is_not_understood_is_an_error_that_says_where() {
    for (line, expected) in [
        (
            "hots all all all trust",
            "expected local, host, hostssl or hostnossl, found \"hots\"",
        ),
        (
            "\"host\" all all all trust",
            "expected local, host, hostssl or hostnossl, found \"host\"",
        ),
        ("host", "expected a database at the end of the line"),
        ("host all", "expected a user at the end of the line"),
        ("host all all", "expected an address at the end of the line"),
        (
            "host all all all",
            "expected a method at the end of the line",
        ),
        ("local all all", "expected a method at the end of the line"),
        (
            "host all all all trusty",
            "expected trust, reject, password, md5, scram-sha-256, cert, peer, ldap or pam, found \"trusty\"",
        ),
        (
            "host all all 10.0.0.1 trust",
            "expected all, or an address with a mask (10.0.0.0/8, fd00::/8), found \"10.0.0.1\"",
        ),
        (
            "host all all 10.0.0.0/33 trust",
            "expected all, or an address with a mask (10.0.0.0/8, fd00::/8), found \"10.0.0.0/33\"",
        ),
        (
            "host all all 10.0.0.0/+8 trust",
            "expected all, or an address with a mask (10.0.0.0/8, fd00::/8), found \"10.0.0.0/+8\"",
        ),
        (
            "host all all 10.0.0.0 ff00:: trust",
            "expected a mask of the address's kind, found \"ff00::\"",
        ),
        (
            "host all all ::/129 trust",
            "expected all, or an address with a mask (10.0.0.0/8, fd00::/8), found \"::/129\"",
        ),
        (
            "host all all db.example trust",
            "db.example is not supported: hosts are told by their addresses only",
        ),
        (
            "host all all samenet trust",
            "samenet is not supported: write the addresses",
        ),
        (
            "host samerole all all trust",
            "samerole is not supported: the pooler does not know who is in a role",
        ),
        (
            "host all +staff all trust",
            "+staff is not supported: the pooler does not know who is in a role",
        ),
        (
            "host /^a all all trust",
            "/^a is not supported: name the databases",
        ),
        (
            "host all all all radius",
            "radius is not supported: the pooler has no such method",
        ),
        (
            "host all all all ldap ldapserver=x",
            "one of ldapprefix, ldapsuffix and ldapbasedn is needed",
        ),
        (
            "host all all all ldap ldapserver=x ldapbindpasswd=my hunter2",
            "each option of ldap is NAME=VALUE, in double quotes where a blank or a comma is in it",
        ),
        ("host all all all ldap map=a", "there is no option \"map\""),
        (
            "host all all all pam pam_use_hostname=1",
            "expected pamservice=NAME, found \"pam_use_hostname=1\"",
        ),
        (
            "host all all all md5 clientcert=1",
            "expected map=NAME, found \"clientcert=1\"",
        ),
        (
            "host all all all cert",
            "cert is not supported: it needs TLS: write hostssl",
        ),
        (
            "host all all all peer",
            "peer is not supported: it needs a Unix socket: write local",
        ),
        (
            "host all all all md5 map=a",
            "map= is not supported: only cert and peer have a name to map",
        ),
        (
            "local all all peer map=",
            "expected map=NAME, found \"map=\"",
        ),
        (
            "local all all peer map=a map=b",
            "expected map=NAME, found \"map=b\"",
        ),
        ("local all all peer,md5", "unexpected \"md5\""),
        ("local all \"all trust", "a double quote is not closed"),
        ("host @gone all all trust", "gone: gone is not there"),
        (
            "include more.conf",
            "include is not supported: write the rules in one file",
        ),
        (
            "hostgssenc all all all trust",
            "hostgssenc is not supported: the pooler does not speak GSSAPI",
        ),
    ] {
        let text = format!("# first\nlocal all all trust\n{line}\nlocal all all reject\n");
        let error = Hba::parse(&text, &mut no_files).unwrap_err();
        assert_eq!(error.to_string(), format!("line 3: {expected}"), "{line}");
    }
}

#[test]
fn a_line_that_goes_on_is_known_by_its_beginning() {
    let error = Hba::parse("local all \\\nall \\\nnothing", &mut no_files).unwrap_err();
    assert_eq!(error.line, 1);
}

#[test]
fn maps_say_who_may_be_whom() {
    let maps = Ident::parse(
        "# map system user\n\
         m anna boss\n\
         m otto otto\n\
         any root all\n\
         mail /^(.*)@example\\.com$ \\1\n\
         mail /^.*@other\\.com$ guest\n\
         quoted \"/literal\" \"all\"\n",
    )
    .unwrap();
    for (map, system, user, expected) in [
        (None, "anna", "anna", true),
        (None, "anna", "boss", false),
        (Some("m"), "anna", "boss", true),
        (Some("m"), "anna", "anna", false),
        (Some("m"), "otto", "otto", true),
        (Some("any"), "root", "whoever", true),
        (Some("any"), "toor", "whoever", false),
        (Some("mail"), "anna@example.com", "anna", true),
        (Some("mail"), "anna@example.com", "otto", false),
        (Some("mail"), "anna@example.com.evil", "anna", false),
        (Some("mail"), "evil@other.com", "guest", true),
        (Some("mail"), "x@other.com", "x", false),
        (Some("quoted"), "/literal", "all", true),
        (Some("quoted"), "/literal", "anna", false),
        (Some("none"), "anna", "anna", false),
    ] {
        let found = maps.admits(map, system, user);
        assert_eq!(found, expected, "{map:?} {system} {user}");
    }
    assert!(maps.has("m") && !maps.has("none"));
}

#[test]
fn what_an_expression_matches_is_put_in_as_it_stands() {
    let maps = Ident::parse("m /^(.*)$ x\\1y\\1\n").unwrap();
    // Only the first stands for it, as in PostgreSQL, and what matches is read no further.
    assert!(maps.admits(Some("m"), "\\1", "x\\1y\\1"));
    assert!(maps.admits(Some("m"), "$0", "x$0y\\1"));
}

#[test]
fn a_map_that_is_not_understood_is_an_error_that_says_where() {
    for (line, expected) in [
        ("m", "expected a system's user at the end of the line"),
        ("m anna", "expected a user at the end of the line"),
        ("m anna boss more", "unexpected \"more\""),
        ("m anna a,b", "unexpected \"b\""),
        (
            "m anna +staff",
            "+staff is not supported: the pooler does not know who is in a role",
        ),
        (
            "m anna /x",
            "/x is not supported: name the user, with \\1 for what matches",
        ),
        (
            "m anna \\1",
            "expected an expression with a group in parentheses, for \\1 to stand for, found \"\\\\1\"",
        ),
        (
            "m /^a$ \\1",
            "expected an expression with a group in parentheses, for \\1 to stand for, found \"\\\\1\"",
        ),
        (
            "include more",
            "include is not supported: write the maps in one file",
        ),
    ] {
        let error = Ident::parse(&format!("\n{line}\n")).unwrap_err();
        assert_eq!(error.to_string(), format!("line 2: {expected}"), "{line}");
    }
    for expression in ["/(", "/(a)\\1", "/[z-a]"] {
        let error = Ident::parse(&format!("m {expression} x")).unwrap_err();
        assert!(
            matches!(error.problem, Problem::Expression(..)),
            "{expression}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in r##"[ \n,@"#+/\\.:a-z0-9=]{0,60}|.*"##) {
        let _ = Hba::parse(&text, &mut no_files);
        let _ = Ident::parse(&text);
    }

    #[test]
    fn a_network_holds_what_agrees_with_it_in_its_leading_bits(a: u128, b: u128, length in 0u32..=128) {
        let (one, other) = (std::net::Ipv6Addr::from_bits(a), std::net::Ipv6Addr::from_bits(b));
        prop_assume!(other.to_ipv4_mapped().is_none());
        let client = Connection { address: Some(other.into()), ..client() };
        let agree = (a ^ b).leading_zeros() >= length;
        prop_assert_eq!(is_about(&format!("host all all {one}/{length} trust"), client), agree);
    }
}

#[test]
fn directories_and_services_are_named_behind_the_method() {
    let method = |rule: &str| {
        let hba = Hba::parse(rule, &mut |_| Err(String::new())).unwrap();
        hba.methods().next().unwrap().clone()
    };
    let directory = crate::ldap::Options::read([
        ("ldapserver", "one two"),
        ("ldapprefix", "uid="),
        ("ldapsuffix", ",dc=example,dc=net"),
    ]);
    let directory = Method::Ldap(Some(std::sync::Arc::new(directory.unwrap())));
    for options in [
        "ldapserver=\"one two\" ldapprefix=\"uid=\" ldapsuffix=\",dc=example,dc=net\"",
        "\"ldapserver=one two\", ldapprefix=uid=, \"ldapsuffix=,dc=example,dc=net\" # all",
    ] {
        assert_eq!(method(&format!("local all all ldap {options}")), directory);
    }
    assert_eq!(method("local all all ldap"), Method::Ldap(None));
    assert_eq!(method("host all all all pam"), Method::Pam(None));
    assert_eq!(
        method("host all all all pam pamservice=other"),
        Method::Pam(Some("other".to_owned()))
    );
}
