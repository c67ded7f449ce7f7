//! The operator's page in a browser, under `/dashboard/` on the operator listener.
//!
//! ```text
//!   /dashboard/            the page: bytes of this program, for everybody on this machine
//!   /dashboard/api/session login by a link, logout
//!   /dashboard/api/…       what a session may: looks and the actions of the page, neither shutdown nor the books
//! ```
//! Owns the page's bytes, what browsers are told about them, and who is let in. What is written here is told by an audit
//! line. Never decides: the node does.

mod actions;
mod health;
mod live;
pub(super) mod sessions;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post, put};
use golem_service::log_limited;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use serde::Deserialize;
use serde_json::json;

pub(super) use actions::Pulls;
pub(super) use health::Health;
pub(super) use live::{Live, Look};

use super::{By, Operator, Shared};
use crate::error::{ApiError, ApiResult};
use crate::views::LoginLink;
use sessions::{LINK_LIFE, SESSION_LIFE, Secrets, Session};

/// The page: nothing from anywhere else, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const INDEX: &[u8] = include_bytes!("../../../dashboard/index.html");
const SCRIPT: &[u8] = include_bytes!("../../../dashboard/app.js");
const STYLE: &[u8] = include_bytes!("../../../dashboard/app.css");

/// The half of a session's secrets that a browser sends only where the page itself asks.
const KEY_HEADER: &str = "x-dashboard-key";

/// The page's API; `shared` is what sessions may use of the operator's routes.
pub(super) fn router(operator: &Arc<Operator>, shared: Router<Arc<Operator>>) -> Router<Arc<Operator>> {
    let inside = shared
        .route("/session", get(session).delete(leave))
        .route("/live", get(live::live))
        .route("/earnings", get(actions::earnings))
        .route("/markets", get(actions::markets))
        .route("/images", get(actions::images))
        .route("/images/{name}", post(actions::pull))
        .route("/log", get(actions::log))
        .route("/prices", put(actions::prices))
        .layer(middleware::from_fn_with_state(Arc::clone(operator), let_in));
    Router::new()
        .route("/dashboard/api/login", post(enter))
        .nest("/dashboard/api", inside)
        .layer(middleware::map_response(headers))
}

/// The page's bytes, the same for everybody. Whoever follows a link to them comes from somewhere else: a file on this
/// machine, say.
pub(super) fn page() -> Router {
    Router::new()
        .route("/dashboard", get(async || Redirect::permanent("/dashboard/")))
        .route("/dashboard/", get(async || file("text/html; charset=utf-8", INDEX)))
        .route("/dashboard/app.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/dashboard/app.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .layer(middleware::map_response(headers))
}

fn file(kind: &'static str, bytes: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What browsers are told of everything here.
async fn headers(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A page of an older program does not speak to this one.
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The secret of a new login link, for whoever holds the token or is known to the kernel.
pub(super) async fn link(State(operator): Shared) -> ApiResult {
    let link = operator.sessions.link(Instant::now()).map_err(no_secret)?;
    tracing::info!(target: "audit", "a login link for the dashboard was made");
    Ok(ok(&LoginLink { link, seconds: LINK_LIFE.as_secs(), port: operator.port }))
}

fn no_secret(error: std::io::Error) -> ApiError {
    tracing::error!(error = &error as &dyn std::error::Error, "no secret can be made for the dashboard");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "no secret can be made; the log says why")
}

/// The cookie of this node, as far as the browser sees it: cookies are the host's, whatever the port, and several nodes may
/// be looked at through tunnels.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    format!("golem_dashboard_{port}")
}

/// Every value that `headers` have of the cookie `name`.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(known, _)| *known == name).map(|(_, value)| value)
}

#[derive(Deserialize)]
struct Login {
    link: String,
}

async fn enter(State(operator): Shared, request: Request) -> ApiResult {
    own_page_only(&request)?;
    let name = cookie_name(request.headers());
    let Login { link } = serde_json::from_slice(&body(request).await?).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "the body should be {\"link\": a login link's}")
    })?;
    let Some(Secrets { cookie, key, ends_at }) =
        operator.sessions.enter(&link, Instant::now()).map_err(no_secret)?
    else {
        log_limited!(
            warn,
            "a login to the dashboard was refused: its link was used already, is too old, or wrong"
        );
        let text = "this login link was used already, or is more than a minute old; fix: `golem-provider dashboard` gives \
                    another";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, text));
    };
    tracing::info!(target: "audit", "somebody logged in to the dashboard by a link");
    keep(&operator).await;
    let mut response = ok(&json!({ "key": key, "ends_at": ends_at }));
    let life = SESSION_LIFE.as_secs();
    let cookie = format!("{name}={cookie}; HttpOnly; SameSite=Strict; Path=/dashboard/; Max-Age={life}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Writes the sessions down. Where that fails, they end with this process.
async fn keep(operator: &Arc<Operator>) {
    let kept = Arc::clone(operator);
    // It waits for the disk.
    let done = tokio::task::spawn_blocking(move || kept.sessions.keep()).await;
    if let Ok(Err(error)) = done {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "sessions of the dashboard end when the node starts anew"
        );
    }
}

/// That this session is one.
async fn session(By(by): By) -> Response {
    ok(&json!({ "ends_at": by.map(|session| session.ends_at) }))
}

async fn leave(State(operator): Shared, By(by): By) -> Response {
    if let Some(session) = by {
        operator.sessions.leave(&session);
        keep(&operator).await;
        tracing::info!(target: "audit", "somebody logged out of the dashboard");
    }
    ok(&json!(null))
}

/// Refuses what changes something unless the browser says that this page asks for it.
fn own_page_only(request: &Request) -> Result<(), ApiError> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    // Another origin's was refused before (`cross_site`): here, silence is no consent.
    let told = ["sec-fetch-site", "origin"].iter().any(|name| request.headers().contains_key(*name));
    let text = "only the dashboard itself may ask for this; fix: use the operator token elsewhere";
    if told { Ok(()) } else { Err(ApiError::new(StatusCode::FORBIDDEN, text)) }
}

/// Lets in who has a session: by its cookie and its key.
async fn let_in(State(operator): Shared, mut request: Request, next: Next) -> Response {
    if let Err(error) = own_page_only(&request) {
        return error.into_response();
    }
    let headers = request.headers();
    let key = headers.get(KEY_HEADER).and_then(|key| key.to_str().ok()).unwrap_or_default();
    let (name, now) = (cookie_name(headers), Instant::now());
    let Some(session) = cookies(headers, &name).find_map(|cookie| operator.sessions.of(cookie, key, now))
    else {
        let text = "you are not logged in; fix: `golem-provider dashboard` gives a login link";
        return ApiError::new(StatusCode::UNAUTHORIZED, text).into_response();
    };
    request.extensions_mut().insert(session);
    next.run(request).await
}
