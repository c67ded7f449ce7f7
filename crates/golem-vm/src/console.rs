//! The words of a guest's serial console that is held open: what both ways are, and what the log of it misses meanwhile.
//!
//! ```text
//!   guest ─► read ─┬─► whoever holds it          write ─► guest
//!                  └─► Unkept (64 KiB) ─► the log, when that is read, and at the end
//! ```
//! Owns that what was read reaches the log, within its bound, and that a console is held once. How a backend opens one is
//! the backend's.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use golem_types::VmId;
use tokio::net::UnixStream;

/// Most bytes of a console's log.
pub(crate) const LOG_BYTES: usize = 65_536;

/// A guest's serial console, both ways. To be given back by [`crate::Backend::close_console`].
#[derive(Debug)]
pub struct LiveConsole {
    stream: UnixStream,
    unkept: Arc<Unkept>,
}

/// The end of what was read and is not in the log's file yet.
#[derive(Debug, Default)]
pub(crate) struct Unkept(Mutex<Vec<u8>>);

/// Which consoles are held.
#[derive(Debug, Default)]
pub(crate) struct HeldConsoles(Mutex<HashMap<VmId, Weak<Unkept>>>);

/// The end of `kept` and `more`, as much as is kept.
pub(crate) fn joined(mut kept: Vec<u8>, more: &[u8]) -> Vec<u8> {
    kept.extend_from_slice(more);
    let over = kept.len().saturating_sub(LOG_BYTES);
    kept.drain(..over);
    kept
}

impl LiveConsole {
    /// The console at whose other end the guest is.
    ///
    /// # Errors
    /// Any error of making `stream` one of this runtime.
    pub(crate) fn new(stream: StdStream, unkept: Arc<Unkept>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, unkept })
    }

    /// Ready when the guest has written something, or has ended.
    ///
    /// # Errors
    /// Any error of the socket.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Reads what the guest wrote into `bytes`; 0 when it has ended.
    ///
    /// # Errors
    /// `WouldBlock` where there is nothing; any error of the socket.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.try_read(bytes)?;
        self.unkept.add(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// Ready when the guest may take something.
    ///
    /// # Errors
    /// Any error of the socket.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Types `bytes`; how many of them were taken.
    ///
    /// # Errors
    /// `WouldBlock` where the guest takes nothing now; any error of the socket.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    /// Reads what is left and hangs up. It is held for as long as what is given lives, which belongs into the log.
    pub(crate) fn hang_up(self) -> Arc<Unkept> {
        self.drain();
        self.unkept
    }

    fn drain(&self) {
        let mut bytes = [0; 4096];
        // As much as a socket may hold, and no more: the other end may not have closed it.
        for _ in 0..256 {
            if !self.read(&mut bytes).is_ok_and(|count| count > 0) {
                break;
            }
        }
    }
}

impl Unkept {
    fn add(&self, bytes: &[u8]) {
        let mut unkept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *unkept = joined(std::mem::take(&mut unkept), bytes);
    }

    /// What is not in the file yet, which the caller puts there.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HeldConsoles {
    /// Holds the console of `id` for as long as what is given lives; `None` if somebody has it.
    pub(crate) fn hold(&self, id: &VmId) -> Option<Arc<Unkept>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, unkept| unkept.strong_count() > 0);
        if held.contains_key(id) {
            return None;
        }
        let unkept = Arc::<Unkept>::default();
        held.insert(id.clone(), Arc::downgrade(&unkept));
        Some(unkept)
    }

    /// What whoever holds the console of `id` has read; `None` if nobody holds it.
    pub(crate) fn of(&self, id: &VmId) -> Option<Arc<Unkept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn h_14_the_end_of_the_console_is_kept() {
        assert_eq!(joined(b"ab".to_vec(), b"cd"), b"abcd");
        let all = joined(vec![b'a'; LOG_BYTES], b"end");
        assert_eq!((all.len(), &all[all.len() - 4..]), (LOG_BYTES, b"aend".as_slice()));
    }

    #[tokio::test]
    async fn what_is_read_reaches_the_log_within_its_bound_and_a_console_is_held_once() {
        let held = HeldConsoles::default();
        let id = VmId::new(&"web".parse().unwrap(), "2026-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        let unkept = held.hold(&id).unwrap();
        assert!(held.hold(&id).is_none());
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let console = LiveConsole::new(ours, unkept).unwrap();
        let mut bytes = [0; 1024];
        for _ in 0..100 {
            theirs.write_all(&[b'x'; 1024]).unwrap();
            console.readable().await.unwrap();
            console.read(&mut bytes).unwrap();
        }
        theirs.write_all(b"login: ").unwrap();
        let unkept = console.hang_up();
        assert!(theirs.write_all(b"more").is_err(), "it is hung up");
        let log = held.of(&id).unwrap().take();
        assert!(log.len() == LOG_BYTES && log.ends_with(b"xlogin: "), "{}", log.len());
        assert!(unkept.take().is_empty());
        drop(unkept);
        assert!(held.of(&id).is_none() && held.hold(&id).is_some());
    }
}
