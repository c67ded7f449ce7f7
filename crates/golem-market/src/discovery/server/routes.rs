//! The service's routes: the published server's, and what they have beyond it.
//!
//! Owns paths, status codes and error codes. Beyond the published server: sockets, `platform`, names, signatures,
//! pages (`limit`, `after`, and a `Link` to the next), IPv6, and a 429 that is JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use golem_service::log_limited;
use golem_service::server::cors;
use golem_service::server::cross_site;
use golem_service::server::error::{ErrorResponse, panicked};
use golem_service::server::json::{json_response, ok};
use golem_service::server::peer::Peer;
use golem_service::server::rate_limit::{self, RateLimit};
use golem_service::server::serve::body;
use golem_types::wire::WireTime;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tower_http::catch_panic::CatchPanicLayer;

use super::live::{self, Live};
use crate::discovery::{
    AdvertMistake, AdvertRow, Claim, Cursor, Filter, NoId, Page, ProviderId, Store, StoreError, parse,
};

/// Most adverts of one answer, which is what old clients, that know no pages, get at once.
const PAGE: u32 = 1000;

struct Service {
    store: Arc<Store>,
    limit: RateLimit,
    /// Whether only signed adverts are taken.
    signed_only: bool,
}

type Shared = State<Arc<Service>>;

/// The routes over `store`, and the sockets of `live`.
pub(super) fn router(store: Arc<Store>, live: Arc<Live>, per_minute: u32, signed_only: bool) -> Router {
    let service = Arc::new(Service { store, limit: RateLimit::new(per_minute), signed_only });
    let sockets = Router::new()
        .route("/api/v1/discovery/providers", get(live::providers))
        .route("/api/v1/discovery/requestors", get(live::requestors))
        .with_state(live);
    Router::new()
        .route("/health", get(async || ok(&json!({ "status": "healthy" }))))
        .route("/api/v1/advertisements", get(list).merge(own_pages(post(advertise))))
        .route("/api/v1/advertisements/{id}", get(show).merge(own_pages(delete(remove))))
        .merge(sockets)
        .fallback(async || ErrorResponse::new(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(cross_site::json_only))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), limited))
        .layer(cors())
        .with_state(service)
}

/// Routes that pages have no business with; they may only look.
fn own_pages(routes: MethodRouter<Arc<Service>>) -> MethodRouter<Arc<Service>> {
    routes.layer(middleware::from_fn(cross_site::same_origin_only))
}

/// Why a request was refused.
enum RouteError {
    /// What is wrong with it, field by field.
    Mistakes(Vec<AdvertMistake>),
    /// A status, the published server's code, and a text.
    Coded(StatusCode, &'static str, String),
    /// As elsewhere.
    Plain(ErrorResponse),
}

impl From<ErrorResponse> for RouteError {
    fn from(failure: ErrorResponse) -> Self {
        Self::Plain(failure)
    }
}

impl From<StoreError> for RouteError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        let unauthorized = |code| Self::Coded(StatusCode::UNAUTHORIZED, code, text.clone());
        match error {
            StoreError::FalseSignature => unauthorized("AUTH_001"),
            StoreError::SignatureNeeded => unauthorized("AUTH_002"),
            StoreError::WrongTime { .. } | StoreError::Old { .. } => unauthorized("AUTH_005"),
            StoreError::Full => Self::Coded(StatusCode::SERVICE_UNAVAILABLE, "ADV_001", text),
            StoreError::Database(_) | StoreError::Tables(_) | StoreError::File(_) | StoreError::Damaged => {
                log_limited!(error, error = &error as &dyn std::error::Error, "a request failed");
                Self::Coded(StatusCode::INTERNAL_SERVER_ERROR, "ADV_001", "the database fails".to_owned())
            }
        }
    }
}

impl IntoResponse for RouteError {
    fn into_response(self) -> Response {
        match self {
            Self::Mistakes(mistakes) => {
                json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": mistakes }))
            }
            Self::Coded(status, code, message) => {
                json_response(status, &json!({ "detail": { "code": code, "message": message } }))
            }
            Self::Plain(failure) => failure.into_response(),
        }
    }
}

fn not_found() -> RouteError {
    RouteError::Coded(StatusCode::NOT_FOUND, "ADV_004", "Advertisement not found".to_owned())
}

