//! Rows and columns of an answer, and their bytes.

use pgweir_wire::backend::tag;
use pgweir_wire::build;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int4,
    Int8,
}

impl Kind {
    /// OID in `pg_type`, and size in bytes.
    fn described(self) -> (u32, i16) {
        match self {
            Kind::Text => (25, -1),
            Kind::Int4 => (23, 4),
            Kind::Int8 => (20, 8),
        }
    }
}

/// A value; its column says which type a number is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Value::Number(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(n: usize) -> Self {
        Value::from(n as u64)
    }
}

impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Value::Number(n.into())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Number(yes.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A column as the client is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// A column, and where its values come from in a row.
pub(super) struct Column<R> {
    head: Head,
    value: fn(&R) -> Value,
}

macro_rules! column {
    ($name:ident, $kind:ident) => {
        pub(super) const fn $name<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
            Column {
                head: Head {
                    name,
                    kind: Kind::$kind,
                },
                value,
            }
        }
    };
}
column!(text, Text);
column!(int4, Int4);
column!(int8, Int8);

/// The columns of `table`.
pub(super) fn heads<R>(table: &[Column<R>]) -> Vec<Head> {
    table.iter().map(|column| column.head).collect()
}

/// One row of `table`.
pub(super) fn row<R>(table: &[Column<R>], row: &R) -> Vec<Value> {
    table.iter().map(|column| (column.value)(row)).collect()
}

/// Rows of `table`.
pub(super) fn rows<R>(table: &[Column<R>], all: impl IntoIterator<Item = R>) -> Vec<Vec<Value>> {
    all.into_iter().map(|r| row(table, &r)).collect()
}

/// How a client wants values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<u16>);

impl Formats {
    /// Whether column `n` is wanted in binary: none, one for all, or one for each is given.
    fn is_binary(&self, n: usize) -> bool {
        match &self.0[..] {
            [all] => *all == 1,
            each => each.get(n) == Some(&1),
        }
    }
}

/// Appends a RowDescription.
pub(super) fn describe(out: &mut Vec<u8>, heads: &[Head], formats: &Formats) {
    build::message(out, tag::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&(heads.len() as u16).to_be_bytes());
        for (n, head) in heads.iter().enumerate() {
            let (oid, size) = head.kind.described();
            out.extend_from_slice(head.name.as_bytes());
            out.push(0);
            out.extend_from_slice(&[0; 6]); // no table, no column number in one
            out.extend_from_slice(&oid.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes()); // no type modifier
            out.extend_from_slice(&u16::from(formats.is_binary(n)).to_be_bytes());
        }
    });
}

/// Appends a DataRow.
pub(super) fn data(out: &mut Vec<u8>, heads: &[Head], values: &[Value], formats: &Formats) {
    build::message(out, tag::DATA_ROW, |out| {
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for (n, (value, head)) in values.iter().zip(heads).enumerate() {
            let mut field = |bytes: &[u8]| {
                out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                out.extend_from_slice(bytes);
            };
            match (value, head.kind) {
                (Value::Null, _) => out.extend_from_slice(&(-1i32).to_be_bytes()),
                (Value::Text(text), _) => field(text.as_bytes()),
                (Value::Number(n64), Kind::Int8) if formats.is_binary(n) => {
                    field(&n64.to_be_bytes());
                }
                (Value::Number(n64), Kind::Int4) => {
                    let n32 = i32::try_from(*n64).unwrap_or(i32::MAX);
                    match formats.is_binary(n) {
                        true => field(&n32.to_be_bytes()),
                        false => field(n32.to_string().as_bytes()),
                    }
                }
                // In binary a text's bytes are the same.
                (Value::Number(n64), _) => field(n64.to_string().as_bytes()),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Both(i64, Option<&'static str>);

    const TABLE: &[Column<Both>] = &[
        int4("small", |b| Value::Number(b.0)),
        int8("large", |b| Value::Number(b.0)),
        text("word", |b| b.1.into()),
    ];

    fn bytes(formats: &[u16], both: Both) -> Vec<u8> {
        let mut out = Vec::new();
        let formats = Formats(formats.to_vec());
        data(&mut out, &heads(TABLE), &row(TABLE, &both), &formats);
        out[7..].to_vec()
    }

    #[test]
    fn numbers_are_text_unless_binary_is_asked_for() {
        let in_text = b"\0\0\0\x027\x38\0\0\0\x0278\0\0\0\x01x";
        assert_eq!(bytes(&[], Both(78, Some("x"))), in_text);
        let in_binary = b"\0\0\0\x04\0\0\0\x4e\0\0\0\x08\0\0\0\0\0\0\0\x4e\0\0\0\x01x";
        assert_eq!(bytes(&[1], Both(78, Some("x"))), in_binary);
        let mixed = b"\0\0\0\x04\0\0\0\x4e\0\0\0\x0278\xff\xff\xff\xff";
        assert_eq!(bytes(&[1, 0, 0], Both(78, None)), mixed);
    }

    #[test]
    fn a_number_too_large_for_its_column_is_the_largest() {
        let value = bytes(&[1], Both(i64::MAX, None));
        assert_eq!(value[4..8], i32::MAX.to_be_bytes());
    }
}
