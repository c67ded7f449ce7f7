//! The check server: connects to its caller's ports, from outside.
//!
//! ```text
//!   POST /check-ports ─► limit ─► read ─► target ─► queue (its turn) ─► dial each ─► sign
//! ```
//! Owns the original's protocol with our additions (what a port said, a signature), and the bounds that
//! keep it from being a scanner. Never knows whether the caller is a provider.

mod dial;
mod queue;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use golem_types::Wallet;
use golem_types::net::Source;
use golem_types::wire::port_check::{CheckAnswer, CheckRequest, PortResult, parse_check};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use golem_service::server::cross_site;
use golem_service::server::error::{ErrorResponse, panicked};
use golem_service::server::json::{json_response, ok};
use golem_service::server::peer::Peer;
use golem_service::server::rate_limit::RateLimit;
use golem_service::server::serve::body;
use queue::Queue;
pub use target::{TargetError, Targets};

/// Checks that one address may ask for in a minute; ten thousand ports are twenty.
const PER_MINUTE: u32 = 60;

/// Ports that are dialled at a time for one check.
const DIALS: usize = 256;

/// Longest that a check may take, and wait for its turn: clients give up after 30 s.
const DEADLINE: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_secs(12);

/// What tries ports, and signs what it found.
#[derive(Debug)]
pub struct Checker {
    wallet: Wallet,
    targets: Targets,
    limit: RateLimit,
    queue: Arc<Queue>,
}

impl Checker {
    /// One that signs with `wallet` and dials `targets`.
    #[must_use]
    pub fn new(wallet: Wallet, targets: Targets) -> Self {
        Self { wallet, targets, limit: RateLimit::new(PER_MINUTE), queue: Queue::new() }
    }

    /// Answers `request` as the original does.
    pub async fn answer(&self, request: Request) -> Result<Response, ErrorResponse> {
        let Some(Peer(caller)) = request.extensions().get::<Peer>().copied() else {
            return Err(ErrorResponse::new(StatusCode::FORBIDDEN, "who asks is not known"));
        };
        if self.limit.take(caller, Instant::now()).is_err() {
            return Err(ErrorResponse::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Rate limit exceeded; try again later",
            ));
        }
        let request = parse_check(&body(request).await?)?;
        let address = match self.targets.target(&request.provider_ip, caller) {
            Ok(address) => address,
            Err(error) => return Ok(refused(&error)),
        };
        let came = Instant::now();
        let dials = request.ports.len().min(DIALS);
        let Some(_turn) = self.queue.turn(Source::of(caller), dials, PATIENCE).await else {
            let text = "too many checks at a time; try again later";
            return Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        Ok(ok(&self.check(address, request, DEADLINE.saturating_sub(came.elapsed())).await))
    }

    /// Tries the ports of `request` at `address`. Those for which there is no time are not in the answer.
    async fn check(&self, address: IpAddr, request: CheckRequest, deadline: Duration) -> CheckAnswer {
        let mut results = BTreeMap::<u16, PortResult>::new();
        // The original's clients do not look at what a port says, and their listeners say nothing.
        let read = request.nonce.is_some();
        let mut dialled = futures_util::stream::iter(request.ports)
            .map(async |port| (port, dial::dial(address, port, read).await))
            .buffer_unordered(DIALS);
        let all = async {
            while let Some((port, result)) = dialled.next().await {
                results.insert(port, result);
            }
        };
        let _ = timeout(deadline, all).await;
        drop(dialled);
        let mut answer = CheckAnswer {
            provider_ip: Some(address.to_string()),
            checked_at: u64::try_from(Timestamp::now().as_second()).ok(),
            nonce: request.nonce,
            checker: Some(self.wallet.address().to_string()),
            ..CheckAnswer::of(results)
        };
        let signed = self.wallet.sign_message(answer.signed_text().as_bytes());
        answer.signature =
            signed.map(|signed| format!("0x{}", alloy_primitives::hex::encode(signed.to_bytes())));
        answer
    }
}

/// Tells who asks for a wrong address which one it has: that is often the operator's mistake.
fn refused(error: &TargetError) -> Response {
    let (status, caller) = match error {
        TargetError::NoAddress => (StatusCode::UNPROCESSABLE_ENTITY, None),
        TargetError::Another { caller, .. } => (StatusCode::FORBIDDEN, Some(caller)),
        TargetError::Inside(_) => (StatusCode::FORBIDDEN, None),
    };
    json_response(status, &json!({ "detail": error.to_string(), "caller": caller }))
}

/// The server of `checker`.
pub fn router(checker: Arc<Checker>) -> Router {
    checks(checker)
        .route("/health", get(async || ok(&json!({ "status": "ok" }))))
        .fallback(async || ErrorResponse::new(StatusCode::NOT_FOUND, "Not Found"))
}

/// Dials ports of the caller's address, and says which accepted a connection.
///
/// For nodes that want to know how they are reached. With a `nonce`, the answer is signed, and says what each port said.
#[utoipa::path(
    post, path = "/check-ports", tag = "Ports",
    request_body = CheckRequest,
    responses(
        (status = 200, body = CheckAnswer, description = "What was found, at those ports for which there was time"),
        (status = 403, description = "The address is not the caller's, or is inside a private network, or a page of another site asks"),
        (status = 404, description = "This node checks for nobody"),
        (status = 422, body = Object, description = "The body is invalid, or names no address; `detail` is a text, or a list of every mistake"),
        (status = 503, description = "Too many checks are under way; try later"),
    ),
)]
async fn check(State(checker): State<Arc<Checker>>, request: Request) -> Response {
    checker.answer(request).await.unwrap_or_else(ErrorResponse::into_response)
}

/// The one route on which checks are asked for.
pub fn described() -> OpenApiRouter<Arc<Checker>> {
    OpenApiRouter::new().routes(routes!(check))
}

/// As [`described`], with what goes before and after it.
pub fn checks(checker: Arc<Checker>) -> Router {
    Router::from(described())
        .method_not_allowed_fallback(async || {
            ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        // No page on the web may have its visitors' ports tried.
        .layer(middleware::from_fn(cross_site::json_only))
        .layer(middleware::from_fn(cross_site::same_origin_only))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(checker)
}
