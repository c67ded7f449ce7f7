//! What Prometheus reads.

use std::collections::BTreeMap;

use golem_api::VmAccess;
use reqwest::{Method, StatusCode, header};

use crate::world::{World, create_body};

/// A scrape: each sample's name with its labels as written, and its number.
async fn scrape(world: &World) -> BTreeMap<String, f64> {
    let url = format!("{}/metrics", world.operator_base());
    let response =
        reqwest::Client::new().get(url).header(header::AUTHORIZATION, world.bearer()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), number.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
    };
    let (all, count) = (samples.clone().map(pair).collect::<BTreeMap<_, _>>(), samples.count());
    assert_eq!(all.len(), count, "a sample is told twice:\n{text}");
    all
}

fn with<'a>(all: &'a BTreeMap<String, f64>, part: &str) -> Vec<&'a str> {
    all.keys().map(String::as_str).filter(|name| name.contains(part)).collect()
}

#[tokio::test]
async fn a_vm_is_told_of_while_there_is_one() {
    let world = World::start(VmAccess::Capability).await;
    let before = scrape(&world).await;
    assert_eq!(before["golem_provider_vms{state=\"running\"}"], 0.0);
    let (_, vm) = world.post("/vms", &create_body("measured")).await;
    let id = vm["id"].as_str().unwrap().to_owned();
    world.reaches(&id, "running").await;
    let all = loop {
        // One look serves for half a second.
        let all = scrape(&world).await;
        if all.contains_key(&format!("golem_provider_vm_cpu_seconds_total{{vm=\"{id}\"}}")) {
            break all;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(all["golem_provider_vms{state=\"running\"}"], 1.0);
    assert_eq!(all[&format!("golem_provider_vm_trouble{{vm=\"{id}\"}}")], 0.0);
    assert!(all[&format!("golem_provider_vm_memory_bytes{{vm=\"{id}\"}}")] > 0.0);
    let free = |all: &BTreeMap<String, f64>| all["golem_provider_cpus{what=\"free\"}"];
    assert!(free(&all) < free(&before) || free(&all) < all["golem_provider_cpus{what=\"total\"}"]);
    world.call(Method::DELETE, &format!("/vms/{id}"), None).await;
    while !with(&scrape(&world).await, &id).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.stop().await;
}

/// A stranger who asks for a thousand paths, by methods of their own, makes no sample of each.
#[tokio::test]
async fn requests_are_counted_by_route_and_strangers_make_no_samples() {
    let world = World::start(VmAccess::Capability).await;
    world.get("/vms/golem-no-20260102-030405-aaaaaaaaaaaaaaaaaaaaaa").await;
    let few = scrape(&world).await.len();
    for number in 0..100 {
        world.get(&format!("/made-up/{number}\"}}")).await;
        world.get(&format!("/vms/made-up-{number}")).await;
        let method = Method::from_bytes(format!("MADE{number}").as_bytes()).unwrap();
        world.call(method, "/vms", None).await;
    }
    let all = scrape(&world).await;
    // Three routes: 13 samples of its histogram and one for a method and status each.
    assert!(all.len() <= few + 3 * 14, "{few} samples became {}", all.len());
    let one = |method: &str, route: &str, status: &str| {
        let labels = format!("listener=\"public\",method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        all.get(&format!("golem_provider_http_requests_total{{{labels}}}")).copied()
    };
    assert_eq!(one("GET", "none", "4xx"), Some(100.0), "{:?}", with(&all, "http_requests"));
    assert_eq!(one("GET", "/api/v1/vms/{id}", "4xx"), Some(101.0));
    assert_eq!(one("OTHER", "/api/v1/vms", "4xx"), Some(100.0));
    world.stop().await;
}

/// I-03: what the node earns is the operator's to know.
#[tokio::test]
async fn nobody_reads_metrics_without_the_token() {
    let world = World::start(VmAccess::Capability).await;
    let url = format!("{}/metrics", world.operator_base());
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.get("/metrics").await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}
