//! What renters should read, from what the node has left.

use std::time::Duration;

use golem_market::arkiv::Advert;
use golem_types::Resources;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Wish;
use crate::node::Node;

/// How often free space on the host's disk is looked at: rentals are told of at once.
const HOST_INTERVAL: Duration = Duration::from_secs(30);

/// Keeps `wish` true to what `node` has left, until `stop`. `offer` is everything else that an
/// advert says; `None` while it is not known.
pub async fn follow(
    node: Node,
    mut offer: watch::Receiver<Option<Advert>>,
    wish: watch::Sender<Wish>,
    stop: CancellationToken,
) {
    let mut changes = node.changes();
    loop {
        changes.mark_unchanged();
        let now = wished(&node, offer.borrow_and_update().as_ref());
        wish.send_if_modified(|wish| {
            let changed = *wish != now;
            *wish = now;
            changed
        });
        tokio::select! {
            Ok(()) = changes.changed() => {}
            Ok(()) = offer.changed() => {}
            () = sleep(HOST_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn wished(node: &Node, offer: Option<&Advert>) -> Wish {
    if node.draining() {
        return Wish::Hidden;
    }
    let Some(offer) = offer else { return Wish::Unknown };
    let capacity = node.capacity();
    // What nobody can rent is not offered: a renter would pay for a stream first. It is told as nothing
    // and not hidden, because other providers find by the advert who may try their ports.
    let full = node.config().closed.is_some() || capacity.vms >= capacity.max_vms || !node.has_port_left();
    let free = if full { Resources::default() } else { capacity.free };
    Wish::Shown(Box::new(Advert { free, ..offer.clone() }))
}
