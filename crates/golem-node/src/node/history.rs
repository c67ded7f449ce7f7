//! Forgetting what ended long ago.
//!
//! Owns when that is done. What may go, the ledger knows.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::ledger::LedgerError;

/// How often it is looked for rows that are old enough.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Pause between two transactions: others get their turn.
const BREATH: Duration = Duration::from_millis(50);

/// Forgets what failed boots left a day ago, and what ended longer ago than the operator keeps history, until
/// `stop`.
pub(super) async fn run(node: Node, stop: CancellationToken) {
    loop {
        if let Err(error) = node.0.ledger.forget_failed_boots(Timestamp::now()).await {
            stays(&error);
        }
        let pause = match node.0.config.history {
            Some(history) if prune(&node, history).await => BREATH,
            _ => INTERVAL,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One transaction; whether there may be more to do.
async fn prune(node: &Node, history: Duration) -> bool {
    // A backend that cannot be seen may have a machine of any rental.
    let machines =
        node.0.samples.borrow().machines.as_ref().map(|machines| machines.keys().cloned().collect());
    let Some(machines) = machines else { return false };
    let now = Timestamp::now();
    let Ok(cutoff) = now.checked_sub(history) else { return false };
    match node.0.ledger.prune(cutoff, machines, now).await {
        Ok(pruned) if pruned.is_none() => false,
        Ok(pruned) => {
            tracing::debug!(?pruned, "forgot what ended long ago");
            true
        }
        Err(error) => {
            stays(&error);
            false
        }
    }
}

fn stays(error: &LedgerError) {
    golem_service::log_limited!(
        error,
        error = error as &dyn std::error::Error,
        "old rows of the ledger stay"
    );
}
