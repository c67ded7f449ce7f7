//! What the proxy's thread does: takes commands, one at a time, and holds the open ports.
//!
//! Owns the set of open ports. Never moves a byte: each port's task does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::port::{Port, Shared};
use super::{Meters, ProxyError, ProxyLimits};

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Open { listen: SocketAddr, target: SocketAddr, answer: oneshot::Sender<Result<(), ProxyError>> },
    Close { port: u16, answer: oneshot::Sender<()> },
    Shutdown { answer: oneshot::Sender<()> },
}

/// What the proxy's thread holds.
pub(super) struct Listeners {
    shared: Arc<Shared>,
    meters: Meters,
    ports: BTreeMap<u16, Port>,
}

impl Listeners {
    pub(super) fn new(limits: ProxyLimits, meters: Meters) -> Self {
        Self { shared: Arc::new(Shared::new(limits)), meters, ports: BTreeMap::new() }
    }

    /// Serves until a shutdown is asked for or nobody is left to ask.
    pub(super) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        // An asker that stopped waiting for its answer is served all the same.
        while let Some(command) = queue.recv().await {
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
            }
        }
    }

    fn open(&mut self, listen: SocketAddr, target: SocketAddr) -> Result<(), ProxyError> {
        if let Some(port) = self.ports.get(&listen.port()) {
            port.retarget(target);
            tracing::info!(port = listen.port(), "SSH port leads to another address now");
            return Ok(());
        }
        let port = Port::open(listen, target, Arc::clone(&self.shared))
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
}
