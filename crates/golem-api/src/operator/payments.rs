//! Streams, what is withdrawn from them, the books, and what the wallets send.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use golem_node::NodeError;
use golem_node::payment::Contracts;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::VmId;
use jiff::Timestamp;
use serde::Deserialize;

use super::{By, Operator, Shared};
use crate::error::{ApiError, ApiResult};
use crate::views::{self, books, payments};

impl Operator {
    /// What rentals are paid in.
    fn contracts(&self) -> Result<&Contracts, ApiError> {
        let contracts = self.node.contracts();
        if contracts.all().is_empty() {
            return Err(ApiError::Node(NodeError::PaymentsOff));
        }
        Ok(contracts)
    }
}

pub(super) async fn streams(State(operator): Shared) -> ApiResult {
    Ok(ok(&payments::streams(operator.contracts()?, operator.config.payments.as_ref()).await))
}

pub(super) async fn payouts(State(operator): Shared) -> ApiResult {
    Ok(ok(&payments::PayoutsView::of(&operator.node).await?))
}

#[derive(Deserialize)]
pub(super) struct Since {
    /// Seconds since the epoch.
    since: i64,
}

impl Since {
    fn time(self) -> Result<Timestamp, ApiError> {
        Timestamp::from_second(self.since)
            .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "since should be seconds since the epoch"))
    }
}

pub(super) async fn withdrawals(State(operator): Shared, Query(since): Query<Since>) -> ApiResult {
    let contracts = operator.contracts()?;
    Ok(ok(&payments::withdrawals(contracts, since.time()?).await.map_err(NodeError::from)?))
}

pub(super) async fn entries(State(operator): Shared, Query(since): Query<Since>) -> ApiResult {
    let contracts = operator.contracts()?;
    Ok(ok(&books::entries(contracts, since.time()?).await.map_err(NodeError::from)?))
}

#[derive(Deserialize)]
struct Check {
    #[serde(default)]
    repair: bool,
}

pub(super) async fn check_books(State(operator): Shared, by: By, request: Request) -> ApiResult {
    let Check { repair } = serde_json::from_slice(&body(request).await?).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "the body should be {\"repair\": true or false}")
    })?;
    let contracts = operator.contracts()?;
    tracing::info!(target: "audit", %by, repair, "the books are compared with the chain");
    Ok(ok(&books::check(contracts, repair).await))
}

#[derive(Deserialize)]
struct Which {
    vm: Option<String>,
    #[serde(default)]
    force: bool,
}

pub(super) async fn withdraw(State(operator): Shared, by: By, request: Request) -> ApiResult {
    let Which { vm, force } = serde_json::from_slice(&body(request).await?).map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "the body should be {\"vm\": an id or a name, or null for all}",
        )
    })?;
    let contracts = operator.contracts()?;
    let vm = match vm {
        None => None,
        // A rental that ended is named by its id only.
        Some(which) => Some(match operator.find(&which) {
            Ok(vm) => vm.id.clone(),
            Err(error) => which.parse().map_err(|_| error)?,
        }),
    };
    let of = vm.as_ref().map_or_else(|| "every stream", VmId::redacted);
    tracing::info!(target: "audit", %by, of, force, "what has vested is withdrawn");
    Ok(ok(&payments::withdraw(contracts, vm.as_ref(), force).await))
}

#[derive(Deserialize)]
pub(super) struct All {
    #[serde(default)]
    all: bool,
}

pub(super) async fn transactions(State(operator): Shared, Query(All { all }): Query<All>) -> ApiResult {
    let listed = views::transactions::transactions(operator.node.transactions().ledger(), all).await;
    Ok(ok(&listed.map_err(NodeError::from)?))
}

#[derive(Deserialize)]
struct Cancelled {
    nonce: Option<u64>,
}

pub(super) async fn cancel(State(operator): Shared, by: By, request: Request) -> ApiResult {
    let Cancelled { nonce } = serde_json::from_slice(&body(request).await?).map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "the body should be {\"nonce\": a number of the wallet, or null for all that wait}",
        )
    })?;
    tracing::info!(target: "audit", %by, nonce, "transactions are cancelled");
    let mut count = 0;
    for queue in operator.node.transactions().queues() {
        count += queue.cancel(nonce).await.map_err(NodeError::from)?;
    }
    Ok(ok(&count))
}
