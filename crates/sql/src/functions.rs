//! Which functions leave nothing behind in a session.

use std::borrow::Cow;

use crate::keywords::{COLUMN_NAMES, RESERVED, RESERVED_LATER, TYPES_OR_FUNCTIONS, UNRESERVED};
use crate::own::{HARMLESS, LEFT_OUT};
use crate::primary::{self, VOLATILE_READS};
use crate::tables::Touch;
use crate::touching::Touching;
use crate::volatile::Volatile;

/// What is known of a name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Known(u16);

impl Known {
    /// PostgreSQL's own, and harmless.
    pub const OWN: Known = Known(1);
    /// Declared harmless, in whatever schema.
    pub const HARMLESS: Known = Known(1 << 1);
    /// Declared suspicious, in whatever schema.
    pub const SUSPICIOUS: Known = Known(1 << 2);
    /// The last part of a name that is declared to keep state.
    pub const MAY_BE_PINNED: Known = Known(1 << 3);
    /// A keyword that makes a construct of the language with the parenthesis behind it.
    pub const CONSTRUCT: Known = Known(1 << 4);
    /// A keyword.
    pub const KEYWORD: Known = Known(1 << 5);
    /// PostgreSQL's own, and not harmless.
    pub const LEFT_OUT: Known = Known(1 << 6);
    /// PostgreSQL's own, and only the primary can do it, or answers otherwise than a standby.
    pub const PRIMARY: Known = Known(1 << 7);
    /// None of this name, in whatever schema, can write.
    pub const READING: Known = Known(1 << 8);
    /// One of this name may write.
    pub const WRITING: Known = Known(1 << 9);
    /// Not a function: a relation that only the primary has, or that calls what may write.
    pub const RELATION: Known = Known(1 << 10);

    /// What is in one or the other.
    pub const fn or(self, other: Known) -> Known {
        Known(self.0 | other.0)
    }

    /// Whether anything of `other` is known.
    pub fn is(self, other: Known) -> bool {
        self.0 & other.0 != 0
    }
}

/// Names of functions that a user may write with an upper-case letter or not, are looked up in any case.
const TRUNCATED: usize = 63;

/// Which functions leave nothing behind in a session: PostgreSQL's own, and what was added.
///
/// Names are compared without regard to case, which is right for names without quotes. If two functions differ only in
/// case, the worse of what is said of them holds for both.
#[derive(Debug, Clone)]
pub struct Functions {
    /// Open addressing: 0, or one more than an index into `names`, and above it the upper half of the name's hash, so
    /// that a name that is not there is hardly ever compared with one that is.
    slots: Vec<u64>,
    names: Vec<Name>,
    pinned: Vec<Pin>,
    unnamed: Unnamed,
    volatility: Volatility,
    /// Of names that are those of relations or functions of the database; `None` if nothing is known.
    touches: Option<Vec<Touch>>,
}

#[derive(Debug, Clone)]
struct Name {
    name: Cow<'static, str>,
    known: Known,
    /// One more than an index into `touches`, or 0.
    touch: u32,
}

/// What is known of the volatility of what a text calls without naming a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volatility {
    /// Nothing.
    Unknown,
    /// No operator, cast or type may write, and no relation.
    None,
    /// Some relations may, which are known by their names.
    OfRelations,
    /// Anything may.
    OfAny,
}

/// Which statements may call suspicious functions without naming them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unnamed {
    /// What writes to a table, by its triggers.
    pub by_writes: bool,
    /// What defines or drops something, by event triggers.
    pub by_definitions: bool,
    /// Every statement, by views, defaults, operators and their like.
    pub by_any: bool,
}

impl Unnamed {
    /// Every statement.
    pub const BY_ANY: Unnamed = Unnamed {
        by_writes: true,
        by_definitions: true,
        by_any: true,
    };

    /// Whether no statement does.
    #[inline]
    pub fn is_none(self) -> bool {
        !(self.by_writes || self.by_definitions || self.by_any)
    }
}

/// A name declared to keep state.
#[derive(Debug, Clone)]
struct Pin {
    schema: Option<Box<str>>,
    name: Box<str>,
    /// Everything that begins with `name`.
    prefix: bool,
}

impl Default for Functions {
    fn default() -> Self {
        Functions::new()
    }
}

