//! How far a boot came, and what is kept of one that failed.
//!
//! Owns when that is taken: before anything of the machine is removed. Never fails a step: a boot whose trace
//! cannot be kept is a boot all the same.

use std::time::Duration;

use golem_service::log::with_causes;
use golem_types::VmState;
use jiff::Timestamp;
use tokio::time::timeout;

use super::error::StepError;
use super::{Machine, Memory};
use crate::boot::{Reached, Stage, reach};
use crate::ledger::BootFailure;
use crate::reconcile::plan::Step;
use crate::rental::Rental;

/// Longest that a machine is asked what it said.
const LISTEN: Duration = Duration::from_secs(10);

/// Whether `step` ends with a guest that answers.
pub(super) const fn is_boot(step: &Step) -> bool {
    matches!(step, Step::Make | Step::Boot | Step::Meet(_) | Step::Serve(_) | Step::Restart)
}

impl Machine {
    /// Takes note that the boot has reached `stage`. That a guest is met which ran before is no boot of it, nor that its port is
    /// opened again.
    pub(super) async fn reach(&self, rental: &Rental, stage: Stage, memory: &mut Memory) {
        let now = Timestamp::now();
        let has = |stage| memory.stages.iter().any(|reached| reached.stage == stage);
        let is_boot = !rental.has_booted || stage == Stage::Launch || has(Stage::Launch) && !has(Stage::Port);
        reach(&mut memory.stages, stage, now);
        if !is_boot {
            return;
        }
        if let Err(error) = self.ledger.reach(&self.id, stage, now).await {
            golem_service::log_limited_each!(
                self.id,
                error,
                vm = self.id.redacted(),
                error = &error as &dyn std::error::Error,
                "a stage of a boot could not be recorded"
            );
        }
    }

    /// Keeps what is left of a boot that ended with `error`.
    pub(super) async fn keep_failure(&self, error: &StepError, stages: &[Reached]) {
        self.keep(error.public(), with_causes(error), stages.to_vec()).await;
    }

    /// Keeps what is left of a create that is given up before it ran, unless that is kept already: its renter
    /// deleted it, or the node was killed while it gave up.
    pub(super) async fn keep_unfinished(&self, rental: &Rental) {
        if rental.has_booted
            || self
                .ledger
                .failed_boots(self.id.as_str(), Timestamp::now())
                .await
                .is_ok_and(|kept| !kept.is_empty())
        {
            return;
        }
        let reason = match (&rental.vm.error, rental.vm.state) {
            (Some(error), VmState::Error) => error.clone(),
            _ => "deleted before it ran".to_owned(),
        };
        self.keep(reason.clone(), reason, Vec::new()).await;
    }

    /// Stages that are given count for a boot that is no create.
    async fn keep(&self, reason: String, cause: String, stages: Vec<Reached>) {
        let listen = async {
            let console = self.backend.console(&self.id).await.unwrap_or_default();
            (console, self.backend.process_log(&self.id))
        };
        let (console, process_log) = timeout(LISTEN, listen).await.unwrap_or_default();
        let failure = BootFailure { reason, cause, stages, console, process_log };
        if let Err(error) = self.ledger.keep_failed_boot(&self.id, failure, Timestamp::now()).await {
            golem_service::log_limited_each!(
                self.id,
                error,
                vm = self.id.redacted(),
                error = &error as &dyn std::error::Error,
                "what a failed boot left could not be kept"
            );
        }
    }
}
