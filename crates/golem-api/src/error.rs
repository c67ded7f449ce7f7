//! What a refusal of the node, or a failure in it, is over HTTP.
//!
//! Owns the status and the text of each. Never tells causes to a renter: they go to the log.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use golem_chain::stream_proof::BadProof;
use golem_node::{NodeError, Refusal};
use golem_service::log_limited;
use golem_service::server::error::{ErrorResponse, UNEXPECTED};
use golem_types::wire::Problems;

/// What a handler gives.
pub(crate) type ApiResult = Result<Response, ApiError>;

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// As any server of ours says it.
    Plain(ErrorResponse),
    /// The node said no, or failed.
    Node(NodeError),
}

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<ErrorResponse> for ApiError {
    fn from(response: ErrorResponse) -> Self {
        Self::Plain(response)
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        Self::Plain(problems.into())
    }
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Plain(ErrorResponse::new(status, text))
    }

    /// Its text, as a renter reads it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Plain(ErrorResponse::Text(_, text)) => text.clone(),
            Self::Plain(ErrorResponse::Body(_)) => "the request is invalid".to_owned(),
            Self::Node(error) => status_and_text(error).1,
        }
    }

    /// Whether it says that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::Plain(response) => matches!(response, ErrorResponse::Text(StatusCode::NOT_FOUND, _)),
            Self::Node(error) => matches!(error, NodeError::NotFound(_)),
        }
    }

    /// No VM is known under `which` to this caller.
    pub(crate) fn no_vm(which: &str) -> Self {
        let shown: String = which.chars().take(120).collect();
        Self::new(StatusCode::NOT_FOUND, format!("VM {shown} not found"))
    }
}

/// The refusal of a create: no room is 503, for another time or node; the rest is the caller's.
fn refusal(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoSnapshots | Refusal::NoSuspending | Refusal::NoResizing => StatusCode::NOT_IMPLEMENTED,
        Refusal::NoSnapshot(_) => StatusCode::NOT_FOUND,
        Refusal::SnapshotTaken(_) | Refusal::SnapshotBusy(_) | Refusal::TooManySnapshots { .. } => {
            StatusCode::CONFLICT
        }
        Refusal::NameTaken(_) | Refusal::Busy | Refusal::HasSnapshots => StatusCode::CONFLICT,
        Refusal::SessionRequired => StatusCode::UNAUTHORIZED,
        Refusal::SenderOnly | Refusal::Proof(BadProof::Foreign) => StatusCode::FORBIDDEN,
        Refusal::NoSuchImage(_)
        | Refusal::NoUserData
        | Refusal::BelowMinimum { .. }
        | Refusal::Shrinks { .. }
        | Refusal::StreamRequired
        | Refusal::LeaseRequired
        | Refusal::NoLeases
        | Refusal::ShortLease { .. }
        | Refusal::Stream(_)
        | Refusal::StreamOn(..)
        | Refusal::Quote(_)
        | Refusal::Proof(_)
        | Refusal::StreamEnding
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
        NodeError::WrongState { .. } | NodeError::Suspended { .. } => {
            (StatusCode::CONFLICT, error.to_string())
        }
        NodeError::NotSuspended | NodeError::Snapshot(_) => (StatusCode::BAD_GATEWAY, error.to_string()),
        NodeError::Unpaid(_) => (StatusCode::PAYMENT_REQUIRED, error.to_string()),
        NodeError::PaymentsOff => (StatusCode::BAD_REQUEST, error.to_string()),
        NodeError::NoStream => (StatusCode::NOT_FOUND, error.to_string()),
        // Its cause, but not what lies behind that: endpoints are the operator's.
        NodeError::ChainUnknown(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error} ({cause})")),
        NodeError::UnknownContract(_)
        | NodeError::ShuttingDown
        | NodeError::NoPrice
        | NodeError::NoRoom(_)
        | NodeError::TooManyConsoles
        | NodeError::TokenDigits { .. } => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        NodeError::NoConsole(_) => (StatusCode::NOT_IMPLEMENTED, error.to_string()),
        NodeError::Coarse => (StatusCode::BAD_REQUEST, error.to_string()),
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Plain(response) => response.into_response(),
            Self::Node(error) => {
                let (status, text) = status_and_text(&error);
                ErrorResponse::new(status, text).into_response()
            }
        }
    }
}
