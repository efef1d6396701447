//! What modules of PAM ask and say, by the function that they call for it (pam_conv(3)).

// It is C.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `struct pam_conv`.
#[repr(C)]
pub(super) struct Converse {
    function:
        unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    data: *mut c_void,
}

/// `struct pam_message`.
#[repr(C)]
pub(super) struct Message {
    style: c_int,
    text: *const c_char,
}

/// `struct pam_response`. Whoever has asked frees both it and its text.
#[repr(C)]
pub(super) struct Response {
    text: *mut c_char,
    code: c_int,
}

const SUCCESS: c_int = 0;
const BUFFER_ERROR: c_int = 5;
const CONVERSATION_ERROR: c_int = 19;

/// A question whose answer is not to be seen: the password.
const PROMPT_ECHO_OFF: c_int = 1;
const ERROR_MESSAGE: c_int = 3;
const TEXT: c_int = 4;

/// The most messages at a time (`PAM_MAX_NUM_MSG`).
const MAX_MESSAGES: c_int = 32;

/// The most that is kept of what modules say.
const MAX_SAID: usize = 10;

unsafe extern "C" {
    fn calloc(count: usize, bytes: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
}

/// One side of a conversation: it knows a password.
pub(super) struct Conversation<'p> {
    password: &'p [u8],
    said: Vec<String>,
}

impl<'p> Conversation<'p> {
    pub(super) fn new(password: &'p [u8]) -> Self {
        Conversation {
            password,
            said: Vec::new(),
        }
    }

    /// As PAM wants it. It must not be used once this has moved or is gone.
    pub(super) fn as_c(&mut self) -> Converse {
        Converse {
            function: converse,
            data: (&raw mut *self).cast(),
        }
    }

    /// What modules have said.
    pub(super) fn into_said(self) -> Vec<String> {
        self.said
    }

    /// The answer to a message; `None` if there is none to such a question.
    fn answer(&mut self, style: c_int, text: &str) -> Option<Option<&'p [u8]>> {
        match style {
            PROMPT_ECHO_OFF => Some(Some(self.password)),
            ERROR_MESSAGE | TEXT => {
                if self.said.len() < MAX_SAID {
                    self.said.push(text.to_owned());
                }
                Some(None)
            }
            _ => None,
        }
    }
}

/// Answers until they are handed over; what is not is wiped and freed.
struct Answers {
    first: *mut Response,
    count: usize,
}

impl Answers {
    fn new(count: usize) -> Option<Self> {
        // SAFETY: zeroes are what an answer without a text is; null is looked at below.
        let first: *mut Response = unsafe { calloc(count, size_of::<Response>()) }.cast();
        // Made only if it is kept, as it frees what it has.
        (!first.is_null()).then(|| Answers { first, count })
    }

    /// Gives the answer at `index` a text; false if there is no memory.
    fn set(&mut self, index: usize, text: &[u8]) -> bool {
        assert!(index < self.count, "there are as many answers as messages");
        // SAFETY: a byte more than the text, which stays zero.
        let copy: *mut u8 = unsafe { calloc(text.len() + 1, 1) }.cast();
        if copy.is_null() {
            return false;
        }
        // SAFETY: both have that many bytes and are not the same; the index was looked at.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
            (*self.first.add(index)).text = copy.cast();
        }
        true
    }

    /// Hands them over to be freed by another.
    fn into_raw(self) -> *mut Response {
        let first = self.first;
        std::mem::forget(self);
        first
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for index in 0..self.count {
            // SAFETY: there are that many, and each text is null or one of `set`'s, which ends in a zero byte.
            unsafe {
                let text = (*self.first.add(index)).text;
                if !text.is_null() {
                    let length = CStr::from_ptr(text).count_bytes();
                    for at in 0..length {
                        // Not an ordinary write, which a compiler may leave out before the memory is freed.
                        text.add(at).write_volatile(0);
                    }
                    free(text.cast());
                }
            }
        }
        // SAFETY: it is calloc's, and nobody else has it.
        unsafe { free(self.first.cast()) };
    }
}

