//! From the client to its server: what it sends, with or without a server to send it to.

use std::task::{Context, Poll};
use std::time::Instant;

use pgweir_session::{Need, Out, alone, forward, translated};

use super::{End, Link, Relay, functions, poll_read};
use crate::server::Server;
use crate::stats::count;
use crate::worker::{SCRATCH_BYTES, Scratch};

impl Relay {
    /// Reads the client once and deals with what it sent.
    #[inline]
    pub(super) fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, spill, back } = &mut *scratch;
        if self.need > input.len() {
            return self.read_long_message(cx, spill, back);
        }
        let kept = self.kept.len();
        let n = match poll_read(&mut self.stream, cx, &mut input[kept..]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => return Err(End::Gone),
            Poll::Ready(Ok(n)) => n,
        };
        let block = self.pool.stats.block(self.worker.id);
        count(&block.received, n as u64);
        if kept > 0 {
            input[..kept].copy_from_slice(&self.kept);
            self.kept = Vec::new();
        }
        let input = &input[..kept + n];
        if input.len() < self.need {
            self.kept.extend_from_slice(input);
        } else {
            self.take(cx, input, spill, back)?;
        }
        Ok(true)
    }

    /// Reads more of a message that must be seen as a whole and does not fit into the scratch buffer.
    fn read_long_message(
        &mut self,
        cx: &mut Context<'_>,
        spill: &mut Vec<u8>,
        back: &mut Vec<u8>,
    ) -> Result<bool, End> {
        let have = self.kept.len();
        // Grows with what comes, so that a length alone takes no memory.
        let room = (self.need - have).min(SCRATCH_BYTES.max(have));
        self.kept.resize(have + room, 0);
        let n = match poll_read(&mut self.stream, cx, &mut self.kept[have..]) {
            Poll::Pending => {
                self.kept.truncate(have);
                return Ok(false);
            }
            Poll::Ready(Ok(0) | Err(_)) => return Err(End::Gone),
            Poll::Ready(Ok(n)) => n,
        };
        self.kept.truncate(have + n);
        count(&self.pool.stats.block(self.worker.id).received, n as u64);
        if self.kept.len() >= self.need {
            let input = std::mem::take(&mut self.kept);
            self.take(cx, &input, spill, back)?;
            *spill = Vec::new();
        }
        Ok(true)
    }

    /// Goes on with what was kept.
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let input = std::mem::take(&mut self.kept);
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { spill, back, .. } = &mut *scratch;
        self.take(cx, &input, spill, back)
    }

    /// Deals with what the client sent.
    #[inline]
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        spill: &mut Vec<u8>,
        back: &mut Vec<u8>,
    ) -> Result<(), End> {
        self.need = 0;
        let translated = match self.live.cluster {
            Some(_) => translated(&self.session, input),
            None => None,
        };
        let input = translated.as_deref().unwrap_or(input);
        if self.live.limits.functions_version != self.pool.functions_version() {
            self.learn();
        }
        let mut rest = input;
        if let Link::Alone = self.link {
            back.clear();
            let step = alone(&mut self.session, rest, &self.live.limits, back)?;
            rest = &rest[step.consumed..];
            if !back.is_empty() {
                self.outbox
                    .send(&mut self.stream, cx, back)
                    .map_err(|_| End::Gone)?;
            }
            match step.need {
                Need::Nothing => return Ok(()),
                Need::Close => return Err(End::Left),
                Need::Bytes(n) => {
                    self.keep(rest, n);
                    return Ok(());
                }
                Need::Server
                | Need::FreshServer
                | Need::Primary
                | Need::Replies
                | Need::Channels => self.check_out(cx, rest)?,
            }
        }
        let is_outdated = self.site.is_some() && self.is_outdated(rest);
        if is_outdated
            && let Link::Linked(server) = &self.link
            && !server.session.is_free()
        {
            // Whether a transaction is under way is known when all is answered.
            self.keep(rest, 0);
            return Ok(());
        }
        if is_outdated {
            self.leave_site();
            self.check_out(cx, rest)?;
        }
        let Link::Linked(server) = &mut self.link else {
            self.keep(rest, 0);
            return Ok(());
        };
        let mut out = Out::new(rest, spill);
        back.clear();
        let idle = !server.session.is_busy();
        let free = server.session.is_free();
        let just_linked = self.fresh;
        if self.fresh || server.session.is_in_upkeep() {
            if !server.session.is_aligned(&self.session) {
                let limits = &self.live.limits;
                server
                    .session
                    .align(&self.session, rest, limits, out.insert());
            }
            self.fresh = false;
        }
        let step = forward(
            &mut self.session,
            &mut server.session,
            rest,
            &self.live.limits,
            &self.worker.shared.statements,
            &mut out,
            back,
        )?;
        if step.need == Need::Primary {
            // It is free, so nothing was put before what it must not get.
            let rest = &rest[step.consumed..];
            self.leave_site();
            return self.take(cx, rest, spill, back);
        }
        if step.need == Need::FreshServer {
            self.keep(&rest[step.consumed..], 0);
            self.renew();
            return Ok(());
        }
        functions::note_change(&self.worker, server);
        functions::note_unread(self.live.cluster.as_ref(), server);
        self.note_sent(free, &rest[..step.consumed], !back.is_empty());
        let Link::Linked(server) = &mut self.link else {
            return Ok(());
        };
        if !out.is_empty() {
            let Server { outbox, stream, .. } = &mut **server;
            if let Err(e) = outbox.send(stream, cx, out.bytes()) {
                self.keep(&rest[step.consumed..], 0);
                return self.lost(&e).map(|_| ());
            }
        }
        rest = &rest[step.consumed..];
        if !back.is_empty() {
            self.outbox
                .send(&mut self.stream, cx, back)
                .map_err(|_| End::Gone)?;
        }
        match step.need {
            Need::Nothing => {}
            Need::Close => return Err(End::Left),
            Need::Bytes(n) => self.keep(rest, n),
            Need::Server | Need::FreshServer | Need::Primary | Need::Replies => {
                self.keep(rest, 0);
            }
            Need::Channels => {
                self.keep(rest, 0);
                self.ask_hub(cx);
            }
        }
        if idle {
            if !just_linked {
                self.turned = Instant::now();
            }
            if free {
                self.transaction_began = self.turned;
            }
            self.arm(self.turned);
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, bytes: &[u8], need: usize) {
        self.need = need;
        self.kept.extend_from_slice(bytes);
    }
}
