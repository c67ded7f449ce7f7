//! Protection against cross-site requests (CSRF).
//!
//! A web page can have its visitor's browser send a form (`text/plain`) to any address without a preflight.
//! Browsers say so when a request is JSON or comes from another origin. Owns the rules that follow from
//! that. Never authenticates: a page of another origin is refused whoever its visitor is.

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ErrorResponse;

/// Refuses a body that does not say that it is JSON.
pub async fn json_only(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() || is_json(request.headers()) {
        return next.run(request).await;
    }
    let text = "the body should be JSON; fix: send the header Content-Type: application/json";
    ErrorResponse::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response()
}

/// Refuses requests from a page of another origin.
pub async fn same_origin_only(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        return ErrorResponse::new(StatusCode::FORBIDDEN, "no page of another site may ask for this")
            .into_response();
    }
    next.run(request).await
}

/// Refuses requests from a page of another host. The original's desktop application is a page of this
/// host, or of a file.
pub async fn local_origin_only(request: Request, next: Next) -> Response {
    if !is_local(request.headers()) {
        return ErrorResponse::new(StatusCode::FORBIDDEN, "no page of another host may ask for this")
            .into_response();
    }
    next.run(request).await
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(origin) = text(headers, header::ORIGIN) else { return true };
    match origin.split_once("://") {
        Some(("http" | "https", authority)) => {
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            matches!(host, "127.0.0.1" | "localhost" | "[::1]")
        }
        _ => true,
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // What is no text is none that a client of ours sends.
    headers.get(name).map(|value| value.to_str().unwrap_or("\0"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Whether a browser says that a page of another origin asks.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if matches!(site, Some(b"cross-site" | b"same-site")) {
        return true;
    }
    let Some(origin) = text(headers, header::ORIGIN) else { return false };
    let host = text(headers, header::HOST).unwrap_or_default();
    let (_, authority) = origin.split_once("://").unwrap_or_default();
    host.is_empty() || !authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, line)| (name.parse().unwrap(), line.parse().unwrap())).collect()
    }

    #[test]
    fn i_14_json_is_what_says_so() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert!(is_json(&headers(&[("content-type", good)])), "{good}");
        }
        for bad in
            ["", "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "json"]
        {
            assert!(!is_json(&headers(&[("content-type", bad)])), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn i_14_a_page_of_another_origin_is_foreign_and_a_program_is_not() {
        let from = |origin: &str| is_foreign(&headers(&[("host", "127.0.0.1:7467"), ("origin", origin)]));
        assert!(!from("http://127.0.0.1:7467"));
        for foreign in [
            "null",
            "",
            "http://127.0.0.1:7466",
            "https://evil.example",
            "http://127.0.0.1:7467.evil.example",
        ] {
            assert!(from(foreign), "{foreign}");
        }
        assert!(!is_foreign(&headers(&[("host", "127.0.0.1:7467")])));
        let local = |origin: &str| is_local(&headers(&[("origin", origin)]));
        assert!(
            local("http://localhost:3000") && local("http://[::1]:3000") && local("null") && local("file://")
        );
        assert!(!local("https://evil.example") && !local("http://localhost.evil.example:80"));
        assert!(is_foreign(&headers(&[("host", "x"), ("sec-fetch-site", "cross-site")])));
        assert!(!is_foreign(&headers(&[("host", "x"), ("sec-fetch-site", "none")])));
    }
}
