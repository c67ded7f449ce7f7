//! The operator API: everything that the owner of the machine may do, from this machine only.
//!
//! ```text
//!   127.0.0.1 ─► Host, origin ─┬─► token ─────────────────────────► /v1/… ─┐
//!                              └─► page, session (`dashboard`) ─► some of it ├─► node
//!   sockets ─► the kernel says who asks ──────────────────────► /v1/… ─┘
//! ```
//! Owns `127.0.0.1:7467`: a token that only the operator's own user can read, and the `Host` that
//! a web page on another site cannot fake; Unix sockets ([`OperatorSocket`]), where the kernel says who asks; and the audit
//! line of whatever is changed. Never reached by a renter.

mod adverts;
mod alerts;
mod client;
mod dashboard;
mod history;
mod logs;
mod metrics;
mod node;
mod payments;
mod ports;
mod socket;
mod token;
mod vms;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use golem_node::{Node, Vm};
use golem_service::server::cross_site;
use golem_service::server::error::panicked;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use client::{Client, OperatorError};
pub use socket::OperatorSocket;
pub use token::Token;

use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::requests::{Requests, count};
use dashboard::sessions::{Session, Sessions};
use dashboard::{Health, Live, Pulls};

/// What every route knows.
struct Operator {
    config: ApiConfig,
    node: Node,
    token: Token,
    started_at: Timestamp,
    asked: Asked,
    /// The port of the listener.
    port: u16,
    /// Cancelled when this API ends.
    stopping: CancellationToken,
    sessions: Sessions,
    health: Health,
    live: Live,
    pulls: Pulls,
    requests: Arc<Requests>,
    /// Who is told when something is wrong.
    alerts: alerts::Alerts,
}

/// What the operator asks of the process.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    /// That it stop.
    pub stop: CancellationToken,
    /// That it start anew with the settings that there are now.
    pub reload: Arc<Notify>,
}

type Shared = State<Arc<Operator>>;

/// Who asks: a session of the dashboard, or a program of the operator's.
struct By(Option<Arc<Session>>);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().cloned()))
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "the dashboard" } else { "the command line" })
    }
}

/// The API's routes.
pub(crate) struct Routes {
    /// For those who have the token.
    pub guarded: Router,
    /// For those whom the kernel knows.
    pub known: Router,
}

/// The routes on `port`, until `stopping` is cancelled; `asked` learns what the operator asks of the process.
pub(crate) fn routes(
    config: ApiConfig,
    node: Node,
    token: Token,
    asked: Asked,
    requests: Arc<Requests>,
    (port, stopping): (u16, CancellationToken),
) -> Routes {
    let sessions = Sessions::open(&config.data_dir, Instant::now());
    let (health, live, pulls) = (Health::default(), Live::default(), Pulls::default());
    let started_at = Timestamp::now();
    let alerting = alerts::Alerts::new(&config, node.tasks());
    let operator = Arc::new(Operator {
        config,
        node,
        token,
        started_at,
        asked,
        port,
        stopping,
        sessions,
        health,
        live,
        pulls,
        requests,
        alerts: alerting,
    });
    alerts::watch(&operator);
    let known = Router::new().nest("/v1", looks().merge(orders())).route("/metrics", get(metrics::metrics));
    let guard = middleware::from_fn_with_state(Arc::clone(&operator), with_token);
    let guarded = known.clone().layer(guard).merge(dashboard::router(&operator, looks()));
    let here = middleware::from_fn(this_host_only);
    let guarded = finish(guarded, &operator).layer(middleware::from_fn(cross_site::same_origin_only));
    let guarded = guarded.merge(dashboard::page()).layer(here);
    Routes { guarded, known: finish(known, &operator) }
}

/// What every operator's program may use, and the dashboard, too.
fn looks() -> Router<Arc<Operator>> {
    Router::new()
        .route("/summary", get(node::summary))
        .route("/vms", get(vms::list))
        .route("/vms/{id}", get(vms::show).delete(vms::delete))
        .route("/vms/{id}/logs", get(logs::logs))
        .route("/vms/{id}/events", get(vms::events))
        .route("/vms/{id}/history/{step}", get(history::of_vm))
        .route("/vms/{id}/{action}", post(vms::act))
        .route("/events", get(vms::all_events))
        .route("/history/{step}", get(history::of_host))
        .route("/streams", get(payments::streams))
        .route("/pricing", get(node::pricing))
        .route("/withdrawals", get(payments::withdrawals).post(payments::withdraw))
        .route("/payouts", get(payments::payouts))
        .route("/transactions", get(payments::transactions))
        .route("/ports", get(ports::report).post(ports::verify))
        .route("/alerts", get(alerts::list))
        .route("/drain", put(node::drain))
}

/// What only programs may use that hold the token, or are known.
fn orders() -> Router<Arc<Operator>> {
    Router::new()
        .route("/entries", get(payments::entries))
        .route("/books", post(payments::check_books))
        .route("/transactions/cancel", post(payments::cancel))
        .route("/adverts", axum::routing::delete(adverts::remove))
        .route("/dashboard/links", post(dashboard::link))
        .route("/alerts/test", post(alerts::test))
        .route("/shutdown", post(node::shutdown))
}

fn finish(routes: Router<Arc<Operator>>, operator: &Arc<Operator>) -> Router {
    routes
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(cross_site::json_only))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state((Arc::clone(&operator.requests), "operator"), count))
        .with_state(Arc::clone(operator))
}

/// Refuses a name that a web page made point at 127.0.0.1: it is sent as `Host`. Any port: there are tunnels.
async fn this_host_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost") {
        return ApiError::new(StatusCode::FORBIDDEN, "this API answers to 127.0.0.1 only").into_response();
    }
    next.run(request).await
}

/// Lets in who carries the token.
async fn with_token(State(operator): Shared, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    if !authorization.is_some_and(|value| operator.token.is_in(value.as_bytes())) {
        let text = "the operator token is needed: Authorization: Bearer, then the content of operator.token";
        return ApiError::new(StatusCode::UNAUTHORIZED, text).into_response();
    }
    next.run(request).await
}

impl Operator {
    /// The live VM that `which` names: its id, the start of its id, or its name, where one fits.
    fn find(&self, which: &str) -> Result<Arc<Vm>, ApiError> {
        let vms = self.node.vms();
        let exact = vms.iter().find(|vm| vm.id.as_str() == which);
        let mut fitting =
            vms.iter().filter(|vm| vm.name.as_str() == which || vm.id.as_str().starts_with(which));
        match (exact, fitting.next(), fitting.next()) {
            (Some(vm), ..) | (None, Some(vm), None) => Ok(Arc::clone(vm)),
            (None, Some(_), Some(_)) => {
                let text = format!("{which} fits several VMs; use more of the id");
                Err(ApiError::new(StatusCode::CONFLICT, text))
            }
            (None, None, _) => Err(ApiError::no_vm(which)),
        }
    }
}
