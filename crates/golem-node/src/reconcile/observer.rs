//! Asks the backend what is there, and publishes it.
//!
//! Owns the polling and what to do about machines without a live rental: leftovers of rentals
//! that ended are removed, machines that the ledger never knew are shown and never touched (the
//! ledger may have been lost; deleting them would take a customer's VM). Never acts on a machine
//! that has a live rental: its task does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use golem_types::VmId;
use golem_vm::{Backend, Observed};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::MachineView;
use crate::ledger::Ledger;
use crate::rental::Known;

/// Longest that one look may take; a backend that is slower counts as not answering.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// What the backend said, once.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was asked. What happened later is not in here.
    pub asked: Instant,
    /// Every machine; `None` if the backend did not answer.
    pub machines: Option<BTreeMap<VmId, Observed>>,
}

impl Sample {
    /// What this says of `id` to a task that last acted at `acted`.
    #[must_use]
    pub fn seen(&self, id: &VmId, acted: Instant) -> MachineView {
        let Some(machines) = self.machines.as_ref().filter(|_| self.asked >= acted) else {
            return MachineView::Unknown;
        };
        match machines.get(id) {
            None => MachineView::Absent,
            Some(Observed::Unclear) => MachineView::Unknown,
            Some(Observed::Stopped) => MachineView::Stopped,
            Some(Observed::Running(guest)) => MachineView::Running(*guest),
            Some(Observed::PoweredOff) => MachineView::PoweredOff,
            Some(Observed::Halted { reason, resumable }) => {
                MachineView::Halted { reason: reason.clone(), resumable: *resumable }
            }
        }
    }
}

/// Asks the backend once.
pub async fn observe(backend: &Backend) -> Sample {
    let asked = Instant::now();
    let machines = match timeout(LOOK_DEADLINE, backend.list()).await {
        Ok(Ok(machines)) => Some(machines),
        Ok(Err(error)) => {
            golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "the VM backend could not be asked what runs"
            );
            None
        }
        Err(_) => {
            golem_service::log_limited!(
                warn,
                "the VM backend did not answer within {} s",
                LOOK_DEADLINE.as_secs()
            );
            None
        }
    };
    Sample { asked, machines }
}

/// What an observer works with.
pub struct Observer {
    /// Whom to ask.
    pub backend: Arc<Backend>,
    /// Who knows which machines are rented.
    pub ledger: Ledger,
    /// How often to ask.
    pub interval: Duration,
    /// Asks for a look now.
    pub wanted: Arc<Notify>,
    /// Where what was seen is published.
    pub samples: watch::Sender<Arc<Sample>>,
    /// Where machines that the ledger never knew are published.
    pub unmanaged: watch::Sender<BTreeSet<VmId>>,
}

impl Observer {
    /// Looks at every interval, and when wanted, until `stop`; `after` runs after each look.
    pub async fn run(self, stop: CancellationToken, after: impl Fn()) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
                () = self.wanted.notified() => {}
            }
            let sample = observe(&self.backend).await;
            self.strangers(&sample).await;
            self.samples.send_replace(Arc::new(sample));
            after();
        }
    }

    /// Removes what is left of rentals that ended, and notes machines that nobody knows.
    pub async fn strangers(&self, sample: &Sample) {
        let now = self.ledger.now();
        let mut unmanaged = BTreeSet::new();
        for id in sample.machines.iter().flat_map(BTreeMap::keys).filter(|id| now.get(id).is_none()) {
            match self.ledger.known(id).await {
                // Reserved since the look began.
                Ok(Known::Live) => {}
                Ok(Known::Ended) => {
                    golem_service::log_limited_each!(
                        id,
                        info,
                        vm = id.redacted(),
                        "removing what is left of an ended rental"
                    );
                    if let Err(error) = self.backend.delete(id).await {
                        golem_service::log_limited_each!(
                            id,
                            warn,
                            vm = id.redacted(),
                            error = &error as &dyn std::error::Error,
                            "leftover not removed; will be tried again"
                        );
                    }
                }
                Ok(Known::Unknown) => {
                    unmanaged.insert(id.clone());
                }
                Err(error) => golem_service::log_limited!(
                    error,
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be asked about a machine"
                ),
            }
        }
        if sample.machines.is_some() {
            self.unmanaged.send_if_modified(|before| {
                for id in unmanaged.difference(before) {
                    golem_service::log_limited_each!(
                        id,
                        warn,
                        vm = id.redacted(),
                        "a machine that the ledger does not know is left alone"
                    );
                }
                let changed = *before != unmanaged;
                *before = unmanaged;
                changed
            });
        }
    }
}
