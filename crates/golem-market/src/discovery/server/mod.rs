//! A discovery server: adverts that are taken from providers and shown to renters over HTTP.
//!
//! ```text
//!   socket ─► serve (deadlines, caps) ─► limit ─► routes ─► parse, claim ─► store (SQLite)
//!                        │                every minute: what has lapsed is forgotten ┘
//!                        └► live (sockets) ─► directory, in memory
//! ```
//! Owns the tasks of a server. Never opens its socket or its database: the process that runs it does.

mod live;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use golem_service::server::TrustedProxies;
use golem_service::server::serve::serve;
use golem_service::tasks::Tasks;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Store;

/// How often what has lapsed is forgotten: as the published server does.
const CLEANING: Duration = Duration::from_secs(60);

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Most requests of one address in a minute; 0: no limit.
    pub requests_per_minute: u32,
    /// Whether only signed adverts are taken.
    pub signed_only: bool,
    /// Proxies whose word on who asks is believed.
    pub trusted_proxies: TrustedProxies,
}

/// Serves `store` on `listener`, as tasks of `tasks`.
pub fn start(config: ServerConfig, store: Arc<Store>, listener: TcpListener, tasks: &Tasks) {
    let live = Arc::new(live::Live::new(tasks));
    let routes = routes::router(Arc::clone(&store), live, config.requests_per_minute, config.signed_only);
    tasks.spawn(
        "discovery",
        serve("discovery connection", listener, routes, config.trusted_proxies, tasks.clone()),
    );
    let stop = tasks.stopping().clone();
    tasks.spawn("cleaning", async move {
        stop.run_until_cancelled(clean(store)).await;
    });
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
