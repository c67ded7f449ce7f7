//! A webhook.
//!
//! Owns one try to post a message. Never follows a redirect, never shows the address, which may hold a secret, and reads no
//! more of an answer than its head.

use std::fmt;
use std::time::Duration;

use golem_service::http::{Client, HttpError, Options, StatusCode, Url};

use crate::address::{self, AddressError};
use crate::message::Message;
use crate::shape::{Post, Shape};

/// Longest that a try may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where messages are posted.
#[derive(Clone)]
pub struct Webhook {
    /// Where, whole.
    pub url: Url,
    /// What it speaks.
    pub shape: Shape,
    /// What it wants as `Authorization: Bearer`.
    pub token: Option<String>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({:?} at {})", self.shape, self.host())
    }
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It may not be told, or is not found.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It does not answer.
    #[error("the webhook at {host} does not answer")]
    NoAnswer {
        /// Its host.
        host: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// It sends elsewhere.
    #[error(
        "the webhook at {host} redirects, which is not followed; fix: set GOLEM_PROVIDER_ALERT_WEBHOOK to where \
         it leads"
    )]
    Redirect {
        /// Its host.
        host: String,
    },
    /// It says no.
    #[error(
        "the webhook at {host} answers with HTTP status {status}; fix: check GOLEM_PROVIDER_ALERT_WEBHOOK, \
         GOLEM_PROVIDER_ALERT_SHAPE and GOLEM_PROVIDER_ALERT_TOKEN"
    )]
    Refused {
        /// Its host.
        host: String,
        /// What it says.
        status: StatusCode,
    },
}

impl WebhookError {
    /// Whether another try can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Address(error) => matches!(error, AddressError::Unknown { .. }),
            Self::NoAnswer { .. } => true,
            Self::Redirect { .. } => false,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
        }
    }
}

impl Webhook {
    /// Its host, which is all of it that may be shown.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Posts `message` once.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn post(&self, message: &Message, allow_private: bool) -> Result<(), WebhookError> {
        let host = self.host().to_owned();
        let port = self.url.port_or_known_default().unwrap_or(443);
        let addresses = address::checked(&host, port, allow_private).await?;
        let no_answer = |source| WebhookError::NoAnswer { host: host.clone(), source };
        let client = Client::of_addresses(&host, &addresses, Options::within(DEADLINE)).map_err(no_answer)?;
        let Post { method, url, body } = self.shape.post(&self.url, message);
        let mut request = client.request(method, url.as_str()).json(&body);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let status = request.open().await.map_err(no_answer)?.status();
        if status.is_success() {
            Ok(())
        } else if status.is_redirection() {
            Err(WebhookError::Redirect { host })
        } else {
            Err(WebhookError::Refused { host, status })
        }
    }
}
