//! Answers and refusals, in the one shape that clients know: `{"detail": …}`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use golem_types::wire::Problems;
use serde::Serialize;
use serde_json::json;

use crate::log_limited;

/// The text of every failure that is ours; what happened is in the log only.
pub const UNEXPECTED: &str = "An unexpected error occurred";

/// An answer of `status` with `body` as JSON.
pub fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            log_limited!(
                error,
                error = &error as &dyn std::error::Error,
                "an answer could not be written as JSON"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An answer of 200.
pub fn ok(body: &impl Serialize) -> Response {
    json_answer(StatusCode::OK, body)
}

/// Why a request was not answered.
#[derive(Debug)]
pub enum Failure {
    /// A status, and what the client reads.
    Said(StatusCode, String),
    /// A body that is wrong in itself.
    Body(Problems),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Body(problems)
    }
}

impl Failure {
    pub fn said(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Said(status, text.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Said(status, text) => json_answer(status, &json!({ "detail": text })),
            Self::Body(problems) => json_answer(StatusCode::UNPROCESSABLE_ENTITY, &problems),
        }
    }
}

/// The answer when a handler panicked.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    log_limited!(error, "a request's handler panicked");
    Failure::said(StatusCode::INTERNAL_SERVER_ERROR, UNEXPECTED).into_response()
}