impl Functions {
    /// Those of PostgreSQL itself.
    pub fn new() -> Self {
        let mut functions = Functions {
            slots: vec![0; 8192],
            names: Vec::with_capacity(2800),
            pinned: Vec::new(),
            unnamed: Unnamed::default(),
            volatility: Volatility::Unknown,
            touches: None,
        };
        for name in HARMLESS {
            let needs = match primary::needs_function(name) {
                true => Known::PRIMARY,
                false => Known::default(),
            };
            functions.add(Cow::Borrowed(name), Known::OWN.or(needs));
        }
        for name in LEFT_OUT {
            let needs = match VOLATILE_READS.contains(name) {
                true => Known::default(),
                false => Known::PRIMARY,
            };
            functions.add(Cow::Borrowed(name), Known::LEFT_OUT.or(needs));
        }
        for list in [
            UNRESERVED,
            COLUMN_NAMES,
            TYPES_OR_FUNCTIONS,
            RESERVED,
            RESERVED_LATER,
        ] {
            for word in list {
                functions.add(Cow::Borrowed(word), Known::KEYWORD);
            }
        }
        // Of these two the form with commas finds a user's function of the same name, too.
        let constructs = COLUMN_NAMES
            .iter()
            .filter(|word| !matches!(**word, "substring" | "overlay"))
            .chain(RESERVED);
        for word in constructs {
            functions.add(Cow::Borrowed(word), Known::CONSTRUCT);
        }
        functions
    }

