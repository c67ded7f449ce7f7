//! The discovery service that anyone can run: `golem-provider discovery`.
//!
//! ```text
//!   socket ─► serve (deadlines, caps) ─► limit ─► routes ─► parse, claim ─► store (SQLite)
//!                                         every minute: what has lapsed is forgotten ┘
//! ```
//! Owns the service's life. What an advert is and who may say it, `golem_market::discovery` knows.

mod routes;

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use golem_market::discovery::Store;
use golem_service::server::serve::serve;
use golem_service::tasks::Tasks;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::daemon::Signals;
use crate::service_manager;
use crate::settings::Settings;
use crate::start::raise_file_limit;

/// How often what has lapsed is forgotten: as the published server does.
const CLEANING: Duration = Duration::from_secs(60);

/// Serves adverts until it is told to stop.
///
/// # Errors
/// When it cannot listen, when its database cannot be used, or when one of its tasks dies.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be listened to")?;
    raise_file_limit();
    if !settings.discovery_server_dir.is_absolute() {
        bail!("HOME is not set; fix: set it, or GOLEM_DISCOVERY_DATABASE_DIR to an absolute path");
    }
    let file = settings.discovery_server_dir.join(&settings.discovery_server_file);
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
    let store = Arc::new(store);
    let address = SocketAddr::new(settings.discovery_server_host, settings.discovery_server_port.get());
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; fix: stop what uses the port, or give another with --port")
    })?;
    let tasks = Tasks::new();
    let routes =
        routes::router(Arc::clone(&store), settings.discovery_server_limit, settings.discovery_server_signed);
    tasks.spawn(
        "discovery",
        serve("discovery connection", listener, routes, settings.trusted_proxies.clone(), tasks.clone()),
    );
    tasks.spawn("cleaning", {
        let stop = tasks.stopping().clone();
        async move {
            stop.run_until_cancelled(clean(store)).await;
        }
    });
    tracing::info!(
        database = %file.display(), signatures_required = settings.discovery_server_signed,
        "discovery service on http://{address}"
    );
    service_manager::ready();
    signals.until_stopped(&tasks, "the discovery service").await
}

async fn clean(store: Arc<Store>) {
    loop {
        let store = Arc::clone(&store);
        match tokio::task::spawn_blocking(move || store.clean(Timestamp::now())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "adverts lapsed"),
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cleaning failed")
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "cleaning failed"),
        }
        sleep(CLEANING).await;
    }
}
