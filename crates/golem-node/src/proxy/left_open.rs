//! What a proxy leaves open for that of the process which takes this one's place.
//!
//! Owns which listener and which connections belong to a port. Never moves a byte.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

/// Listeners and connections that nobody serves for the moment; the kernel keeps whoever connects and what they send.
#[derive(Debug, Default)]
pub struct LeftOpen {
    /// By the address that they listen on.
    pub listeners: BTreeMap<SocketAddr, TcpListener>,
    /// In no order.
    pub sessions: Vec<LeftSession>,
}

/// A connection, and the bytes that are between its sockets.
#[derive(Debug)]
pub struct LeftSession {
    /// The renter's end; its local port says whose VM it leads to.
    pub renter: TcpStream,
    /// The guest's end; `None` if there is none yet.
    pub guest: Option<TcpStream>,
    /// A pipe with what is on its way to the guest.
    pub inward: Option<OwnedFd>,
    /// A pipe with what is on its way to the renter.
    pub outward: Option<OwnedFd>,
    /// Whether the renter has logged in, as far as a proxy can tell.
    pub is_proven: bool,
}

impl LeftSession {
    /// One of a renter, of which nothing else is there.
    #[must_use]
    pub const fn of(renter: TcpStream, is_proven: bool) -> Self {
        Self { renter, guest: None, inward: None, outward: None, is_proven }
    }
}

impl LeftOpen {
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.sessions.is_empty()
    }

    /// Takes what is there of the port of `listen`. Another listener of that port is closed.
    pub(super) fn take(&mut self, listen: SocketAddr) -> Self {
        let listener = self.listeners.remove(&listen);
        let leads_there = |session: &mut LeftSession| is_at(session, listen.port());
        let sessions = self.sessions.extract_if(.., leads_there).collect();
        self.forget(listen.port());
        Self { listeners: listener.map(|listener| (listen, listener)).into_iter().collect(), sessions }
    }

    /// Closes what is there of `port`.
    pub(super) fn forget(&mut self, port: u16) {
        self.listeners.retain(|address, _| address.port() != port);
        self.sessions.retain(|session| !is_at(session, port));
    }
}

fn is_at(session: &LeftSession, port: u16) -> bool {
    session.renter.local_addr().is_ok_and(|address| address.port() == port)
}
