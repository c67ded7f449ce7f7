//! The node as a whole: what it does, what it asks, whether it takes rentals, and its stop.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_reach::certificates::Https;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use jiff::Timestamp;
use serde_json::json;

use super::{By, Operator, Shared};
use crate::error::{ApiError, ApiResult};
use crate::views::transactions;
use crate::views::{
    AdvertView, BackendView, DrainView, HostView, PaymentsView, PortsView, PricingView, Summary,
};

/// The node as a whole: what it has, runs, asks, and what is wrong.
#[utoipa::path(
    get, path = "/summary", tag = "Node",
    responses(
        (status = 200, body = Summary, description = "The node"),
    ),
)]
pub(super) async fn summary(State(operator): Shared) -> Response {
    ok(&operator.summary().await)
}

impl Operator {
    /// The node as a whole.
    pub(super) async fn summary(&self) -> Summary {
        let Self { config, node, .. } = self;
        let (capacity, host) = (node.capacity(), node.host());
        let range = &node.config().ports;
        Summary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(self.started_at),
            name: config.provider.name.clone(),
            provider_id: config.provider.provider_id.clone(),
            environment: config.provider.environment.to_owned(),
            network: config.provider.network.to_owned(),
            backend: BackendView::of(node).await,
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
            https: config.https.as_ref().map(Https::report),
            payments: node.payments().map(PaymentsView::of),
            other_payments: node.contracts().others().map(PaymentsView::earlier).collect(),
            unknown_contracts: node.contracts().unknown().to_vec(),
            payouts: crate::views::PayoutView::all(node),
            transactions: transactions::trouble(node.transactions(), Timestamp::now()),
            adverts: config.advertising.iter().map(AdvertView::of).collect(),
            unmanaged: node.unmanaged(),
        }
    }
}

/// What rentals cost.
#[utoipa::path(
    get, path = "/pricing", tag = "Node",
    responses(
        (status = 200, body = PricingView, description = "The prices"),
        (status = 404, description = "No prices are known"),
    ),
)]
pub(super) async fn pricing(State(operator): Shared) -> ApiResult {
    let prices = operator.config.prices.as_ref().map(|prices| PricingView::of(&prices.borrow()));
    prices.map(|view| ok(&view)).ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
}

/// Takes new rentals no more, or again. VMs run on.
#[utoipa::path(
    put, path = "/drain", tag = "Node",
    request_body = DrainView,
    responses(
        (status = 200, body = DrainView, description = "As it is from now on"),
    ),
)]
pub(super) async fn drain(State(operator): Shared, by: By, request: Request) -> ApiResult {
    let wanted: DrainView = serde_json::from_slice(&body(request).await?).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "the body should be {\"draining\": true or false}")
    })?;
    tracing::info!(target: "audit", %by, draining = wanted.draining, "draining is turned on or off");
    operator.node.set_draining(wanted.draining).await?;
    Ok(ok(&wanted))
}

/// Stops the node. VMs run on, unless the settings say otherwise.
#[utoipa::path(
    post, path = "/shutdown", tag = "Node",
    responses(
        (status = 200, body = (), description = "It stops"),
    ),
)]
pub(super) async fn shutdown(State(operator): Shared, by: By) -> Response {
    tracing::info!(target: "audit", %by, "the node is stopped");
    operator.asked.stop.cancel();
    ok(&json!(null))
}
