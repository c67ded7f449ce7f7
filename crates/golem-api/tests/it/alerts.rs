//! What is off, as the operator's API has it.

use golem_api::VmAccess;
use reqwest::{Client, StatusCode, header};
use serde_json::Value;

use crate::world::World;

async fn ask(world: &World, post: bool, path: &str) -> (StatusCode, Value) {
    let url = format!("{}/v1{path}", world.operator_base());
    let request = if post { Client::new().post(url) } else { Client::new().get(url) };
    let answer = request.header(header::AUTHORIZATION, world.bearer()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_node_that_tells_nobody_says_so() {
    let world = World::start(VmAccess::Capability).await;
    let (status, known) = ask(&world, false, "/alerts").await;
    assert_eq!((status, &known["is_anybody_told"]), (StatusCode::OK, &Value::Bool(false)));
    assert_eq!(known["receivers"], Value::Array(Vec::new()));
    let (status, refused) = ask(&world, true, "/alerts/test").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        refused["detail"].as_str().unwrap().contains("; fix: set GOLEM_PROVIDER_ALERT_WEBHOOK"),
        "{refused}"
    );
    world.stop().await;
}
