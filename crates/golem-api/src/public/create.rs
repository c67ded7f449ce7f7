//! `POST /vms`, and the job that follows a create which is not waited for.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body_up_to;
use golem_types::wire::bodies::CreateBody;
use golem_types::wire::{CreateVm, JobInfo, Lifecycle, Problems, VmInfo, parse_create};
use golem_types::{JobId, VmId, VmState};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Caller, Deed};
use super::{Shared, bad_query, query_value};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::renter;

/// Largest body: 64 KiB of user-data, of which JSON may write each byte as two, keys, and some room.
const BODY_BYTES: usize = 192 * 1024;

/// Whether the query asks for an answer before the VM runs, in any of pydantic's spellings.
fn wants_async(query: Option<&str>) -> Result<bool, Problems> {
    let value = query_value(query, "async").unwrap_or("false");
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" | "t" => Ok(true),
        "false" | "0" | "no" | "n" | "off" | "f" => Ok(false),
        _ => {
            let text = "Input should be a valid boolean, unable to interpret input";
            Err(bad_query("async", "bool_parsing", text))
        }
    }
}

/// What is answered before the VM runs.
#[derive(Serialize, ToSchema)]
struct Accepted<'a> {
    job_id: &'a JobId,
    vm_id: &'a VmId,
    /// `creating`.
    status: &'static str,
    #[serde(flatten)]
    lifecycle: Lifecycle,
}

/// Rents a VM.
///
/// Answers when it runs, or at once with `async=true`. A create that is repeated with the same name, key and payment is answered
/// with the VM that there is.
#[utoipa::path(
    post, path = "/api/v1/vms", tag = "VMs",
    params(("async" = Option<bool>, Query, description = "Whether to answer before the VM runs; false if absent")),
    request_body = CreateBody,
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, which runs"),
        (status = 202, body = Accepted, description = "The VM is being made; its job tells how far it is"),
        (status = 400, description = "The payment does not pay for it, there is no such image, or the size is below the operator's least"),
        (status = 401, description = "A session is required, or this one is over"),
        (status = 403, description = "The token may not, or the payment is somebody else's"),
        (status = 409, description = "The name or the payment is in use"),
        (status = 413, description = "The body is larger than 192 KiB"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
        (status = 500, description = "The VM could not be made; `detail` says why"),
        (status = 502, description = "The backend failed"),
        (status = 503, description = "There is no room, no new rentals are taken, or the chain cannot be asked; try later, or elsewhere"),
    ),
)]
pub(super) async fn create(State(public): Shared, caller: Caller, request: Request) -> ApiResult {
    let early = wants_async(request.uri().query())?;
    let wanted = parse_create(&body_up_to(request, BODY_BYTES).await?)?;
    let renter = caller.renter_of(wanted.name.as_str())?;
    let (vm, job) = public.node.create(CreateVm { renter, ..wanted }).await?;
    if early {
        let reached = job.reached().last().map(|reached| reached.stage);
        let accepted = Accepted {
            job_id: &job.id,
            vm_id: &vm.id,
            status: "creating",
            lifecycle: renter::lifecycle(VmState::Creating.into(), reached, None),
        };
        return Ok(json_response(StatusCode::ACCEPTED, &accepted));
    }
    let vm = public.node.settled(&vm.id).await?;
    match vm.state {
        VmState::Error => {
            let why = vm.error.as_deref().unwrap_or("the VM could not be made");
            let status = match public.node.disk_trouble().await {
                Some(_) => StatusCode::SERVICE_UNAVAILABLE,
                None => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Err(ApiError::new(status, why))
        }
        _ => Ok(ok(&renter::vm(&vm))),
    }
}

/// How far a create is.
#[utoipa::path(
    get, path = "/api/v1/vms/jobs/{id}", tag = "VMs",
    params(("id" = String, Path, description = "The job's id")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = JobInfo, description = "The job"),
        (status = 404, description = "No such job"),
    ),
)]
pub(super) async fn job(State(public): Shared, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let not_found = || ApiError::new(StatusCode::NOT_FOUND, "job not found");
    let id = id.parse().map_err(|_| not_found())?;
    let job = public.node.job(&id).await?.ok_or_else(not_found)?;
    if let Caller::Wallet(_) = caller {
        caller.find(&public, job.vm_id.as_str(), Deed::Read).await?;
    }
    Ok(ok(&renter::job(&job)))
}
