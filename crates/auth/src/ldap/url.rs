//! `ldapurl` (RFC 4516): `ldap://host:port/base?attribute?scope?filter`.

/// What a URL says; what it does not name is `None`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `ldap` or `ldaps`.
    pub(super) scheme: String,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) base: Option<String>,
    /// Of several the first one, as in PostgreSQL.
    pub(super) attribute: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) filter: Option<String>,
}

impl Url {
    /// Reads a URL; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Url, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("expected ldap://host:port/base?attribute?scope?filter")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "ldap" && scheme != "ldaps" {
            return Err("expected ldap:// or ldaps:// at the beginning".to_owned());
        }
        let (authority, rest) = match rest.split_once('/') {
            Some((authority, rest)) => (authority, rest),
            None => (rest, ""),
        };
        if authority.contains('?') {
            return Err("expected / between the host and the first ?".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        let mut parts = rest.splitn(5, '?').map(decoded);
        let mut part = || -> Result<Option<String>, String> {
            Ok(parts.next().transpose()?.filter(|part| !part.is_empty()))
        };
        let (base, attributes, scope, filter) = (part()?, part()?, part()?, part()?);
        if let Some(extensions) = part()? {
            return Err(format!("extensions ({extensions:?}) are not supported"));
        }
        let attribute = attributes.map(|a| a.split(',').next().unwrap_or_default().to_owned());
        Ok(Url {
            scheme,
            host,
            port,
            base,
            attribute,
            scope,
            filter,
        })
    }
}

/// `host`, `host:port`, `[address]:port`; either may be missing.
fn host_and_port(text: &str) -> Result<(Option<String>, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or("expected ] behind the address")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None if rest.is_empty() => (host, ""),
                None => return Err("expected : and a port behind ]".to_owned()),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = match port {
        "" => None,
        port => match port.parse() {
            Ok(port @ 1..) => Some(port),
            _ => return Err(format!("expected a port, found {port:?}")),
        },
    };
    let host = decoded(host)?;
    Ok((Some(host).filter(|host| !host.is_empty()), port))
}

/// `text` with each `%` and two hexadecimal digits as the byte that they are.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => return Err("expected two hexadecimal digits behind each %".to_owned()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "what % stands for is not UTF-8".to_owned())
}
