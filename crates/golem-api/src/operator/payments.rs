//! Streams, what is withdrawn from them, the books, and what the wallets send.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use golem_node::NodeError;
use golem_node::payment::Contracts;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::VmId;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{By, Operator, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Query;
use crate::views::payments::PayoutsView;
use crate::views::{
    self, BooksCheckView, EntryView, StreamsView, TransactionView, WithdrawView, WithdrawalView, books,
    payments,
};

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

/// Every stream that may still pay.
#[utoipa::path(
    get, path = "/streams", tag = "Money",
    responses(
        (status = 200, body = StreamsView, description = "The streams"),
        (status = 400, description = "Rentals are free here"),
    ),
)]
pub(super) async fn streams(State(operator): Shared) -> ApiResult {
    Ok(ok(&payments::streams(operator.contracts()?, operator.config.payments.as_ref()).await))
}

/// Where what was earned goes, and went last.
#[utoipa::path(
    get, path = "/payouts", tag = "Money",
    responses(
        (status = 200, body = PayoutsView, description = "The wallets and the last transfers"),
    ),
)]
pub(super) async fn payouts(State(operator): Shared) -> ApiResult {
    Ok(ok(&PayoutsView::of(&operator.node).await?))
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

/// Withdrawals, oldest first.
#[utoipa::path(
    get, path = "/withdrawals", tag = "Money",
    params(("since" = i64, Query, description = "From when on, in seconds since the epoch")),
    responses(
        (status = 200, body = Vec<WithdrawalView>, description = "The withdrawals"),
        (status = 400, description = "Rentals are free here, or `since` is no time"),
    ),
)]
pub(super) async fn withdrawals(State(operator): Shared, Query(since): Query<Since>) -> ApiResult {
    let contracts = operator.contracts()?;
    Ok(ok(&payments::withdrawals(contracts, since.time()?).await.map_err(NodeError::from)?))
}

/// The entries of the books, oldest first.
#[utoipa::path(
    get, path = "/entries", tag = "Money",
    params(("since" = i64, Query, description = "From when on, in seconds since the epoch")),
    responses(
        (status = 200, body = Vec<EntryView>, description = "The entries"),
        (status = 400, description = "Rentals are free here, or `since` is no time"),
    ),
)]
pub(super) async fn entries(State(operator): Shared, Query(since): Query<Since>) -> ApiResult {
    let contracts = operator.contracts()?;
    Ok(ok(&books::entries(contracts, since.time()?).await.map_err(NodeError::from)?))
}

/// Whether the books are mended.
#[derive(Deserialize, ToSchema)]
struct Check {
    /// Whether what differs is written into the books; only looked for if absent.
    #[serde(default)]
    repair: bool,
}

/// Compares the books with the chain, and mends them if asked to.
#[utoipa::path(
    post, path = "/books", tag = "Money",
    request_body = Check,
    responses(
        (status = 200, body = Vec<BooksCheckView>, description = "What was found"),
        (status = 400, description = "Rentals are free here, or the body is wrong"),
    ),
)]
pub(super) async fn check_books(State(operator): Shared, by: By, request: Request) -> ApiResult {
    let Check { repair } = serde_json::from_slice(&body(request).await?).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "the body should be {\"repair\": true or false}")
    })?;
    let contracts = operator.contracts()?;
    tracing::info!(target: "audit", %by, repair, "the books are compared with the chain");
    Ok(ok(&books::check(contracts, repair).await))
}

/// What is withdrawn from.
#[derive(Deserialize, ToSchema)]
struct Which {
    /// The VM, by id or name; every stream if null.
    vm: Option<String>,
    /// Whether it is done though it is not worth its gas.
    #[serde(default)]
    force: bool,
}

/// Withdraws what has vested, from one stream or from all.
#[utoipa::path(
    post, path = "/withdrawals", tag = "Money",
    request_body = Which,
    responses(
        (status = 200, body = Vec<WithdrawView>, description = "What came of each"),
        (status = 400, description = "Rentals are free here, or the body is wrong"),
        (status = 404, description = "No such VM"),
        (status = 409, description = "Several VMs fit"),
    ),
)]
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

/// Transactions that wait, oldest first; with `all=true`, the last 200 of any state.
#[utoipa::path(
    get, path = "/transactions", tag = "Money",
    params(("all" = Option<bool>, Query, description = "Whether those that ended are wanted, too")),
    responses(
        (status = 200, body = Vec<TransactionView>, description = "The transactions"),
    ),
)]
pub(super) async fn transactions(State(operator): Shared, Query(All { all }): Query<All>) -> ApiResult {
    let listed = views::transactions::transactions(operator.node.transactions().ledger(), all).await;
    Ok(ok(&listed.map_err(NodeError::from)?))
}

/// What is cancelled.
#[derive(Deserialize, ToSchema)]
struct Cancelled {
    /// The wallet's number of the transaction; all that wait if null.
    nonce: Option<u64>,
}

/// Cancels transactions that wait.
#[utoipa::path(
    post, path = "/transactions/cancel", tag = "Money",
    request_body = Cancelled,
    responses(
        (status = 200, body = usize, content_type = "application/json", description = "How many were cancelled"),
    ),
)]
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
