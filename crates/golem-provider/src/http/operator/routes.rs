//! The operator API's own end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::future::join_all;
use golem_chain::network::PaymentNetwork;
use golem_node::advertise::{AdvertState, Advertising, Standing};
use golem_node::payment::Payments;
use golem_node::port_verification::Verifier;
use golem_node::{Node, NodeError, Vm};
use golem_service::server::page;
use golem_service::server::serve::body;
use golem_types::VmId;
use golem_types::wire::Exact;
use golem_vm::NetworkState;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use super::super::reply::{Failure, json_answer, ok, panicked};
use super::token::Token;
use super::views::{
    AdvertView, BackendView, DrainView, FailedBootView, HostView, LogsView, NetworkProblem, PaymentsView,
    PortsView, Summary, TrafficView, VmView,
};
use crate::books;
use crate::cli::pricing_view;
use crate::http::HttpConfig;
use crate::http::public::network_info;

struct Operator {
    config: HttpConfig,
    node: Node,
    token: Token,
    stop: CancellationToken,
}

type Shared = State<Arc<Operator>>;
type Answer = Result<Response, Failure>;

/// The routes; `stop` is cancelled when the operator stops the node.
pub(in crate::http) fn router(
    config: HttpConfig,
    node: Node,
    token: Token,
    stop: CancellationToken,
) -> Router {
    let operator = Arc::new(Operator { config, node, token, stop });
    Router::new()
        .route("/v1/summary", get(summary))
        .route("/v1/vms", get(list))
        .route("/v1/vms/{id}", get(show).delete(delete))
        .route("/v1/vms/{id}/logs", get(logs))
        .route("/v1/vms/{id}/events", get(events))
        .route("/v1/vms/{id}/{action}", post(act))
        .route("/v1/streams", get(streams))
        .route("/v1/pricing", get(pricing))
        .route("/v1/withdrawals", get(withdrawals).post(withdraw))
        .route("/v1/ports", get(ports).post(verify_ports))
        .route("/v1/drain", put(drain))
        .route("/v1/adverts", axum::routing::delete(remove_adverts))
        .route("/v1/shutdown", post(shutdown))
        .fallback(async || Failure::said(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            Failure::said(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(page::json_only))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&operator), guarded))
        .layer(middleware::from_fn(page::own_pages_only))
        .with_state(operator)
}

/// Lets in who carries the token and means this host. A web page that made its own name point at
/// 127.0.0.1 sends that name as `Host`.
async fn guarded(State(operator): Shared, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost") {
        return Failure::said(StatusCode::FORBIDDEN, "this API answers to 127.0.0.1 only").into_response();
    }
    let authorization = request.headers().get(header::AUTHORIZATION);
    if !authorization.is_some_and(|value| operator.token.is_in(value.as_bytes())) {
        let text = "the operator token is needed: Authorization: Bearer, then the content of operator.token";
        return Failure::said(StatusCode::UNAUTHORIZED, text).into_response();
    }
    next.run(request).await
}

impl Operator {
    /// The live VM that `which` names: its id, the start of its id, or its name, where one fits.
    fn find(&self, which: &str) -> Result<Arc<Vm>, Failure> {
        let vms = self.node.vms();
        let exact = vms.iter().find(|vm| vm.id.as_str() == which);
        let mut fitting =
            vms.iter().filter(|vm| vm.name.as_str() == which || vm.id.as_str().starts_with(which));
        match (exact, fitting.next(), fitting.next()) {
            (Some(vm), ..) | (None, Some(vm), None) => Ok(Arc::clone(vm)),
            (None, Some(_), Some(_)) => {
                let text = format!("{which} fits several VMs; use more of the id");
                Err(Failure::said(StatusCode::CONFLICT, text))
            }
            (None, None, _) => Err(Failure::no_vm(which)),
        }
    }

    fn payments(&self) -> Result<(&PaymentNetwork, &Payments), Failure> {
        let payments = self.config.payments.as_ref().zip(self.node.payments());
        payments.ok_or_else(|| Failure::Node(NodeError::PaymentsOff))
    }

