//! The guard of the guests' networks: has the backend look at them, and publishes what it saw.
//!
//! Owns how often. The backend mends what is not as it should be, and cuts what it cannot mend; this
//! knows no rule and no namespace, and changes no rental.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use golem_types::VmId;
use golem_vm::{Backend, Network};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often every guest's network is looked at. An address that the host is given is open to guests
/// for as long.
const INTERVAL: Duration = Duration::from_secs(4);

/// What the backend saw, by machine; empty before the first look.
pub type Networks = BTreeMap<VmId, Network>;

/// Looks at once, and at every interval until `stop`.
pub async fn guard(backend: Arc<Backend>, seen: watch::Sender<Networks>, stop: CancellationToken) {
    loop {
        // A look that began is finished: what it began to mend should not stay half mended.
        let networks = backend.keep_networks().await;
        seen.send_replace(networks);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
