//! Errors, in the one shape that clients know: `{"detail": …}`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use golem_types::wire::Problems;
use serde_json::json;

use super::json::json_response;
use crate::log_limited;

/// The text for every internal error; its cause is in the log only.
pub const UNEXPECTED: &str = "An unexpected error occurred";

/// A response that says why a request failed.
#[derive(Debug)]
pub enum ErrorResponse {
    /// A status, and the text of `detail`.
    Text(StatusCode, String),
    /// The request's body is invalid; what is wrong with each of its fields.
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

/// The response when a handler panicked.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    log_limited!(error, "a request's handler panicked");
    ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, UNEXPECTED).into_response()
}