    fn view(&self, vm: &Vm) -> VmView {
        let network = self.node.network(&vm.id);
        VmView {
            id: vm.id.clone(),
            name: vm.name.clone(),
            status: vm.state,
            error: vm.error.clone().or(vm.unpaid.as_ref().map(|unpaid| unpaid.reason.clone())),
            resources: vm.resources,
            image: vm.image.clone(),
            ip_address: vm.ip_address,
            ssh_port: vm.ssh_port,
            created_at: vm.created_at,
            updated_at: vm.updated_at,
            traffic: self.node.traffic(vm.ssh_port).map(|counts| TrafficView {
                connections_open: counts.connections_open,
                connections_total: counts.connections_total,
                bytes_in: counts.bytes_in,
                bytes_out: counts.bytes_out,
            }),
            network_problem: network.as_ref().and_then(|network| match network.state.clone() {
                NetworkState::Own => None,
                NetworkState::Shared => Some(NetworkProblem::Shared),
                NetworkState::Restricted { reason } => Some(NetworkProblem::Restricted(reason)),
                NetworkState::Cut { reason } => Some(NetworkProblem::Cut(reason)),
            }),
            network: network.as_ref().map(network_info),
            stream_id: vm.stream.as_ref().map(|key| key.id.to_string()),
            unpaid_since: vm.unpaid.as_ref().map(|unpaid| unpaid.since),
        }
    }
}

async fn summary(State(operator): Shared) -> Response {
    let Operator { config, node, .. } = &*operator;
    let (capacity, host) = (node.capacity(), node.host());
    let range = &node.config().ports;
    ok(&Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        provider_id: config.provider_id.clone(),
        environment: config.environment.to_owned(),
        network: config.network.to_owned(),
        backend: backend_view(node).await,
        draining: node.draining(),
        disk_trouble: node.disk_trouble().await.map(str::to_owned),
        closed: node.config().closed.as_ref().map(ToString::to_string),
        total: capacity.total,
        free: capacity.free,
        host: HostView {
            cpu_percent: host.cpu_percent,
            memory_percent: host.memory_percent,
            storage_percent: host.storage_percent,
        },
        vms: capacity.vms,
        max_vms: capacity.max_vms,
        ports: PortsView { start: range.start, end: range.end, in_use: node.ports_in_use() },
        payments: payments_view(config, node),
        adverts: config.advertising.iter().map(advert_view).collect(),
        unmanaged: node.unmanaged(),
    })
}

async fn backend_view(node: &Node) -> BackendView {
    // Known since the start.
    let acceleration = node.backend().acceleration().await.ok().flatten();
    BackendView {
        name: node.backend().name().to_owned(),
        network_problem: node.network_problem(),
        answers: node.backend_answers(),
        accelerator: acceleration.map(|found| found.accelerator.as_str().to_owned()),
        bounds_problem: node.backend().bounds_problem().await,
        accelerator_problem: acceleration.and_then(|found| found.problem.clone()),
    }
}

fn payments_view(config: &HttpConfig, node: &Node) -> Option<PaymentsView> {
    let (profile, payments) = (config.payments.as_ref()?, node.payments()?);
    let health = payments.health();
    Some(PaymentsView {
        network: profile.name.clone(),
        symbol: profile.symbol().to_owned(),
        contract: profile.contract.to_string(),
        block: health.block.map(|block| block.number),
        read_at: health.read_at,
        error: health.error,
    })
}

fn advert_view(advertising: &Advertising) -> AdvertView {
    let AdvertState { standing, shown, lapses, looked_at, spent, removed: _ } = advertising.state();
    let (standing, problem) = match standing {
        Standing::Starting => ("starting", None),
        Standing::Current => ("current", None),
        Standing::Hidden => ("hidden", None),
        Standing::Problem(problem) => ("problem", Some(problem)),
    };
    AdvertView {
        market: advertising.market().as_str().to_owned(),
        place: advertising.place().to_owned(),
        standing: standing.to_owned(),
        problem,
        key: shown.as_ref().map(|shown| shown.key.to_string()),
        expires_at_block: shown.as_ref().map(|shown| shown.expires_at),
        lapses_at: lapses,
        looked_at,
        writes: spent.writes,
        failed_writes: spent.failed,
        gas: spent.gas,
        cost_wei: Exact(spent.cost),
    }
}

