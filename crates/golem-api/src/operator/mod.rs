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
mod description;
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
use golem_node::{Node, Vm};
use golem_service::server::cross_site;
use golem_service::server::error::panicked;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use client::{Client, OperatorError};
pub use socket::OperatorSocket;
pub use token::Token;

use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::openapi;
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
    let known = Router::from(programs());
    let guard = middleware::from_fn_with_state(Arc::clone(&operator), with_token);
    let guarded = known.clone().layer(guard).merge(Router::from(dashboard::router(&operator, looks())));
    let here = middleware::from_fn(this_host_only);
    let guarded = finish(guarded, &operator).layer(middleware::from_fn(cross_site::same_origin_only));
    let open = Router::from(dashboard::page().merge(description::router()));
    let guarded = guarded.merge(open).layer(here);
    let known = finish(known, &operator).merge(Router::from(description::router()));
    Routes { guarded, known }
}

/// What every operator's program may use, and the dashboard, too.
fn looks() -> OpenApiRouter<Arc<Operator>> {
    OpenApiRouter::new()
        .routes(routes!(node::summary))
        .routes(routes!(vms::list))
        .routes(routes!(vms::show, vms::delete))
        .routes(routes!(logs::logs))
        .routes(routes!(vms::events))
        .routes(routes!(history::of_vm))
        .routes(routes!(vms::act))
        .routes(routes!(vms::all_events))
        .routes(routes!(history::of_host))
        .routes(routes!(alerts::list))
        .routes(routes!(payments::streams))
        .routes(routes!(node::pricing))
        .routes(routes!(payments::withdrawals, payments::withdraw))
        .routes(routes!(payments::payouts))
        .routes(routes!(payments::transactions))
        .routes(routes!(ports::report, ports::verify))
        .routes(routes!(node::drain))
}

/// What only programs may use that hold the token, or are known.
fn orders() -> OpenApiRouter<Arc<Operator>> {
    OpenApiRouter::new()
        .routes(routes!(payments::entries))
        .routes(routes!(payments::check_books))
        .routes(routes!(alerts::test))
        .routes(routes!(payments::cancel))
        .routes(routes!(adverts::remove))
        .routes(routes!(dashboard::link))
        .routes(routes!(node::shutdown))
}

/// All that programs may use.
fn programs() -> OpenApiRouter<Arc<Operator>> {
    OpenApiRouter::new().nest("/v1", looks().merge(orders())).routes(routes!(metrics::metrics))
}

/// Every route of this API.
pub(crate) fn document() -> Value {
    let all = programs().merge(dashboard::around(dashboard::described(looks())));
    let open = dashboard::page().merge(description::router());
    openapi::complete(all, Some(open.into_openapi()), &description::LISTENER)
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
