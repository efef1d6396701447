//! LISTEN and UNLISTEN, read exactly.

use crate::reading::Statement;

/// What a LISTEN or UNLISTEN asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// LISTEN to the channel of this name.
    Listen(String),
    /// UNLISTEN the channel of this name.
    Unlisten(String),
    /// UNLISTEN *
    UnlistenAll,
}

/// What `text` asks for if it is exactly one LISTEN or UNLISTEN; names are as the server keeps them. `None` for
/// everything else, also if the name cannot be told with certainty.
pub fn channel(text: &[u8]) -> Option<Channel> {
    let mut statement = Statement::of(text, 2)?;
    let listens = statement.take("listen");
    if !listens && !statement.take("unlisten") {
        return None;
    }
    if !listens && statement.take_byte(b'*') {
        return statement.is_at_end().then_some(Channel::UnlistenAll);
    }
    let token = statement.next()?;
    let name = statement.column_name(token)?;
    Some(if listens {
        Channel::Listen(name)
    } else {
        Channel::Unlisten(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_server_keeps_them() {
        let long = "x".repeat(70);
        let listen = |name: &str| Some(Channel::Listen(name.to_owned()));
        for (text, expected) in [
            ("LISTEN Jobs", listen("jobs")),
            (" /* a */ listen\n\"Jobs\" -- b", listen("Jobs")),
            ("listen \"a\"\"b\";", listen("a\"b")),
            ("listen \"é\"", listen("é")),
            (&format!("listen {long}"), listen(&long[..63])),
            ("listen values", listen("values")),
            ("unlisten a;", Some(Channel::Unlisten("a".to_owned()))),
            ("UNLISTEN *", Some(Channel::UnlistenAll)),
            ("listen *", None),
            ("listen select", None),
            ("listen left", None),
            ("listen json", None),
            ("listen é", None),
            ("listen \"\"", None),
            ("listen a.b", None),
            ("listen 'a'", None),
            ("listen a; select 1", None),
            ("listen a; listen b", None),
            ("listen u&\"a\"", None),
            ("listen", None),
            ("unlisten", None),
            ("listen a b", None),
            ("", None),
        ] {
            assert_eq!(channel(text.as_bytes()), expected, "{text}");
        }
        let long = "é".repeat(40);
        assert_eq!(channel(format!("listen \"{long}\"").as_bytes()), None);
        assert_eq!(channel(b"listen \"\xff\""), None);
    }
}
