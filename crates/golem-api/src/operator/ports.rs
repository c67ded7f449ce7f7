//! What is known of the node's ports.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::State;
use axum::http::StatusCode;
use golem_node::port_verification::Verifier;
use golem_reach::report::PortsReport;
use golem_service::server::json::{json_response, ok};

use super::{By, Operator, Shared};
use crate::error::{ApiError, ApiResult};

impl Operator {
    fn verifier(&self) -> Result<&Verifier, ApiError> {
        self.config.ports.as_ref().ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
    }
}

/// What is known of the node's ports.
#[utoipa::path(
    get, path = "/ports", tag = "Ports",
    responses(
        (status = 200, body = PortsReport, description = "The ports"),
        (status = 404, description = "Ports are not verified here"),
    ),
)]
pub(super) async fn report(State(operator): Shared) -> ApiResult {
    Ok(ok(&operator.verifier()?.report()))
}

/// Begins a verification; the answer is what was known before it.
#[utoipa::path(
    post, path = "/ports", tag = "Ports",
    responses(
        (status = 202, body = PortsReport, description = "What was known before"),
        (status = 404, description = "Ports are not verified here"),
    ),
)]
pub(super) async fn verify(State(operator): Shared, by: By) -> ApiResult {
    let verifier = operator.verifier()?;
    let before = verifier.report();
    tracing::info!(target: "audit", %by, "the ports are verified");
    verifier.verify();
    Ok(json_response(StatusCode::ACCEPTED, &before))
}
