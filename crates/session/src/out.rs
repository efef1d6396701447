//! What is to be written to a peer, without copying what passes unchanged.

use std::ops::Range;

/// The output of one step: a range of the input while everything passes in one piece, a buffer once something was put
/// in, changed or left out.
#[derive(Debug)]
pub struct Out<'a> {
    input: &'a [u8],
    passed: Range<usize>,
    spill: &'a mut Vec<u8>,
}

impl<'a> Out<'a> {
    /// An empty output over `input`; `spill` is emptied and lent for what cannot be a slice of it.
    pub fn new(input: &'a [u8], spill: &'a mut Vec<u8>) -> Self {
        spill.clear();
        Out {
            input,
            passed: 0..0,
            spill,
        }
    }

    /// Passes `range` of the input on.
    #[inline]
    pub fn pass(&mut self, range: Range<usize>) {
        if !self.spill.is_empty() {
            self.spill.extend_from_slice(&self.input[range]);
        } else if self.passed.is_empty() {
            self.passed = range;
        } else if self.passed.end == range.start {
            self.passed.end = range.end;
        } else {
            let input = self.input;
            self.insert().extend_from_slice(&input[range]);
        }
    }

    /// The buffer to append something to that is not in the input; it must not be left as it was.
    pub fn insert(&mut self) -> &mut Vec<u8> {
        if self.spill.is_empty() {
            self.spill
                .extend_from_slice(&self.input[self.passed.clone()]);
            self.passed = 0..0;
        }
        self.spill
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.spill.len() + self.passed.len()
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be written.
    pub fn bytes(&self) -> &[u8] {
        if self.spill.is_empty() {
            &self.input[self.passed.clone()]
        } else {
            self.spill
        }
    }
}
