//! What the host has, how busy it is, and what is left to rent out.
//!
//! Owns the task that measures the host again and again. Never decides whether a rental fits: the ledger does.

use std::sync::Arc;
use std::time::Duration;

use golem_types::Resources;
use tokio::sync::watch;

use super::Node;
use crate::config::NodeConfig;
use crate::host::{Host, HostUse, held_bytes};
use crate::service::Tasks;

/// How often the host is measured.
const HOST_INTERVAL: Duration = Duration::from_secs(2);

/// How often the space that VMs hold is counted, in host measurements: it walks their folders.
const STORAGE_EVERY: u32 = 15;

/// What is rented out, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// What the host has to rent out.
    pub total: Resources,
    /// What is left of it.
    pub free: Resources,
    /// Live rentals.
    pub vms: u32,
    /// Most live rentals.
    pub max_vms: u32,
}

/// What the host is and how busy it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostView {
    pub(super) total: Resources,
    pub(super) used: HostUse,
}

impl Node {
    /// What is rented out, and what is left.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let now = self.0.ledger.now();
        let total = self.0.host.borrow().total;
        Capacity {
            total,
            free: total.minus(now.held()),
            vms: u32::try_from(now.iter().len()).unwrap_or(u32::MAX),
            max_vms: self.0.config.limits.max_vms,
        }
    }

    /// How busy the host is.
    #[must_use]
    pub fn host(&self) -> HostUse {
        self.0.host.borrow().used
    }
}

/// Starts measuring the host; the first measurement is there at once.
pub(super) fn measure(config: &Arc<NodeConfig>, tasks: &Tasks) -> watch::Receiver<HostView> {
    let folder = config.data_dir.join("vms");
    let mut host = Host::new(&config.data_dir);
    let wanted = config.totals;
    let total = wanted.unwrap_or_else(|| host.totals(held_bytes(&folder)));
    let (sender, receiver) = watch::channel(HostView { total, used: host.sample(HOST_INTERVAL) });
    let stop = tasks.stopping().clone();
    tasks.spawn("host", async move {
        let mut round = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(HOST_INTERVAL) => {}
            }
            round = round.wrapping_add(1);
            let folder = folder.clone();
            let before = sender.borrow().total;
            let sampled = tokio::task::spawn_blocking(move || {
                let used = host.sample(HOST_INTERVAL);
                let total = match wanted {
                    Some(total) => total,
                    None if round.is_multiple_of(STORAGE_EVERY) => host.totals(held_bytes(&folder)),
                    None => before,
                };
                (host, HostView { total, used })
            });
            match sampled.await {
                Ok((back, view)) => {
                    host = back;
                    sender.send_replace(view);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the host is no longer measured"
                    );
                    return;
                }
            }
        }
    });
    receiver
}
