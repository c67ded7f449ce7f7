//! `GET /docs`: an OpenAPI document for people, as one page.
//!
//! Owns the page's words and looks, and that nothing on it is code: every text is escaped, nothing is loaded from anywhere, and
//! browsers are told so. Whoever wants every member of every object reads `/openapi.json`. Never says what no document says.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// All that makes it readable, on a phone too, in the light and in the dark.
const STYLE: &str = "\
:root{color-scheme:light dark}body{margin:0 auto;max-width:48rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}details{border-top:1px solid #8886;padding:.35rem 0}summary{cursor:pointer}\
ul{margin:.25rem 0;padding-left:1.25rem}p{margin:.5rem 0}code,b{font-family:ui-monospace,monospace}";

/// An answer that this many routes have in the same words is told once.
const COMMON: usize = 5;

/// The page, made once.
pub(crate) struct Page {
    html: String,
    policy: HeaderValue,
}

impl Page {
    /// The page of `document`.
    pub(crate) fn of(document: &Value) -> Self {
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { html: render(document), policy }
    }

    /// The page as an answer.
    pub(crate) fn answer(&'static self) -> Response {
        let mut response = Response::new(Body::from(self.html.as_str()));
        for (name, value) in [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ] {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// One operation: its method, its path, and what the document says of it.
type Operation<'a> = (&'a str, &'a str, &'a Value);

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
        .collect()
}

fn answers(operation: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = operation["responses"].as_object().into_iter().flatten();
    all.map(|(status, answer)| (status.as_str(), text(&answer["description"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `text` as HTML, in which nothing is a tag; what stands between backquotes is code.
fn shown(text: &str) -> String {
    let mut html = String::new();
    for (number, part) in text.split('`').enumerate() {
        let escaped = part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ =
            if number % 2 == 1 { write!(html, "<code>{escaped}</code>") } else { write!(html, "{escaped}") };
    }
    html.replace("\n\n", "<p>")
}

fn render(document: &Value) -> String {
    let all = operations(document);
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for answer in all.iter().flat_map(|(_, _, operation)| answers(operation)) {
        *counts.entry(answer).or_default() += 1;
    }
    let common = |answer: &(&str, &str)| counts.get(answer).is_some_and(|count| *count >= COMMON);
    let title = shown(text(&document["info"]["title"]));
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>{}<p>With every member of every object: \
         <a href=openapi.json>openapi.json</a>.<h2>Answers of many routes</h2><ul>",
        shown(text(&document["info"]["description"])),
    );
    for (status, description) in counts.keys().filter(|answer| common(answer)) {
        let _ = write!(html, "<li><b>{status}</b> {}", shown(description));
    }
    html.push_str("</ul>");
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(html, "<h2>{}</h2><p>{}", shown(text(&tag["name"])), shown(text(&tag["description"])));
        for operation in all.iter().filter(|(_, path, operation)| {
            operation["tags"][0] == tag["name"] && twin(document, path).is_none_or(|twin| twin.0 != *path)
        }) {
            write_operation(&mut html, document, operation, &common);
        }
    }
    html + "</html>"
}

/// Where the dashboard asks for what programs ask for at `/v1`: its path, and that of programs.
fn twin<'a>(document: &Value, path: &'a str) -> Option<(String, &'a str)> {
    let rest = path.strip_prefix("/v1").or_else(|| path.strip_prefix("/dashboard/api"))?;
    let twin = format!("/dashboard/api{rest}");
    let is_there = |path: &str| document["paths"].get(path).is_some();
    (is_there(&twin) && is_there(&format!("/v1{rest}"))).then_some((twin, rest))
}

fn write_operation(
    html: &mut String,
    document: &Value,
    (method, path, operation): &Operation<'_>,
    common: &impl Fn(&(&str, &str)) -> bool,
) {
    let _ = write!(
        html,
        "<details><summary><b>{}</b> <code>{}</code> {}</summary>",
        method.to_uppercase(),
        shown(path),
        shown(text(&operation["summary"])),
    );
    if let Some(description) = operation["description"].as_str() {
        let _ = write!(html, "<p>{}", shown(description));
    }
    if let Some((twin, _)) = twin(document, path) {
        let _ = write!(html, "<p>The dashboard's: <code>{}</code>", shown(&twin));
    }
    html.push_str("<ul>");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let _ = write!(html, "<li><code>{name}</code> ({place}) {}", shown(text(&parameter["description"])));
    }
    if let Some(body) = operation["requestBody"]["content"]["application/json"].get("schema") {
        let mut members = Map::new();
        collect(document, body, &mut members);
        let members: Vec<_> = members.keys().map(|name| format!("<code>{name}</code>")).collect();
        let _ = write!(html, "<li>Body: {}", members.join(", "));
    }
    let mut also = Vec::new();
    for answer in answers(operation) {
        if common(&answer) {
            also.push(answer.0);
        } else {
            let _ = write!(html, "<li><b>{}</b> {}", answer.0, shown(answer.1));
        }
    }
    let _ = write!(html, "</ul>Also {}</details>", also.join(", "));
}

/// The members that an object of `schema` can have.
fn collect(document: &Value, schema: &Value, members: &mut Map<String, Value>) {
    if let Some(place) = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        collect(document, document.pointer(place).unwrap_or(&Value::Null), members);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(document, part, members);
    }
    members
        .extend(schema["properties"].as_object().into_iter().flatten().map(|(a, b)| (a.clone(), b.clone())));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_pages_are_small_load_nothing_and_list_every_route() {
        for (name, document) in
            [("public", crate::public::document()), ("operator", crate::operator::document())]
        {
            let html = render(&document);
            assert!(html.len() <= 32_000, "{name}: {} bytes", html.len());
            for outside in ["<script", "src=", "http://", "https://", "url("] {
                assert!(!html.contains(outside), "{name}: {outside}");
            }
            for (_, path, _) in operations(&document) {
                assert!(html.contains(&format!("<code>{path}</code>")), "{name}: {path}");
            }
        }
    }

    #[test]
    fn what_a_document_says_is_never_a_tag() {
        assert_eq!(shown("a `<b>` & <i>"), "a <code>&lt;b&gt;</code> &amp; &lt;i&gt;");
        let hostile = json!({ "info": { "title": "</title><script>" } });
        assert!(!render(&hostile).contains("<script>"));
    }
}