async fn limited(State(service): Shared, request: Request, next: Next) -> Response {
    let Some(seconds) = rate_limit::wait(&service.limit, &request) else {
        return next.run(request).await;
    };
    let text = "Rate limit exceeded";
    let body = json!({
        "code": "RATE_001", "message": text, "timestamp": WireTime(Timestamp::now()), "detail": text,
    });
    let mut response = json_response(StatusCode::TOO_MANY_REQUESTS, &body);
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

/// Does `work` with the store, off the runtime.
async fn with<T: Send + 'static>(
    service: &Service,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RouteError> {
    let store = Arc::clone(&service.store);
    match tokio::task::spawn_blocking(move || work(&store)).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            log_limited!(
                error,
                error = &error as &dyn std::error::Error,
                "a request to the database was lost"
            );
            Err(ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, "An unexpected error occurred").into())
        }
    }
}

/// An advert, as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    provider_id: &'a str,
    /// Always there: the published requestor's table fails without it.
    provider_name: Option<&'a str>,
    ip_address: String,
    country: &'a str,
    platform: Option<&'a str>,
    resources: &'a BTreeMap<String, u32>,
    pricing: Option<&'a Map<String, Value>>,
    /// Whether the provider proved that it is its own.
    signed: bool,
    created_at: WireTime,
    updated_at: WireTime,
}

fn shown(row: &AdvertRow) -> Shown<'_> {
    let advert = &row.advert;
    Shown {
        provider_id: row.provider_id.as_str(),
        provider_name: advert.name.as_deref(),
        ip_address: advert.ip_address.to_string(),
        country: &advert.country,
        platform: advert.platform.as_deref(),
        resources: &advert.resources,
        pricing: advert.pricing.as_ref(),
        signed: row.signed,
        created_at: WireTime(row.created_at),
        updated_at: WireTime(row.updated_at),
    }
}

/// The two headers of a request that changes something.
struct Credentials {
    id: String,
    signature: String,
}

impl Credentials {
    fn of(headers: &HeaderMap) -> Result<Self, Vec<AdvertMistake>> {
        let mut mistakes = Vec::new();
        let mut text = |name: &'static str| match headers.get(name) {
            // What is no text is no id and no signature either.
            Some(value) => value.to_str().unwrap_or_default().to_owned(),
            None => {
                mistakes.push(AdvertMistake::missing(&["header", name]));
                String::new()
            }
        };
        let given = Self { id: text("x-provider-id"), signature: text("x-provider-signature") };
        if mistakes.is_empty() { Ok(given) } else { Err(mistakes) }
    }

    /// Whose request it is, and whether that is proven by the signature over `body`.
    fn claim(&self, service: &Service, body: &[u8]) -> Result<(ProviderId, Claim), RouteError> {
        if self.id.is_empty() || self.signature.is_empty() {
            let text = "Missing provider credentials".to_owned();
            return Err(RouteError::Coded(StatusCode::UNAUTHORIZED, "AUTH_003", text));
        }
        let id: ProviderId = self.id.parse().map_err(|error: NoId| {
            RouteError::Mistakes(vec![AdvertMistake::new(
                &["header", "x-provider-id"],
                error.to_string(),
                "value_error",
            )])
        })?;
        let claim = Claim::judge(&id, &self.signature, body);
        if service.signed_only && claim == Claim::Unproven {
            return Err(StoreError::SignatureNeeded.into());
        }
        Ok((id, claim))
    }
}

