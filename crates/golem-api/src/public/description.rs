//! What the public API says of itself.
//!
//! Owns its title, its groups and its answers on every route. Never says a word of the operator API.

use std::sync::LazyLock;

use axum::response::Response;
use serde_json::{Value, json};

use crate::openapi::{self, Listener, Page};

/// The public API as a whole.
pub(super) const LISTENER: Listener = Listener {
    title: "Golem provider: public API",
    description: "\
What renters' clients ask a node that rents out VMs. Amounts of money are in wei, as whole numbers that may be larger than 2^53; \
memory and storage are in GiB; times are seconds since the epoch, or texts in UTC.

Who asks is nobody in particular, whom a VM's unguessable id lets use it; or a wallet with a session \
(`POST /api/v1/auth/requestor-sessions`), which sees its own VMs. Every refusal and failure is `{\"detail\": …}`.",
    schemes,
    security: |_| None,
    tags: &[
        ("Provider", "The node: who it is, and whether it answers."),
        ("Payments", "Prices, leases and streams."),
        ("VMs", "Renting, using and ending VMs."),
        ("Sessions", "Wallets that sign in."),
        ("Ports", "Whether ports are reached from outside."),
        ("Open API", "What is there only where the API is open to everybody who reaches it."),
        ("Snapshots", "A VM's disk as it was."),
        ("Not offered yet", "What clients know and this node does not do yet."),
        ("Description", "What the API says of itself."),
    ],
    answers: &[("429", "Too many requests; `Retry-After` says in how many seconds to ask again")],
    guarded: &[
        ("401", "The session is over or never was, or one is needed"),
        ("403", "The session may not do this"),
    ],
};

fn schemes() -> Value {
    json!({ "session": {
        "type": "http",
        "scheme": "bearer",
        "description": "The `access_token` of a session (`POST /api/v1/auth/requestor-sessions`).",
    } })
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::text(&super::document()));

/// This description, as OpenAPI.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Description",
    responses((status = 200, body = Object, description = "The description")),
)]
pub(super) async fn document() -> Response {
    openapi::answer(&DOCUMENT)
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page::of(&super::document()));

/// This description, for people.
#[utoipa::path(
    get, path = "/docs", tag = "Description",
    responses((status = 200, body = String, content_type = "text/html", description = "A page")),
)]
pub(super) async fn page() -> Response {
    PAGE.answer()
}
