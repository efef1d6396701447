//! Cipher suites and groups for the key exchange of TLS, of those that are spoken.
//!
//! Source: openssl-ciphers(1), "Cipher List Format" and "Cipher Strings"; IANA's "TLS Parameters" for the numbers.

use std::fmt;

/// Suites or groups, as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    text: String,
    /// IANA's numbers, the best first.
    numbers: Vec<u16>,
    /// They are all that there are, in no order of anybody's.
    is_default: bool,
}

impl Preference {
    /// IANA's numbers of what may be spoken, the best first.
    pub fn numbers(&self) -> &[u16] {
        &self.numbers
    }

    /// True if nobody has chosen.
    pub fn is_default(&self) -> bool {
        self.is_default
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A suite of TLS 1.2, by OpenSSL's name. All of them agree on keys by ECDHE.
struct Suite {
    name: &'static str,
    number: u16,
    signs: Signs,
    cipher: Cipher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    Ecdsa,
    Rsa,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes256,
    Aes128,
    ChaCha20,
}

const fn suite(name: &'static str, number: u16, signs: Signs, cipher: Cipher) -> Suite {
    Suite {
        name,
        number,
        signs,
        cipher,
    }
}

/// The best first.
const SUITES: [Suite; 6] = [
    suite(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        0xc02c,
        Signs::Ecdsa,
        Cipher::Aes256,
    ),
    suite(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        0xc02b,
        Signs::Ecdsa,
        Cipher::Aes128,
    ),
    suite(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        0xcca9,
        Signs::Ecdsa,
        Cipher::ChaCha20,
    ),
    suite(
        "ECDHE-RSA-AES256-GCM-SHA384",
        0xc030,
        Signs::Rsa,
        Cipher::Aes256,
    ),
    suite(
        "ECDHE-RSA-AES128-GCM-SHA256",
        0xc02f,
        Signs::Rsa,
        Cipher::Aes128,
    ),
    suite(
        "ECDHE-RSA-CHACHA20-POLY1305",
        0xcca8,
        Signs::Rsa,
        Cipher::ChaCha20,
    ),
];

/// Suites of TLS 1.3, the best first.
const SUITES_1_3: [(&str, u16); 3] = [
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
];

/// Those that OpenSSL knows besides.
const OTHER_SUITES_1_3: [&str; 4] = [
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
    "TLS_SHA256_SHA256",
    "TLS_SHA384_SHA384",
];

/// Groups by all their names, the best first.
const GROUPS: [(&[&str], u16); 3] = [
    (&["x25519"], 0x001d),
    (&["prime256v1", "secp256r1", "p-256"], 0x0017),
    (&["secp384r1", "p-384"], 0x0018),
];

impl Suite {
    /// Whether a word of a cipher list means this suite, among others. A word that means only suites that are not spoken
    /// means nothing here.
    fn is_meant(&self, word: &str) -> bool {
        match word.to_ascii_uppercase().as_str() {
            "ALL" | "DEFAULT" | "HIGH" | "TLSV1.2" => true,
            "ECDHE" | "EECDH" | "KECDHE" | "KEECDH" | "ECDH" | "AEAD" => true,
            // PgBouncer's own words for good choices.
            "SECURE" | "NORMAL" | "FAST" | "COMPAT" | "LEGACY" | "INSECURE" => true,
            "ARSA" => self.signs == Signs::Rsa,
            "AECDSA" | "ECDSA" => self.signs == Signs::Ecdsa,
            "AES" | "AESGCM" | "FIPS" => self.cipher != Cipher::ChaCha20,
            "AES256" => self.cipher == Cipher::Aes256,
            "AES128" => self.cipher == Cipher::Aes128,
            "CHACHA20" => self.cipher == Cipher::ChaCha20,
            name => name == self.name,
        }
    }

    fn key_bits(&self) -> u16 {
        match self.cipher {
            Cipher::Aes256 | Cipher::ChaCha20 => 256,
            Cipher::Aes128 => 128,
        }
    }
}

/// Reads a cipher list of OpenSSL for TLS 1.2; `None` if nothing is left of it.
pub(crate) fn suites(text: &str) -> Option<Preference> {
    let text = text.trim();
    let list = match text {
        "" => "default",
        list => list,
    };
    let mut chosen: Vec<&Suite> = Vec::new();
    let mut barred: Vec<u16> = Vec::new();
    for element in list.split([':', ',', ' ', ';']).filter(|e| !e.is_empty()) {
        if let Some(rule) = element.strip_prefix('@') {
            if rule == "STRENGTH" {
                chosen.sort_by_key(|suite| std::cmp::Reverse(suite.key_bits()));
            }
            continue;
        }
        let (sign, words) = match element.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), words)) => (sign, words),
            _ => ("", element),
        };
        let is_meant = |suite: &Suite| words.split('+').all(|word| suite.is_meant(word));
        match sign {
            "" => {
                let meant = SUITES.iter().filter(|suite| is_meant(suite));
                for suite in meant {
                    let is_new = chosen.iter().all(|known| known.number != suite.number);
                    if is_new && !barred.contains(&suite.number) {
                        chosen.push(suite);
                    }
                }
            }
            // To the end.
            "+" => chosen.sort_by_key(|suite| is_meant(suite)),
            _ => {
                chosen.retain(|suite| !is_meant(suite));
                if sign == "!" {
                    let meant = SUITES.iter().filter(|suite| is_meant(suite));
                    barred.extend(meant.map(|suite| suite.number));
                }
            }
        }
    }
    let numbers: Vec<u16> = chosen.iter().map(|suite| suite.number).collect();
    preference(text, numbers, SUITES.iter().map(|suite| suite.number))
}