    /// Adds functions that keep state in the backend (the setting `pin_functions`): `name` or `schema.name`, where a
    /// trailing `*` stands for anything. A call of one is [`Effects::PINNED`](crate::Effects::PINNED), whatever else is
    /// said of it. A name without schema is meant in every schema; a call without schema may mean every schema.
    #[must_use]
    pub fn with_pinning<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        for name in names {
            let (schema, name) = match name.split_once('.') {
                Some((schema, name)) => (Some(schema), name),
                None => (None, name),
            };
            let prefix = name.ends_with('*');
            let name = name.trim_end_matches('*');
            if !prefix {
                self.add(Cow::Owned(name.to_owned()), Known::MAY_BE_PINNED);
            }
            self.pinned.push(Pin {
                schema: schema.map(Box::from),
                name: Box::from(name),
                prefix,
            });
        }
        self
    }

    /// Adds what the catalog tells: names of functions that are harmless in whatever schema they are, and names that
    /// are not, which beats harmless, and PostgreSQL's own of the same name unless `pg_catalog` is written before it.
    #[must_use]
    pub fn with_known<'h, 's>(
        mut self,
        harmless: impl IntoIterator<Item = &'h str>,
        suspicious: impl IntoIterator<Item = &'s str>,
    ) -> Self {
        for name in harmless {
            self.add(Cow::Owned(name.to_owned()), Known::HARMLESS);
        }
        for name in suspicious {
            self.add(Cow::Owned(name.to_owned()), Known::SUSPICIOUS);
        }
        self
    }

    /// Adds that some statements call suspicious functions that they do not name: each such statement is
    /// [`Effects::FUNCTION`](crate::Effects::FUNCTION).
    #[must_use]
    pub fn with_unnamed(mut self, unnamed: Unnamed) -> Self {
        self.unnamed = unnamed;
        self
    }

    /// Adds what the catalog tells of what may write. Without it, whatever reads goes to the primary.
    #[must_use]
    pub fn with_volatile(mut self, volatile: &Volatile) -> Self {
        for name in &volatile.reading {
            self.add(Cow::Owned(name.to_string()), Known::READING);
        }
        for name in &volatile.writing {
            self.add(Cow::Owned(name.to_string()), Known::WRITING);
        }
        for name in &volatile.relations {
            self.add(Cow::Owned(name.to_string()), Known::RELATION);
        }
        self.volatility = match (volatile.unnamed, volatile.relations.is_empty()) {
            (true, _) => Volatility::OfAny,
            (false, true) => Volatility::None,
            (false, false) => Volatility::OfRelations,
        };
        self
    }

    /// Adds what the catalog tells of what touches which tables. Without it, every text may touch any.
    #[must_use]
    pub fn with_touching(mut self, touching: &Touching) -> Self {
        let mut touches = Vec::with_capacity(touching.names().len());
        for (name, touch) in touching.names() {
            let index = self.add(Cow::Owned(name.to_string()), Known::default());
            touches.push(*touch);
            self.names[index].touch = touches.len() as u32;
        }
        self.touches = Some(touches);
        self
    }

    /// Whether it is known what touches which tables.
    #[inline]
    pub(crate) fn knows_tables(&self) -> bool {
        self.touches.is_some()
    }

    /// What is known of a name by its last part, as it is written without quotes, and what is touched by what mentions it.
    #[inline]
    pub(crate) fn touch(&self, name: &[u8]) -> (Known, Touch) {
        let Some(found) = self.find(name) else {
            return (Known::default(), Touch::default());
        };
        let touches = self.touches.as_deref().unwrap_or_default();
        let index = (found.touch as usize).wrapping_sub(1);
        let touch = touches.get(index).copied().unwrap_or_default();
        (found.known, touch)
    }

    /// What is known of what is not called by name.
    #[inline]
    pub(crate) fn volatility(&self) -> Volatility {
        self.volatility
    }

    /// Which statements call suspicious functions that they do not name.
    #[inline]
    pub(crate) fn unnamed(&self) -> Unnamed {
        self.unnamed
    }

    /// What is known of a name by its last part, as it is written without quotes.
    #[inline]
    pub(crate) fn known(&self, name: &[u8]) -> Known {
        self.find(name)
            .map_or(Known::default(), |found| found.known)
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<&Name> {
        let name = truncated(name);
        let hash = hash(name);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return None;
            }
            if (entry ^ hash) >> 32 == 0 {
                let found = &self.names[entry as u32 as usize - 1];
                if is_same(found.name.as_bytes(), name) {
                    return Some(found);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Whether a call of `schema.name` is of a function that keeps state; `known` is what is known of `name`.
    #[inline]
    pub(crate) fn pins(&self, schema: Option<&[u8]>, name: &[u8], known: Known) -> bool {
        !self.pinned.is_empty() && self.pins_by_list(schema, name, known)
    }

    /// Whether a call of a name without schema leaves nothing behind, and may run on a standby, by what is `known` of it.
    #[inline]
    pub(crate) fn is_plainly_harmless(&self, known: Known) -> bool {
        const DOUBTFUL: Known = Known::CONSTRUCT
            .or(Known::LEFT_OUT)
            .or(Known::SUSPICIOUS)
            .or(Known::PRIMARY)
            .or(Known::WRITING);
        known.is(Known::OWN) && !known.is(DOUBTFUL) && self.pinned.is_empty()
    }

    fn pins_by_list(&self, schema: Option<&[u8]>, name: &[u8], known: Known) -> bool {
        let name = truncated(name);
        self.pinned.iter().any(|pin| {
            let named = if pin.prefix {
                name.get(..pin.name.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(pin.name.as_bytes()))
            } else {
                known.is(Known::MAY_BE_PINNED) && name.eq_ignore_ascii_case(pin.name.as_bytes())
            };
            let located = match (&pin.schema, schema) {
                (Some(pinned), Some(written)) => pinned.as_bytes().eq_ignore_ascii_case(written),
                _ => true,
            };
            named && located
        })
    }

    /// Returns its index.
    fn add(&mut self, name: Cow<'static, str>, known: Known) -> usize {
        if self.names.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(truncated(name.as_bytes()));
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            let index = self.slots[slot] as u32 as usize - 1;
            let found = &mut self.names[index];
            if found.name.eq_ignore_ascii_case(&name) {
                found.known.0 |= known.0;
                return index;
            }
            slot = (slot + 1) & mask;
        }
        self.names.push(Name {
            name,
            known,
            touch: 0,
        });
        self.slots[slot] = entry(hash, self.names.len());
        self.names.len() - 1
    }

    fn grow(&mut self) {
        let slots = self.slots.len() * 2;
        self.slots = vec![0; slots];
        for (index, named) in self.names.iter().enumerate() {
            let hash = hash(truncated(named.name.as_bytes()));
            let mut slot = hash as usize & (slots - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            self.slots[slot] = entry(hash, index + 1);
        }
    }
}

/// A name as the server keeps it. (It cuts between characters, so a name of more than 63 bytes with others than ASCII
/// may not be found: then it counts as unknown.)
fn truncated(name: &[u8]) -> &[u8] {
    &name[..name.len().min(TRUNCATED)]
}

/// Whether they are the same but for the case of ASCII letters.
#[inline]
fn is_same(known: &[u8], name: &[u8]) -> bool {
    // Most names are written as they are known, and most have eight letters or less.
    match (known.first_chunk::<4>(), name.first_chunk::<4>()) {
        (Some(start), Some(other)) if known.len() <= 8 && known.len() == name.len() => {
            let is_start = start == other;
            is_start && known.last_chunk::<4>() == name.last_chunk::<4>()
                || known.eq_ignore_ascii_case(name)
        }
        _ => known == name || known.eq_ignore_ascii_case(name),
    }
}

/// What a slot holds for the name of this hash and number.
fn entry(hash: u64, number: usize) -> u64 {
    hash >> 32 << 32 | number as u64
}

/// The number of the table of this name, whatever the case of its letters.
pub(crate) fn table_number(name: &str) -> u16 {
    (hash(truncated(name.as_bytes())) >> 24) as u16
}

/// The same for names that differ in the case of ASCII letters.
#[inline]
fn hash(name: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let mix = |hash: u64, bytes: u64| {
        let hash = (hash ^ (bytes | LOWER)).wrapping_mul(MULTIPLIER);
        hash ^ hash >> 29
    };
    let length = name.len() as u64;
    // Ends that overlap are cheaper than single bytes.
    if let Some(end) = name.last_chunk::<8>() {
        let (chunks, _) = name.as_chunks::<8>();
        let hash = chunks
            .iter()
            .fold(length, |hash, chunk| mix(hash, u64::from_le_bytes(*chunk)));
        return mix(hash, u64::from_le_bytes(*end));
    }
    let bytes = match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(start), Some(end)) => {
            u64::from(u32::from_le_bytes(*start)) << 32 | u64::from(u32::from_le_bytes(*end))
        }
        _ => name.iter().fold(0, |bytes, b| bytes << 8 | u64::from(*b)),
    };
    mix(length, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_are_found_in_any_case() {
        let functions = Functions::new();
        assert!(functions.known(b"LOWER").is(Known::OWN));
        assert!(functions.known(b"pg_advisory_xact_lock").is(Known::OWN));
        assert!(!functions.known(b"set_config").is(Known::OWN));
        assert!(functions.known(b"IN").is(Known::CONSTRUCT));
        assert!(functions.known(b"temp").is(Known::KEYWORD));
        assert_eq!(functions.known(b"no_such_name"), Known::default());
    }

    #[test]
    fn many_known_names_are_all_found_and_suspicion_adds_up() {
        let names: Vec<String> = (0..20_000).map(|i| format!("function_{i}")).collect();
        let functions =
            Functions::new().with_known(names.iter().map(String::as_str), ["function_7", "Lower"]);
        for name in &names {
            assert!(
                functions.known(name.as_bytes()).is(Known::HARMLESS),
                "{name}"
            );
        }
        assert!(functions.known(b"function_7").is(Known::SUSPICIOUS));
        assert!(!functions.known(b"function_8").is(Known::SUSPICIOUS));
        assert!(functions.known(b"lower").is(Known::SUSPICIOUS));
    }

    #[test]
    fn pins_are_found_by_name_schema_and_prefix() {
        let functions = Functions::new().with_pinning(["keep", "app.hold", "cache_*"]);
        let whole = Functions::new().with_pinning(["state.*"]);
        let pins_by = |functions: &Functions, schema: Option<&str>, name: &str| {
            let known = functions.known(name.as_bytes());
            functions.pins(schema.map(str::as_bytes), name.as_bytes(), known)
        };
        let pins = |schema, name| pins_by(&functions, schema, name);
        assert!(pins(None, "Keep") && pins(Some("any"), "keep"));
        assert!(pins(None, "hold") && pins(Some("APP"), "hold") && !pins(Some("other"), "hold"));
        assert!(pins(None, "cache_put") && pins(Some("x"), "cache_") && !pins(None, "cach"));
        assert!(pins_by(&whole, Some("state"), "anything"));
        assert!(!pins_by(&whole, Some("other"), "anything"));
        // A call without schema may mean any schema.
        assert!(pins_by(&whole, None, "anything"));
    }

    #[test]
    fn names_longer_than_the_server_keeps_are_found_by_what_it_keeps() {
        let long = "x".repeat(70);
        let functions = Functions::new().with_known([&long[..63]], []);
        assert!(functions.known(long.as_bytes()).is(Known::HARMLESS));
    }
}
