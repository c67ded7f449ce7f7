//! Asks a certificate authority, by the project's one HTTP client.
//!
//! Owns what an exchange says beside its answer: how long to wait (`Retry-After`), and what time it is (`Date`). Never
//! looks into an answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use golem_service::http::{Client, HttpError, Options, header};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

/// Longest that an exchange may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Most bytes of a request or an answer; a chain is below 16 KiB.
const LARGEST: usize = 256 * 1024;

/// Longest wait that an authority can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 86_400);

/// What exchanges said beside their answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    /// How long to wait before the next order.
    pub(super) wait: Option<Duration>,
    /// How far the authority's clock is before this machine's.
    pub(super) ahead: Option<SignedDuration>,
}

/// Asks an authority; clones share what it said.
#[derive(Clone)]
pub(super) struct Directory {
    http: Client,
    said: Arc<Mutex<Said>>,
    clock: fn() -> Timestamp,
}

impl Directory {
    /// By `clock`, this machine's time.
    ///
    /// # Errors
    /// When no client can be made.
    pub(super) fn new(clock: fn() -> Timestamp) -> Result<Self, HttpError> {
        Ok(Self { http: Client::new(Options::within(DEADLINE))?, said: Arc::default(), clock })
    }

    /// What was said so far.
    pub(super) fn said(&self) -> Said {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let other = |error: HttpError| Error::Other(Box::new(error));
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), LARGEST).await.map_err(|error| Error::Other(Box::new(error)))?;
        let mut asked = self.http.request(parts.method, &parts.uri.to_string());
        for (name, value) in &parts.headers {
            asked = asked.header(name, value.to_str().unwrap_or_default());
        }
        let answer = asked.body(body.to_vec()).send(LARGEST).await.map_err(other)?;
        self.note(&answer.headers);
        let mut response = Response::new(Body::from(answer.bytes));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response.into())
    }

    fn note(&self, headers: &header::HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text(header::DATE).and_then(|date| rfc2822::parse(date).ok());
        let wait = text(header::RETRY_AFTER).and_then(|wait| wait.trim().parse().ok());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.wait = wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        if let Some(date) = date {
            said.ahead = Some(date.timestamp().duration_since((self.clock)()));
        }
    }
}

impl HttpClient for Directory {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}
