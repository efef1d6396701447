//! Users' names as parts of names in a directory.

/// `user` as the value of an attribute in a name (RFC 4514, section 2.4): whatever is in it, it is that one value.
pub(super) fn escaped(user: &str) -> String {
    let mut escaped = String::with_capacity(user.len());
    let last = user.len().saturating_sub(1);
    for (at, c) in user.char_indices() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '=' | '\\' => escaped.extend(['\\', c]),
            ' ' if at == 0 || at == last => escaped.extend(['\\', c]),
            '#' if at == 0 => escaped.extend(['\\', c]),
            c if c.is_ascii_control() => escaped.push_str(&format!("\\{:02x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whether something in `user` could make another name of one that is none of RFC 4514's, such as `user@example.net`.
pub(super) fn means_something(user: &str) -> bool {
    user.contains(|c: char| c.is_ascii_control() || "\"+,;<>=\\/@".contains(c))
}
