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

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use golem_service::log_limited;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use actions::Pulls;
pub(super) use health::{Health, RowView};
pub(super) use live::{Live, Look};

use super::{By, Operator, Shared};
use crate::browser::guard;
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

/// A session that has begun.
#[derive(Serialize, ToSchema)]
struct LoggedIn {
    /// When it ends.
    ends_at: Timestamp,
    /// What the header `X-Dashboard-Key` carries.
    key: String,
}

/// A session.
#[derive(Serialize, ToSchema)]
struct SessionView {
    /// When it ends.
    ends_at: Option<Timestamp>,
}

/// The page's API; `shared` is what sessions may use of the operator's routes.
pub(super) fn described(shared: OpenApiRouter<Arc<Operator>>) -> OpenApiRouter<Arc<Operator>> {
    shared
        .routes(routes!(session, leave))
        .routes(routes!(live::live))
        .routes(routes!(actions::earnings))
        .routes(routes!(actions::markets))
        .routes(routes!(actions::images))
        .routes(routes!(actions::pull))
        .routes(routes!(actions::log))
        .routes(routes!(actions::prices))
}

/// `inside` for whoever has a session, and what gives one.
pub(super) fn around(inside: OpenApiRouter<Arc<Operator>>) -> OpenApiRouter<Arc<Operator>> {
    OpenApiRouter::new().routes(routes!(enter)).nest("/dashboard/api", inside)
}

/// The page's API with its guards.
pub(super) fn router(
    operator: &Arc<Operator>,
    shared: OpenApiRouter<Arc<Operator>>,
) -> OpenApiRouter<Arc<Operator>> {
    let let_in = middleware::from_fn_with_state(Arc::clone(operator), let_in);
    around(described(shared).layer(let_in)).layer(middleware::map_response(headers))
}

/// The page's bytes, the same for everybody. Whoever follows a link to them comes from somewhere else: a file on this
/// machine, say.
pub(super) fn page() -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(without_slash))
        .routes(routes!(index))
        .routes(routes!(script))
        .routes(routes!(style))
        .layer(middleware::map_response(headers))
}

/// Leads to the page.
#[utoipa::path(
    get, path = "/dashboard", tag = "Dashboard",
    responses((status = 308, description = "`/dashboard/`")),
)]
async fn without_slash() -> Redirect {
    Redirect::permanent("/dashboard/")
}

/// The page.
#[utoipa::path(
    get, path = "/dashboard/", tag = "Dashboard",
    responses((status = 200, body = String, content_type = "text/html", description = "The page")),
)]
async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

/// The page's program.
#[utoipa::path(
    get, path = "/dashboard/app.js", tag = "Dashboard",
    responses((status = 200, body = String, content_type = "text/javascript", description = "The program")),
)]
async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// The page's looks.
#[utoipa::path(
    get, path = "/dashboard/app.css", tag = "Dashboard",
    responses((status = 200, body = String, content_type = "text/css", description = "The looks")),
)]
async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

fn file(kind: &'static str, bytes: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What browsers are told of everything here.
async fn headers(mut response: Response) -> Response {
    // A page of an older program does not speak to this one.
    guard(response.headers_mut(), POLICY, "no-store");
    response
}

/// The secret of a new login link for the dashboard. It works once, for a minute.
#[utoipa::path(
    post, path = "/dashboard/links", tag = "Dashboard",
    responses(
        (status = 200, body = LoginLink, description = "The link"),
    ),
)]
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

/// What logs in.
#[derive(Deserialize, ToSchema)]
struct Login {
    /// The secret at the end of the link.
    link: String,
}

/// Logs in by a link.
///
/// The cookie that is set and the key that is answered count together.
#[utoipa::path(
    post, path = "/dashboard/api/login", tag = "Dashboard",
    request_body = Login,
    responses(
        (status = 200, body = LoggedIn, description = "A session"),
        (status = 401, description = "The link was used already, is more than a minute old, or wrong"),
        (status = 403, description = "Something else than the dashboard asks"),
    ),
)]
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
    let mut response = ok(&LoggedIn { ends_at, key });
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

/// Whether the session is one.
#[utoipa::path(
    get, path = "/session", tag = "Dashboard",
    responses(
        (status = 200, body = SessionView, description = "It is"),
    ),
)]
async fn session(By(by): By) -> Response {
    ok(&SessionView { ends_at: by.map(|session| session.ends_at) })
}

/// Logs out.
#[utoipa::path(
    delete, path = "/session", tag = "Dashboard",
    responses(
        (status = 200, body = (), description = "The session is over"),
    ),
)]
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