/// Reads a list of suites for TLS 1.3; `None` if one is not known, or none is left.
pub(crate) fn suites_1_3(text: &str) -> Option<Preference> {
    let all = || SUITES_1_3.iter().map(|(_, number)| *number);
    let text = text.trim();
    if text.is_empty() {
        return preference(text, all().collect(), all());
    }
    let mut numbers = Vec::new();
    for word in text.split([':', ',']).map(str::trim) {
        let name = word.to_ascii_uppercase();
        match SUITES_1_3.iter().find(|(known, _)| *known == name) {
            Some((_, number)) if numbers.contains(number) => {}
            Some((_, number)) => numbers.push(*number),
            None if OTHER_SUITES_1_3.contains(&&*name) => {}
            None => return None,
        }
    }
    preference(text, numbers, all())
}

/// Reads a list of groups; `None` if one is not spoken.
pub(crate) fn groups(text: &str) -> Option<Preference> {
    let all = || GROUPS.iter().map(|(_, number)| *number);
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("auto") {
        return preference("auto", all().collect(), all());
    }
    let mut numbers = Vec::new();
    for word in text.split([':', ',']).map(str::trim) {
        let name = word.to_ascii_lowercase();
        let (_, number) = GROUPS.iter().find(|(names, _)| names.contains(&&*name))?;
        if !numbers.contains(number) {
            numbers.push(*number);
        }
    }
    preference(text, numbers, all())
}

fn preference(text: &str, numbers: Vec<u16>, all: impl Iterator<Item = u16>) -> Option<Preference> {
    let is_default = all.eq(numbers.iter().copied());
    (!numbers.is_empty()).then(|| Preference {
        text: text.to_owned(),
        numbers,
        is_default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of what is left of a list, without what all of them have.
    fn left(text: &str) -> String {
        let Some(found) = suites(text) else {
            return String::new();
        };
        let name = |number: &u16| {
            let suite = SUITES.iter().find(|suite| suite.number == *number).unwrap();
            suite
                .name
                .trim_start_matches("ECDHE-")
                .split("-GCM")
                .next()
                .unwrap()
        };
        found
            .numbers()
            .iter()
            .map(name)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn lists_of_openssl_mean_here_what_they_mean_there() {
        const ALL: &str = "ECDSA-AES256 ECDSA-AES128 ECDSA-CHACHA20-POLY1305 \
                           RSA-AES256 RSA-AES128 RSA-CHACHA20-POLY1305";
        for text in [
            "",
            "default",
            "DEFAULT",
            "secure",
            "fast",
            "normal",
            "all",
            "HIGH:MEDIUM:+3DES:!aNULL",
            "HIGH:!aNULL:!eNULL:@SECLEVEL=2",
            "TLSv1.2+AEAD+ECDHE:TLSv1.2+AEAD+DHE",
        ] {
            assert_eq!(left(text), ALL, "{text}");
        }
        let table = [
            ("ECDHE-RSA-AES128-GCM-SHA256", "RSA-AES128"),
            (
                "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:no-such",
                "RSA-AES128",
            ),
            (
                "AES256:AES128",
                "ECDSA-AES256 RSA-AES256 ECDSA-AES128 RSA-AES128",
            ),
            ("ECDHE+aRSA+AESGCM:-AES128", "RSA-AES256"),
            ("!CHACHA20:ALL:!aECDSA", "RSA-AES256 RSA-AES128"),
            (
                "-CHACHA20:ALL:!ECDSA:+AES256",
                "RSA-AES128 RSA-CHACHA20-POLY1305 RSA-AES256",
            ),
            ("AES128,AES256:!ECDSA @STRENGTH", "RSA-AES256 RSA-AES128"),
            ("kRSA", ""),
            ("AES128-SHA:DES-CBC3-SHA", ""),
            ("ALL:!ALL", ""),
            (":,", ""),
        ];
        for (text, expected) in table {
            assert_eq!(left(text), expected, "{text}");
        }
    }

    #[test]
    fn suites_of_tls_1_3_are_known_by_their_names() {
        let numbers = |text: &str| suites_1_3(text).map(|found| found.numbers().to_vec());
        assert_eq!(numbers(""), Some(vec![0x1302, 0x1301, 0x1303]));
        let two = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256";
        assert_eq!(numbers(two), Some(vec![0x1303, 0x1301]));
        assert_eq!(numbers("TLS_AES_128_CCM_SHA256"), None);
        assert_eq!(numbers("ECDHE-RSA-AES128-GCM-SHA256"), None);
    }

    #[test]
    fn groups_are_known_by_all_their_names() {
        let numbers = |text: &str| groups(text).map(|found| found.numbers().to_vec());
        assert_eq!(numbers("auto"), Some(vec![0x1d, 0x17, 0x18]));
        assert_eq!(numbers("prime256v1"), Some(vec![0x17]));
        assert_eq!(numbers("P-384:X25519:secp384r1"), Some(vec![0x18, 0x1d]));
        for text in ["none", "secp521r1", "X25519:none", ":"] {
            assert_eq!(numbers(text), None, "{text}");
        }
    }

    #[test]
    fn who_asks_for_all_has_chosen_nothing() {
        assert!(suites("HIGH").unwrap().is_default());
        assert!(!suites("AES256:ALL").unwrap().is_default());
        assert!(suites_1_3("").unwrap().is_default());
        assert!(!groups("secp384r1").unwrap().is_default());
    }
}
