//! The guard of the guests' networks: has the backend look at them, and publishes what it saw.
//!
//! Owns how often. The backend mends what is not as it should be, and cuts what it cannot mend; this
//! knows no rule and no namespace, and changes no rental.

use std::collections::BTreeMap;
use std::sync::Arc;

use golem_types::VmId;
use golem_vm::NETWORK_INTERVAL;
use golem_vm::{Backend, GuestNetwork};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often it is tried whether guests can be connected as they should be, in looks.
const TRY_EVERY: u32 = 15;

/// What the backend saw.
#[derive(Debug, Clone, Default)]
pub struct NetworkFacts {
    /// Running guests; empty before the first look.
    pub guests: BTreeMap<VmId, GuestNetwork>,
    /// Why a guest that is launched now would not reach the internet, with the fix.
    pub problem: Option<String>,
}

/// Looks at once, and at every interval until `stop`.
pub async fn guard(backend: Arc<Backend>, seen: watch::Sender<NetworkFacts>, stop: CancellationToken) {
    let mut looks = 0_u32;
    let look = async {
        loop {
            let guests = backend.keep_networks().await;
            seen.send_modify(|networks| networks.guests = guests);
            if looks.is_multiple_of(TRY_EVERY) {
                let problem = backend.network_problem().await;
                seen.send_modify(|networks| networks.problem = problem);
            }
            looks = looks.wrapping_add(1);
            tokio::time::sleep(NETWORK_INTERVAL).await;
        }
    };
    // What is half mended then, the next node sees, and mends.
    tokio::select! {
        () = stop.cancelled() => {}
        () = look => {}
    }
}
