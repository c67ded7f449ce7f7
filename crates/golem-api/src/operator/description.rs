//! What the operator API says of itself.
//!
//! Owns its title, its groups, how one is let in, and its answers on every route. Never holds a secret: it is there for whoever
//! reaches the listener.

use std::sync::LazyLock;

use axum::response::Response;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::{self, Listener, Page};

/// The operator API as a whole.
pub(super) const LISTENER: Listener = Listener {
    title: "Golem provider: operator API",
    description: "\
What the owner of a machine asks the node on it, from that machine only (`127.0.0.1`, or a Unix socket). Amounts of money are in \
wei, as whole numbers that may be larger than 2^53; memory and storage are in GiB; times are texts in UTC (RFC 3339).

Programs carry the content of `operator.token`, in the node's data directory; on the sockets the kernel says who asks, and no \
token is needed. The dashboard has a session, with which it may ask for much of the same, under `/dashboard/api`. Every refusal \
and failure is `{\"detail\": …}`.",
    schemes,
    security,
    tags: &[
        ("Node", "The node as a whole."),
        ("VMs", "Rentals."),
        ("Money", "Streams, withdrawals, the books and transactions."),
        ("Ports", "Whether ports are reached from outside."),
        ("Dashboard", "The page in a browser, and what it asks for."),
        ("Description", "What the API says of itself."),
    ],
    answers: &[("403", "`Host` is not this machine, or a page of another site asks")],
    guarded: &[("401", "The token or the session is missing or wrong")],
};

fn schemes() -> Value {
    json!({
        "token": { "type": "http", "scheme": "bearer", "description": "The content of `operator.token`." },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "golem_dashboard_7467",
            "description": "A session of the dashboard; the end of the name is the port that the browser sees.",
        },
        "key": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Dashboard-Key",
            "description": "The other half of the session, which only the page itself knows.",
        },
    })
}

/// What `path` needs.
fn security(path: &str) -> Option<Value> {
    if path.starts_with("/v1/") || path == "/metrics" {
        return Some(json!([{ "token": [] }]));
    }
    let is_inside = path.starts_with("/dashboard/api/") && path != "/dashboard/api/login";
    is_inside.then(|| json!([{ "cookie": [], "key": [] }]))
}

/// What is there for whoever reaches the listener.
pub(super) fn router() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(document)).routes(routes!(page))
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::text(&super::document()));

/// This description, as OpenAPI.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Description",
    responses((status = 200, body = Object, description = "The description")),
)]
async fn document() -> Response {
    openapi::answer(&DOCUMENT)
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page::of(&super::document()));

/// This description, for people.
#[utoipa::path(
    get, path = "/docs", tag = "Description",
    responses((status = 200, body = String, content_type = "text/html", description = "A page")),
)]
async fn page() -> Response {
    PAGE.answer()
}