async fn advertise(
    State(service): Shared,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, RouteError> {
    let credentials = Credentials::of(&headers);
    let source = Peer::source_of(&request);
    let body = body(request).await?;
    let (credentials, advert) = match (credentials, parse(&body)) {
        (Ok(credentials), Ok(advert)) => (credentials, advert),
        (credentials, advert) => {
            let mistakes = credentials.err().into_iter().chain(advert.err()).flatten();
            return Err(RouteError::Mistakes(mistakes.collect()));
        }
    };
    let (id, claim) = credentials.claim(&service, &body)?;
    let row = with(&service, move |store| store.put(&id, &advert, claim, source, Timestamp::now())).await?;
    tracing::debug!(provider = row.provider_id.as_str(), signed = row.signed, "advert posted");
    Ok(ok(&shown(&row)))
}

/// A wish to be shown no longer, as it is signed.
#[derive(Deserialize)]
struct Removal {
    remove: String,
    timestamp: i64,
}

async fn remove(
    State(service): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, RouteError> {
    let credentials = Credentials::of(&headers).map_err(RouteError::Mistakes)?;
    let body = body(request).await?;
    let (claimed, claim) = credentials.claim(&service, &body)?;
    if id.parse().ok().as_ref() != Some(&claimed) {
        let text = "Not authorized to delete this advertisement".to_owned();
        return Err(RouteError::Coded(StatusCode::UNAUTHORIZED, "AUTH_004", text));
    }
    // A signature proves what it is over: an advert's own is none for this.
    let removal = serde_json::from_slice::<Removal>(&body).ok();
    let wished = removal.filter(|removal| removal.remove.parse().ok().as_ref() == Some(&claimed));
    let claim = match (claim, &wished) {
        (Claim::Proven, None) => Claim::False,
        (claim, _) => claim,
    };
    let timestamp = wished.map(|removal| removal.timestamp);
    let removed =
        with(&service, move |store| store.remove(&claimed, claim, timestamp, Timestamp::now())).await?;
    if removed { Ok(ok(&json!({ "status": "success" }))) } else { Err(not_found()) }
}

async fn show(State(service): Shared, Path(id): Path<String>) -> Result<Response, RouteError> {
    let id: ProviderId = id.parse().map_err(|_| not_found())?;
    let row = with(&service, move |store| store.get(&id, Timestamp::now())).await?;
    row.map(|row| ok(&shown(&row))).ok_or_else(not_found)
}

/// The query of a list.
#[derive(Debug, PartialEq, Eq)]
struct ListQuery {
    filter: Filter,
    page: Page,
}

impl ListQuery {
    fn of(query: &BTreeMap<String, String>) -> Result<Self, RouteError> {
        let mut mistakes = Vec::new();
        let mut number = |name: &str| -> Option<i128> {
            let number = query.get(name)?.trim().parse();
            number.inspect_err(|_| mistakes.push(AdvertMistake::no_integer(&["query", name]))).ok()
        };
        let least = [number("cpu"), number("memory"), number("storage")];
        let limit = number("limit");
        let after = query.get("after").map(|after| after.parse::<Cursor>());
        if let Some(Err(())) = after {
            let text = "value is not from the link of a page";
            mistakes.push(AdvertMistake::new(&["query", "after"], text, "value_error"));
        }
        if !mistakes.is_empty() {
            return Err(RouteError::Mistakes(mistakes));
        }
        if least.iter().chain([&limit]).flatten().any(|number| *number < 1) {
            let text = "Resource requirements must be >= 1".to_owned();
            return Err(RouteError::Coded(StatusCode::BAD_REQUEST, "ADV_002", text));
        }
        // Nobody has more.
        let [cpu, memory, storage] =
            least.map(|number| number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)));
        let text = |name: &str| query.get(name).cloned();
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).map_or(PAGE, |limit| limit.min(PAGE));
        Ok(Self {
            filter: Filter { cpu, memory, storage, country: text("country"), platform: text("platform") },
            page: Page { after: after.and_then(Result::ok), limit },
        })
    }
}

async fn list(
    State(service): Shared,
    query: Result<Query<BTreeMap<String, String>>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, RouteError> {
    let Ok(Query(query)) = query else {
        return Err(ErrorResponse::new(StatusCode::BAD_REQUEST, "the query cannot be read").into());
    };
    let ListQuery { filter, page } = ListQuery::of(&query)?;
    let limit = page.limit;
    let (rows, end) = with(&service, move |store| store.list(&filter, &page, Timestamp::now())).await?;
    let mut response = ok(&rows.iter().map(shown).collect::<Vec<_>>());
    if let Some(end) = end {
        let mut next = query;
        next.insert("after".to_owned(), end.to_string());
        next.insert("limit".to_owned(), limit.to_string());
        let pairs: Result<_, _> =
            golem_service::http::Url::parse_with_params("http://-/api/v1/advertisements", &next);
        let link = pairs.ok().and_then(|url: golem_service::http::Url| {
            HeaderValue::try_from(format!("<{}?{}>; rel=\"next\"", url.path(), url.query()?)).ok()
        });
        response.headers_mut().extend(link.map(|link| (header::LINK, link)));
    }
    Ok(response)
}
