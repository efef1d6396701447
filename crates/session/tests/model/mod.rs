//! A model of PostgreSQL's side of the protocol, and two ways to talk to it: directly, and through the session.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod backend;
pub mod direct;
pub mod pooled;
pub mod program;
pub mod script;
pub mod session_program;
pub mod statement;
