//! The public API: what renters' clients call.
//!
//! Owns routes, status codes and who may see which VM. Never decides about a rental: the node does.
//!
//! Under `capability`, knowing a VM's unguessable id is the right to use it; a wrong id, a name
//! and a VM of somebody else all look alike. Under `open`, names work too and everyone sees all.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use golem_node::boot::{Reached, Stage};
use golem_node::{Job, Node, NodeError, Vm};
use golem_reach::port_checker;
use golem_reach::public_ip;
use golem_service::server::cors;
use golem_service::server::limit::{self, RateLimit};
use golem_service::server::page;
use golem_service::server::serve::body;
use golem_types::wire::port_check::BANNER_PATH;
use golem_types::wire::{
    Access, FailedBootInfo, JobInfo, NetworkInfo, Problem, Problems, StageInfo, VmInfo, WireTime,
    parse_create, parse_key, parse_resources, parse_stream,
};
use golem_types::{VmId, VmState};
use golem_vm::{Network, NetworkState};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use super::quotes::Quotes;
use super::reply::{Failure, json_answer, ok, panicked};
use super::{HttpConfig, ProviderInfo, streams};
use crate::settings::ApiAuth;

/// How long a stop is waited for: existing clients give up after 300 s.
const STOP_WAIT: Duration = Duration::from_secs(240);

/// What every route knows.
struct Public {
    node: Node,
    auth: ApiAuth,
    /// What the answer of `provider/info` follows from.
    config: HttpConfig,
    quotes: Quotes,
    port: u16,
    environment: &'static str,
    network: &'static str,
    limit: RateLimit,
    stop: CancellationToken,
}

type Shared = State<Arc<Public>>;
type Answer = Result<Response, Failure>;

/// The routes of the public API; `stop` is cancelled when a client may and does stop the node.
pub(super) fn router(config: &HttpConfig, node: Node, stop: CancellationToken) -> Router {
    let public = Arc::new(Public {
        node,
        auth: config.auth,
        config: config.clone(),
        quotes: Quotes::of(config),
        port: config.port,
        environment: config.environment,
        network: config.network,
        limit: RateLimit::new(config.rate_limit_per_minute),
        stop,
    });
    let mut routes = Router::new()
        .route("/health", get(health))
        .route("/api/v1/health", get(health))
        .route(BANNER_PATH, get(banner))
        .route("/api/v1/provider/info", get(provider_info))
        .route("/api/v1/quotes", post(quote))
        .route("/api/v1/vms", get(list).post(create))
        .route("/api/v1/vms/jobs/{id}", get(job))
        .route("/api/v1/vms/{id}", get(show).delete(delete))
        .route("/api/v1/vms/{id}/access", get(access))
        .route("/api/v1/vms/{id}/failed-boot", get(failed_boot))
        .route("/api/v1/vms/{id}/start", post(start))
        .route("/api/v1/vms/{id}/stop", post(stop_vm))
        .route("/api/v1/vms/{id}/restart", post(restart))
        .route("/api/v1/vms/{id}/ssh-keys", post(add_key))
        .route("/api/v1/vms/{id}/stream", get(stream).post(attach_stream))
        .route("/api/v1/payments/streams", get(all_streams));
    if config.auth == ApiAuth::Open {
        routes = routes.route("/api/v1/summary", get(summary)).route(
            "/api/v1/admin/shutdown",
            post(shutdown).layer(middleware::from_fn(page::local_pages_only)),
        );
    }
    let routes = routes
        .fallback(async || Failure::said(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            Failure::said(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(page::json_only))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&public), limited))
        .layer(cors())
        .with_state(public);
    match &config.checker {
        // Without the words that let pages of other sites ask.
        Some(checker) => routes.merge(port_checker::checks(Arc::clone(checker))),
        None => routes,
    }
}

