//! Run-time parameters: what SET, SET LOCAL and RESET make of them, and what of it a commit or rollback leaves. Source:
//! `guc.c`.

use std::collections::BTreeMap;
use std::rc::Rc;

/// The parameters that the model has and reports, with the values that they have where nobody said anything.
pub const REPORTED: [(&str, &str); 3] = [
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "UTC"),
    ("application_name", "none"),
];

/// Those that it has and does not report.
const SILENT: [(&str, &str); 3] = [
    ("role", "none"),
    ("search_path", "public"),
    ("work_mem", "4096"),
];

/// A parameter as whom statements run: no list shows it, and RESET ALL leaves it.
const ROLE: &str = "role";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    text: String,
    /// The session has set it: its source is `session`.
    is_set: bool,
}

type Values = BTreeMap<String, Value>;

/// Why a parameter is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    NoSuchParameter,
    InvalidValue,
}

/// A session's parameters.
#[derive(Debug, Clone)]
pub struct Parameters {
    start: Rc<BTreeMap<String, String>>,
    now: Rc<Values>,
    /// What a commit leaves: all but what was set locally.
    kept: Rc<Values>,
}

impl Parameters {
    /// Those of a session that began with `settings`.
    pub fn new(settings: &[(&str, &str)]) -> Parameters {
        let known = REPORTED.iter().chain(&SILENT).chain(settings);
        let mut start = BTreeMap::new();
        for (name, value) in known {
            let name = name.to_ascii_lowercase();
            let value = meant(&name, value, start.get(&name)).expect("a start value is valid");
            start.insert(name, value);
        }
        let value = |(name, text): (&String, &String)| {
            let (text, is_set) = (text.clone(), false);
            (name.clone(), Value { text, is_set })
        };
        let now: Rc<Values> = Rc::new(start.iter().map(value).collect());
        Parameters {
            kept: now.clone(),
            now,
            start: Rc::new(start),
        }
    }

    /// The value of `name` (lower case) as SHOW tells it; empty if there is none.
    pub fn show(&self, name: &str) -> String {
        let text = self.now.get(name).map_or("", |v| &v.text);
        match (name, text.parse::<u32>()) {
            ("work_mem", Ok(kilobytes)) if kilobytes % 1024 == 0 => {
                format!("{}MB", kilobytes / 1024)
            }
            ("work_mem", Ok(kilobytes)) => format!("{kilobytes}kB"),
            _ => text.to_owned(),
        }
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.now.iter().map(|(n, v)| (&**n, &*v.text))
    }

    /// What the session has set and a list of all parameters shows: neither custom ones nor the role.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &str)> {
        let set = self.now.iter().filter(|(_, v)| v.is_set);
        set.map(|(n, v)| (&**n, &*v.text))
            .filter(|(n, _)| *n != ROLE && !n.contains('.'))
    }

    /// True if the session has set `name`. Of a custom parameter nothing tells that but that it is not empty.
    pub fn is_set(&self, name: &str) -> bool {
        let now = self.now.get(name);
        now.is_some_and(|v| match name.contains('.') {
            true => !v.text.is_empty(),
            false => v.is_set,
        })
    }

    /// The value of `name`, as a view shows it.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.now.get(name).map(|v| &*v.text)
    }

    /// True if the session began with a value of its own for `name`.
    pub fn has_start(&self, name: &str) -> bool {
        let all = REPORTED.iter().chain(&SILENT);
        let mut default = all
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| *v);
        self.start.get(name).map(|s| &**s) != default.next()
    }

    /// True if the session began with values of its own.
    pub fn has_any_start(&self) -> bool {
        self.start.keys().any(|name| self.has_start(name))
    }

    /// True if setting `name` to `value` would change nothing.
    pub fn means(&self, name: &str, value: &str) -> bool {
        let now = self.now.get(name);
        now.is_some_and(|v| meant(name, value, Some(&v.text)).as_ref() == Some(&v.text))
    }

    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<(), Refused> {
        let before = self.now.get(name).map(|v| &v.text);
        if before.is_none() && !name.contains('.') {
            return Err(Refused::NoSuchParameter);
        }
        let text = meant(name, value, before).ok_or(Refused::InvalidValue)?;
        let is_set = true;
        let value = Value { text, is_set };
        if !local {
            Rc::make_mut(&mut self.kept).insert(name.to_owned(), value.clone());
        }
        Rc::make_mut(&mut self.now).insert(name.to_owned(), value);
        Ok(())
    }

    pub fn reset(&mut self, name: &str) -> Result<(), Refused> {
        // A custom one that somebody has set stays known to the process: no error tells whether anybody has.
        if !self.now.contains_key(name) && !name.contains('.') {
            return Err(Refused::NoSuchParameter);
        }
        let value = Value {
            text: self.start.get(name).cloned().unwrap_or_default(),
            is_set: false,
        };
        Rc::make_mut(&mut self.kept).insert(name.to_owned(), value.clone());
        Rc::make_mut(&mut self.now).insert(name.to_owned(), value);
        Ok(())
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        let names: Vec<String> = self.now.keys().cloned().collect();
        for name in names.iter().filter(|n| *n != ROLE) {
            let _ = self.reset(name);
        }
    }

    /// RESET ROLE, RESET SESSION AUTHORIZATION.
    pub fn reset_role(&mut self) {
        let _ = self.reset(ROLE);
    }

    /// A transaction commits.
    pub fn commit(&mut self) {
        let kept = self.kept.clone();
        self.become_again(kept.clone(), kept);
    }

    /// Everything since `then` is rolled back.
    pub fn roll_back(&mut self, then: &Parameters) {
        self.become_again(then.now.clone(), then.kept.clone());
    }

    fn become_again(&mut self, now: Rc<Values>, kept: Rc<Values>) {
        let before = std::mem::replace(&mut self.now, now);
        self.kept = kept;
        // A custom parameter that was set once goes on being known, as an empty one.
        for name in before.keys() {
            for values in [&mut self.now, &mut self.kept] {
                if !values.contains_key(name) {
                    let empty = Value {
                        text: String::new(),
                        is_set: false,
                    };
                    Rc::make_mut(values).insert(name.clone(), empty);
                }
            }
        }
    }
}

/// What setting `name`, which is `before`, to `value` makes of it; `None` if it is no value.
fn meant(name: &str, value: &str, before: Option<&String>) -> Option<String> {
    match name {
        "work_mem" => {
            let (number, factor) = match value.strip_suffix("MB") {
                Some(number) => (number, 1024),
                None => (value.strip_suffix("kB").unwrap_or(value), 1),
            };
            let number: u32 = number.parse().ok()?;
            Some((number * factor).to_string())
        }
        "datestyle" => {
            let before = before.map_or("ISO, MDY", |b| b);
            let (mut style, mut order) = before.split_once(", ")?;
            for part in value.split(", ") {
                match part.to_ascii_lowercase().as_str() {
                    "iso" => style = "ISO",
                    "sql" => style = "SQL",
                    "german" => style = "German",
                    "mdy" => order = "MDY",
                    "dmy" => order = "DMY",
                    _ => return None,
                }
            }
            Some(format!("{style}, {order}"))
        }
        _ => Some(value.to_owned()),
    }
}
