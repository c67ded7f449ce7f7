//! What the APIs say of themselves is what they do.

use std::collections::BTreeSet;
use std::path::Path;

use golem_api::VmAccess;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::world::World;

/// Every file of Rust below `folder`.
fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

/// A route that is not made by `routes!` would be in no document.
#[test]
fn no_route_is_made_without_its_description() {
    let all = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(all.len() > 30, "{all:?}");
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        for other in [".route(", ".route_service(", ".nest_service("] {
            assert!(!text.contains(other), "{} has {other}", path.display());
        }
    }
}

/// Each operation of `document`: method and path, whose parts of the client's are `x`.
fn operations(document: &Value) -> Vec<(Method, String)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let path = parts.collect::<Vec<_>>().join("/");
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase().parse().unwrap(), path.clone()))
        })
        .collect()
}

#[tokio::test]
async fn each_listener_serves_its_own_description_and_every_route_of_it() {
    let world = World::start(VmAccess::Open).await;
    let (public, operator) = (golem_api::descriptions::public(), golem_api::descriptions::operator());
    assert!(!public.contains("/v1/vms/{id}/logs") && !public.contains("/dashboard"));
    for (base, document) in
        [(format!("http://{}", world.address()), public), (world.operator_base(), operator)]
    {
        let ask = async |method: Method, path: &str| {
            let request = reqwest::Client::new().request(method, format!("{base}{path}"));
            let bearer = if base == world.operator_base() { world.bearer() } else { String::new() };
            request.header("authorization", bearer).send().await.unwrap()
        };
        let served = ask(Method::GET, "/openapi.json").await;
        assert_eq!(served.headers()["content-type"], "application/json");
        assert!(served.text().await.unwrap() == document);
        let page = ask(Method::GET, "/docs").await;
        assert!(
            page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
        );
        assert!(page.text().await.unwrap().contains("openapi.json"));
        for (method, path) in operations(&serde_json::from_str(&document).unwrap()) {
            // Those stop the node, need a checker, or are there for browsers or with other settings only.
            let is_elsewhere = ["/check-ports", "/", "/v1/pricing", "/v1/ports"].contains(&path.as_str());
            if path.ends_with("/shutdown") || is_elsewhere {
                continue;
            }
            let answer = ask(method.clone(), &path).await;
            assert_ne!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if answer.status() == StatusCode::NOT_FOUND {
                let text = answer.text().await.unwrap();
                assert!(!text.contains("\"Not Found\""), "{method} {path}: {text}");
            }
        }
    }
    world.stop().await;
}

/// What generators of clients stumble over: references to nothing, two operations of one name, operations without words.
#[test]
fn descriptions_are_whole() {
    fn references<'a>(value: &'a Value, all: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                all.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, all));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, all)),
            _ => {}
        }
    }
    for text in [golem_api::descriptions::public(), golem_api::descriptions::operator()] {
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut all = Vec::new();
        references(&document, &mut all);
        assert!(all.len() > 50);
        for reference in all {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference} is nothing");
        }
        let mut names = BTreeSet::new();
        let operations = document["paths"].as_object().unwrap().iter();
        for (path, method, operation) in operations
            .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(name, of)| (path, name, of)))
        {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let says = |part: &str| operation[part].as_str().is_some_and(|text| !text.is_empty());
            assert!(says("summary") || says("description"), "{method} {path} says nothing of itself");
        }
    }
}
