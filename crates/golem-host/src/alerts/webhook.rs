//! Telling by HTTP.
//!
//! Owns where a message goes and what counts as delivered. Follows no redirect, and asks no address that is not public unless it may.

use std::net::IpAddr;
use std::time::Duration;

use golem_service::http::{Client, HttpError, Method, Options, StatusCode, Url, beginning};

use super::message::{Message, Post};
use super::settings::{Shape, Webhook};

/// Longest that a receiver may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address is none.
    #[error("the webhook's address is none")]
    Address,
    /// It did not answer.
    #[error("the webhook {host} does not answer")]
    NoAnswer {
        /// Its host.
        host: String,
        /// Why.
        #[source]
        error: HttpError,
    },
    /// It answered that it does not take it.
    #[error("the webhook {host} answers with HTTP status {status}{}", said(.text))]
    Refused {
        /// Its host.
        host: String,
        /// What it answered.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// It sends elsewhere.
    #[error(
        "the webhook {host} answers with a redirect, which is not followed; fix: set the address that it leads to"
    )]
    Redirect {
        /// Its host.
        host: String,
    },
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl WebhookError {
    /// Whether another try may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Address | Self::Redirect { .. } => false,
            Self::NoAnswer { error, .. } => !matches!(error, HttpError::NotPublic(_)),
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
        }
    }
}

/// Sends `message`; `id` is the same for every try of one message.
pub(super) async fn send(
    to: &Webhook,
    message: &Message,
    id: &str,
    may_be_private: bool,
) -> Result<(), WebhookError> {
    let mut url: Url = to.url.parse().map_err(|_| WebhookError::Address)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let method = if to.shape == Shape::Matrix {
        // …/rooms/ROOM, and below it each message under an id of its own, so that it is not shown twice.
        let mut parts = url.path_segments_mut().map_err(|()| WebhookError::Address)?;
        parts.pop_if_empty().extend(["send", "m.room.message", id]);
        drop(parts);
        Method::PUT
    } else {
        Method::POST
    };
    let unanswered = |error| WebhookError::NoAnswer { host: host.clone(), error };
    let options = Options { only_public: !may_be_private, ..Options::within(DEADLINE) };
    let client = Client::new(options).map_err(unanswered)?;
    let Post { headers, body } = message.post(to.shape);
    let mut request = client.request(method, url.as_str()).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(token) = &to.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.open().await.map_err(unanswered)?;
    let status = answer.status();
    if status.is_success() {
        // What it says beside is not read.
        Ok(())
    } else if status.is_redirection() {
        Err(WebhookError::Redirect { host })
    } else {
        let part = answer.part().await.ok().flatten().unwrap_or_default();
        Err(WebhookError::Refused { host, status, text: beginning(&part) })
    }
}

/// Whether a message may go to `address`.
pub(super) fn may_go_to(address: IpAddr, may_be_private: bool) -> bool {
    may_be_private || golem_types::net::is_public(address)
}
