//! Signals, which mean what they mean to PgBouncer.

use std::io;

use pgweir_proxy::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What an operator asks for by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// HUP: read the configuration again.
    Reload,
    /// USR1: PAUSE.
    Pause,
    /// USR2: RESUME.
    Resume,
    /// INT, TERM, QUIT: SHUTDOWN.
    Shutdown(Shutdown),
}

/// The signals of this process. From when this is made they end it no longer.
#[derive(Debug)]
pub(crate) struct Signals {
    hup: Signal,
    int: Signal,
    term: Signal,
    quit: Signal,
    usr1: Signal,
    usr2: Signal,
    /// Whether a shutdown that waits has been asked for.
    ending: bool,
}

impl Signals {
    /// Takes them over. Must be called in a runtime.
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            ending: false,
        })
    }

    /// The next wish.
    pub(crate) async fn next(&mut self) -> Wish {
        let wish = tokio::select! {
            _ = self.hup.recv() => Wish::Reload,
            _ = self.int.recv() => Wish::Shutdown(Shutdown::WaitForServers),
            _ = self.term.recv() => Wish::Shutdown(Shutdown::WaitForClients),
            _ = self.quit.recv() => Wish::Shutdown(Shutdown::Now),
            _ = self.usr1.recv() => Wish::Pause,
            _ = self.usr2.recv() => Wish::Resume,
        };
        insist(wish, &mut self.ending)
    }

    /// Any signal by which one ends a program that runs in a terminal.
    pub(crate) async fn end(&mut self) {
        tokio::select! {
            _ = self.hup.recv() => {}
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Whoever asks for the end a second time does not want to wait.
fn insist(wish: Wish, ending: &mut bool) -> Wish {
    match wish {
        Wish::Shutdown(_) if *ending => Wish::Shutdown(Shutdown::Now),
        Wish::Shutdown(_) => {
            *ending = true;
            wish
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_shutdown_is_immediate() {
        use Wish::{Reload, Shutdown as End};
        let cases = [
            (
                &[End(Shutdown::WaitForClients), End(Shutdown::WaitForClients)][..],
                Shutdown::Now,
            ),
            (
                &[End(Shutdown::WaitForServers), End(Shutdown::WaitForClients)],
                Shutdown::Now,
            ),
            (
                &[Reload, End(Shutdown::WaitForServers)],
                Shutdown::WaitForServers,
            ),
            (
                &[
                    End(Shutdown::WaitForClients),
                    Reload,
                    End(Shutdown::WaitForServers),
                ],
                Shutdown::Now,
            ),
            (&[End(Shutdown::Now)], Shutdown::Now),
        ];
        for (wishes, last) in cases {
            let mut ending = false;
            let granted = wishes.iter().map(|&w| insist(w, &mut ending)).last();
            assert_eq!(granted, Some(End(last)), "{wishes:?}");
        }
    }
}