/// What modules call.
///
/// # Safety
/// As pam_conv(3) has it: `messages` points to `count` pointers to messages, `responses` to room for a pointer, and `data`
/// is a [`Conversation`] that nobody else is using.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    if !(1..=MAX_MESSAGES).contains(&count)
        || messages.is_null()
        || responses.is_null()
        || data.is_null()
    {
        return CONVERSATION_ERROR;
    }
    // SAFETY: see above; it was looked that nothing is null and that the number is one.
    let (messages, conversation) = unsafe {
        (
            std::slice::from_raw_parts(messages, count as usize),
            &mut *data.cast::<Conversation<'_>>(),
        )
    };
    // SAFETY: as above. No panic may reach the caller, which is C.
    let answered = catch_unwind(AssertUnwindSafe(|| unsafe {
        answers(messages, conversation)
    }));
    match answered {
        Ok(Ok(answers)) => {
            // SAFETY: there is room for a pointer.
            unsafe { *responses = answers.into_raw() };
            SUCCESS
        }
        Ok(Err(code)) => code,
        Err(_) => CONVERSATION_ERROR,
    }
}

/// # Safety
/// Each message is null or good, and so is its text.
unsafe fn answers(
    messages: &[*const Message],
    conversation: &mut Conversation<'_>,
) -> Result<Answers, c_int> {
    let mut answers = Answers::new(messages.len()).ok_or(BUFFER_ERROR)?;
    for (index, message) in messages.iter().enumerate() {
        // SAFETY: the caller's.
        let message = unsafe { message.as_ref() }.ok_or(CONVERSATION_ERROR)?;
        let text = match message.text.is_null() {
            true => "".into(),
            // SAFETY: the caller's.
            false => unsafe { CStr::from_ptr(message.text) }.to_string_lossy(),
        };
        match conversation.answer(message.style, &text) {
            Some(None) => {}
            Some(Some(answer)) if answers.set(index, answer) => {}
            Some(Some(_)) => return Err(BUFFER_ERROR),
            None => return Err(CONVERSATION_ERROR),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT_ECHO_ON: c_int = 2;

    /// What is answered to these messages.
    fn ask(
        conversation: &mut Conversation<'_>,
        messages: &[(c_int, &CStr)],
    ) -> Result<Vec<Option<String>>, c_int> {
        let messages: Vec<Message> = messages
            .iter()
            .map(|&(style, text)| Message {
                style,
                text: text.as_ptr(),
            })
            .collect();
        let mut pointers: Vec<*const Message> = messages.iter().map(|m| &raw const *m).collect();
        let mut responses = std::ptr::null_mut();
        let c = conversation.as_c();
        let count = c_int::try_from(pointers.len()).unwrap();
        // SAFETY: as PAM calls it.
        let code =
            unsafe { (c.function)(count, pointers.as_mut_ptr(), &raw mut responses, c.data) };
        if code != SUCCESS {
            assert!(responses.is_null());
            return Err(code);
        }
        let answers = Answers {
            first: responses,
            count: pointers.len(),
        };
        let text = |index| {
            // SAFETY: there are as many as messages.
            let text = unsafe { (*answers.first.add(index)).text };
            // SAFETY: texts end in zero bytes.
            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
        };
        Ok((0..answers.count).map(text).collect())
    }

    #[test]
    fn the_password_is_the_answer_to_a_hidden_prompt_and_what_is_said_is_kept() {
        let mut conversation = Conversation::new(b"secret");
        let answers = ask(
            &mut conversation,
            &[
                (TEXT, c"hello"),
                (PROMPT_ECHO_OFF, c"Password: "),
                (ERROR_MESSAGE, c"expires"),
                (PROMPT_ECHO_OFF, c"Again: "),
            ],
        );
        let secret = Some("secret".to_owned());
        assert_eq!(answers, Ok(vec![None, secret.clone(), None, secret]));
        assert_eq!(conversation.into_said(), ["hello", "expires"]);
    }

    #[test]
    fn other_questions_have_no_answer() {
        let mut conversation = Conversation::new(b"secret");
        let hidden = (PROMPT_ECHO_OFF, c"Password: ");
        for style in [PROMPT_ECHO_ON, 0, 7] {
            let asked = ask(&mut conversation, &[hidden, (style, c"?")]);
            assert_eq!(asked, Err(CONVERSATION_ERROR), "{style}");
        }
        assert_eq!(ask(&mut conversation, &[]), Err(CONVERSATION_ERROR));
        let too_many = [hidden; 33];
        assert_eq!(ask(&mut conversation, &too_many), Err(CONVERSATION_ERROR));
        assert!(ask(&mut conversation, &too_many[1..]).is_ok());
    }

    #[test]
    fn what_modules_say_is_not_kept_without_end() {
        let mut conversation = Conversation::new(b"");
        for _ in 0..100 {
            ask(&mut conversation, &[(TEXT, c"x"); 32]).unwrap();
        }
        assert_eq!(conversation.into_said().len(), MAX_SAID);
    }
}
