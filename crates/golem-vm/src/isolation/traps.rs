//! Listeners that no guest should reach: at every address of this host, on one port, TCP and UDP.
//!
//! Owns them and what came in. Each attempt says a word of its own, so that a stranger who scans this host is not
//! taken for the guest. Never answers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::host_network::HostNetwork;

/// Groups of programs that look for others in their network: mDNS and SSDP.
pub(super) const GROUPS: [Ipv4Addr; 2] = [Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::new(239, 255, 255, 250)];

/// How often another port is tried, where TCP or UDP has the first.
const TRIES: u32 = 20;

/// How long who came in may take to say its word, and how many are heard at a time.
const WORD: Duration = Duration::from_secs(3);
const VISITORS: usize = 256;

/// What the words of all checks begin with.
const MARK: &str = "golem-isolation";

/// The traps.
#[derive(Debug)]
pub(super) struct Traps {
    pub(super) port: u16,
    /// Makes the words of this round unlike those of others.
    nonce: u64,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    caught: Mutex<BTreeSet<usize>>,
    /// Whether something came to the loopback without a word: nobody but a guest should.
    wordless: Mutex<bool>,
}

/// Every socket on `port` that together hear all addresses of this host.
fn sockets<S>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<Vec<S>> {
    // The second is the first again, or missing, on most hosts; together they are all on each.
    let six = bind((Ipv6Addr::UNSPECIFIED, port).into());
    let four = bind((Ipv4Addr::UNSPECIFIED, port).into());
    match (six, four) {
        (Err(_), Err(error)) => Err(error),
        (six, four) => Ok(six.into_iter().chain(four).collect()),
    }
}

impl Traps {
    pub(super) fn open(host_network: &HostNetwork) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            match Self::try_open(host_network) {
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => tries += 1,
                Ok(traps) => return Ok(traps),
            }
        }
    }

    fn try_open(host_network: &HostNetwork) -> io::Result<Self> {
        let port = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port();
        let tcp = sockets(port, |address| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        })?;
        let udp = sockets(port, |address| {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        })?;
        for socket in &udp {
            for group in GROUPS {
                for own in host_network.addresses.keys() {
                    if let IpAddr::V4(own) = own {
                        // An IPv6 socket that hears IPv4 joins no group of it; the wire is watched as well.
                        let _ = socket.join_multicast_v4(group, *own);
                    }
                }
            }
        }
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let nonce = u64::from_ne_bytes(nonce);
        Ok(Self { port, nonce, tcp, udp, caught: Mutex::default(), wordless: Mutex::default() })
    }

    /// The word of the attempt with `number`.
    pub(super) fn word(&self, number: usize) -> String {
        format!("{MARK}-{:016x}-{number}.", self.nonce)
    }

    /// The number of the attempt whose word is in `bytes`.
    pub(super) fn words_in(&self, bytes: &[u8]) -> Option<usize> {
        let start = format!("{MARK}-{:016x}-", self.nonce);
        let at = bytes.windows(start.len()).position(|window| window == start.as_bytes())?;
        let rest = bytes.get(at + start.len()..)?;
        let end = rest.iter().position(|byte| *byte == b'.')?;
        std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
    }

    pub(super) fn caught(&self, number: usize) -> bool {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    pub(super) fn wordless(&self) -> bool {
        *self.wordless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn catch(&self, bytes: &[u8]) -> bool {
        let Some(number) = self.words_in(bytes) else { return false };
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        true
    }

    /// Hears who comes, for as long as it is polled.
    pub(super) async fn watch(&self) -> Infallible {
        let tcp = join_all(self.tcp.iter().map(|listener| self.listen(listener)));
        let udp = join_all(self.udp.iter().map(|socket| self.hear(socket)));
        join(tcp, udp).await;
        std::future::pending().await
    }

    async fn listen(&self, listener: &TcpListener) {
        let mut visitors = FuturesUnordered::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept(), if visitors.len() < VISITORS => {
                    visitors.push(self.visitor(stream));
                }
                Some(()) = visitors.next() => {}
                // Out of descriptors, say: who waits is heard later.
                else => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn visitor(&self, mut stream: TcpStream) {
        let local = stream.local_addr().map(|address| address.ip().to_canonical());
        let mut bytes = [0; 128];
        let mut filled = 0;
        let word = async {
            while let Ok(more @ 1..) = stream.read(&mut bytes[filled..]).await {
                filled += more;
            }
        };
        let _ = timeout(WORD, word).await;
        if !self.catch(&bytes) && local.is_ok_and(|address| address.is_loopback()) {
            *self.wordless.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }

    async fn hear(&self, socket: &UdpSocket) {
        let mut bytes = [0; 4096];
        loop {
            match socket.recv_from(&mut bytes).await {
                Ok((length, _)) => {
                    self.catch(&bytes[..length]);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn only_a_word_of_this_round_is_caught() {
        let traps = Traps::open(&HostNetwork::default()).unwrap();
        let tell = async {
            for text in [traps.word(7), format!("{MARK}-0123456789abcdef-8."), "GET / HTTP/1.1".to_owned()] {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, traps.port)).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            socket.send_to(traps.word(9).as_bytes(), (Ipv4Addr::LOCALHOST, traps.port)).await.unwrap();
            while !(traps.caught(7) && traps.caught(9) && traps.wordless()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            result = timeout(Duration::from_secs(30), tell) => result.unwrap(),
            never = traps.watch() => match never {},
        }
        assert!(!traps.caught(8));
    }
}
