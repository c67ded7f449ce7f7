//! The operator API: its token, its pages and its client.

use golem_api::VmAccess;
use reqwest::{Method, StatusCode};

use crate::world::{World, create_body};

/// From the first moment on the operator reads how busy the host is.
#[tokio::test]
async fn s_209_the_host_is_measured_before_the_first_request_is_answered() {
    let world = World::start(VmAccess::Capability).await;
    let host = world.operator().summary().await.unwrap().host;
    // No system runs without memory and without a file.
    assert!(host.memory_percent > 0, "{} %", host.memory_percent);
    world.stop().await;
}

#[tokio::test]
async fn i_14_a_form_of_a_page_does_nothing_and_no_page_reaches_the_operator() {
    let world = World::start(VmAccess::Open).await;
    let (_, vm) = world.post("/vms", &create_body("abc")).await;
    let id = vm["id"].as_str().unwrap();
    for (method, path) in [
        (Method::POST, "/vms".to_owned()),
        (Method::POST, "/quotes".to_owned()),
        (Method::POST, format!("/vms/{id}/ssh-keys")),
        (Method::POST, format!("/vms/{id}/stop")),
        (Method::DELETE, format!("/vms/{id}")),
    ] {
        for kind in [Some("text/plain"), Some("application/x-www-form-urlencoded"), None] {
            let mut form = world.raw(method.clone(), &format!("/api/v1{path}"));
            if let Some(kind) = kind {
                form = form.header("content-type", kind);
            }
            let refused = form.body(create_body("def").to_string()).send().await.unwrap();
            assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path} {kind:?}");
        }
    }
    let (_, shown) = world.get(&format!("/vms/{id}")).await;
    assert_eq!(shown["status"], "running");
    let charset =
        world.raw(Method::POST, "/api/v1/quotes").header("content-type", "application/json; charset=utf-8");
    assert_eq!(charset.body("{}").send().await.unwrap().status(), StatusCode::OK);
    // Who switches everything off is the operator, not a page that is open in the operator's browser.
    let shutdown =
        |origin: &str| world.raw(Method::POST, "/api/v1/admin/shutdown").header("origin", origin).send();
    assert_eq!(shutdown("https://evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);

    let base = world.operator_base();
    let operator = |name: &'static str, text: &str| {
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{base}/v1/shutdown"));
        request.header("authorization", world.bearer()).header(name, text).send()
    };
    for (name, text) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        assert_eq!(operator(name, text).await.unwrap().status(), StatusCode::FORBIDDEN, "{name} {text}");
    }
    assert_eq!(operator("host", "evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(operator("origin", &base).await.unwrap().status(), StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn the_operator_api_opens_only_with_its_token_and_its_name() {
    let world = World::start(VmAccess::Capability).await;
    let base = world.operator_base();
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let bare = plain.get(format!("{base}/v1/summary")).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    let wrong =
        plain.get(format!("{base}/v1/summary")).header("authorization", "Bearer 00").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let rebound = plain
        .post(format!("{base}/v1/shutdown"))
        .header("authorization", world.bearer())
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), StatusCode::FORBIDDEN);

    let operator = world.operator();
    let summary = operator.summary().await.unwrap();
    assert_eq!((summary.vms, summary.max_vms, summary.backend.name.as_str()), (0, 50, "sim"));
    world.post("/vms", &create_body("abc")).await;
    let vm = operator.vm("abc").await.unwrap();
    assert_eq!(operator.vm(vm.id.as_str()).await.unwrap().id, vm.id);
    assert_eq!(operator.act("abc", "stop").await.unwrap().status.as_str(), "stopped");
    assert_eq!(operator.act("abc", "start").await.unwrap().status.as_str(), "running");
    assert!(operator.act("abc", "explode").await.is_err());
    assert_eq!(operator.logs("abc").await.unwrap().console, "simulated guest: running\n");
    assert!(operator.drain(true).await.unwrap().draining && world.node().draining());
    operator.delete("abc").await.unwrap();
    assert!(operator.vms().await.unwrap().is_empty());
    assert!(operator.vm("abc").await.unwrap_err().to_string().contains("not found"));
    operator.shutdown().await.unwrap();
    world.api().stop_requested().await;
    world.stop().await;
}
