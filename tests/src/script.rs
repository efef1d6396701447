//! Client messages, one after the other, in one buffer.

use pgweir_wire::build;
use pgweir_wire::frontend::{Target, tag};

/// Builds the bytes a client sends.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<u8>);

impl Script {
    /// Nothing yet.
    pub fn new() -> Self {
        Script::default()
    }

    /// Query.
    pub fn query(mut self, sql: &str) -> Self {
        build::query(&mut self.0, sql.as_bytes());
        self
    }

    /// Parse without parameter types.
    pub fn parse(mut self, name: &str, sql: &str) -> Self {
        let definition = [sql.as_bytes(), &[0, 0, 0]].concat();
        build::parse(&mut self.0, name.as_bytes(), &definition);
        self
    }

    /// Bind with text parameters and text results.
    pub fn bind(mut self, portal: &str, statement: &str, values: &[Option<&str>]) -> Self {
        build::message(&mut self.0, tag::BIND, |out| {
            for name in [portal, statement] {
                out.extend_from_slice(name.as_bytes());
                out.push(0);
            }
            out.extend_from_slice(&0u16.to_be_bytes());
            out.extend_from_slice(&(values.len() as u16).to_be_bytes());
            for value in values {
                let length = value.map_or(-1, |v| v.len() as i32);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value.unwrap_or_default().as_bytes());
            }
            out.extend_from_slice(&0u16.to_be_bytes());
        });
        self
    }

    /// Describe of a statement.
    pub fn describe_statement(mut self, name: &str) -> Self {
        build::describe(&mut self.0, Target::Statement, name.as_bytes());
        self
    }

    /// Describe of a portal.
    pub fn describe_portal(mut self, name: &str) -> Self {
        build::describe(&mut self.0, Target::Portal, name.as_bytes());
        self
    }

    /// Execute; 0 is all rows.
    pub fn execute(mut self, portal: &str, rows: u32) -> Self {
        build::message(&mut self.0, tag::EXECUTE, |out| {
            out.extend_from_slice(portal.as_bytes());
            out.push(0);
            out.extend_from_slice(&rows.to_be_bytes());
        });
        self
    }

    /// Close of a statement.
    pub fn close_statement(mut self, name: &str) -> Self {
        build::close(&mut self.0, Target::Statement, name.as_bytes());
        self
    }

    /// Close of a portal.
    pub fn close_portal(mut self, name: &str) -> Self {
        build::close(&mut self.0, Target::Portal, name.as_bytes());
        self
    }

    /// Sync.
    pub fn sync(mut self) -> Self {
        self.0.extend_from_slice(&build::SYNC);
        self
    }

    /// Flush.
    pub fn flush(mut self) -> Self {
        self.0.extend_from_slice(&build::FLUSH);
        self
    }

    /// Terminate.
    pub fn terminate(mut self) -> Self {
        self.0.extend_from_slice(&build::TERMINATE);
        self
    }

    /// CopyData.
    pub fn copy_data(mut self, data: &str) -> Self {
        build::message(&mut self.0, tag::COPY_DATA, |out| {
            out.extend_from_slice(data.as_bytes());
        });
        self
    }

    /// CopyDone.
    pub fn copy_done(self) -> Self {
        self.message(tag::COPY_DONE, b"")
    }

    /// CopyFail.
    pub fn copy_fail(self, why: &str) -> Self {
        self.message(tag::COPY_FAIL, &[why.as_bytes(), b"\0"].concat())
    }

    /// FunctionCall of `oid` with text arguments.
    pub fn call(self, oid: u32, arguments: &[&str]) -> Self {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend_from_slice(&0u16.to_be_bytes());
        body.extend_from_slice(&(arguments.len() as u16).to_be_bytes());
        for a in arguments {
            body.extend_from_slice(&(a.len() as u32).to_be_bytes());
            body.extend_from_slice(a.as_bytes());
        }
        body.extend_from_slice(&0u16.to_be_bytes());
        self.message(tag::FUNCTION_CALL, &body)
    }

    /// Any message.
    pub fn message(mut self, tag: u8, body: &[u8]) -> Self {
        build::message(&mut self.0, tag, |out| out.extend_from_slice(body));
        self
    }

    /// Any bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Parse, Bind, Describe and Execute of the unnamed statement, and Sync.
    pub fn extended(self, sql: &str, values: &[Option<&str>]) -> Self {
        self.parse("", sql)
            .bind("", "", values)
            .describe_portal("")
            .execute("", 0)
            .sync()
    }

    /// What was built.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
