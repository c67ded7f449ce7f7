//! The node's end.
//!
//! Owns its order: tasks, and guests with them where that is wanted, the proxy, the ledger's file.

use std::sync::PoisonError;

use super::Node;

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
        inner.tasks.stop().await;
        inner.probes.close_all().await;
        inner.proxy.shutdown().await;
        if let Err(error) = inner.ledger.checkpoint().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger could not be put into one file; copy provider.db-wal with it"
            );
        }
    }
}
