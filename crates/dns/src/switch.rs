//! `/etc/nsswitch.conf`.
//!
//! Source: nsswitch.conf(5).

/// What is asked here: the hosts file and DNS, also by way of a service on this machine that asks DNS.
const KNOWN: [&str; 3] = ["files", "dns", "resolve"];

/// Whether the system asks others for the addresses of hosts, such as mDNS or a directory.
pub fn asks_others(text: &str) -> bool {
    let lines = text.lines().map(|line| line.split('#').next());
    let hosts = lines
        .flatten()
        .filter_map(|line| line.trim().strip_prefix("hosts:"));
    // What is in brackets says what follows from an answer, and may have spaces in it.
    hosts
        .flat_map(|line| line.split('[').flat_map(behind_brackets))
        .any(|word| !KNOWN.contains(&word))
}

fn behind_brackets(part: &str) -> impl Iterator<Item = &str> {
    let rest = part.split_once(']').map_or(part, |(_, rest)| rest);
    rest.split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::asks_others;

    #[test]
    fn what_neither_files_nor_dns_know_is_asked_of_others_where_the_system_does() {
        for (text, expected) in [
            ("", false),
            ("passwd: files ldap\nhosts: files dns\n", false),
            (
                "hosts:\tfiles resolve [!UNAVAIL=return SUCCESS=continue] dns # mdns\n",
                false,
            ),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns\n", true),
            ("#hosts: files ldap\nhosts: files dns myhostname\n", true),
        ] {
            assert_eq!(asks_others(text), expected, "{text}");
        }
    }
}
