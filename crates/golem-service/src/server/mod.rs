//! HTTP served to untrusted clients: connections, limits and the shape of errors, the same for every server of ours.
//!
//! ```text
//!   socket ─► serve (TLS, deadlines, seats) ─► peer (client address) ─► rate_limit ─► cross_site ─► handler ─► json, error
//! ```
//! Owns what every server does before and after its handlers. Never knows what a request is about.

pub mod cross_site;
pub mod error;
pub mod json;
pub mod peer;
pub mod rate_limit;
mod reader;
pub mod seats;
pub mod serve;
pub mod tls;

use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

pub use peer::TrustedProxies;

/// Lets pages of every origin ask, as the original does. It allows credentials too; there are none, so
/// nothing is given away.
pub fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
}

#[cfg(test)]
mod tests;
