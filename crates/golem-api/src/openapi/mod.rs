//! What both APIs can be asked and answer, as OpenAPI documents, which follow from the routers themselves.
//!
//! ```text
//!   handler + #[utoipa::path] ─► routes! ─┬─► router
//!                                         └─► document ─► complete ─► /openapi.json, /docs, docs/openapi/*.json
//! ```
//! Owns what no handler says of itself: the title, how one is let in, and what the server may answer on any route. Never says
//! what a route does: its handler does, right above itself.

mod page;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use page::Page;

/// Why a request was refused or failed, for a person.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    detail: &'static str,
}

/// What is the same on every route of a listener.
pub(crate) struct Listener {
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// How one is let in: names of OpenAPI, with what they mean.
    pub(crate) schemes: fn() -> Value,
    /// What a route with this path needs, where its handler does not say it.
    pub(crate) security: fn(&str) -> Option<Value>,
    /// Groups of routes, in the order in which they are shown, and what each is.
    pub(crate) tags: &'static [(&'static str, &'static str)],
    /// Statuses that every route may answer with, and when.
    pub(crate) answers: &'static [(&'static str, &'static str)],
    /// The same, of routes that need to be let in, or can be.
    pub(crate) guarded: &'static [(&'static str, &'static str)],
}

/// What any server of ours may answer.
const ANSWERS: &[(&str, &str)] = &[
    ("500", "The node failed; its log says why"),
    (
        "503",
        "There is no place for more connections, the node is about to stop, or its disk is full or fails; try later",
    ),
];

/// The same, where there is a body.
const BODY_ANSWERS: &[(&str, &str)] = &[
    ("400", "The body cannot be read"),
    ("408", "The body did not come within 15 seconds"),
    ("413", "The body is larger than 64 KiB"),
    ("415", "`Content-Type` does not say that the body is JSON"),
];

/// The same, where the path has a part of the client's.
const PATH_ANSWERS: &[(&str, &str)] =
    &[("400", "A part of the path is no text"), ("404", "There is no such thing, or it is somebody else's")];

/// The same, where the query is read.
const QUERY_ANSWERS: &[(&str, &str)] = &[("400", "The query cannot be read")];

/// As a file has it.
pub(crate) fn text(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// What `routes` say of themselves, with what is the same on all of `listener`.
pub(crate) fn complete<S>(routes: OpenApiRouter<S>, more: Option<OpenApi>, listener: &Listener) -> Value
where
    S: Send + Sync + Clone + 'static,
{
    let mut said = routes.into_openapi();
    if let Some(more) = more {
        said.merge(more);
    }
    let mut document = serde_json::to_value(said).unwrap_or_default();
    document["info"] = json!({
        "title": listener.title,
        "description": listener.description,
        "version": "1",
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    let tag = |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
    document["tags"] = listener.tags.iter().map(tag).collect();
    document["components"]["securitySchemes"] = (listener.schemes)();
    document["components"]["schemas"][ErrorBody::name().as_ref()] =
        serde_json::to_value(<ErrorBody as utoipa::PartialSchema>::schema()).unwrap_or_default();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            finish(path, method, operation, listener);
        }
    }
    document
}

/// Adds to the operation what its handler does not say.
fn finish(path: &str, method: &str, operation: &mut Value, listener: &Listener) {
    if let (None, Some(needed)) = (operation.get("security"), (listener.security)(path)) {
        operation["security"] = needed;
    }
    let has = |name: &str| operation.get(name).is_some_and(|value| !value.is_null());
    let is_guarded = has("security");
    let mut more = vec![listener.answers, ANSWERS];
    if is_guarded {
        more.push(listener.guarded);
    }
    if has("requestBody") {
        more.push(BODY_ANSWERS);
    }
    let parameters = operation["parameters"].as_array();
    let takes = |place: &str| parameters.is_some_and(|all| all.iter().any(|one| one["in"] == place));
    if takes("path") {
        more.push(PATH_ANSWERS);
    }
    if takes("query") {
        more.push(QUERY_ANSWERS);
    }
    let mut answers = std::mem::take(&mut operation["responses"]);
    let Some(all) = answers.as_object_mut() else { return };
    for (status, description) in more.into_iter().flatten() {
        all.entry(*status).or_insert_with(|| json!({ "description": description }));
    }
    for (status, answer) in all.iter_mut() {
        if status.as_str() >= "400" && answer.get("content").is_none() {
            let schema = json!({ "$ref": format!("#/components/schemas/{}", ErrorBody::name()) });
            answer["content"] = json!({ "application/json": { "schema": schema } });
        }
    }
    operation["responses"] = answers;
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    // The page of a folder is another route than the folder.
    let page = (path.len() > 1 && path.ends_with('/')).then_some("page");
    let id = std::iter::once(method).chain(words).chain(page).collect::<Vec<_>>().join("_");
    operation["operationId"] = Value::String(id);
}

/// The document as an answer.
pub(crate) fn answer(document: &'static str) -> Response {
    let mut response = Response::new(Body::from(document));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
