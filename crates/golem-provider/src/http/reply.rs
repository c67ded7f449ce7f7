//! Answers and refusals, in the one shape that clients know: `{"detail": …}`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use golem_node::{NodeError, Refusal};
use golem_service::log_limited;
use golem_types::wire::Problems;
use serde::Serialize;
use serde_json::json;

/// The text of every failure that is ours; what happened is in the log only.
const UNEXPECTED: &str = "An unexpected error occurred";

/// An answer of `status` with `body` as JSON.
pub(crate) fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an answer could not be written as JSON"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An answer of 200.
pub(crate) fn ok(body: &impl Serialize) -> Response {
    json_answer(StatusCode::OK, body)
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A status, and what the client reads.
    Said(StatusCode, String),
    /// A body that is wrong in itself.
    Body(Problems),
    /// The node said no, or failed.
    Node(NodeError),
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Body(problems)
    }
}

impl Failure {
    pub(crate) fn said(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Said(status, text.into())
    }

    /// No VM is known under `which` to this caller.
    pub(crate) fn no_vm(which: &str) -> Self {
        let shown: String = which.chars().take(120).collect();
        Self::said(StatusCode::NOT_FOUND, format!("VM {shown} not found"))
    }
}

/// The refusal of a create: no room is 503, for another time or node; the rest is the caller's.
fn refusal(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NameTaken(_) => StatusCode::CONFLICT,
        Refusal::NoSuchImage(_)
        | Refusal::BelowMinimum { .. }
        | Refusal::StreamRequired
        | Refusal::Stream(_)
        | Refusal::Quote(_)
        | Refusal::StreamUsed => StatusCode::BAD_REQUEST,
        Refusal::Draining
        | Refusal::NotIsolated
        | Refusal::TooManyVms { .. }
        | Refusal::Insufficient { .. }
        | Refusal::OverThreshold { .. }
        | Refusal::NoPort
        | Refusal::Disk(_)
        | Refusal::Unverified => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn status_and_text(error: &NodeError) -> (StatusCode, String) {
    match error {
        NodeError::Refused(why) => (refusal(why), why.to_string()),
        NodeError::NotFound(_) => (StatusCode::NOT_FOUND, error.to_string()),
        NodeError::WrongState { .. } => (StatusCode::CONFLICT, error.to_string()),
        NodeError::Unpaid(_) => (StatusCode::PAYMENT_REQUIRED, error.to_string()),
        NodeError::PaymentsOff => (StatusCode::BAD_REQUEST, error.to_string()),
        NodeError::NoStream => (StatusCode::NOT_FOUND, error.to_string()),
        // Its cause, but not what lies behind that: endpoints are the operator's.
        NodeError::ChainUnknown(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error} ({cause})")),
        NodeError::ShuttingDown | NodeError::NoPrice => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        NodeError::Ledger(ledger) if ledger.disk_trouble().is_some() => {
            log_limited!(error, error = error as &dyn std::error::Error, "a request failed");
            let why = ledger.disk_trouble().unwrap_or_default();
            (StatusCode::SERVICE_UNAVAILABLE, format!("{why}; nothing was done, try again later"))
        }
        NodeError::Backend(golem_vm::BackendError::Failed { step, message, .. }) => {
            log_limited!(error, error = error as &dyn std::error::Error, "a request failed");
            (StatusCode::BAD_GATEWAY, format!("{step}: {message}"))
        }
        NodeError::Backend(_) | NodeError::Ledger(_) | NodeError::Unsigned => {
            log_limited!(error, error = error as &dyn std::error::Error, "a request failed");
            (StatusCode::INTERNAL_SERVER_ERROR, UNEXPECTED.to_owned())
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Said(status, text) => json_answer(status, &json!({ "detail": text })),
            Self::Body(problems) => json_answer(StatusCode::UNPROCESSABLE_ENTITY, &problems),
            Self::Node(error) => {
                let (status, text) = status_and_text(&error);
                json_answer(status, &json!({ "detail": text }))
            }
        }
    }
}

/// The answer when a handler panicked.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    log_limited!(error, "a request's handler panicked");
    Failure::said(StatusCode::INTERNAL_SERVER_ERROR, UNEXPECTED).into_response()
}
