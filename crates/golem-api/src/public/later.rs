//! Routes that clients of contract version 4 know and this provider does not serve yet.
//!
//! Owns their answer: who may not use the VM learns that first, as on any other route. Never does anything.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, Deed};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;

/// Why there is nothing.
pub(super) const NOT_OFFERED: &str = "this provider does not offer cloning of VMs";

macro_rules! not_offered {
    ($($name:ident $method:ident $path:literal $what:literal)*) => {
        $(
            #[utoipa::path(
                $method, path = $path, tag = "Not offered yet",
                summary = concat!($what, ": not offered by this provider yet"),
                params(
                    ("id" = String, Path, description = "The VM's id or name"),
                ),
                security((), ("session" = [])),
                responses(
                    (status = 409, description = "Several VMs have this name: use the id"),
                    (status = 501, description = "This provider does not offer it"),
                ),
            )]
            async fn $name(public: Shared, caller: Caller, which: Path<String>) -> ApiResult {
                not_yet(public, caller, which).await
            }
        )*

        /// Who serves them.
        pub(super) fn routes() -> OpenApiRouter<Arc<Public>> {
            OpenApiRouter::new()$(.routes(routes!($name)))*
        }
    };
}

not_offered! {
    clone post "/api/v1/vms/{id}/clone" "Clones a VM"
}

async fn not_yet(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    caller.find(&public, &which, Deed::Read).await?;
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, NOT_OFFERED))
}
