//! https of a running node.
//!
//! Owns how the verification of ports and https know of each other: a port that is not reachable from outside has no
//! endpoint. The certificate is [`golem_reach::certificates`]'s.

use std::net::IpAddr;

use golem_reach::certificates::{Https, HttpsConfig, Listening, SharedPorts, WebPorts};
use golem_reach::report::Reach;
use tokio::sync::watch;

use crate::node::Node;
use crate::port_verification::Verifier;

/// Has https of `node` at `address` served as `config` says until the node stops, by what `verifier` finds out about its
/// port. Gives what is to be served, where the port could be had.
pub async fn start(
    config: HttpsConfig,
    web: WebPorts,
    node: &Node,
    address: watch::Receiver<Option<IpAddr>>,
    verifier: &Verifier,
) -> (Https, Option<Listening>) {
    let (found, reach) = watch::channel(reach(node, config.port));
    let (followed, port, stop) = (node.clone(), config.port, node.tasks().stopping().clone());
    let mut progress = verifier.progress();
    let follow = async move {
        while progress.changed().await.is_ok() {
            found.send_if_modified(|known| {
                let now = self::reach(&followed, port);
                std::mem::replace(known, now) != now
            });
        }
    };
    node.tasks().spawn("reach of https", async move {
        stop.run_until_cancelled(follow).await;
    });
    let ports = SharedPorts { probes: node.probes().clone(), web };
    Https::start(config, ports, node.tasks(), address, reach).await
}

/// Whether `port` is reachable from outside, by the last verification of it.
fn reach(node: &Node, port: u16) -> Reach {
    match node.port_verdicts().get(&port).map(|verdict| verdict.problem.is_some()) {
        None => Reach::Unknown,
        Some(true) => Reach::Unreachable,
        Some(false) => Reach::Reachable,
    }
}
