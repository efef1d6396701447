//! What is known of the database's functions, which may change while a client is there, or by what it does.

use std::sync::Arc;

use super::{Link, Relay};
use crate::cluster::{Cluster, Unread};
use crate::server::Server;
use crate::worker::Worker;

impl Relay {
    /// Between two transactions: takes over what is known by now. Another configuration waits until it has no server.
    #[cold]
    pub(super) fn learn(&mut self) {
        let between = match &self.link {
            Link::Alone => true,
            Link::Linked(server) => server.session.is_free(),
            Link::Waiting { .. } | Link::Checking { .. } | Link::Held { .. } => false,
        };
        let live = self.pool.live();
        if between && live.is_as_configured(&self.live) {
            self.live = live;
        }
    }
}

/// Says where functions are changing, before the server is told to, and that they no longer are.
#[inline]
pub(super) fn note_change(worker: &Worker, server: &mut Server) {
    if server.session.changes_functions() != server.change.is_some() {
        change(worker, server);
    }
}

/// Says where something runs that nobody has read, before the server gets it, and that it no longer does: after
/// [`note_change`], as the server may have said that it has defined something.
#[inline]
pub(super) fn note_unread(cluster: Option<&Arc<Cluster>>, server: &mut Server) {
    if server.session.is_unread() != server.unread.is_some() {
        let is_unread = server.session.is_unread();
        server.unread = cluster.filter(|_| is_unread).map(Unread::begin);
    }
}

#[cold]
fn change(worker: &Worker, server: &mut Server) {
    if server.session.changes_functions() {
        server.change = Some(worker.shared.change_functions(&server.card.target));
        server.session.change_is_known();
    }
    if !server.session.changes_functions() {
        server.change = None;
    }
}
