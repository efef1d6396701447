//! Cancel keys that were given out by the process before: where their clients are now.
//!
//! The number in such a key names a place in the other process, and may be the same as that of a client that has logged
//! in here. Which of them a request is for, the secret decides.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::register::Address;

/// By the process ids that clients were told, their homes in this process.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<HashMap<u32, Vec<Address>>>);

impl Keys {
    fn all(&self) -> MutexGuard<'_, HashMap<u32, Vec<Address>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that was told `pid` has its home at `at` now.
    pub(crate) fn enter(&self, pid: u32, at: Address) {
        self.all().entry(pid).or_default().push(at);
    }

    /// It has left.
    pub(crate) fn strike(&self, pid: u32, at: Address) {
        let mut all = self.all();
        if let Some(homes) = all.get_mut(&pid) {
            homes.retain(|home| *home != at);
            if homes.is_empty() {
                all.remove(&pid);
            }
        }
    }

    /// Everybody who was told `pid`.
    pub(crate) fn homes(&self, pid: u32) -> Vec<Address> {
        self.all().get(&pid).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_two_processes_may_have_been_told_the_same_number() {
        let keys = Keys::default();
        let at = |slot| Address { worker: 1, slot };
        assert_eq!(keys.homes(9), []);
        keys.enter(9, at(1));
        keys.enter(9, at(2));
        assert_eq!(keys.homes(9), [at(1), at(2)]);
        keys.strike(9, at(1));
        keys.strike(8, at(1));
        assert_eq!(keys.homes(9), [at(2)]);
        keys.strike(9, at(2));
        assert!(keys.all().is_empty());
    }
}
