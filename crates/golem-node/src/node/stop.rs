//! The node's end.
//!
//! Owns its order: tasks, guests where that is wanted, the proxy, the ledger's file.

use golem_types::VmState;
use jiff::Timestamp;

use super::Node;
use crate::ledger::{Change, Goal, Rental};

impl Node {
    /// Ends every task and drains the proxy. Guests go on running, unless `stop_vms`: then they
    /// are shut down, and booted again at the next start.
    pub async fn shutdown(&self, stop_vms: bool) {
        let inner = &self.0;
        inner.tasks.stop().await;
        inner.probes.close_all().await;
        if stop_vms {
            let now = inner.ledger.now();
            let stops = now
                .iter()
                .filter(|rental| rental.aim() == Goal::Running && rental.vm.state != VmState::Stopped)
                .map(|rental| self.stop_for_exit(rental));
            futures_util::future::join_all(stops).await;
        }
        inner.proxy.shutdown().await;
        if let Err(error) = inner.ledger.checkpoint().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger could not be put into one file; copy provider.db-wal with it"
            );
        }
    }

    async fn stop_for_exit(&self, rental: &Rental) {
        let id = &rental.vm.id;
        match self.0.backend.stop(id, self.0.config.stop_grace).await {
            Ok(()) => {
                let change = Change::to(VmState::Stopped);
                if let Err(error) = self.0.ledger.advance(id, change, Timestamp::now()).await {
                    tracing::error!(
                        vm = id.redacted(),
                        error = &error as &dyn std::error::Error,
                        "a stop could not be recorded"
                    );
                }
            }
            Err(error) => tracing::error!(
                vm = id.redacted(),
                error = &error as &dyn std::error::Error,
                "VM not stopped"
            ),
        }
    }
}
