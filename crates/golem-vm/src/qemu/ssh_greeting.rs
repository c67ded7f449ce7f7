//! Listening for a guest's SSH server.
//!
//! Owns how it is tried: over one connection at a time, on which the greeting is waited for. Whoever
//! opens one after the other at a slow guest fills its server's queue of strangers, and keeps its renter
//! out (`MaxStartups`). Never says anything to the guest.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long the first connection is waited on. QEMU repeats its own first attempt at the guest after 6 s.
const FIRST_PATIENCE: Duration = Duration::from_secs(7);

/// How long any is: a server that takes longer for its greeting is of no use to a renter either.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Pause after the first connection that was refused, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Longest that opening a connection may take: the other end is this host.
const CONNECT: Duration = Duration::from_secs(5);

/// How an SSH server begins.
const GREETING: &[u8] = b"SSH-";

/// One who waits for a guest's greeting, for as long as it takes.
#[derive(Debug)]
pub(super) struct Listener {
    /// The connection, since when it is open, and what came in over it.
    open: Option<(TcpStream, Instant, Vec<u8>)>,
    patience: Duration,
    pause: Duration,
}

impl Default for Listener {
    fn default() -> Self {
        Self { open: None, patience: FIRST_PATIENCE, pause: PAUSES.0 }
    }
}

impl Listener {
    /// Whether an SSH server at `address` has greeted by now; waits no longer than `at_most` for more. To
    /// be called again and again.
    pub(super) async fn greets(&mut self, address: SocketAddr, at_most: Duration) -> bool {
        if self.open.is_none() {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => self.open = Some((stream, Instant::now(), Vec::new())),
                _ => return self.refused().await,
            }
        }
        let Some((stream, since, heard)) = &mut self.open else { return false };
        match timeout(at_most, hear(stream, heard)).await {
            Ok(Ok(())) if heard == GREETING => return true,
            Err(_) if since.elapsed() < self.patience => return false,
            Err(_) => {
                self.patience = (self.patience * 2).min(MOST_PATIENCE);
                self.hang_up();
                return false;
            }
            Ok(_) => {}
        }
        self.hang_up();
        self.refused().await
    }

    /// Ends the connection at once: no half of it is left for the guest to deal with.
    fn hang_up(&mut self) {
        if let Some((stream, ..)) = self.open.take() {
            let _ = stream.set_zero_linger();
        }
    }

    async fn refused(&mut self) -> bool {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        false
    }
}

/// Reads as much as a greeting has.
async fn hear(stream: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<()> {
    while heard.len() < GREETING.len() {
        let missing = GREETING.len() - heard.len();
        let mut part = stream.take(u64::try_from(missing).unwrap_or(u64::MAX));
        if part.read_buf(heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A stand-in for a guest: what it says to its `n`th visitor, and when. It counts visitors, and those that
    /// came while another was there.
    struct Guest {
        address: SocketAddr,
        visits: Arc<Mutex<(usize, usize)>>,
    }

    impl Guest {
        fn new(pause: Duration, says: fn(usize) -> &'static [&'static [u8]]) -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let visits = Arc::new(Mutex::new((0, 0)));
            let counted = Arc::clone(&visits);
            std::thread::spawn(move || {
                let mut earlier: Vec<std::net::TcpStream> = Vec::new();
                for (number, stream) in listener.incoming().flatten().enumerate() {
                    let overlaps = !earlier.iter_mut().all(is_gone);
                    let mut counts = counted.lock().unwrap();
                    counts.0 += 1;
                    counts.1 += usize::from(overlaps);
                    drop(counts);
                    stream.set_nonblocking(true).unwrap();
                    let mut speaker = stream.try_clone().unwrap();
                    earlier.push(stream);
                    std::thread::spawn(move || {
                        for part in says(number) {
                            std::thread::park_timeout(pause);
                            let _ = speaker.write_all(part);
                        }
                    });
                }
            });
            Self { address, visits }
        }

        fn visits(&self) -> (usize, usize) {
            *self.visits.lock().unwrap()
        }
    }

    /// Whether a visitor has hung up. A busy kernel may deliver the end of one connection after the start of
    /// the next, so it is given a moment; one that is kept open is still there after it.
    fn is_gone(stream: &mut std::net::TcpStream) -> bool {
        (0..100).any(|look| {
            if look > 0 {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        })
    }

    const LOOK: Duration = Duration::from_millis(20);

    fn hasty() -> Listener {
        Listener { patience: Duration::from_millis(100), ..Listener::default() }
    }

    async fn until_greeted(guest: &Guest) {
        let mut listener = hasty();
        let wait = async { while !listener.greets(guest.address, LOOK).await {} };
        timeout(Duration::from_secs(60), wait).await.expect("greeted");
    }

    #[tokio::test]
    async fn h_06_a_slow_guest_sees_one_connection_at_a_time_and_few_in_all() {
        // Eight times as long as it is waited for at first.
        let slow = Guest::new(Duration::from_millis(400), |_| &[b"SS", b"H-2.0-slow\r\n"]);
        until_greeted(&slow).await;
        let (all, overlapping) = slow.visits();
        assert!(all <= 6 && overlapping == 0, "{all}, {overlapping}");
        // One whose server says nothing to the first three.
        let late = Guest::new(Duration::ZERO, |n| if n < 3 { &[] } else { &[b"SSH-2.0-late\r\n"] });
        until_greeted(&late).await;
        assert_eq!(late.visits(), (4, 0));
    }

    #[tokio::test]
    async fn h_06_a_guest_that_talks_nonsense_is_tried_ever_more_slowly() {
        let other = Guest::new(Duration::ZERO, |_| &[b"HTTP/1.1 400\r\n"]);
        let mut listener = hasty();
        for _ in 0..5 {
            assert!(!listener.greets(other.address, Duration::from_secs(10)).await);
        }
        assert_eq!((other.visits(), listener.pause), ((5, 0), PAUSES.1));
    }
}
