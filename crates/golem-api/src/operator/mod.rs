//! The operator API: everything that the owner of the machine may do, from this machine only.
//!
//! Owns `127.0.0.1:7467`: a token that only the operator's own user can read, and the `Host` that
//! a web page on another site cannot fake; and Unix sockets ([`OperatorSocket`]), where the kernel says who asks. Never reached by
//! a renter.

mod adverts;
mod client;
mod logs;
mod node;
mod payments;
mod ports;
mod socket;
mod token;
mod vms;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use golem_node::{Node, Vm};
use golem_service::server::cross_site;
use golem_service::server::error::panicked;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use client::{Client, OperatorError};
pub use socket::OperatorSocket;
pub use token::Token;

use crate::config::ApiConfig;
use crate::error::ApiError;

/// What every route knows.
struct Operator {
    config: ApiConfig,
    node: Node,
    token: Token,
    stop: CancellationToken,
    started_at: Timestamp,
}

type Shared = State<Arc<Operator>>;

/// The API's routes.
pub(crate) struct Routes {
    /// For those who have the token.
    pub guarded: Router,
    /// For those whom the kernel knows.
    pub known: Router,
}

/// The routes; `stop` is cancelled when the operator stops the node.
pub(crate) fn routes(config: ApiConfig, node: Node, token: Token, stop: CancellationToken) -> Routes {
    let operator = Arc::new(Operator { config, node, token, stop, started_at: Timestamp::now() });
    let known = router(&operator);
    let guard = middleware::from_fn_with_state(operator, guarded);
    let guarded = known.clone().layer(guard).layer(middleware::from_fn(cross_site::same_origin_only));
    Routes { guarded, known }
}

fn router(operator: &Arc<Operator>) -> Router {
    Router::new()
        .route("/v1/summary", get(node::summary))
        .route("/v1/vms", get(vms::list))
        .route("/v1/vms/{id}", get(vms::show).delete(vms::delete))
        .route("/v1/vms/{id}/logs", get(logs::logs))
        .route("/v1/vms/{id}/events", get(vms::events))
        .route("/v1/vms/{id}/{action}", post(vms::act))
        .route("/v1/streams", get(payments::streams))
        .route("/v1/pricing", get(node::pricing))
        .route("/v1/withdrawals", get(payments::withdrawals).post(payments::withdraw))
        .route("/v1/entries", get(payments::entries))
        .route("/v1/books", post(payments::check_books))
        .route("/v1/payouts", get(payments::payouts))
        .route("/v1/transactions", get(payments::transactions))
        .route("/v1/transactions/cancel", post(payments::cancel))
        .route("/v1/ports", get(ports::report).post(ports::verify))
        .route("/v1/drain", put(node::drain))
        .route("/v1/adverts", axum::routing::delete(adverts::remove))
        .route("/v1/shutdown", post(node::shutdown))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(cross_site::json_only))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(Arc::clone(operator))
}

/// Lets in who carries the token and means this host. A web page that made its own name point at
/// 127.0.0.1 sends that name as `Host`.
async fn guarded(State(operator): Shared, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost") {
        return ApiError::new(StatusCode::FORBIDDEN, "this API answers to 127.0.0.1 only").into_response();
    }
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
