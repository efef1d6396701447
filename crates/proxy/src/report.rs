//! What the pooler tells clients when something is wrong.

use pgweir_wire::build::{self, Report, Severity};

/// An error with its SQLSTATE, as it reaches a client: the pooler's own, or one that a server sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    /// In PostgreSQL's style.
    pub message: String,
    /// More about it, or `None`.
    pub detail: Option<String>,
    /// What to do, or `None`.
    pub hint: Option<String>,
}

impl Refusal {
    /// An error with neither detail nor hint.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Refusal {
            code: code.to_owned(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// The same with a detail.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends it as an ErrorResponse of this severity.
    pub fn write(&self, severity: Severity, out: &mut Vec<u8>) {
        build::report(
            out,
            Report {
                severity,
                code: &self.code,
                message: &self.message,
                detail: self.detail.as_deref(),
                hint: self.hint.as_deref(),
            },
        );
    }

    /// It as a FATAL ErrorResponse.
    pub fn fatal(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(Severity::Fatal, &mut out);
        out
    }
}
