//! What the host has, how busy it is, and what is left to rent out.
//!
//! Owns the task that measures the host again and again. Never decides whether a rental fits: the ledger does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use golem_service::log::LogSite;
use golem_service::tasks::Tasks;
use golem_types::Resources;
use golem_vm::Overhead;
use tokio::sync::watch;

use super::Node;
use crate::config::NodeConfig;
use crate::host::{Host, HostOffer, HostUse, VMS_FOLDER, held_bytes};
use crate::ledger::Room;

/// Least space on the disk with which the ledger can still be written for a while, in bytes.
pub(super) const LEAST_FREE_BYTES: u64 = 16 << 20;

/// How often the host is measured.
const HOST_INTERVAL: Duration = Duration::from_secs(2);

/// How often what can be rented out is looked at, in host measurements: it walks the folders of VMs.
const OFFER_EVERY: u32 = 15;

/// What is rented out, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// What the host has to rent out, with one more VM than there are.
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
pub(super) struct HostFacts {
    pub(super) offer: HostOffer,
    pub(super) used: HostUse,
}

impl Node {
    /// What is rented out, and what is left.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let now = self.0.ledger.now();
        let vms = u32::try_from(now.iter().len()).unwrap_or(u32::MAX);
        // As the next create will be judged.
        let total = self.0.host.borrow().offer.for_vms(now.with_room().saturating_add(1));
        Capacity { total, free: total.minus(now.held()), vms, max_vms: self.0.config.limits.max_vms }
    }

    /// What a rental that was held may take.
    pub(super) fn room(&self) -> Room {
        Room { offer: self.0.host.borrow().offer, max_vms: self.0.config.limits.max_vms }
    }

    /// How busy the host is.
    #[must_use]
    pub fn host(&self) -> HostUse {
        self.0.host.borrow().used
    }
}

/// What is measured, and how.
struct Measuring {
    host: Host,
    folder: PathBuf,
    config: Arc<NodeConfig>,
    overhead: Overhead,
    /// What was said last about settings that ask for too much.
    capped: Vec<String>,
}

impl Measuring {
    /// What can be rented out now. Says so where that is less than the settings ask for.
    fn offer(&mut self) -> HostOffer {
        if let Some(totals) = self.config.totals {
            return HostOffer::fixed(totals);
        }
        let held = held_bytes(&self.folder);
        let (offer, capped) = self.host.offer(&self.config.rent, held, self.overhead);
        // What is free changes all the time. The last word is always said.
        static SAID: LogSite = LogSite::new();
        if capped != self.capped && SAID.due().is_some() {
            for sentence in &capped {
                tracing::warn!("{sentence}");
            }
            self.capped = capped;
        }
        offer
    }
}

/// Starts measuring the host; the first measurement is there at once. `overhead` is what runs a VM takes
/// beside the VM's own memory.
pub(super) async fn measure(
    config: &Arc<NodeConfig>,
    overhead: Overhead,
    tasks: &Tasks,
) -> Result<watch::Receiver<HostFacts>, tokio::task::JoinError> {
    let config = Arc::clone(config);
    let first = tokio::task::spawn_blocking(move || {
        let host = Host::new(&config.data_dir);
        let folder = config.data_dir.join(VMS_FOLDER);
        let mut measuring = Measuring { host, folder, config, overhead, capped: Vec::new() };
        let view = HostFacts { offer: measuring.offer(), used: measuring.host.sample(HOST_INTERVAL) };
        (measuring, view)
    });
    let (mut measuring, view) = first.await?;
    let (sender, receiver) = watch::channel(view);
    let stop = tasks.stopping().clone();
    tasks.spawn("host", async move {
        let mut round = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(HOST_INTERVAL) => {}
            }
            round = round.wrapping_add(1);
            let before = sender.borrow().offer;
            let sampled = tokio::task::spawn_blocking(move || {
                let used = measuring.host.sample(HOST_INTERVAL);
                let offer = if round.is_multiple_of(OFFER_EVERY) { measuring.offer() } else { before };
                (measuring, HostFacts { offer, used })
            });
            match sampled.await {
                Ok((back, view)) => {
                    measuring = back;
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
    Ok(receiver)
}
