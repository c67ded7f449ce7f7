//! The public API: what renters' clients call.
//!
//! Owns routes, status codes and who may see which VM. Never decides about a rental: the node does.
//!
//! Under `capability`, knowing a VM's unguessable id is the right to use it; a wrong id, a name
//! and a VM of somebody else all look alike. Under `open`, names work too and everyone sees all. A wallet with a
//! session sees its own VMs, and names them as it likes ([`caller`]).

mod caller;
mod console;
mod create;
mod description;
mod later;
mod leases;
mod live;
mod page;
mod provider;
mod quote;
mod resize;
mod seeing;
mod sessions;
mod snapshots;
mod streams;
mod vms;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
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
use golem_types::wire::{Problem, Problems};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::config::{ApiConfig, ProviderDetails, VmAccess};
use crate::error::ApiError;
use crate::openapi;
use crate::requests::{Requests, count};
use console::Consoles;
use live::Live;

/// What a request's `query` says of `name`, as it stands there.
fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// A query of whose member `name` something else was expected, which `text` says.
fn bad_query(name: &'static str, kind: &'static str, text: impl Into<String>) -> Problems {
    Problems { detail: vec![Problem { loc: vec!["query", name], ..Problem::new(kind, &[], text, None) }] }
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
    consoles: Consoles,
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
        live: Live::new(tasks.clone()),
        consoles: Consoles::new(tasks),
        stop,
        requests,
    });
    let renters = renters();
    let mut all = renters.clone().merge(plain_only());
    if config.public.access == VmAccess::Open {
        all = all.merge(open_only());
    }
    let https = guarded(renters.into(), &public);
    let all = guarded(all.into(), &public);
    let plain = match &config.public.checker {
        // Without the words that let pages of other sites ask.
        Some(checker) => all.merge(port_checker::checks(Arc::clone(checker))),
        None => all,
    };
    Routes { plain, https }
}

/// What renters need.
fn renters() -> OpenApiRouter<Arc<Public>> {
    OpenApiRouter::new()
        .routes(routes!(page::show))
        .routes(routes!(provider::health))
        .routes(routes!(provider::health_v1))
        .routes(routes!(provider::info))
        .routes(routes!(provider::images))
        .routes(routes!(quote::quote))
        .routes(routes!(vms::list, create::create))
        .routes(routes!(create::job))
        .routes(routes!(vms::show, vms::delete))
        .routes(routes!(vms::access))
        .routes(routes!(vms::failed_boot))
        .routes(routes!(seeing::metrics_latest))
        .routes(routes!(seeing::metrics_history))
        .routes(routes!(seeing::events))
        .routes(routes!(seeing::console_log))
        .routes(routes!(live::open))
        .routes(routes!(console::open))
        .routes(routes!(console::page::index))
        .routes(routes!(console::page::script))
        .routes(routes!(console::page::style))
        .routes(routes!(vms::start))
        .routes(routes!(vms::stop))
        .routes(routes!(vms::restart))
        .routes(routes!(vms::suspend))
        .routes(routes!(vms::resume))
        .routes(routes!(resize::resize))
        .routes(routes!(resize::rebuild))
        .routes(routes!(vms::add_key))
        .routes(routes!(streams::show, streams::attach))
        .routes(routes!(streams::list))
        .routes(routes!(leases::quote))
        .routes(routes!(sessions::open))
        .routes(routes!(sessions::list, sessions::mint))
        .routes(routes!(sessions::end))
        .routes(routes!(description::document))
        .routes(routes!(description::page))
        .merge(snapshots::routes())
        .merge(later::routes())
}

/// What is served on the plain port only.
fn plain_only() -> OpenApiRouter<Arc<Public>> {
    OpenApiRouter::new().routes(routes!(provider::banner))
}

/// What is served where the API is open.
fn open_only() -> OpenApiRouter<Arc<Public>> {
    let local = middleware::from_fn(cross_site::local_origin_only);
    OpenApiRouter::new().routes(routes!(provider::summary)).routes(routes!(provider::shutdown).layer(local))
}

/// Every route that this API may have.
pub(crate) fn document() -> Value {
    let all = renters().merge(plain_only()).merge(open_only());
    openapi::complete(all, Some(port_checker::described().into_openapi()), &description::LISTENER)
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
