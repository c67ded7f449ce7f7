//! The serial console of a rented VM, from its renter's side.
//!
//! Owns the socket: it is opened as the renter, and what comes is bounded. Never knows a terminal.

use std::time::Duration;

use golem_service::http::{self, Options};
use golem_service::web_socket::{Bytes, Limits, NORMAL, ReceivedAny, SocketError, WebSocket, connect_with};
use golem_types::VmName;
use serde_json::Value;

use super::provider::ProviderError;
use super::shown::shown;
use super::use_vm::at_provider;
use super::{Renter, StoreError};

/// How long opening may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Largest message, and how long the provider may take for one of ours.
const LIMITS: Limits = Limits { message_bytes: 64 << 10, write: Duration::from_secs(30) };

/// Most bytes of one message that is typed.
const PIECE: usize = 8 << 10;

/// How long the provider may be silent: it pings every 15 seconds.
const SILENCE: Duration = Duration::from_secs(50);

/// Why a console was not opened, or ended otherwise than by leaving it.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The VM cannot be used.
    #[error(transparent)]
    Use(#[from] super::UseError),
    /// No socket could be had, or it broke.
    #[error("the connection to the console failed: {0}")]
    Socket(String),
    /// The provider is silent.
    #[error("the provider has not said anything for 50 seconds")]
    Silent,
    /// The provider refused, or ended it.
    #[error("the provider says: {0}")]
    Ended(String),
}

impl From<ProviderError> for ConsoleError {
    fn from(error: ProviderError) -> Self {
        Self::Use(error.into())
    }
}

impl From<StoreError> for ConsoleError {
    fn from(error: StoreError) -> Self {
        Self::Use(error.into())
    }
}

impl From<SocketError> for ConsoleError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Closed { code: Some(_), reason } if !reason.is_empty() => {
                Self::Ended(shown(&reason))
            }
            error => Self::Socket(shown(&error.to_string())),
        }
    }
}

/// What comes from a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromConsole {
    /// What the guest wrote.
    Bytes(Bytes),
    /// How many bytes before the next were dropped, because they were not taken in time.
    Dropped(u64),
    /// It ended in order, and why.
    Closed(String),
}

/// An open console.
#[derive(Debug)]
pub struct Console(WebSocket);

/// Opens the console of the rental `name`, in place of whoever has it open.
///
/// # Errors
/// [`ConsoleError`].
pub async fn open_console(renter: &Renter<'_>, name: &VmName) -> Result<Console, ConsoleError> {
    let (provider, reference) = at_provider(renter, name)?;
    // Also has a session that the provider does not know any more opened again.
    provider.vm(&reference).await?;
    let url = provider.url();
    let url = url.strip_prefix("http").map(|rest| format!("ws{rest}/api/v1/vms/{reference}/console/live"));
    let url = url.unwrap_or_default();
    let http = http::Client::new(Options::within(DEADLINE));
    let http = http.map_err(|source| ProviderError::NoAnswer { url: shown(&url), source })?;
    let token = provider.token();
    let header: Vec<_> = token.iter().map(|token| ("authorization", format!("Bearer {token}"))).collect();
    let socket = connect_with(&http, &url, &header, LIMITS).await.map_err(|error| match error {
        SocketError::Refused { text, .. } => {
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            ConsoleError::Ended(shown(said["detail"].as_str().unwrap_or("it offers no console")))
        }
        error => error.into(),
    })?;
    let mut console = Console(socket);
    if header.is_empty() {
        console.0.send(r#"{"type":"auth"}"#.into()).await?;
    }
    loop {
        match console.text_or_bytes().await? {
            Ok(said) if said["type"] == "opened" => return Ok(console),
            Ok(said) if said["type"] == "error" => return Err(ConsoleError::Ended(why(&said, "error"))),
            _ => {}
        }
    }
}

fn why(said: &Value, member: &str) -> String {
    shown(said[member].as_str().unwrap_or("nothing more"))
}

impl Console {
    async fn text_or_bytes(&mut self) -> Result<Result<Value, Bytes>, ConsoleError> {
        loop {
            let received = tokio::time::timeout(SILENCE, self.0.next_any()).await;
            match received.map_err(|_| ConsoleError::Silent)?? {
                ReceivedAny::Text(text) => return Ok(Ok(serde_json::from_str(&text).unwrap_or_default())),
                ReceivedAny::Bytes(bytes) => return Ok(Err(bytes)),
                ReceivedAny::Alive => {}
            }
        }
    }

    /// What comes next. May be given up at any time without losing anything.
    ///
    /// # Errors
    /// [`ConsoleError`]; the console is of no use then.
    pub async fn next(&mut self) -> Result<FromConsole, ConsoleError> {
        loop {
            let said = match self.text_or_bytes().await? {
                Err(bytes) => return Ok(FromConsole::Bytes(bytes)),
                Ok(said) => said,
            };
            match said["type"].as_str() {
                Some("dropped") => {
                    return Ok(FromConsole::Dropped(said["bytes"].as_u64().unwrap_or_default()));
                }
                Some("closed") => return Ok(FromConsole::Closed(why(&said, "reason"))),
                Some("error") => return Err(ConsoleError::Ended(why(&said, "error"))),
                // A newer provider may say more.
                _ => {}
            }
        }
    }

    /// Types `bytes`.
    ///
    /// # Errors
    /// [`ConsoleError`]; the console is of no use then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ConsoleError> {
        for piece in bytes.chunks(PIECE) {
            self.0.send_bytes(Bytes::copy_from_slice(piece)).await?;
        }
        Ok(())
    }

    /// Leaves it.
    pub async fn leave(self) {
        self.0.close(NORMAL, "").await;
    }
}
