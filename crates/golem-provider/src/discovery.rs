//! The discovery service that anyone can run: `golem-provider discovery`.
//!
//! Owns the process: its settings, its socket, its database's place and its end. What is served,
//! [`golem_market::discovery::server`] knows.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use anyhow::{Context, bail};
use golem_market::discovery::Store;
use golem_market::discovery::server::{self, ServerConfig};
use golem_service::descriptors;
use golem_service::server::TrustedProxies;
use golem_service::service_manager;
use golem_service::tasks::Tasks;
use tokio::net::TcpListener;

use crate::signals::Signals;
use golem_host::settings::DiscoveryServerSettings;

/// Serves adverts until it is told to stop.
///
/// # Errors
/// When it cannot listen, when its database cannot be used, or when one of its tasks dies.
pub async fn run(settings: &DiscoveryServerSettings, trusted_proxies: TrustedProxies) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be listened to")?;
    descriptors::raise_limit();
    if !settings.dir.is_absolute() {
        bail!("HOME is not set; fix: set it, or GOLEM_DISCOVERY_DATABASE_DIR to an absolute path");
    }
    let file = settings.dir.join(&settings.file);
    let store = {
        let file = file.clone();
        let open = move || {
            // One that is there may be for others too, and holds nothing that is secret.
            file.parent()
                .map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder))?;
            Ok::<_, anyhow::Error>(Store::open(&file)?)
        };
        tokio::task::spawn_blocking(open).await.context("the database was lost")?
    };
    let store = store.with_context(|| {
        format!("the database {} cannot be used; fix: set GOLEM_DISCOVERY_DATABASE_DIR", file.display())
    })?;
    let address = SocketAddr::new(settings.host, settings.port.get());
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; fix: stop what uses the port, or give another with --port")
    })?;
    let tasks = Tasks::new();
    let config =
        ServerConfig { requests_per_minute: settings.limit, signed_only: settings.signed, trusted_proxies };
    server::start(config, Arc::new(store), listener, &tasks);
    tracing::info!(
        database = %file.display(), signatures_required = settings.signed,
        "discovery service on http://{address}"
    );
    service_manager::ready();
    signals.until_stopped(&tasks, "the discovery service").await
}