/// How long taking an advert off its market may take: some blocks of two seconds. An operator who
/// stops the node waits for it.
const REMOVAL: Duration = Duration::from_secs(20);

async fn remove_adverts(State(operator): Shared) -> Answer {
    let adverts = &operator.config.advertising;
    if adverts.is_empty() {
        return Err(Failure::said(StatusCode::CONFLICT, "no advert is kept on any market"));
    }
    tracing::info!("removal of the adverts asked for by the operator");
    let removed = join_all(adverts.iter().map(|advertising| advertising.remove(REMOVAL))).await;
    let left = adverts.iter().zip(removed).filter(|(_, removed)| !removed);
    let left: Vec<String> = left
        .map(|(advertising, _)| {
            let why = advert_view(advertising).problem.unwrap_or_else(|| "it took too long".to_owned());
            format!("{}: {why}", advertising.place())
        })
        .collect();
    if !left.is_empty() {
        let text = format!("an advert was not removed: {}", left.join("; "));
        return Err(Failure::said(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    Ok(ok(&adverts.iter().map(advert_view).collect::<Vec<_>>()))
}

async fn pricing(State(operator): Shared) -> Answer {
    let prices = operator.config.prices.as_ref().map(|prices| pricing_view(&prices.borrow()));
    prices.map(|view| ok(&view)).ok_or_else(|| Failure::said(StatusCode::NOT_FOUND, "Not Found"))
}

impl Operator {
    fn verifier(&self) -> Result<&Verifier, Failure> {
        self.config.ports.as_ref().ok_or_else(|| Failure::said(StatusCode::NOT_FOUND, "Not Found"))
    }
}

async fn ports(State(operator): Shared) -> Answer {
    Ok(ok(&operator.verifier()?.report()))
}

/// Begins a verification; the answer is what was known before it.
async fn verify_ports(State(operator): Shared) -> Answer {
    let verifier = operator.verifier()?;
    let before = verifier.report();
    verifier.verify();
    Ok(json_answer(StatusCode::ACCEPTED, &before))
}

async fn streams(State(operator): Shared) -> Answer {
    let (profile, payments) = operator.payments()?;
    Ok(ok(&books::streams(payments, profile).await))
}

#[derive(Deserialize)]
struct Since {
    /// Seconds since the epoch.
    since: i64,
}

async fn withdrawals(State(operator): Shared, Query(Since { since }): Query<Since>) -> Answer {
    let (_, payments) = operator.payments()?;
    let since = Timestamp::from_second(since)
        .map_err(|_| Failure::said(StatusCode::BAD_REQUEST, "since should be seconds since the epoch"))?;
    Ok(ok(&books::withdrawals(payments, since).await.map_err(NodeError::from)?))
}

#[derive(Deserialize)]
struct Which {
    vm: Option<String>,
}

async fn withdraw(State(operator): Shared, request: Request) -> Answer {
    let Which { vm } = serde_json::from_slice(&body(request).await?).map_err(|_| {
        Failure::said(
            StatusCode::BAD_REQUEST,
            "the body should be {\"vm\": an id or a name, or null for all}",
        )
    })?;
    let (_, payments) = operator.payments()?;
    let vm = match vm {
        None => None,
        // A rental that ended is named by its id only.
        Some(which) => Some(match operator.find(&which) {
            Ok(vm) => vm.id.clone(),
            Err(failure) => which.parse().map_err(|_| failure)?,
        }),
    };
    tracing::info!(vm = vm.as_ref().map(VmId::redacted), "withdrawal asked for by the operator");
    Ok(ok(&books::withdraw(payments, vm.as_ref()).await))
}

/// Most events that are shown of a VM.
const EVENTS: u32 = 200;

async fn events(State(operator): Shared, Path(which): Path<String>) -> Answer {
    let id = operator.find(&which)?.id.clone();
    Ok(ok(&operator.node.events(Some(id), EVENTS).await?))
}

async fn list(State(operator): Shared) -> Response {
    ok(&operator.node.vms().iter().map(|vm| operator.view(vm)).collect::<Vec<_>>())
}

async fn show(State(operator): Shared, Path(which): Path<String>) -> Answer {
    Ok(ok(&operator.view(&*operator.find(&which)?)))
}

async fn act(State(operator): Shared, Path((which, action)): Path<(String, String)>) -> Answer {
    let id = operator.find(&which)?.id.clone();
    let node = &operator.node;
    match action.as_str() {
        "start" => node.start_vm(&id).await?,
        "stop" => node.stop_vm(&id).await?,
        "restart" => node.restart_vm(&id).await?,
        _ => return Err(Failure::said(StatusCode::NOT_FOUND, "Not Found")),
    };
    tracing::info!(vm = id.redacted(), action, "asked for by the operator");
    Ok(ok(&operator.view(&*node.settled(&id).await?)))
}

async fn delete(State(operator): Shared, Path(which): Path<String>) -> Answer {
    let id = operator.find(&which)?.id.clone();
    tracing::info!(vm = id.redacted(), "deletion asked for by the operator");
    match operator.node.delete_vm(&id).await {
        Ok(()) | Err(NodeError::NotFound(_)) => Ok(ok(&json!(null))),
        Err(error) => Err(error.into()),
    }
}

/// What there is to look at: of a live VM, or of one whose create failed. Live ones come first.
async fn logs(State(operator): Shared, Path(which): Path<String>) -> Answer {
    let node = &operator.node;
    let found = match (operator.find(&which), which.parse()) {
        (Err(failure), Ok(job)) if failure.is_not_found() => match node.job(&job).await? {
            Some(job) => operator.find(job.vm_id.as_str()),
            None => Err(Failure::no_vm(&which)),
        },
        (found, _) => found,
    };
    let vm = match found {
        Ok(vm) => vm,
        Err(failure) if failure.is_not_found() => {
            let kept = node.failed_boots(&which).await?;
            return match kept.as_slice() {
                [] => Err(Failure::no_vm(&which)),
                [failed] => Ok(ok(&LogsView {
                    id: failed.vm_id.clone(),
                    name: failed.name.clone(),
                    console: failed.console.clone(),
                    process_log: failed.process_log.clone(),
                    failed_boot: Some(FailedBootView::of(failed)),
                })),
                _ => {
                    let text = format!("{which} fits several VMs; use the id");
                    Err(Failure::said(StatusCode::CONFLICT, text))
                }
            };
        }
        Err(failure) => return Err(failure),
    };
    let failed_boot = node.failed_boots(vm.id.as_str()).await?.first().map(FailedBootView::of);
    let process_log = node.backend().process_log(&vm.id);
    let console = match node.backend().console(&vm.id).await {
        // Its guest does not run; what there is besides is shown.
        Err(_) if failed_boot.is_some() || !process_log.is_empty() => String::new(),
        console => console.map_err(NodeError::from)?,
    };
    Ok(ok(&LogsView { id: vm.id.clone(), name: vm.name.clone(), console, process_log, failed_boot }))
}

async fn drain(State(operator): Shared, request: Request) -> Answer {
    let wanted: DrainView = serde_json::from_slice(&body(request).await?).map_err(|_| {
        Failure::said(StatusCode::BAD_REQUEST, "the body should be {\"draining\": true or false}")
    })?;
    operator.node.set_draining(wanted.draining).await?;
    Ok(ok(&wanted))
}

async fn shutdown(State(operator): Shared) -> Response {
    tracing::info!("shutdown asked for by the operator");
    operator.stop.cancel();
    ok(&json!(null))
}
