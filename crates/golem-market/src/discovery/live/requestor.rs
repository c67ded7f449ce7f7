//! A renter's end: what a server shows now.
//!
//! Owns the exchange, bounded in time and size. Never looks on: who rents asks again.

use std::time::Duration;

use golem_service::http::{self, Options};
use golem_service::web_socket::rate::{ALIVE, Rate};
use golem_service::web_socket::{self, Limits, NORMAL, Received};
use tokio::time::timeout;

use super::MESSAGE;
use super::provider::LiveError;
use super::words::{FromServer, subscription};
use crate::discovery::client::Listed;
use crate::discovery::store::Filter;

/// Longest that a list may take, from the first byte to the last.
const DEADLINE: Duration = Duration::from_secs(15);

/// Largest list: some thirty thousand adverts.
const LIMITS: Limits = Limits { message_bytes: 16 << 20, write: Duration::from_secs(5) };

/// The path of a server's socket for renters, and of the one for providers.
const PATHS: [&str; 2] = ["/discovery/requestors", "/discovery/providers"];

/// The socket for renters of the server whose socket for either is `url`.
#[must_use]
pub fn socket_of(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let [own, providers] = PATHS;
    url.strip_suffix(providers).map_or_else(|| url.to_owned(), |server| format!("{server}{own}"))
}

/// What the server at `url` shows to a renter with `filter`. What its filters let through and ours does not is left
/// out.
///
/// # Errors
/// [`LiveError`].
pub async fn find(url: &str, filter: &Filter) -> Result<Vec<Listed>, LiveError> {
    let http = http::Client::new(Options::within(DEADLINE)).map_err(LiveError::Http)?;
    let list = timeout(DEADLINE, snapshot(&http, &socket_of(url), filter)).await;
    let mut listed = list.unwrap_or(Err(LiveError::Silent("what it shows")))?;
    listed.retain(|listed| listed.is_large_enough(filter));
    Ok(listed)
}

async fn snapshot(http: &http::Client, url: &str, filter: &Filter) -> Result<Vec<Listed>, LiveError> {
    let mut socket = web_socket::connect(http, url, LIMITS).await?;
    socket.send(subscription(filter)).await?;
    let mut rate = Rate::default();
    loop {
        let (text, cost) = match socket.next().await? {
            Received::Alive => (None, ALIVE),
            Received::Text(text) => (Some(text), MESSAGE),
        };
        match text.map(|text| FromServer::read(&text)).transpose() {
            Ok(Some(FromServer::Snapshot(listed))) => {
                socket.close(NORMAL, "").await;
                return Ok(listed);
            }
            Ok(Some(FromServer::Error(text))) => return Err(LiveError::Refused(text)),
            Ok(_) if rate.take(cost) => {}
            Ok(_) => return Err(LiveError::Flood),
            Err(_) => return Err(LiveError::Nonsense),
        }
    }
}