/// Refuses a peer that asks too often.
async fn limited(State(public): Shared, request: Request, next: Next) -> Response {
    let Some(seconds) = limit::wait(&public.limit, &request) else {
        return next.run(request).await;
    };
    let mut response =
        Failure::said(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded; try again later").into_response();
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

impl Public {
    /// The VM that `which` names to this caller.
    async fn find(&self, which: &str) -> Result<Arc<Vm>, Failure> {
        if let Ok(id) = which.parse::<VmId>() {
            return match self.node.vm(&id).await {
                Err(NodeError::NotFound(_)) => Err(Failure::no_vm(which)),
                found => Ok(found?),
            };
        }
        if self.auth != ApiAuth::Open {
            return Err(Failure::no_vm(which));
        }
        let mut named = self.node.vms().into_iter().filter(|vm| vm.name.as_str() == which);
        match (named.next(), named.next()) {
            (Some(vm), None) => Ok(vm),
            (Some(_), Some(_)) => {
                Err(Failure::said(StatusCode::CONFLICT, "several VMs have this name; use the id"))
            }
            (None, _) => Err(Failure::no_vm(which)),
        }
    }
}

fn info(vm: &Vm) -> VmInfo<'_> {
    VmInfo {
        id: &vm.id,
        name: &vm.name,
        status: vm.state,
        resources: vm.resources,
        ip_address: vm.ip_address,
        ssh_port: vm.ip_address.map(|_| vm.ssh_port),
        created_at: WireTime(vm.created_at),
        updated_at: WireTime(vm.updated_at),
        error_message: vm.error.as_deref().or(vm.unpaid.as_ref().map(|unpaid| unpaid.reason.as_str())),
        network: None,
    }
}

/// How a guest is connected, as its renter and its operator read it.
pub(super) fn network_info(network: &Network) -> NetworkInfo {
    let access = match network.state {
        NetworkState::Own | NetworkState::Shared => "internet",
        NetworkState::Restricted { .. } => "ssh",
        NetworkState::Cut { .. } => "none",
    };
    NetworkInfo { access: access.to_owned(), traffic: network.traffic }
}

fn job_info(job: &Job) -> JobInfo<'_> {
    let reached = job.reached();
    JobInfo {
        job_id: &job.id,
        vm_id: &job.vm_id,
        status: job.state.as_str(),
        error: job.error.as_deref(),
        created_at: WireTime(job.created_at),
        updated_at: WireTime(job.updated_at),
        stage: reached.last().map_or(Stage::Reserved, |reached| reached.stage).as_str(),
        stages: stages(&reached),
    }
}

fn stages(reached: &[Reached]) -> Vec<StageInfo<'static>> {
    let stage = |reached: &Reached| StageInfo { stage: reached.stage.as_str(), at: WireTime(reached.at) };
    reached.iter().map(stage).collect()
}

async fn health() -> Response {
    ok(&json!({ "status": "healthy" }))
}

/// What tells a checker that it has reached this node and nobody else.
async fn banner(State(public): Shared) -> String {
    public.node.probes().banner(public.port) + "\n"
}

async fn provider_info(State(public): Shared) -> Response {
    ok(&ProviderInfo::of(&public.config))
}

/// A promise of the price that is asked now. It reserves nothing, and nothing is remembered of it.
async fn quote(State(public): Shared, request: Request) -> Answer {
    let resources = parse_resources(&body(request).await?)?;
    let payments = public.node.payments();
    let signed = payments.map(|payments| payments.quote(resources, Timestamp::now())).transpose()?;
    Ok(ok(&public.quotes.info(resources, signed.as_ref())))
}

async fn list(State(public): Shared) -> Response {
    if public.auth != ApiAuth::Open {
        return ok(&json!([]));
    }
    let vms = public.node.vms();
    ok(&vms.iter().map(|vm| info(vm)).collect::<Vec<_>>())
}

/// Whether the query asks for an answer before the VM runs, in any of pydantic's spellings.
fn wants_async(query: Option<&str>) -> Result<bool, Problems> {
    let value = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("async="))
        .unwrap_or("false");
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" | "t" => Ok(true),
        "false" | "0" | "no" | "n" | "off" | "f" => Ok(false),
        _ => {
            let text = "Input should be a valid boolean, unable to interpret input";
            let problem =
                Problem { loc: vec!["query", "async"], ..Problem::new("bool_parsing", &[], text, None) };
            Err(Problems { detail: vec![problem] })
        }
    }
}

