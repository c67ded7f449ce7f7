//! Bytes on their way, in the kernel: `splice(2)` moves them from socket to pipe to socket
//! without a copy into this process.
//!
//! Owns kernel pipes, each lent to one flow while it has bytes to carry.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::net::TcpStream;

/// Most bytes on their way in one direction of one connection: what a reader that stalls costs
/// beside the sockets' own buffers.
const MOST_BYTES: usize = 256 * 1024;

/// Empty pipes kept for the next who needs one. More flows than this rarely carry bytes at one
/// instant, since one thread serves them all; those whose reader stalls hold their own.
const MOST_SPARE: usize = 16;

/// A pipe with bytes in it.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    /// `None` of one that another process left: it is drained and not filled again.
    write: Option<OwnedFd>,
    held: usize,
}

impl Pipe {
    /// One that another process [left](Self::leave); `None` if nothing is in it.
    pub(super) fn of_left(read: OwnedFd) -> Option<Self> {
        let held = rustix::io::ioctl_fionread(&read).ok().and_then(|held| usize::try_from(held).ok())?;
        (held > 0).then_some(Self { read, write: None, held })
    }

    /// What holds its bytes, for another process.
    pub(super) fn leave(self) -> Option<OwnedFd> {
        Some(self.read)
    }

    fn end(&self) -> io::Result<&OwnedFd> {
        self.write.as_ref().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Takes what `from` has; 0 is the end of the stream. The pipe must be empty, so that
    /// "would block" can only mean that there was nothing to take.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let to = self.end()?;
        let taken = splice(from, None, to, None, MOST_BYTES, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held += taken;
        Ok(taken)
    }

    /// Puts `bytes`, a page at most, into the empty pipe.
    pub(super) fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A write of no more than a page into an empty pipe is done whole.
        self.held += rustix::io::write(self.end()?, bytes)?;
        Ok(())
    }

    /// Gives `to` what it accepts, and says how much that was.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        // No more is asked for than is there: the kernel would hold back the last packet for it.
        let given = splice(&self.read, None, to, None, self.held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held -= given;
        Ok(given)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }
}

/// Where pipes come from.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    spare: Mutex<Vec<Pipe>>,
}

impl Pipes {
    /// An empty pipe.
    pub(super) fn get(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The kernel refuses a user without privileges who has many; a small pipe does as well.
        let _ = fcntl_setpipe_size(&write, MOST_BYTES);
        Ok(Pipe { read, write: Some(write), held: 0 })
    }

    /// Gives a pipe back; one with bytes in it is closed.
    pub(super) fn put(&self, pipe: Pipe) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.is_empty() && pipe.write.is_some() && spare.len() < MOST_SPARE {
            spare.push(pipe);
        }
    }
}
