//! Packet capture on this host's network devices during the guest's attempts.
//!
//! Owns a socket that sees every packet, where this process may have one (as root). A packet to the traps' port at
//! another host, or one that holds an attempt's word, came from the guest; so did a question for the hardware
//! address of somebody whom only the guest wants. Never keeps a packet.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, eth, socket_with};
use tokio::net::UdpSocket;

use super::traps::Traps;

/// Bytes of each packet that are looked at: the attempts' words stand at the start.
const SNAP: usize = 2048;

/// The capture; without a socket where this process may not have one.
#[derive(Debug, Default)]
pub(super) struct Capture {
    socket: Option<UdpSocket>,
    /// Where packets for the traps' port went, and whom this host asked for (ARP).
    went: Mutex<BTreeSet<IpAddr>>,
    asked: Mutex<BTreeSet<IpAddr>>,
    /// Attempts whose word was in a packet.
    words: Mutex<BTreeSet<usize>>,
}

/// What one packet tells.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    /// A packet for somebody, to a port where it has one.
    To(IpAddr, Option<u16>),
    /// The question who has an address.
    AsksFor(IpAddr),
}

impl Capture {
    pub(super) fn open() -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ALL));
        // The kernel's packets come like datagrams, so tokio's datagram socket waits for them.
        let socket = socket.ok().and_then(|socket| UdpSocket::from_std(socket.into()).ok());
        Self { socket, ..Self::default() }
    }

    /// Whether packets are captured.
    pub(super) const fn sees(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether something of the guest left for `address`.
    pub(super) fn went_to(&self, address: IpAddr) -> bool {
        self.went.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    /// Whether this host asked its networks who has `address`.
    pub(super) fn asked_for(&self, address: IpAddr) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    /// Whether a packet held the word of the attempt with `number`.
    pub(super) fn heard(&self, number: usize) -> bool {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    /// Captures packets for as long as it is polled.
    pub(super) async fn watch(&self, traps: &Traps) -> Infallible {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        let mut bytes = [0; SNAP];
        loop {
            match socket.recv(&mut bytes).await {
                Ok(length) => self.see(bytes.get(..length).unwrap_or_default(), traps),
                // A device that went down.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    fn see(&self, packet: &[u8], traps: &Traps) {
        let insert = |set: &Mutex<BTreeSet<IpAddr>>, address| {
            set.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
        };
        match parse(packet) {
            Some(Packet::To(address, port)) => {
                if port == Some(traps.port) {
                    insert(&self.went, address);
                }
                if let Some(number) = traps.words_in(packet) {
                    self.words.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                }
            }
            Some(Packet::AsksFor(address)) => insert(&self.asked, address),
            None => {}
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

/// What `packet` tells, as it is on a device with Ethernet's head (the loopback among them), with or without a VLAN,
/// or on one without any.
fn parse(packet: &[u8]) -> Option<Packet> {
    let kind = word(packet, 12)?;
    match if kind == 0x8100 { (word(packet, 16)?, 18) } else { (kind, 14) } {
        (0x0806, at) => {
            let question = word(packet, at + 6)? == 1;
            // Who asks for its own address only says that it is there.
            let (sender, wanted) = (v4(packet, at + 14)?, v4(packet, at + 24)?);
            (question && sender != wanted).then_some(Packet::AsksFor(wanted))
        }
        (0x0800 | 0x86dd, at) => internet(packet.get(at..)?),
        _ => internet(packet),
    }
}

/// What a packet of the Internet Protocol tells; `None` for errors, which quote what was refused.
fn internet(packet: &[u8]) -> Option<Packet> {
    let (protocol, to, at) = match packet.first()? >> 4 {
        4 => {
            // Later pieces have no head of their own.
            let first = word(packet, 6)? & 0x1fff == 0;
            (packet.get(9)?, v4(packet, 16)?, first.then_some(usize::from(packet.first()? & 15) * 4))
        }
        6 => {
            let octets: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (packet.get(6)?, Ipv6Addr::from(octets).into(), Some(40))
        }
        _ => return None,
    };
    match (protocol, at) {
        (6 | 17, Some(at)) => Some(Packet::To(to, word(packet, at + 2))),
        (1, Some(at)) if *packet.get(at)? != 8 => None,
        (58, Some(at)) if *packet.get(at)? < 128 => None,
        _ => Some(Packet::To(to, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_and_nonsense_is_nothing() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 88, 0, 2]);
        frame.extend([0x80, 0, 0x1f, 0x90, 0, 0, 0, 0]);
        let to: IpAddr = "10.88.0.2".parse().unwrap();
        assert_eq!(parse(&frame), Some(Packet::To(to, Some(8080))));
        assert_eq!(parse(frame.get(14..).unwrap()), Some(Packet::To(to, Some(8080))));
        let mut tagged = frame.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(parse(&tagged), Some(Packet::To(to, Some(8080))));
        // An error that quotes a refused packet went nowhere.
        let mut error = frame.clone();
        error[14 + 9] = 1;
        error[14 + 20] = 3;
        assert_eq!(parse(&error), None);
        for end in 0..frame.len() {
            let _ = parse(&frame[..end]);
        }
        let mut question = vec![0; 12];
        question.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        question.extend([0; 6]);
        question.extend([10, 88, 0, 1]);
        question.extend([0; 6]);
        question.extend([10, 88, 0, 9]);
        assert_eq!(parse(&question), Some(Packet::AsksFor("10.88.0.9".parse().unwrap())));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
