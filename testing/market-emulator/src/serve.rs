//! How every emulator here is served: on a free local port, by a task of its own.
//!
//! Owns the listener. Never ends the task: the emulator that holds it does.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves `router`, and tells where.
pub(crate) async fn serve(router: Router) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    #[expect(clippy::disallowed_methods, reason = "owned by the emulator, and ended with it")]
    let server = tokio::spawn(async move {
        // It ends with the test, and a test without it fails by itself.
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, server))
}
