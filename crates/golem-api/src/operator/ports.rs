//! What is known of the node's ports.

use axum::extract::State;
use axum::http::StatusCode;
use golem_node::port_verification::Verifier;

use super::{Answer, Operator, Shared};
use crate::error::{ApiError, json_answer, ok};

impl Operator {
    fn verifier(&self) -> Result<&Verifier, ApiError> {
        self.config.ports.as_ref().ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
    }
}

pub(super) async fn report(State(operator): Shared) -> Answer {
    Ok(ok(&operator.verifier()?.report()))
}

/// Begins a verification; the answer is what was known before it.
pub(super) async fn verify(State(operator): Shared) -> Answer {
    let verifier = operator.verifier()?;
    let before = verifier.report();
    verifier.verify();
    Ok(json_answer(StatusCode::ACCEPTED, &before))
}
