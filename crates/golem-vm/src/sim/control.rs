//! What tests do to the simulation: faults, delays, and what becomes of guests by themselves.
//!
//! Owns no machine. Never called by the node.

use std::collections::BTreeSet;
use std::time::Duration;

use golem_types::VmId;

use super::{Call, Fault, Record, SimControl};
use crate::machine::BackendError;

impl SimControl {
    /// Makes the next `times` of `call` fail as `fault`.
    pub fn fail(&self, call: Call, fault: Fault, times: u32) {
        self.0.lock().faults.insert(call, (fault, times));
    }

    /// Lets every `call` take `delay` longer.
    pub fn delay(&self, call: Call, delay: Duration) {
        self.0.lock().delays.insert(call, delay);
    }

    /// Lets no guest become ready.
    pub fn hold_boots(&self) {
        self.0.lock().boots_held = true;
    }

    /// Lets guests become ready again.
    pub fn release_boots(&self) {
        self.0.lock().boots_held = false;
    }

    /// Forgets every fault and delay.
    pub fn heal(&self) {
        let mut inner = self.0.lock();
        inner.faults.clear();
        inner.delays.clear();
    }

    /// Ends the guest's process, as a crash does.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`].
    pub fn crash(&self, id: &VmId) -> Result<(), BackendError> {
        self.0.change(id, "crashing", Record::end)
    }

    /// Lets the guest shut itself down, if it runs.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`].
    pub fn power_off(&self, id: &VmId) -> Result<(), BackendError> {
        self.0.change(id, "powering off", |record| {
            if record.running && record.halted.is_none() {
                record.end();
                record.powered_off = true;
            }
        })
    }

    /// Pauses the guest for `reason`, which is `resumable` or not.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`].
    pub fn halt(&self, id: &VmId, reason: &str, resumable: bool) -> Result<(), BackendError> {
        self.0.change(id, "halting", |record| {
            record.halted = Some(reason.to_owned());
            record.resumable = resumable;
        })
    }

    /// Lets a guest that was paused go on.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`].
    pub fn go_on(&self, id: &VmId) -> Result<(), BackendError> {
        self.0.change(id, "going on", |record| record.halted = None)
    }

    /// Whether the guest is paused.
    #[must_use]
    pub fn is_halted(&self, id: &VmId) -> bool {
        self.0.lock().machines.get(id).is_some_and(|record| record.halted.is_some())
    }

    /// How many guests were started as `id` so far, and whether the last one is there still.
    #[must_use]
    pub fn guests(&self, id: &VmId) -> (u32, bool) {
        self.0.lock().machines.get(id).map_or((0, false), |record| (record.boots, record.running))
    }

    /// The last order to make the disk of `id` anew that was done, in microseconds since the epoch; 0 if none was.
    #[must_use]
    pub fn rebuilt_at(&self, id: &VmId) -> i64 {
        self.0.lock().machines.get(id).map_or(0, |record| record.rebuilt_at)
    }

    /// Loses the machine with its disk.
    pub fn lose(&self, id: &VmId) {
        let _ = std::fs::remove_file(self.0.path(id));
        self.0.lock().machines.remove(id);
    }

    /// Ids of every machine there is.
    #[must_use]
    pub fn machines(&self) -> BTreeSet<VmId> {
        self.0.lock().machines.keys().cloned().collect()
    }

    /// Keys that may log in to `id`, in the order in which they came.
    #[must_use]
    pub fn keys(&self, id: &VmId) -> Vec<String> {
        self.0.lock().machines.get(id).map(|record| record.keys.clone()).unwrap_or_default()
    }
}
