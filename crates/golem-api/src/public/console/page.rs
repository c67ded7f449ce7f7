//! `GET /console`: the console of a VM in a browser, for its renter.
//!
//! Owns that the page is bytes of the program and what browsers are told of it. It is the same for everybody and holds nothing:
//! the token is typed there, or stands behind the `#` of its address, which is sent to no server. Its sources are in `dashboard/`.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::browser::guard;

const INDEX: &[u8] = include_bytes!("../../../console/index.html");
const SCRIPT: &[u8] = include_bytes!("../../../console/app.js");
const STYLE: &[u8] = include_bytes!("../../../console/app.css");

/// Nothing but its own files, and sockets to this node; no frame around the page, and no form that is sent.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page with the console of a VM.
///
/// `#vm=NAME&token=TOKEN` behind its address opens one at once.
#[utoipa::path(
    get, path = "/console", tag = "VMs",
    responses((status = 200, body = String, content_type = "text/html", description = "The page")),
)]
pub(in crate::public) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

/// The page's program.
#[utoipa::path(
    get, path = "/console/app.js", tag = "VMs",
    responses((status = 200, body = String, content_type = "text/javascript", description = "The program")),
)]
pub(in crate::public) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// The page's looks.
#[utoipa::path(
    get, path = "/console/app.css", tag = "VMs",
    responses((status = 200, body = String, content_type = "text/css", description = "The looks")),
)]
pub(in crate::public) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

fn file(kind: &'static str, bytes: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // A page of an older program does not speak to this one.
    guard(response.headers_mut(), POLICY, "no-cache");
    response
}
