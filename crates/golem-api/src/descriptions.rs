//! What both APIs say of themselves, as the repository and their listeners have it.
//!
//! Owns nothing but the two documents: how one is made, `openapi` knows, and what is in it, the routers.

use crate::openapi::text;

/// The public API, as JSON for people and programs to read.
#[must_use]
pub fn public() -> String {
    text(&crate::public::document())
}

/// The operator API, likewise.
#[must_use]
pub fn operator() -> String {
    text(&crate::operator::document())
}
