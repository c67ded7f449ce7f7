//! The node's end.
//!
//! Owns its order: tasks, and guests with them where that is wanted, the proxy, the ledger's file.

use std::sync::PoisonError;

use super::Node;
use crate::proxy::LeftOpen;

impl Node {
    /// Ends every task and drains the proxy. Guests go on running, unless `stop_vms`: then they
    /// are shut down, and booted again at the next start.
    pub async fn shutdown(&self, stop_vms: bool) {
        let inner = &self.0;
        if stop_vms {
            self.supervise();
            let machines = inner.machines.lock().unwrap_or_else(PoisonError::into_inner);
            machines.values().for_each(|machine| machine.stop_at_exit());
        }
        self.end_tasks().await;
        inner.proxy.shutdown().await;
        self.tidy_ledger().await;
    }

    /// Ends every task and leaves guests, their ports and the connections there to the process that
    /// [takes over](Self::take_over).
    pub async fn leave(&self) -> LeftOpen {
        self.end_tasks().await;
        self.tidy_ledger().await;
        // The last: as long as they are served, nobody waits.
        self.0.proxy.leave().await
    }

    async fn end_tasks(&self) {
        self.0.tasks.stop().await;
        self.0.probes.close_all().await;
    }

    async fn tidy_ledger(&self) {
        if let Err(error) = self.0.ledger.checkpoint().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger could not be put into one file; copy provider.db-wal with it"
            );
        }
    }
}
