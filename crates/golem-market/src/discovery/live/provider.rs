//! A provider's end: one connection to one server.
//!
//! Owns the exchange, in which every wait has a deadline and everything that comes is bounded: a server that is silent,
//! floods, or says what makes no sense is an error and no more. Never decides what is said when, and never connects again.

use std::time::Duration;

use golem_service::http::{self, HttpError, Options};
use golem_service::web_socket::rate::{ALIVE, Rate};
use golem_service::web_socket::{self, Limits, NORMAL, Received, SocketError, WebSocket};
use golem_types::visible::line_of;
use golem_types::wallet::Wallet;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::advert::{BadAdvert, LiveAdvert};
use super::words::{Authenticate, FromProvider, FromServer, PROTOCOL, is_nonce};
use super::{MESSAGE, PING, SILENCE};

/// Longest that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);

/// Longest that a server may take for its greeting, and for each answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A server says little to a provider.
const LIMITS: Limits = Limits { message_bytes: 16 << 10, write: ANSWER };

/// Why a server cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// No HTTP client can be made.
    #[error("no HTTP client can be made")]
    Http(#[source] HttpError),
    /// There is no connection, or no longer.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// It said nothing when it had to.
    #[error("the server did not say {0} in time")]
    Silent(&'static str),
    /// It shows no sign of life.
    #[error("the server has been silent for {} s", SILENCE.as_secs())]
    Dead,
    /// It speaks another protocol.
    #[error("the server speaks {0:?} and not {PROTOCOL}")]
    Protocol(String),
    /// It says what makes no sense.
    #[error("what the server says makes no sense")]
    Nonsense,
    /// It says far more than it has to.
    #[error("the server sends far more than it has to")]
    Flood,
    /// It refused.
    #[error("the server refused: {0}")]
    Refused(String),
    /// Its challenge cannot be signed.
    #[error("the server's challenge cannot be signed")]
    Unsigned,
    /// What should be said cannot be.
    #[error(transparent)]
    Advert(#[from] BadAdvert),
}

/// What opens connections to servers.
///
/// # Errors
/// [`LiveError::Http`].
pub fn client() -> Result<http::Client, LiveError> {
    http::Client::new(Options::within(CONNECT)).map_err(LiveError::Http)
}

/// A connection on which a provider has proved itself.
#[derive(Debug)]
pub struct ProviderSocket {
    socket: WebSocket,
    rate: Rate,
    heard: Instant,
}

impl ProviderSocket {
    /// Connects to the server `url` (`wss://…/api/v1/discovery/providers`) and proves to be `wallet`'s owner.
    ///
    /// # Errors
    /// [`LiveError`].
    pub async fn open(http: &http::Client, url: &str, wallet: &Wallet) -> Result<Self, LiveError> {
        let socket = web_socket::connect(http, url, LIMITS).await?;
        let mut this = Self { socket, rate: Rate::default(), heard: Instant::now() };
        let is_hello = |said: &FromServer| matches!(said, FromServer::Hello { .. });
        let FromServer::Hello { protocol, nonce } = this.wait("hello", is_hello).await? else {
            return Err(LiveError::Nonsense);
        };
        if protocol != PROTOCOL {
            return Err(LiveError::Protocol(line_of(&protocol, 64)));
        }
        if !is_nonce(&nonce) {
            return Err(LiveError::Nonsense);
        }
        let proof = Authenticate::sign(wallet, &nonce, Timestamp::now()).ok_or(LiveError::Unsigned)?;
        this.say(&FromProvider::Authenticate(proof)).await?;
        this.wait("that it knows who we are", |said| *said == FromServer::Authenticated).await?;
        Ok(this)
    }

    /// Has `advert` shown from now on.
    ///
    /// # Errors
    /// [`LiveError`]; after [`LiveError::Refused`] the connection goes on, if the server does not end it.
    pub async fn upsert(&mut self, advert: LiveAdvert) -> Result<(), LiveError> {
        self.say(&FromProvider::Upsert(Box::new(advert))).await?;
        self.wait("that it shows the advert", |said| *said == FromServer::Accepted).await.map(drop)
    }

    /// Has nothing shown from now on.
    ///
    /// # Errors
    /// [`LiveError`].
    pub async fn remove(&mut self) -> Result<(), LiveError> {
        self.say(&FromProvider::Remove).await?;
        self.wait("that it shows nothing", |said| *said == FromServer::Removed).await.map(drop)
    }

    /// Keeps the connection until it ends, and tells why. May be given up at any time.
    pub async fn keep(&mut self) -> LiveError {
        let mut pings = interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let said = tokio::select! {
                said = self.hear() => said,
                _ = pings.tick() => match self.is_alive().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match said {
                Ok(FromServer::Error(text)) => return LiveError::Refused(text),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Ends the connection as agreed, within a second.
    pub async fn close(self) {
        self.socket.close(NORMAL, "").await;
    }

    async fn is_alive(&mut self) -> Result<(), LiveError> {
        if self.heard.elapsed() >= SILENCE {
            return Err(LiveError::Dead);
        }
        Ok(self.socket.ping().await?)
    }

    async fn say(&mut self, message: &FromProvider) -> Result<(), LiveError> {
        Ok(self.socket.send(message.write()).await?)
    }

    /// The message for which `is` holds; what else comes does not matter, but for a refusal.
    async fn wait(
        &mut self,
        what: &'static str,
        is: impl Fn(&FromServer) -> bool,
    ) -> Result<FromServer, LiveError> {
        let heard = async {
            loop {
                match self.hear().await? {
                    FromServer::Error(text) => return Err(LiveError::Refused(text)),
                    said if is(&said) => return Ok(said),
                    _ => {}
                }
            }
        };
        timeout(ANSWER, heard).await.unwrap_or(Err(LiveError::Silent(what)))
    }

    async fn hear(&mut self) -> Result<FromServer, LiveError> {
        loop {
            let received = self.socket.next().await?;
            self.heard = Instant::now();
            let (text, cost) = match received {
                Received::Alive => (None, ALIVE),
                Received::Text(text) => (Some(text), MESSAGE),
            };
            if !self.rate.take(cost) {
                return Err(LiveError::Flood);
            }
            if let Some(text) = text {
                return FromServer::read(&text).map_err(|_| LiveError::Nonsense);
            }
        }
    }
}
