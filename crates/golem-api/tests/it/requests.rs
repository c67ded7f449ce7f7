//! Requests as such: their bodies, their origin, their pace and their number.

use golem_api::VmAccess;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{DEADLINE, KEY, World, create_body};

#[tokio::test]
async fn bad_bodies_are_refused_in_fastapis_shape() {
    let world = World::start(VmAccess::Capability).await;
    let key_with = |text: &str| json!({ "name": "abc", "ssh_key": text });
    let named = |name: &str| json!({ "name": name, "ssh_key": KEY });
    let sized = |cpu: Value| json!({ "name": "abc", "ssh_key": KEY, "cpu_cores": cpu });
    for body in [
        named("Abc"),
        named("a--b"),
        named("naïve"),
        named("a"),
        named(&"a".repeat(65)),
        key_with(&format!("{KEY}\n{KEY}")),
        key_with(&format!("command=\"sh\" {KEY}")),
        key_with("ecdsa-sha2-nistp256 AAAA"),
        key_with(&"a".repeat(20_000)),
        sized(json!(0)),
        sized(json!(-1)),
        sized(json!(1e300)),
        sized(json!(1.5)),
        json!({ "name": "abc" }),
        json!([]),
    ] {
        let (status, refused) = world.post("/vms", &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let problem = &refused["detail"][0];
        assert_eq!(problem["loc"][0], "body", "{refused}");
        assert!(problem["msg"].is_string() && problem["type"].is_string(), "{refused}");
    }
    let (_, refused) = world.post("/vms", &json!({ "name": "abc" })).await;
    // S-149: for this reason and no other.
    assert_eq!(
        (refused["detail"].as_array().unwrap().len(), &refused["detail"][0]["loc"]),
        (1, &json!(["body", "ssh_key"])),
        "{refused}"
    );
    let typed = || world.raw(Method::POST, "/api/v1/vms").header("content-type", "application/json");
    let malformed = typed().body("{\"name\":").send().await.unwrap();
    assert_eq!(malformed.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let large = typed().body(vec![b' '; 10_000_000]).send().await;
    // The refusal comes before the body is sent; some of it may meet a closed connection.
    assert!(large.is_err() || large.unwrap().status() == StatusCode::PAYLOAD_TOO_LARGE);
    let barely = typed().body(vec![b' '; 192 * 1024 + 1]).send().await.unwrap();
    assert_eq!(barely.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let (status, unknown) = world.get("/nothing").await;
    assert_eq!((status, unknown), (StatusCode::NOT_FOUND, json!({ "detail": "Not Found" })));
    let (status, wrong) = world.call(Method::PUT, "/vms", None).await;
    assert_eq!((status, wrong), (StatusCode::METHOD_NOT_ALLOWED, json!({ "detail": "Method Not Allowed" })));
    assert!(world.node().vms().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn s_248_more_than_a_hundred_requests_a_minute_are_refused_with_a_time_to_wait() {
    let world = World::start_limited(VmAccess::Capability, 100).await;
    for _ in 0..100 {
        assert_eq!(world.get("/provider/info").await.0, StatusCode::OK);
    }
    // One and two thirds come back in a second, in which a loaded machine may take its time over the first hundred.
    let mut refused = None;
    for _ in 0..100 {
        let answer = world.raw(Method::GET, "/api/v1/provider/info").send().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("twice as many as are allowed in a minute are not all answered");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert!(refused.json::<Value>().await.unwrap()["detail"].is_string());
    world.stop().await;
}

#[tokio::test]
async fn s_249_a_slow_create_delays_nobody() {
    let world = World::start_slow(VmAccess::Capability).await;
    let body = create_body("abc");
    let mut creating = Box::pin(world.post("/vms", &body));
    for _ in 0..50 {
        tokio::select! {
            biased;
            answer = world.get("/provider/info") => assert_eq!(answer.0, StatusCode::OK),
            created = creating.as_mut() => panic!("it should still boot: {created:?}"),
        }
    }
    world.let_boot();
    assert_eq!(creating.await.0, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn every_origin_may_ask_as_with_the_original() {
    let world = World::start(VmAccess::Capability).await;
    let answer = world
        .raw(Method::OPTIONS, "/api/v1/vms")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), "https://example.com");
    assert_eq!(header("access-control-allow-methods"), "POST");
    assert_eq!(header("access-control-allow-headers"), "content-type");
    assert_eq!(header("access-control-allow-credentials"), "true");
    world.stop().await;
}

/// People who come by browser are shown a page on which nothing runs; programs find what they found before.
#[tokio::test]
async fn a_page_is_there_for_browsers_and_for_nobody_else() {
    let world = World::start_limited(VmAccess::Capability, 20).await;
    let ask = async |accept: &str| world.raw(Method::GET, "/").header("accept", accept).send().await.unwrap();
    let page = ask("text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(page.status(), StatusCode::OK);
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(
        !policy.contains("unsafe")
            && !policy.contains("script-src")
            && policy.contains("frame-ancestors 'none'")
    );
    assert_eq!(
        (header("x-content-type-options"), header("referrer-policy")),
        ("nosniff".into(), "no-referrer".into())
    );
    let html = page.text().await.unwrap();
    for told in [
        "&lt;script&gt;alert(&#39;a&#39;)&lt;/script&gt;",
        "100 cores, 100 GB of memory, 1000 GB of storage",
        "<td>24.04</td>",
        "not verified yet",
        crate::world::PROVIDER_ID,
        "rent create web --provider http://203.0.113.7:7466 ",
    ] {
        assert!(html.contains(told), "{told}: {html}");
    }
    assert!(
        !html.contains("<script")
            && !html.contains(" src=")
            && !html.contains("@import")
            && !html.contains("url(")
    );
    // The style is the one whose hash the policy has.
    let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = base64_of_sha256(style);
    assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
    for program in ["*/*", "application/json"] {
        let answer = ask(program).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "detail": "Not Found" }));
    }
    let mut limited = false;
    for _ in 0..60 {
        limited |= ask("text/html").await.status() == StatusCode::TOO_MANY_REQUESTS;
    }
    assert!(limited, "limited like every route");
    world.stop().await;
}

fn base64_of_sha256(text: &str) -> String {
    use base64::Engine;
    use sha2::Digest;
    base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(text))
}

#[tokio::test]
async fn two_hundred_connections_are_all_answered() {
    let world = World::start(VmAccess::Capability).await;
    let asked = (0..200).map(|_| world.raw(Method::GET, "/api/v1/provider/info").send());
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    world.stop().await;
}

/// Whoever sends a request's head, or its body, a byte now and then holds a connection only so long.
#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off_while_others_are_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start(VmAccess::Capability).await;
    let mut slow = Vec::new();
    for start in [
        "GET /api/v1/vms HTTP/1.1\r\nHost: t",
        "POST /api/v1/vms HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(world.get("/provider/info").await.0, StatusCode::OK);
    for mut stream in slow {
        let mut answer = Vec::new();
        // Ends only when the node closes the connection.
        let ended = tokio::time::timeout(DEADLINE * 2, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "still open");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    world.stop().await;
}
