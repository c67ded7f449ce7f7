//! Suspending simulated guests: whether one is.

use golem_types::VmId;

use super::{Call, Sim};
use crate::machine::BackendError;

impl Sim {
    pub(crate) async fn suspend(&self, id: &VmId) -> Result<(), BackendError> {
        const STEP: &str = "suspending the guest";
        self.0.enter(Call::Suspend).await?;
        self.0.change(id, STEP, |record| {
            if record.running && record.halted.is_none() {
                record.end();
                record.suspended = true;
            }
        })?;
        match self.0.lock().machines.get(id) {
            Some(record) if record.suspended => Ok(()),
            _ => Err(BackendError::Failed { step: STEP, message: "no guest runs".to_owned(), source: None }),
        }
    }
}
