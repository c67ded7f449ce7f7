//! What a machine's task does where a guest's memory is kept while it does not run.
//!
//! Owns the order: the row says that the guest is being suspended before that is begun, and that it does not run after
//! its memory is on disk; its port is closed in between. Where the memory cannot be kept, the row says so, and the goal
//! decides what follows. Never decides which guests are to be suspended.

use std::time::Duration;

use golem_types::VmState;
use golem_vm::{BackendError, Started};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::error::StepError;
use super::{CALL_DEADLINE, Machine, Memory, silent, spec};
use crate::crash::crash_point;
use crate::rental::{Change, Rental};

/// Longest that a GiB of memory may take to be written or read: a slow disk that others use, too, moves 17 MB in a second.
const PER_GIB: Duration = Duration::from_secs(60);

/// Longest that the memory of `rental` may take.
fn deadline(rental: &Rental) -> Duration {
    PER_GIB * rental.vm.resources.memory + CALL_DEADLINE
}

impl Machine {
    /// Keeps what is in the guest's memory, and ends the guest.
    pub(super) async fn suspend(&self, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        self.handle.forget_start(Instant::now());
        self.handle.forget_restart();
        if rental.vm.state.may_become(VmState::Stopping) {
            self.record(Change::to(VmState::Stopping)).await?;
        }
        self.close(rental, memory).await;
        crash_point!("before-suspend");
        let deadline = deadline(rental);
        let call = timeout(deadline + CALL_DEADLINE, self.backend.suspend(&self.id, deadline));
        let late = || BackendError::Failed {
            step: "keeping the guest's memory",
            message: "it takes too long".to_owned(),
            source: None,
        };
        match call.await.unwrap_or_else(|_| Err(late())) {
            Ok(()) => {
                crash_point!("suspended");
                self.record(Change::to(VmState::Stopped)).await
            }
            Err(error @ BackendError::Unavailable { .. }) => Err(error.into()),
            Err(error) => {
                golem_service::log_limited_each!(
                    self.id,
                    error,
                    vm = self.id.redacted(),
                    error = &error as &dyn std::error::Error,
                    "the guest's memory could not be kept"
                );
                let why = StepError::from(error).public();
                self.ledger.note(&self.id, "vm.not_suspended", why, Timestamp::now()).await?;
                self.ledger.not_suspended(&self.id, Timestamp::now()).await?;
                Ok(())
            }
        }
    }

    /// Launches the guest, with its memory where that was kept.
    pub(super) async fn launch(&self, planned: &Rental) -> Result<(), StepError> {
        // What was granted since the step was planned counts, too; from now on nothing is.
        let now = self.ledger.now();
        let rental = now.get(&self.id).unwrap_or(planned);
        let deadline = if rental.vm.suspends { deadline(rental) } else { CALL_DEADLINE };
        let spec = spec(rental);
        let call = timeout(deadline, self.backend.start(&spec));
        let (kind, detail) = match call.await.unwrap_or_else(|_| Err(silent(self.backend.name())))? {
            Started::Booted => return Ok(()),
            Started::Resumed => ("vm.resumed", String::new()),
            Started::MemoryLost(why) => {
                golem_service::log_limited_each!(
                    self.id,
                    error,
                    vm = self.id.redacted(),
                    %why,
                    "the guest's memory could not be taken up, and it boots from its disk"
                );
                // What QEMU says names what is on the host.
                let told = "its memory could not be taken up, so it boots from its disk";
                ("vm.memory_lost", told.to_owned())
            }
        };
        Ok(self.ledger.note(&self.id, kind, detail, Timestamp::now()).await?)
    }
}
