//! The connection between two processes: messages, and with some of them file descriptors (`SCM_RIGHTS`, unix(7)).
//!
//! A message is a byte that says its kind, its length in four bytes, and so much more. Its descriptors come with its first
//! byte. Both ends block: each has a thread for it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{ChannelError, Kind};

/// Kind and length.
const HEAD_BYTES: usize = 5;

/// The longest message: a client may have thousands of statements, of some kilobytes each.
pub(super) const MAX_BYTES: usize = 256 << 20;

/// Descriptors with one message, at most.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// How long the other process may take to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    socket: UnixStream,
    /// Held while a message is sent, for several threads may.
    sending: Arc<Mutex<()>>,
}

impl Channel {
    /// Over a connection on which nothing is under way.
    pub(super) fn new(socket: UnixStream) -> io::Result<Channel> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(None)?;
        Ok(Channel {
            socket,
            sending: Arc::default(),
        })
    }

    /// The same connection, for another thread.
    pub(super) fn share(&self) -> io::Result<Channel> {
        Ok(Channel {
            socket: self.socket.try_clone()?,
            sending: self.sending.clone(),
        })
    }

    /// How long [`Channel::receive`] waits; `None`: for ever.
    pub(super) fn set_patience(&self, limit: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(limit)
    }

    /// Ends it for both sides, whoever else has it.
    pub(super) fn close(&self) {
        // It may be gone already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Sends a message.
    pub(super) fn send(
        &self,
        kind: Kind,
        body: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if body.len() > MAX_BYTES {
            return Err(ChannelError::TooLong(length));
        }
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.push(kind as u8);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
        }
        let _whole = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = loop {
            match sendmsg(
                &self.socket,
                &[IoSlice::new(&bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Err(Errno::INTR) => {}
                other => break other.map_err(io::Error::from)?,
            }
        };
        (&self.socket).write_all(&bytes[sent..])?;
        Ok(())
    }

    /// The next message; waits for it.
    pub(super) fn receive(&self) -> Result<Message, ChannelError> {
        let mut head = [0; HEAD_BYTES];
        let mut descriptors = Vec::new();
        let mut have = 0;
        while have < HEAD_BYTES {
            have += self.receive_some(&mut head[have..], &mut descriptors)?;
        }
        let kind = Kind::read(head[0]).ok_or(ChannelError::UnknownKind(head[0]))?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        if length as usize > MAX_BYTES {
            return Err(ChannelError::TooLong(length));
        }
        // Grows with what comes, so that a length alone takes no memory.
        let mut body = Vec::new();
        let read = (&self.socket).take(length.into()).read_to_end(&mut body)?;
        if read < length as usize {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Message {
            kind,
            body,
            descriptors,
        })
    }

    fn receive_some(
        &self,
        bytes: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<usize, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                other => break other.map_err(io::Error::from)?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        match received.bytes {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            n => Ok(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    #[test]
    fn descriptors_come_with_the_message_that_they_were_sent_with() {
        let (here, there) = pair();
        let (mut mine, passed) = UnixStream::pair().unwrap();
        here.send(Kind::Hello, b"first", &[]).unwrap();
        here.send(Kind::Client, &[7; 100_000], &[passed.as_fd()])
            .unwrap();
        here.send(Kind::Yours, b"", &[]).unwrap();
        drop(passed);
        let first = there.receive().unwrap();
        assert_eq!((first.kind, &*first.body), (Kind::Hello, &b"first"[..]));
        assert!(first.descriptors.is_empty());
        let mut second = there.receive().unwrap();
        assert_eq!(second.body, [7; 100_000]);
        let mut theirs = UnixStream::from(second.descriptors.pop().unwrap());
        mine.write_all(b"hi").unwrap();
        let mut heard = [0; 2];
        theirs.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hi");
        assert!(there.receive().unwrap().descriptors.is_empty());
    }

    #[test]
    fn what_is_no_message_and_one_that_is_cut_off_are_errors() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "unexpected end of file"),
            (b"\x00\0\0\0\0", "unknown type 0"),
            (b"\x01\xff\xff\xff\xff", "a message of 4294967295 bytes"),
            (b"\x01\0\0\0\x05four", "unexpected end of file"),
        ];
        for (bytes, expected) in cases {
            let (raw, there) = UnixStream::pair().unwrap();
            (&raw).write_all(bytes).unwrap();
            drop(raw);
            let error = Channel::new(there).unwrap().receive().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        for kind in Kind::ALL {
            assert_eq!(Kind::read(kind as u8), Some(kind));
        }
        assert_eq!(Kind::read(b'Q'), None);
    }
}
