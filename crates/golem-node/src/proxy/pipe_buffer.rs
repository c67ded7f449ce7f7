//! Bytes on their way, in a buffer: what stands in for `splice(2)` where the kernel has none.
//!
//! Owns buffers, each lent to one flow while it has bytes to carry.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpStream;

/// Most bytes on their way in one direction of one connection.
const MOST_BYTES: usize = 64 * 1024;

/// Empty buffers kept for the next who needs one.
const MOST_SPARE: usize = 16;

/// A buffer with bytes in it.
#[derive(Debug)]
pub(super) struct Pipe {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Pipe {
    /// None: where buffers are used nothing is handed over.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_left(_: std::os::fd::OwnedFd) -> Option<Self> {
        None
    }

    /// None, as of [`Self::of_left`].
    #[cfg(not(target_os = "linux"))]
    pub(super) fn leave(self) -> Option<std::os::fd::OwnedFd> {
        None
    }

    /// Takes what `from` has; 0 is the end of the stream. The buffer must be empty.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        self.start = 0;
        self.end = 0;
        self.end = from.try_read(&mut self.bytes)?;
        Ok(self.end)
    }

    /// Puts `bytes`, a page at most, into the empty buffer.
    pub(super) fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.start = 0;
        self.end = bytes.len();
        self.bytes[..self.end].copy_from_slice(bytes);
        Ok(())
    }

    /// Gives `to` what it accepts, and says how much that was.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let given = to.try_write(&self.bytes[self.start..self.end])?;
        self.start += given;
        Ok(given)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Where buffers come from.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    spare: Mutex<Vec<Pipe>>,
}

impl Pipes {
    /// An empty buffer.
    pub(super) fn get(&self) -> io::Result<Pipe> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(spare.unwrap_or_else(|| Pipe { bytes: vec![0; MOST_BYTES].into_boxed_slice(), start: 0, end: 0 }))
    }

    /// Gives a buffer back; one with bytes in it is dropped.
    pub(super) fn put(&self, pipe: Pipe) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.is_empty() && spare.len() < MOST_SPARE {
            spare.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;

    use super::*;

    /// A socket of the runtime's and the other end of it.
    fn pair(listener: &std::net::TcpListener) -> (TcpStream, std::net::TcpStream) {
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (TcpStream::from_std(near).unwrap(), far)
    }

    #[tokio::test]
    async fn s_093_a_buffer_gives_what_it_took_and_is_lent_again() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ((from, mut source), (to, mut sink)) = (pair(&listener), pair(&listener));
        let pipes = Pipes::default();
        for text in ["ssh", "again"] {
            let mut pipe = pipes.get().unwrap();
            source.write_all(text.as_bytes()).unwrap();
            from.readable().await.unwrap();
            assert_eq!(pipe.fill(&from).unwrap(), text.len());
            to.writable().await.unwrap();
            assert_eq!(pipe.drain(&to).unwrap(), text.len());
            assert!(pipe.is_empty());
            pipe.store(b"!").unwrap();
            assert!(!pipe.is_empty());
            assert_eq!(pipe.drain(&to).unwrap(), 1);
            pipes.put(pipe);
            let mut arrived = vec![0; text.len() + 1];
            sink.read_exact(&mut arrived).unwrap();
            assert_eq!(arrived, format!("{text}!").as_bytes());
            // The readiness that is left over from the last bytes must not look like new ones.
            assert!(from.try_read(&mut [0]).is_err());
        }
        assert_eq!(pipes.spare.lock().unwrap().len(), 1);
    }
}
