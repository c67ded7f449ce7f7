//! The far ends of the measured connections, in this process: what stands in for guests.
//!
//! Three, one a purpose, so that none has to find out what is wanted in the midst of a
//! measurement. Their threads end with the process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

/// The first byte of a connection to [`Endpoints::serve`] says what is wanted.
pub(crate) mod order {
    /// Send as many bytes as the next eight bytes say.
    pub(crate) const SEND: u8 = b'S';
    /// Read as many bytes as the next eight bytes say, then send one.
    pub(crate) const TAKE: u8 = b'T';
    /// Send back what comes.
    pub(crate) const ECHO: u8 = b'E';
    /// Read to the end, then send as many bytes as the first eight said.
    pub(crate) const ANSWER_AFTER_END: u8 = b'H';
}

/// Bytes of one write.
pub(crate) const PIECE: usize = 256 * 1024;

/// The addresses of the far ends.
pub(crate) struct Endpoints {
    /// Does what the first byte orders, a thread a connection.
    pub(crate) serve: SocketAddr,
    /// Sends one byte and closes, one connection after the other.
    pub(crate) brief: SocketAddr,
    /// Takes connections and does nothing with them.
    pub(crate) hold: SocketAddr,
    /// The connections of `hold`.
    pub(crate) held: Arc<Mutex<Vec<TcpStream>>>,
    /// Bytes that [`order::SEND`] has got rid of, over all connections.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Endpoints {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let serve = listen("serve", move |stream| {
            let counter = Arc::clone(&counter);
            // A connection that fails is noticed by the measuring side.
            std::thread::spawn(move || serve(stream, &counter));
        })?;
        let brief = listen("brief", |mut stream| {
            let _ = stream.write_all(b"!");
        })?;
        let held = Arc::<Mutex<Vec<TcpStream>>>::default();
        let holder = Arc::clone(&held);
        let hold = listen("hold", move |stream| {
            holder.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        })?;
        Ok(Self { serve, brief, hold, held, sent })
    }

    /// How many connections are held.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes what is held.
    pub(crate) fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn listen(name: &str, mut each: impl FnMut(TcpStream) + Send + 'static) -> anyhow::Result<SocketAddr> {
    let listener = wide_listener().with_context(|| format!("the far end {name} cannot listen"))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            each(stream);
        }
    })?;
    Ok(address)
}

/// The standard library's listener has room for 128 who wait, too few for 1,000 at once.
fn wide_listener() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::listen(&listener, 4096)?;
    Ok(listener)
}

fn serve(mut stream: TcpStream, sent: &AtomicU64) -> std::io::Result<()> {
    let mut order = [0];
    stream.read_exact(&mut order)?;
    let mut buffer = vec![0; PIECE];
    match order[0] {
        order::SEND => {
            let length = read_length(&mut stream)?;
            send(&mut stream, length, sent)
        }
        order::TAKE => {
            let mut rest = read_length(&mut stream)?;
            while rest > 0 {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                rest = rest.saturating_sub(count as u64);
            }
            stream.write_all(b"!")
        }
        order::ANSWER_AFTER_END => {
            let length = read_length(&mut stream)?;
            while stream.read(&mut buffer)? > 0 {}
            send(&mut stream, length, sent)
        }
        order::ECHO => loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count])?;
        },
        _ => Ok(()),
    }
}

fn read_length(stream: &mut TcpStream) -> std::io::Result<u64> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    Ok(u64::from_le_bytes(length))
}

/// Sends `length` bytes and counts them as they are accepted.
pub(crate) fn send(stream: &mut TcpStream, length: u64, sent: &AtomicU64) -> std::io::Result<()> {
    let piece = vec![7; PIECE];
    let mut rest = length;
    while rest > 0 {
        let size = usize::try_from(rest).map_or(PIECE, |rest| rest.min(PIECE));
        let count = stream.write(&piece[..size])?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        rest -= count as u64;
        sent.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(())
}
