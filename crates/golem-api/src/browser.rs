//! What browsers are told of pages that act for whoever looks at them.
//!
//! Owns that no other site frames them, guesses what they are, or shares a process with them. What a page may load, each says.

use axum::http::{HeaderMap, HeaderValue, header};

/// Says so in `headers`, with the page's own `policy` of content and of `caching`.
pub(crate) fn guard(headers: &mut HeaderMap, policy: &'static str, caching: &'static str) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, caching),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