async fn create(State(public): Shared, request: Request) -> Answer {
    let early = wants_async(request.uri().query())?;
    let (vm, job) = public.node.create(parse_create(&body(request).await?)?).await?;
    if early {
        let accepted = json!({ "job_id": job.id, "vm_id": vm.id, "status": "creating" });
        return Ok(json_answer(StatusCode::ACCEPTED, &accepted));
    }
    let vm = public.node.settled(&vm.id).await?;
    match vm.state {
        VmState::Error => {
            let why = vm.error.as_deref().unwrap_or("the VM could not be made");
            let status = match public.node.disk_trouble().await {
                Some(_) => StatusCode::SERVICE_UNAVAILABLE,
                None => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Err(Failure::said(status, why))
        }
        _ => Ok(ok(&info(&vm))),
    }
}

async fn job(State(public): Shared, Path(id): Path<String>) -> Answer {
    let not_found = || Failure::said(StatusCode::NOT_FOUND, "job not found");
    let id = id.parse().map_err(|_| not_found())?;
    let job = public.node.job(&id).await?.ok_or_else(not_found)?;
    Ok(ok(&job_info(&job)))
}

async fn show(State(public): Shared, Path(which): Path<String>) -> Answer {
    let vm = public.find(&which).await?;
    let network = public.node.network(&vm.id).map(|network| network_info(&network));
    Ok(ok(&VmInfo { network, ..info(&vm) }))
}

/// What the VM's last failed boot left, for a day; what the host said of it is its operator's alone.
async fn failed_boot(State(public): Shared, Path(which): Path<String>) -> Answer {
    let vm = public.find(&which).await?;
    let kept = public.node.failed_boots(vm.id.as_str()).await?;
    let Some(failed) = kept.first() else {
        let text = "no failed boot of this VM is kept; one is for a day";
        return Err(Failure::said(StatusCode::NOT_FOUND, text));
    };
    Ok(ok(&FailedBootInfo {
        vm_id: &failed.vm_id,
        job_id: failed.job_id.as_ref(),
        at: WireTime(failed.at),
        stage: failed.stage().as_str(),
        reason: &failed.reason,
        stages: stages(&failed.stages),
        console: &failed.console,
    }))
}

async fn access(State(public): Shared, Path(which): Path<String>) -> Answer {
    let vm = public.find(&which).await?;
    let access = Access {
        ssh_host: Some(public_ip::told(&public.config.public_ip, public.config.host)),
        ssh_port: Some(vm.ssh_port),
        vm_id: &vm.id,
        multipass_name: &vm.id,
        status: None,
    };
    if vm.ip_address.is_some() {
        return Ok(ok(&access));
    }
    if vm.state == VmState::Creating {
        let waiting = Access { ssh_host: None, ssh_port: None, status: Some(vm.state), ..access };
        return Ok(json_answer(StatusCode::ACCEPTED, &waiting));
    }
    let why = vm.error.as_deref().unwrap_or("it never ran");
    Err(Failure::said(StatusCode::CONFLICT, format!("VM cannot be reached: {why}")))
}

async fn start(State(public): Shared, Path(which): Path<String>) -> Answer {
    let vm = public.find(&which).await?;
    Ok(ok(&info(&*public.node.start_vm(&vm.id).await?)))
}

async fn stop_vm(State(public): Shared, Path(which): Path<String>) -> Answer {
    let vm = public.find(&which).await?;
    let asked = public.node.stop_vm(&vm.id).await?;
    // One that takes longer is shown as it stands: stopping.
    let vm = match timeout(STOP_WAIT, public.node.settled(&vm.id)).await {
        Ok(settled) => settled?,
        Err(_) => asked,
    };
    Ok(ok(&info(&vm)))
}

async fn restart(State(public): Shared, Path(which): Path<String>) -> Answer {
    let vm = public.find(&which).await?;
    Ok(ok(&info(&*public.node.restart_vm(&vm.id).await?)))
}

/// Deleting what is not there succeeds, as in the original: a client that repeats itself after a
/// lost answer is right, and a stranger learns nothing.
async fn delete(State(public): Shared, Path(which): Path<String>) -> Answer {
    let gone = || Ok(ok(&json!(null)));
    let vm = match public.find(&which).await {
        Err(failure) if failure.is_not_found() => return gone(),
        found => found?,
    };
    match public.node.delete_vm(&vm.id).await {
        Ok(()) | Err(NodeError::NotFound(_)) => gone(),
        Err(error) => Err(error.into()),
    }
}

async fn add_key(State(public): Shared, Path(which): Path<String>, request: Request) -> Answer {
    let vm = public.find(&which).await?;
    let key = parse_key(&body(request).await?)?;
    Ok(ok(&info(&*public.node.add_key(&vm.id, key).await?)))
}

/// The chain could not be asked about a stream that is there: the gateway's fault, not the caller's.
fn lookup_failed(error: NodeError) -> Failure {
    match error {
        NodeError::ChainUnknown(error) => {
            tracing::debug!(%error, "a stream could not be shown");
            Failure::said(StatusCode::BAD_GATEWAY, format!("stream lookup failed: {error}"))
        }
        error => error.into(),
    }
}

async fn stream(State(public): Shared, Path(which): Path<String>) -> Answer {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    let vm = public.find(&which).await?;
    let status = public.node.stream(&vm.id).await.map_err(lookup_failed)?;
    Ok(ok(&streams::info(&status)))
}

/// Lets another stream pay for the VM. Whoever owns the stream pays; whoever knows the VM may
/// have it paid.
async fn attach_stream(State(public): Shared, Path(which): Path<String>, request: Request) -> Answer {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    let vm = public.find(&which).await?;
    let stream = parse_stream(&body(request).await?)?;
    Ok(ok(&info(&*public.node.attach_stream(&vm.id, stream).await?)))
}

/// Every stream, where everybody sees every VM; a VM's id is the right to use it.
async fn all_streams(State(public): Shared) -> Answer {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    if public.auth != ApiAuth::Open {
        return Ok(ok(&json!([])));
    }
    let statuses = public.node.streams().await.map_err(lookup_failed)?;
    Ok(ok(&statuses.iter().map(streams::info).collect::<Vec<_>>()))
}

async fn summary(State(public): Shared) -> Response {
    let capacity = public.node.capacity();
    let vms = public.node.vms();
    let vms: Vec<_> =
        vms.iter().map(|vm| json!({ "id": vm.id, "status": vm.state, "resources": vm.resources })).collect();
    ok(&json!({
        "status": "running",
        "env": { "environment": public.environment, "network": public.network },
        "resources": { "total": capacity.total, "available": capacity.free },
        "vms": vms,
    }))
}

async fn shutdown(State(public): Shared, method: Method) -> Response {
    tracing::info!(%method, "shutdown asked for over the public API");
    public.stop.cancel();
    ok(&json!({ "ok": true }))
}
