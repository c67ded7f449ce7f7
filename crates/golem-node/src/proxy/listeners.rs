//! What the proxy's thread does: takes commands, one at a time, and holds the open ports.
//!
//! Owns the set of open ports. Never moves a byte: each port's task does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::port::{Port, Shared};
use super::{LeftOpen, Meters, ProxyError, ProxyLimits};

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Open { listen: SocketAddr, target: SocketAddr, answer: oneshot::Sender<Result<(), ProxyError>> },
    Close { port: u16, answer: oneshot::Sender<()> },
    Shutdown { answer: oneshot::Sender<()> },
    Leave { answer: oneshot::Sender<LeftOpen> },
}

/// How long what another process left open waits until its port is opened: of a VM that is paused, as on a full disk, or
/// whose backend does not answer. Ports of VMs that are gone are closed before.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What the proxy's thread holds.
pub(super) struct Listeners {
    shared: Arc<Shared>,
    meters: Meters,
    ports: BTreeMap<u16, Port>,
    /// What another process left open, and nobody has asked for yet.
    left: LeftOpen,
}

impl Listeners {
    pub(super) fn new(limits: ProxyLimits, meters: Meters, left: LeftOpen) -> Self {
        Self { shared: Arc::new(Shared::new(limits)), meters, ports: BTreeMap::new(), left }
    }

    /// Serves until a shutdown is asked for or nobody is left to ask.
    pub(super) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let command = tokio::select! {
                command = queue.recv() => command,
                () = sleep_until(patience), if !self.left.is_empty() => {
                    self.left = LeftOpen::default();
                    continue;
                }
            };
            // An asker that stopped waiting for its answer is served all the same.
            let Some(command) = command else { return };
            match command {
                Command::Open { listen, target, answer } => {
                    let _ = answer.send(self.open(listen, target));
                }
                Command::Close { port, answer } => {
                    self.close(port).await;
                    let _ = answer.send(());
                }
                Command::Shutdown { answer } => {
                    self.drain().await;
                    let _ = answer.send(());
                    return;
                }
                Command::Leave { answer } => {
                    let _ = answer.send(self.leave().await);
                    return;
                }
            }
        }
    }

    fn open(&mut self, listen: SocketAddr, target: SocketAddr) -> Result<(), ProxyError> {
        if let Some(port) = self.ports.get(&listen.port()) {
            port.retarget(target);
            tracing::info!(port = listen.port(), "SSH port leads to another address now");
            return Ok(());
        }
        let port = Port::open(listen, target, Arc::clone(&self.shared), self.left.take(listen))
            .map_err(|error| ProxyError::Bind(listen, error))?;
        self.meters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(listen.port(), Arc::clone(port.meter()));
        self.ports.insert(listen.port(), port);
        tracing::info!(port = listen.port(), "SSH port opened");
        Ok(())
    }

    async fn close(&mut self, port: u16) {
        self.left.forget(port);
        if let Some(open) = self.ports.remove(&port) {
            open.cut().await;
            self.meters.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
            tracing::info!(port, "SSH port closed");
        }
    }

    async fn drain(&mut self) {
        let deadline = Instant::now() + self.shared.limits.drain;
        for port in self.ports.values() {
            port.stop_listening();
        }
        while let Some((port, open)) = self.ports.pop_first() {
            open.drain(deadline).await;
            self.meters.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
            tracing::info!(port, "SSH port closed");
        }
    }

    /// Everything that is open, for another process.
    async fn leave(mut self) -> LeftOpen {
        let mut left = self.left;
        let ports = std::mem::take(&mut self.ports).into_values();
        for port in join_all(ports.map(Port::leave)).await {
            left.listeners.extend(port.listeners);
            left.sessions.extend(port.sessions);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_closed_after_a_while() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let left = LeftOpen { listeners: [(address, listener)].into(), sessions: Vec::new() };
        let limits = ProxyLimits::of_this_host();
        let (commands, queue) = mpsc::unbounded_channel();
        let listeners = Listeners::new(limits, Meters::default(), left);
        let serving = listeners.run(queue);
        tokio::pin!(serving);
        let before = PATIENCE - Duration::from_secs(1);
        assert!(tokio::time::timeout(before, &mut serving).await.is_err());
        assert!(std::net::TcpStream::connect(address).is_ok());
        assert!(tokio::time::timeout(Duration::from_secs(2), &mut serving).await.is_err());
        assert!(std::net::TcpStream::connect(address).is_err());
        drop(commands);
        serving.await;
    }
}
