//! The check server as a program, and what a node tries the ports of others with.
//!
//! Owns whom either may dial, by the settings. Never dials: `golem_reach` does.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use golem_chain::identity::Identity;
use golem_reach::port_checker::{Checker, Targets, router};
use golem_service::descriptors;
use golem_service::server::TrustedProxies;
use golem_service::server::serve::serve;
use golem_service::service_manager;
use golem_service::tasks::Tasks;
use tokio::net::TcpListener;

use crate::identity;
use crate::passphrase::{Asking, Passphrases};
use crate::signals::Signals;
use golem_host::data_dir;
use golem_host::settings::{Environment, NodeSettings, PortCheckerSettings};

/// What a node tries the ports of other providers with.
pub fn of_node(settings: &NodeSettings, identity: &Identity) -> Checker {
    let development = settings.environment == Environment::Development;
    Checker::new(identity.wallet().clone(), Targets { any: development, private: development })
}

/// Serves checks until it is told to stop.
///
/// # Errors
/// When it cannot listen, or has no key to sign with.
pub async fn run(
    server: &PortCheckerSettings,
    node: &NodeSettings,
    trusted_proxies: TrustedProxies,
    allowed: Targets,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be listened to")?;
    descriptors::raise_limit();
    let development = node.environment == Environment::Development;
    let targets = Targets { any: allowed.any || development, private: allowed.private || development };
    data_dir::close(&node.data_dir);
    let identity = identity::of_node(node, &Passphrases::of_node(node, Asking::Terminal))?;
    let address = SocketAddr::new(server.host, server.port.get());
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; fix: stop what uses the port, or give another with --port")
    })?;
    let tasks = Tasks::new();
    let routes = router(Arc::new(Checker::new(identity.wallet().clone(), targets)));
    tasks.spawn(
        "check server",
        serve("check server connection", listener, routes, trusted_proxies, tasks.clone()),
    );
    if targets.any {
        tracing::warn!("any address is dialled: others can be scanned through this server");
    }
    tracing::info!(signer = identity.address(), "checking ports on http://{address}");
    service_manager::ready();
    signals.until_stopped(&tasks, "the check server").await
}
