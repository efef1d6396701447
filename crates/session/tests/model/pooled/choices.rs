//! How bytes arrive, and who is next: the choices that a test makes.

/// How bytes arrive, and who is next.
#[derive(Debug, Clone)]
pub enum Choices {
    /// By values that a property test draws, again from the beginning when they are used up.
    Drawn { values: Vec<u16>, at: usize },
    /// All at once, but for one cut after so many bytes of the clients' and of the servers'.
    Cut { client: usize, server: usize },
    /// Each byte on its own.
    ByteByByte,
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Pooler,
    Server,
}

impl Choices {
    pub fn drawn(values: Vec<u16>) -> Self {
        Choices::Drawn { values, at: 0 }
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let Choices::Drawn { values, at } = self else {
            return 0;
        };
        let v = usize::from(values[*at % values.len()]);
        // Another round makes other choices.
        let v = v.wrapping_add(*at / values.len() * 7919);
        *at += 1;
        v % n
    }

    /// How many of `n` bytes arrive at once: all, one, or something between.
    pub(super) fn bytes(&mut self, n: usize, side: Side) -> usize {
        match self {
            Choices::Drawn { .. } => match self.below(4) {
                0 | 1 => n,
                2 => 1,
                _ => 1 + self.below(n),
            },
            Choices::Cut { client, server } => {
                let left = match side {
                    Side::Client => client,
                    Side::Server => server,
                    Side::Pooler => return n,
                };
                let now = if *left == 0 { n } else { n.min(*left) };
                *left -= now.min(*left);
                now
            }
            Choices::ByteByByte => 1,
        }
    }
}
