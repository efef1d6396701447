//! Words for the person who looks on: plain lines, and on a terminal a few that are written over and over.

use std::io::{IsTerminal, Write};

/// stdout.
///
/// Nobody is left to tell when stdout is closed, so errors in writing to it are ignored.
#[derive(Debug)]
pub(crate) struct Terminal {
    is_terminal: bool,
    /// Lines of the live part on the screen.
    live: usize,
}

impl Terminal {
    /// stdout as it is.
    pub(crate) fn new() -> Terminal {
        let plain = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Terminal {
            is_terminal: std::io::stdout().is_terminal() && !plain,
            live: 0,
        }
    }

    /// Whether a person sees it at once, and lines can be written over.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes lines that stay, below the live part, which stays as it was last.
    pub(crate) fn say(&mut self, text: &str) {
        self.live = 0;
        self.write(&format!("{text}\n"));
    }

    /// Replaces the live part by `lines`, none longer than the terminal is wide. In one write, so that nothing flickers.
    /// Nothing where lines cannot be written over.
    pub(crate) fn show(&mut self, lines: &[String]) {
        if !self.is_terminal {
            return;
        }
        let mut text = String::new();
        if self.live > 0 {
            text.push_str(&format!("\x1b[{}F", self.live));
        }
        for line in lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.live = lines.len();
        self.write(&text);
    }

    /// `text`, bold where that can be shown.
    pub(crate) fn bold(&self, text: &str) -> String {
        match self.is_terminal {
            true => format!("\x1b[1m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}
