//! BER, as LDAP uses it (RFC 4511, section 5.1): lengths are definite, tags have one byte.

/// What came is no message of LDAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early, or a part of it is longer than the whole.
    #[error("a part is longer than what it is in")]
    Short,
    /// A length that LDAP does not allow.
    #[error("a length is indefinite or has more than four bytes")]
    Length,
    /// It is longer than any answer to what was asked.
    #[error("it is longer than {MAX_MESSAGE_BYTES} bytes")]
    Long,
    /// Something else stands where something must.
    #[error("found {0:#04x} where something else belongs")]
    Tag(u8),
}

/// The longest message that is read. Entries come without their attributes, so nothing is near it.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;

/// How many bytes the message at the beginning of `buffer` has; `None` if too little has come to tell.
///
/// # Errors
/// It is none, or one that is too long to be kept.
pub fn message_bytes(buffer: &[u8]) -> Result<Option<usize>, Malformed> {
    match buffer.first() {
        None => return Ok(None),
        Some(&SEQUENCE) => {}
        Some(&other) => return Err(Malformed::Tag(other)),
    }
    let Some((length, header)) = length(&buffer[1..])? else {
        return Ok(None);
    };
    match length > MAX_MESSAGE_BYTES {
        true => Err(Malformed::Long),
        false => Ok(Some(1 + header + length)),
    }
}

/// A length, and the bytes that it takes itself.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    if first < 0x80 {
        return Ok(Some((usize::from(first), 1)));
    }
    let size = usize::from(first & 0x7f);
    if !(1..=4).contains(&size) {
        return Err(Malformed::Length);
    }
    let Some(digits) = bytes.get(1..=size) else {
        return Ok(None);
    };
    let length = digits
        .iter()
        .fold(0, |n, &digit| n << 8 | usize::from(digit));
    Ok(Some((length, 1 + size)))
}

/// The elements of one level, in order. What is in them is read by another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag, and what is in it.
    pub(super) fn element(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (&tag, rest) = self.0.split_first().ok_or(Malformed::Short)?;
        let (length, header) = length(rest)?.ok_or(Malformed::Short)?;
        let end = header.checked_add(length).ok_or(Malformed::Length)?;
        let content = rest.get(header..end).ok_or(Malformed::Short)?;
        self.0 = &rest[end..];
        Ok((tag, content))
    }

    /// What is in the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.element()? {
            (found, content) if found == tag => Ok(content),
            (found, _) => Err(Malformed::Tag(found)),
        }
    }

    /// The number in the next element, which must have this tag; negative ones are none of LDAP's.
    pub(super) fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        let digits = self.expect(tag)?;
        match digits.len() {
            1..=4 if digits[0] < 0x80 => {
                Ok(digits.iter().fold(0, |n, &digit| n << 8 | u32::from(digit)))
            }
            _ => Err(Malformed::Length),
        }
    }
}

/// Adds an element whose content `write` adds.
pub(super) fn element(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    write(out);
    let length = out.len() - start;
    let digits = (length as u32).to_be_bytes();
    let header: &[u8] = match length {
        0..0x80 => &digits[3..],
        0x80..0x100 => &[0x81, digits[3]],
        0x100..0x1_0000 => &[0x82, digits[2], digits[3]],
        _ => &[0x84, digits[0], digits[1], digits[2], digits[3]],
    };
    out.splice(start..start, header.iter().copied());
}

/// Adds an element of these bytes.
pub(super) fn bytes(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    element(out, tag, |out| out.extend_from_slice(content));
}

/// Adds a number.
pub(super) fn number(out: &mut Vec<u8>, tag: u8, number: u32) {
    let digits = number.to_be_bytes();
    // One more in front where the first would be read as a sign.
    let first = digits.iter().position(|&d| d != 0).unwrap_or(3);
    element(out, tag, |out| {
        if digits[first] >= 0x80 {
            out.push(0);
        }
        out.extend_from_slice(&digits[first..]);
    });
}
