//! The public API: what renters' clients call.
//!
//! Owns routes, status codes and who may see which VM. Never decides about a rental: the node does.
//!
//! Under `capability`, knowing a VM's unguessable id is the right to use it; a wrong id, a name
//! and a VM of somebody else all look alike. Under `open`, names work too and everyone sees all. A wallet with a
//! session sees its own VMs, and names them as it likes ([`caller`]).

mod caller;
mod create;
mod later;
mod leases;
mod live;
mod page;
mod provider;
mod quote;
mod sessions;
mod streams;
mod vms;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use golem_chain::network::PaymentNetwork;
use golem_node::Node;
use golem_node::pricing::PriceList;
use golem_reach::certificates::Https;
use golem_reach::port_checker;
use golem_service::server::cors;
use golem_service::server::cross_site;
use golem_service::server::error::panicked;
use golem_service::server::rate_limit::{self, RateLimit};
use golem_service::tasks::Tasks;
use golem_types::wire::port_check::BANNER_PATH;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::{ApiConfig, ProviderDetails, VmAccess};
use crate::error::ApiError;
use crate::requests::{Requests, count};
use live::Live;

/// What a request's `query` says of `name`, as it stands there.
fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// What every route knows.
struct Public {
    node: Node,
    access: VmAccess,
    provider: ProviderDetails,
    payments: Option<PaymentNetwork>,
    prices: Option<watch::Receiver<PriceList>>,
    https: Option<Https>,
    limit: RateLimit,
    live: Live,
    stop: CancellationToken,
    requests: Arc<Requests>,
}

type Shared = State<Arc<Public>>;

/// The routes of the public API.
pub(crate) struct Routes {
    /// Those of the plain port: everything.
    pub(crate) plain: Router,
    /// Those of the https port: what renters need.
    pub(crate) https: Router,
}

/// The routes; `stop` is cancelled when a client may and does stop the node, and sockets are tasks of `tasks`. One rate limit
/// counts for both ports.
pub(crate) fn routes(
    config: &ApiConfig,
    node: Node,
    stop: CancellationToken,
    tasks: Tasks,
    requests: Arc<Requests>,
) -> Routes {
    let public = Arc::new(Public {
        node,
        access: config.public.access,
        provider: config.provider.clone(),
        payments: config.payments.clone(),
        prices: config.prices.clone(),
        https: config.https.clone(),
        limit: RateLimit::new(config.public.rate_limit_per_minute),
        live: Live::new(tasks),
        stop,
        requests,
    });
    let mut renters = Router::new()
        .route("/", get(page::show))
        .route("/health", get(provider::health))
        .route("/api/v1/health", get(provider::health))
        .route("/api/v1/provider/info", get(provider::info))
        .route("/api/v1/images", get(provider::images))
        .route("/api/v1/quotes", post(quote::quote))
        .route("/api/v1/vms", get(vms::list).post(create::create))
        .route("/api/v1/vms/jobs/{id}", get(create::job))
        .route("/api/v1/vms/{id}", get(vms::show).delete(vms::delete))
        .route("/api/v1/vms/{id}/access", get(vms::access))
        .route("/api/v1/vms/{id}/failed-boot", get(vms::failed_boot))
        .route("/api/v1/vms/{id}/live", get(live::open))
        .route("/api/v1/vms/{id}/start", post(vms::start))
        .route("/api/v1/vms/{id}/stop", post(vms::stop))
        .route("/api/v1/vms/{id}/restart", post(vms::restart))
        .route("/api/v1/vms/{id}/ssh-keys", post(vms::add_key))
        .route("/api/v1/vms/{id}/stream", get(streams::show).post(streams::attach))
        .route("/api/v1/payments/streams", get(streams::list))
        .route("/api/v1/payments/lease-quotes", post(leases::quote))
        .route("/api/v1/auth/requestor-sessions", post(sessions::open))
        .route("/api/v1/auth/tokens", get(sessions::list).post(sessions::mint))
        .route("/api/v1/auth/tokens/{id}", delete(sessions::end));
    for (path, handler) in later::routes() {
        renters = renters.route(path, handler);
    }
    let mut all = renters.clone().route(BANNER_PATH, get(provider::banner));
    if config.public.access == VmAccess::Open {
        all = all.route("/api/v1/summary", get(provider::summary)).route(
            "/api/v1/admin/shutdown",
            post(provider::shutdown).layer(middleware::from_fn(cross_site::local_origin_only)),
        );
    }
    let https = guarded(renters, &public);
    let all = guarded(all, &public);
    let plain = match &config.public.checker {
        // Without the words that let pages of other sites ask.
        Some(checker) => all.merge(port_checker::checks(Arc::clone(checker))),
        None => all,
    };
    Routes { plain, https }
}

/// `routes` with what goes before and after every handler.
fn guarded(routes: Router<Arc<Public>>, public: &Arc<Public>) -> Router {
    routes
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(cross_site::json_only))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(public), limited))
        .layer(middleware::from_fn_with_state((Arc::clone(&public.requests), "public"), count))
        .layer(cors())
        .with_state(Arc::clone(public))
}

/// Refuses a peer that asks too often.
async fn limited(State(public): Shared, request: Request, next: Next) -> Response {
    let Some(seconds) = rate_limit::wait(&public.limit, &request) else {
        return next.run(request).await;
    };
    let mut response =
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded; try again later").into_response();
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
