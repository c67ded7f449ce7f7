//! The streams that pay for VMs.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use golem_node::NodeError;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::wire::parse_stream;
use serde_json::json;

use super::Shared;
use crate::config::VmAccess;
use crate::error::{ApiError, ApiResult};
use crate::views::renter;

/// The chain could not be asked about a stream that is there: the gateway's fault, not the caller's.
fn lookup_failed(error: NodeError) -> ApiError {
    match error {
        NodeError::ChainUnknown(error) => {
            tracing::debug!(%error, "a stream could not be shown");
            ApiError::new(StatusCode::BAD_GATEWAY, format!("stream lookup failed: {error}"))
        }
        error => error.into(),
    }
}

pub(super) async fn show(State(public): Shared, Path(which): Path<String>) -> ApiResult {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    let vm = public.find(&which).await?;
    let status = public.node.stream(&vm.id).await.map_err(lookup_failed)?;
    Ok(ok(&renter::stream(&status)))
}

/// Lets another stream pay for the VM. Whoever owns the stream pays; whoever knows the VM may
/// have it paid.
pub(super) async fn attach(State(public): Shared, Path(which): Path<String>, request: Request) -> ApiResult {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    let vm = public.find(&which).await?;
    let stream = parse_stream(&body(request).await?)?;
    Ok(ok(&renter::vm(&*public.node.attach_stream(&vm.id, stream).await?)))
}

/// Every stream, where everybody sees every VM; a VM's id is the right to use it.
pub(super) async fn list(State(public): Shared) -> ApiResult {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    if public.access != VmAccess::Open {
        return Ok(ok(&json!([])));
    }
    let statuses = public.node.streams().await.map_err(lookup_failed)?;
    Ok(ok(&statuses.iter().map(renter::stream).collect::<Vec<_>>()))
}
