//! Routes that clients of contract version 4 know and this provider does not serve yet.
//!
//! Owns their answer: who may not use the VM learns that first, as on any other route. Never does anything.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post};

use super::caller::{Caller, Deed};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};

/// Why there is nothing.
pub(super) const NOT_OFFERED: &str =
    "this provider does not offer suspending, resizing, cloning, snapshots or metrics of VMs";

/// Each path, and who serves it.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<std::sync::Arc<Public>>)> {
    vec![
        ("/api/v1/vms/{id}/suspend", post(not_yet)),
        ("/api/v1/vms/{id}/resume", post(not_yet)),
        ("/api/v1/vms/{id}/resize", post(not_yet)),
        ("/api/v1/vms/{id}/clone", post(not_yet)),
        ("/api/v1/vms/{id}/snapshots", get(not_yet).post(not_yet)),
        ("/api/v1/vms/{id}/snapshots/{snapshot}", delete(not_yet)),
        ("/api/v1/vms/{id}/snapshots/{snapshot}/restore", post(not_yet)),
        ("/api/v1/vms/{id}/metrics/latest", get(not_yet)),
        ("/api/v1/vms/{id}/metrics/history", get(not_yet)),
    ]
}

async fn not_yet(State(public): Shared, caller: Caller, Path(parts): Path<Vec<String>>) -> ApiResult {
    caller.find(&public, parts.first().map_or("", String::as_str), Deed::Read).await?;
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, NOT_OFFERED))
}
