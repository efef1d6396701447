//! What `auth_query` has said of users: kept for a while, and asked once however many logins want to know.
//!
//! The clock, and how those who wait hear of an answer, are the caller's. Users that do not exist have a share of the
//! memory of their own, so that a flood of invented names does not push out those that log in all day.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::secret::Secret;

/// What the query has said of one user.
#[derive(Clone, Debug)]
pub enum Found {
    /// There is no such user.
    Nobody,
    /// The user, with its secret if it has one.
    User(Option<Secret>),
}

/// Whom the query is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The database in which it runs, as clients name it.
    pub database: Box<str>,
    /// The query's text.
    pub query: Box<str>,
    /// The user.
    pub user: Box<str>,
}

/// Tells one question from every other of the process, later ones being greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question(u64);

/// What is known of a user, or how to come to know it.
#[derive(Clone, Debug)]
pub enum Seen<F> {
    /// This is known.
    Known(Question, Found),
    /// Somebody asks already; this hears of the answer.
    Asked(F),
    /// The caller has to ask, and to [`report`](Lookups::report).
    Ask(Question),
}

/// Answers and open questions. `F` is by which others hear of an answer.
#[derive(Debug)]
pub struct Lookups<F> {
    capacity: usize,
    asked: u64,
    open: HashMap<Key, (Question, F)>,
    known: HashMap<Key, Known>,
    /// Keys of `known` in the order of their answers: users, and names that are nobody's.
    users: VecDeque<(Key, Question)>,
    nobody: VecDeque<(Key, Question)>,
}

#[derive(Debug)]
struct Known {
    question: Question,
    found: Found,
    at: Instant,
}

