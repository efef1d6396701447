//! Linux-PAM's library, and the one way in which it is called.
//!
//! Source: the Linux-PAM Application Developers' Guide, pam(3) and what it names. The numbers are those of
//! `security/_pam_types.h`.

// It is C.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_void};

use super::conversation::{Conversation, Converse};

/// Its functions. They are there for as long as the process is: the library is never unloaded, since modules may have left
/// something behind that calls it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Library {
    start: Start,
    set_item: SetItem,
    authenticate: Step,
    account: Step,
    text: Text,
    end: End,
}

/// `pam_handle_t`, of which nothing is known.
type Handle = *mut c_void;

type Start =
    unsafe extern "C" fn(*const c_char, *const c_char, *const Converse, *mut Handle) -> c_int;
type SetItem = unsafe extern "C" fn(Handle, c_int, *const c_void) -> c_int;
type Step = unsafe extern "C" fn(Handle, c_int) -> c_int;
type Text = unsafe extern "C" fn(Handle, c_int) -> *const c_char;
type End = unsafe extern "C" fn(Handle, c_int) -> c_int;

const SUCCESS: c_int = 0;
/// The item that says from where a user comes.
const RHOST: c_int = 4;
/// Modules are to say nothing to the user.
const SILENT: c_int = 0x8000;

/// The names of the library: that of the system's packages, and that of the development package.
const NAMES: [&str; 2] = ["libpam.so.0", "libpam.so"];

/// The system's own words, where there are any.
fn reason(error: &libloading::Error) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// What is asked.
pub(super) struct Login<'l> {
    pub(super) service: &'l CStr,
    pub(super) user: &'l CStr,
    /// The client's address.
    pub(super) from: &'l CStr,
    pub(super) password: &'l [u8],
}

/// What comes of it.
#[derive(Debug)]
pub(super) struct Answer {
    /// Why the user is not let in: which step has failed, and the library's words.
    pub(super) result: Result<(), String>,
    /// What modules had to say to the user.
    pub(super) said: Vec<String>,
}

impl Library {
    /// Loads it; the error says what to install.
    pub(super) fn load() -> Result<Library, String> {
        match cfg!(target_os = "linux") {
            true => Library::first_of(&NAMES),
            false => Err("only Linux-PAM is known here".to_owned()),
        }
    }

    fn first_of(names: &[&str]) -> Result<Library, String> {
        let mut failures = Vec::new();
        for name in names {
            // SAFETY: loading runs what the library does at its beginning, and Linux-PAM's does nothing.
            match unsafe { libloading::Library::new(*name) } {
                Ok(library) => {
                    let functions = Library::of(&library).map_err(|e| {
                        format!("{name} is not the library of Linux-PAM: {}", reason(&e))
                    });
                    // See `Library`: what was taken from it stays good.
                    std::mem::forget(library);
                    return functions;
                }
                Err(e) => failures.push(reason(&e)),
            }
        }
        Err(format!(
            "the library of PAM cannot be loaded (Debian: libpam0g): {}",
            failures.join("; ")
        ))
    }

    fn of(library: &libloading::Library) -> Result<Library, libloading::Error> {
        // SAFETY: each type is that of the function in Linux-PAM's documentation, in the C of this platform, and the
        // functions outlive what is made of them, as the library is never unloaded.
        unsafe {
            Ok(Library {
                start: *library.get::<Start>("pam_start")?,
                set_item: *library.get::<SetItem>("pam_set_item")?,
                authenticate: *library.get::<Step>("pam_authenticate")?,
                account: *library.get::<Step>("pam_acct_mgmt")?,
                text: *library.get::<Text>("pam_strerror")?,
                end: *library.get::<End>("pam_end")?,
            })
        }
    }

    /// Asks whether the password is the user's, and whether the user may log in now. Blocks for as long as modules take.
    pub(super) fn ask(&self, login: &Login<'_>) -> Answer {
        let mut conversation = Conversation::new(login.password);
        let result = self.converse(login, &mut conversation);
        Answer {
            result,
            said: conversation.into_said(),
        }
    }

    fn converse(
        &self,
        login: &Login<'_>,
        conversation: &mut Conversation<'_>,
    ) -> Result<(), String> {
        let converse = conversation.as_c();
        let mut handle: Handle = std::ptr::null_mut();
        let (service, user) = (login.service.as_ptr(), login.user.as_ptr());
        // SAFETY: the texts end in zero bytes; what is pointed to, the conversation too, lives until `end` below.
        let code = unsafe { (self.start)(service, user, &raw const converse, &raw mut handle) };
        if code != SUCCESS || handle.is_null() {
            return Err(format!("pam_start: {}", self.text(handle, code)));
        }
        let from = login.from.as_ptr().cast();
        // SAFETY: the handle is good, and so is the text, which is copied.
        let mut code = unsafe { (self.set_item)(handle, RHOST, from) };
        let mut step = "pam_set_item";
        let steps = [
            ("pam_authenticate", self.authenticate),
            ("pam_acct_mgmt", self.account),
        ];
        for (name, ask) in steps {
            if code == SUCCESS {
                step = name;
                // SAFETY: the handle is good, this is the only thread that has it, and the conversation is still there.
                code = unsafe { ask(handle, SILENT) };
            }
        }
        let result = match code {
            SUCCESS => Ok(()),
            code => Err(format!("{step}: {}", self.text(handle, code))),
        };
        // SAFETY: the handle is good and not used again.
        unsafe { (self.end)(handle, code) };
        result
    }

    fn text(&self, handle: Handle, code: c_int) -> String {
        // SAFETY: the function does not look at the handle, which may be null.
        let text = unsafe { (self.text)(handle, code) };
        if text.is_null() {
            return format!("error {code}");
        }
        // SAFETY: it is one of the library's own constant texts.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named_with_its_package() {
        let error = Library::first_of(&["libpam-of-nobody.so.0"]).unwrap_err();
        assert!(
            error.starts_with("the library of PAM cannot be loaded (Debian: libpam0g): "),
            "{error}"
        );
        assert!(error.contains("libpam-of-nobody.so.0"), "{error}");
    }

    #[test]
    fn a_library_that_is_another_is_not_called() {
        let error = Library::first_of(&["libc.so.6"]).unwrap_err();
        let expected = "libc.so.6 is not the library of Linux-PAM: ";
        assert!(error.starts_with(expected), "{error}");
    }
}
