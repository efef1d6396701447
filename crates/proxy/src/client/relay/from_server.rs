//! From the server to its client: what it answers, and what follows from that.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use pgweir_session::{Beginning, Counts, Out, PoolMode, ServerFault, reply};
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::sqlstate;

use super::again::Failing;
use super::ending::{server_lost, settings_failed};
use super::{End, Link, Relay, functions, micros, poll_read};
use crate::report::Refusal;
use crate::server::Server;
use crate::stats::count;
use crate::worker::Scratch;

impl Relay {
    /// Reads the server once and passes on what the client is to see.
    #[inline]
    pub(super) fn read_server(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Linked(server) = &mut self.link else {
            return Ok(false);
        };
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, spill, back } = &mut *scratch;
        let kept = server.kept.len();
        if kept == input.len() {
            return Err(ServerFault::Unexpected(server.kept[0]).into());
        }
        let n = match poll_read(&mut server.stream, cx, &mut input[kept..]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(e)) => return self.lost(&e),
            Poll::Ready(Ok(0)) => return self.lost(&io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(n)) => n,
        };
        if kept > 0 {
            input[..kept].copy_from_slice(&server.kept);
            server.kept = Vec::new();
        }
        let input = &input[..kept + n];
        if self.site.is_some() && server.sent.is_all() {
            match Beginning::read(&server.session, input) {
                Beginning::Answer => {}
                Beginning::Cut => {
                    server.kept.extend_from_slice(input);
                    return Ok(true);
                }
                Beginning::Failure { code, message } => {
                    let failing = Failing::Said {
                        code: &code,
                        message: &message,
                    };
                    if self.try_again(&failing) {
                        return Ok(true);
                    }
                }
            }
        }
        let Link::Linked(server) = &mut self.link else {
            return Ok(false);
        };
        let mut out = Out::new(input, spill);
        back.clear();
        if self.live.limits.functions_version != self.pool.functions_version() {
            server.session.functions_changed();
        }
        let used = reply(
            Some(&mut self.session),
            &mut server.session,
            input,
            &self.worker.shared.settings,
            &mut out,
            back,
        )?;
        if server.session.take_schema_changed() {
            self.worker.shared.statements.schema_changed();
        }
        functions::note_change(&self.worker, server);
        if used < input.len() {
            server.kept.extend_from_slice(&input[used..]);
        }
        if let Some(tables) = server.session.take_written()
            && let Some(cluster) = &self.live.cluster
        {
            // Before the client sees it.
            self.mark = cluster.wrote(&tables);
            functions::note_unread(Some(cluster), server);
        }
        if !out.is_empty() {
            server.sent.end();
            let block = self.pool.stats.block(self.worker.id);
            count(&block.sent, out.len() as u64);
            self.outbox
                .send(&mut self.stream, cx, out.bytes())
                .map_err(|_| End::Gone)?;
        }
        if !back.is_empty() {
            let Server { outbox, stream, .. } = &mut **server;
            outbox.send(stream, cx, back).map_err(|e| server_lost(&e))?;
        }
        if let Some(why) = server.session.upkeep_error() {
            return Err(End::Told(settings_failed(why)));
        }
        if server.session.has_ended() {
            return Err(End::ServerSaid);
        }
        if server.early_cancel.is_some() && !server.session.is_preparing() {
            self.cancel_now(cx);
        }
        let Link::Linked(server) = &mut self.link else {
            return Ok(true);
        };
        let counts = server.session.take_counts();
        self.worker.count(&self.pool, counts);
        let ended = counts.queries > 0;
        let status = server.session.status();
        self.note_holds()?;
        if self.session.take_settled_channels() {
            self.note_channels();
        }
        if ended {
            self.query_ended(counts, status)?;
        } else if self.timeouts.is_some()
            && let Link::Linked(server) = &self.link
            && server.session.is_waiting_for_client()
        {
            // All that was asked is answered, but no Sync came: it could hold the server for ever.
            let now = Instant::now();
            self.turned = now;
            self.arm(now);
        }
        Ok(true)
    }

    /// A ReadyForQuery was passed on.
    fn query_ended(&mut self, counts: Counts, status: TransactionStatus) -> Result<(), End> {
        let now = Instant::now();
        let block = self.pool.stats.block(self.worker.id);
        let worked = micros(now - self.turned);
        count(&block.query_us, worked);
        block.query_times.note(worked);
        if counts.transactions > 0 {
            count(&block.transaction_us, micros(now - self.transaction_began));
            self.transaction_began = now;
        }
        self.turned = now;
        self.arm(now);
        if self.live.mode == PoolMode::Statement && status != TransactionStatus::Idle {
            return Err(End::Told(
                Refusal::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "transaction blocks not allowed in statement pooling mode",
                )
                .hint("Set pool_mode = transaction or session for this database or user."),
            ));
        }
        Ok(())
    }
}
