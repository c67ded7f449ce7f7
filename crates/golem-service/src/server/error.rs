//! Errors, in the one shape that clients know: `{"detail": …}`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use golem_types::wire::Problems;
use serde_json::json;

use super::json::json_response;
use crate::log_limited;

/// The text of every failure that is ours; what happened is in the log only.
pub const UNEXPECTED: &str = "An unexpected error occurred";

/// Why a request was not answered.
#[derive(Debug)]
pub enum ErrorResponse {
    /// A status, and the text of `detail`.
    Text(StatusCode, String),
    /// A body that is wrong in itself.
    Body(Problems),
}

impl From<Problems> for ErrorResponse {
    fn from(problems: Problems) -> Self {
        Self::Body(problems)
    }
}

impl ErrorResponse {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Text(status, text.into())
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        match self {
            Self::Text(status, text) => json_response(status, &json!({ "detail": text })),
            Self::Body(problems) => json_response(StatusCode::UNPROCESSABLE_ENTITY, &problems),
        }
    }
}

/// The answer when a handler panicked.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    log_limited!(error, "a request's handler panicked");
    ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, UNEXPECTED).into_response()
}