impl<F: Clone> Lookups<F> {
    /// Keeps what is known of up to `capacity` (at least 1) users, and as many names that are nobody's.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            asked: 0,
            open: HashMap::new(),
            known: HashMap::new(),
            users: VecDeque::new(),
            nobody: VecDeque::new(),
        }
    }

    /// What is known of `key` at `now` that is not older than `lifetime`, and newer than the answer to `doubted` if
    /// there is one: somebody could not log in by that, so it may be out of date. If it has to be asked, `hears` is
    /// how others that look meanwhile hear of the answer.
    pub fn look(
        &mut self,
        key: &Key,
        now: Instant,
        lifetime: Duration,
        doubted: Option<Question>,
        hears: impl FnOnce() -> F,
    ) -> Seen<F> {
        if let Some(known) = self.known.get(key)
            && now.saturating_duration_since(known.at) < lifetime
            && doubted.is_none_or(|doubted| known.question > doubted)
        {
            return Seen::Known(known.question, known.found.clone());
        }
        if let Some((_, hears)) = self.open.get(key) {
            return Seen::Asked(hears.clone());
        }
        self.asked += 1;
        let question = Question(self.asked);
        self.open.insert(key.clone(), (question, hears()));
        Seen::Ask(question)
    }

    /// The answer to a question that [`Seen::Ask`] has opened, at `now`; `None` if it could not be had, which is not
    /// kept. An answer to what was asked before [`Lookups::forget`] is not kept either.
    pub fn report(&mut self, key: &Key, question: Question, found: Option<Found>, now: Instant) {
        if self.open.get(key).is_none_or(|(open, _)| *open != question) {
            return;
        }
        self.open.remove(key);
        let Some(found) = found else { return };
        let order = match found {
            Found::Nobody => &mut self.nobody,
            Found::User(_) => &mut self.users,
        };
        order.push_back((key.clone(), question));
        let at = now;
        let known = Known {
            question,
            found,
            at,
        };
        self.known.insert(key.clone(), known);
        for order in [&mut self.users, &mut self.nobody] {
            // A key is there once for each answer, of which only the last is known.
            while order.len() > self.capacity
                && let Some((key, question)) = order.pop_front()
            {
                if self.known.get(&key).is_some_and(|k| k.question == question) {
                    self.known.remove(&key);
                }
            }
        }
    }

    /// Forgets everything, for a reload.
    pub fn forget(&mut self) {
        self.open.clear();
        self.known.clear();
        self.users.clear();
        self.nobody.clear();
    }

    /// Users and names that are kept.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(10);

    fn key(user: &str) -> Key {
        Key {
            database: "db".into(),
            query: "select".into(),
            user: user.into(),
        }
    }

    struct Table {
        lookups: Lookups<&'static str>,
        start: Instant,
    }

    impl Table {
        fn new(capacity: usize) -> Self {
            Self {
                lookups: Lookups::new(capacity),
                start: Instant::now(),
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn look(&mut self, user: &str, seconds: u64, doubted: Option<Question>) -> Seen<&str> {
            let now = self.at(seconds);
            self.lookups
                .look(&key(user), now, LIFETIME, doubted, || "hears")
        }

        fn ask(&mut self, user: &str, seconds: u64) -> Question {
            match self.look(user, seconds, None) {
                Seen::Ask(question) => question,
                other => panic!("{other:?}"),
            }
        }

        fn learn(&mut self, user: &str, found: Found, seconds: u64) -> Question {
            let question = self.ask(user, seconds);
            let now = self.at(seconds);
            self.lookups.report(&key(user), question, Some(found), now);
            question
        }
    }

    fn plain(password: &str) -> Found {
        Found::User(Some(Secret::Plain(password.to_owned())))
    }

    #[test]
    fn a_stampede_asks_once() {
        let mut table = Table::new(10);
        let question = table.ask("anna", 0);
        for _ in 0..3 {
            assert!(matches!(table.look("anna", 0, None), Seen::Asked("hears")));
        }
        let now = table.at(1);
        (table.lookups).report(&key("anna"), question, Some(plain("a")), now);
        assert!(matches!(table.look("anna", 1, None), Seen::Known(..)));
        // Of others, and elsewhere, nothing is known by that.
        table.ask("otto", 1);
        let mut elsewhere = key("anna");
        elsewhere.database = "other".into();
        let seen = (table.lookups).look(&elsewhere, now, LIFETIME, None, || "hears");
        assert!(matches!(seen, Seen::Ask(_)));
    }

    #[test]
    fn what_is_known_is_known_for_its_lifetime_only_that_nobody_is_there_too() {
        let mut table = Table::new(10);
        for (user, found) in [("anna", plain("a")), ("ghost", Found::Nobody)] {
            table.learn(user, found, 0);
            assert!(matches!(table.look(user, 9, None), Seen::Known(..)));
            assert!(matches!(table.look(user, 10, None), Seen::Ask(_)), "{user}");
        }
        let seen =
            (table.lookups).look(&key("never"), table.start, Duration::ZERO, None, || "hears");
        assert!(matches!(seen, Seen::Ask(_)));
    }

    #[test]
    fn a_doubted_answer_is_asked_anew_once_for_all_who_doubt_it() {
        let mut table = Table::new(10);
        let first = table.learn("anna", plain("old"), 0);
        let Seen::Ask(second) = table.look("anna", 1, Some(first)) else {
            panic!("the doubted answer was given again");
        };
        assert!(matches!(
            table.look("anna", 1, Some(first)),
            Seen::Asked("hears")
        ));
        let now = table.at(1);
        (table.lookups).report(&key("anna"), second, Some(plain("new")), now);
        match table.look("anna", 1, Some(first)) {
            Seen::Known(question, Found::User(Some(Secret::Plain(p)))) => {
                assert_eq!((question, &*p), (second, "new"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_that_failed_is_asked_again() {
        let mut table = Table::new(10);
        let question = table.ask("anna", 0);
        let now = table.start;
        table.lookups.report(&key("anna"), question, None, now);
        assert!(matches!(table.look("anna", 0, None), Seen::Ask(_)));
        assert!(table.lookups.is_empty());
    }

    #[test]
    fn invented_names_push_out_each_other_and_no_user() {
        let mut table = Table::new(2);
        table.learn("anna", plain("a"), 0);
        for name in ["x1", "x2", "x3", "x4"] {
            table.learn(name, Found::Nobody, 0);
        }
        assert_eq!(table.lookups.len(), 3);
        assert!(matches!(table.look("anna", 0, None), Seen::Known(..)));
        assert!(matches!(table.look("x4", 0, None), Seen::Known(..)));
        assert!(matches!(table.look("x1", 0, None), Seen::Ask(_)));
    }

    #[test]
    fn an_answer_that_comes_anew_is_not_pushed_out_by_its_old_place() {
        let mut table = Table::new(2);
        let first = table.learn("anna", plain("a"), 0);
        table.learn("otto", plain("o"), 0);
        let Seen::Ask(second) = table.look("anna", 1, Some(first)) else {
            panic!("not asked anew");
        };
        let now = table.at(1);
        (table.lookups).report(&key("anna"), second, Some(plain("b")), now);
        assert!(matches!(table.look("anna", 1, None), Seen::Known(..)));
        assert!(matches!(table.look("otto", 1, None), Seen::Known(..)));
    }

    #[test]
    fn an_answer_from_before_a_reload_is_not_kept() {
        let mut table = Table::new(10);
        let question = table.ask("anna", 0);
        table.lookups.forget();
        let newer = table.ask("anna", 0);
        let now = table.start;
        (table.lookups).report(&key("anna"), question, Some(plain("old")), now);
        assert!(matches!(table.look("anna", 0, None), Seen::Asked(_)));
        (table.lookups).report(&key("anna"), newer, Some(plain("new")), now);
        assert!(matches!(table.look("anna", 0, None), Seen::Known(..)));
    }
}
