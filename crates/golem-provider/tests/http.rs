//! The public and the operator API over real sockets, on a node with the sim backend.
#![cfg(test)]

mod http_strangers;
mod http_support;

use http_support::{Api, KEY, World};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn create_body(name: &str) -> Value {
    json!({ "name": name, "ssh_key": KEY, "resources": { "cpu": 1, "memory": 1, "storage": 10 } })
}

#[tokio::test]
async fn a_create_answers_with_a_running_vm() {
    let world = World::start(Api::Capability).await;
    let (status, vm) = world.post("/vms", &create_body("my-webserver")).await;
    // S-143
    assert_eq!(status, StatusCode::OK, "{vm}");
    let id = vm["id"].as_str().unwrap();
    assert!(
        id.starts_with("golem-my-webserver-20") && id.len() == "golem-my-webserver--".len() + 15 + 16,
        "{id}"
    );
    // S-144, S-151, S-152
    assert_eq!((&vm["name"], &vm["status"]), (&json!("my-webserver"), &json!("running")));
    // S-155
    assert_eq!(vm["resources"], json!({ "cpu": 1, "memory": 1, "storage": 10 }));
    // S-153
    assert_eq!(vm["ip_address"], "10.0.2.15");
    // S-154
    assert!(world.ports().contains(&(vm["ssh_port"].as_u64().unwrap() as u16)));
    assert_eq!(vm["error_message"], Value::Null);
    let created = vm["created_at"].as_str().unwrap();
    let stamp: String = created[..19].chars().filter(char::is_ascii_digit).collect();
    let (day, time) = stamp.split_at(8);
    // S-150: the name, and when.
    assert!(id.starts_with(&format!("golem-my-webserver-{day}-{time}-")), "{id} of {created}");
    assert!(
        created.len() == 26 && created.as_bytes()[10] == b'T' && created.as_bytes()[19] == b'.',
        "{created}"
    );
    world.stop().await;
}

/// What stands behind the API, reached through it alone: the VM's own SSH server, what is left of the resources, and
/// the ports, each of which is handed out once and comes back.
#[tokio::test]
async fn the_api_stands_in_front_of_vms_resources_and_ports() {
    let world = World::start(Api::Open).await;
    let left = async || world.get("/summary").await.1["resources"]["available"].clone();
    let before = left().await;
    let rent = async |name: &str| {
        let (status, vm) = world.post("/vms", &create_body(name)).await;
        (status, vm["ssh_port"].as_u64().unwrap_or_default() as u16, vm)
    };
    let mut ports = Vec::new();
    for number in world.ports() {
        let (status, port, vm) = rent(&format!("vm-{number}")).await;
        assert_eq!(status, StatusCode::OK, "{vm}");
        ports.push(port);
    }
    // S-054: the VMs.
    assert_eq!(greeting(ports[0]).await.as_deref(), Some("SSH-2.0-sim"));
    // S-054: the resources.
    assert_eq!(left().await, json!({ "cpu": 80, "memory": 80, "storage": 800 }));
    let sorted = std::collections::BTreeSet::from_iter(ports.clone());
    // S-054, S-063, S-094: the ports; each VM has its own, of the range.
    assert_eq!(sorted.into_iter().collect::<Vec<_>>(), world.ports().collect::<Vec<_>>());
    let (status, _, refused) = rent("late").await;
    // S-063
    assert!(
        status == StatusCode::SERVICE_UNAVAILABLE
            && refused["detail"].as_str().unwrap().contains("no SSH port is free"),
        "{refused}"
    );
    let first = format!("/vms/vm-{}", world.ports().start);
    assert_eq!(world.call(Method::DELETE, &first, None).await.0, StatusCode::OK);
    // S-097
    assert_eq!(greeting(ports[0]).await, None);
    // S-063: given back, and handed out again.
    assert_eq!(rent("late").await.1, ports[0]);
    for number in world.ports().skip(1) {
        world.call(Method::DELETE, &format!("/vms/vm-{number}"), None).await;
    }
    world.call(Method::DELETE, "/vms/late", None).await;
    // S-079: exactly.
    assert_eq!(left().await, before);
    world.stop().await;
}

/// The first line that whoever listens on `port` says; none where nobody does.
async fn greeting(port: u16) -> Option<String> {
    use tokio::io::AsyncBufReadExt;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut lines = tokio::io::BufReader::new(stream).lines();
    tokio::time::timeout(http_support::DEADLINE, lines.next_line()).await.ok()?.ok()?
}

/// From the first moment on the operator reads how busy the host is.
#[tokio::test]
async fn s_209_the_host_is_measured_before_the_first_request_is_answered() {
    let world = World::start(Api::Capability).await;
    let host = world.operator().summary().await.unwrap().host;
    // No system runs without memory and without a file.
    assert!(host.memory_percent > 0, "{} %", host.memory_percent);
    world.stop().await;
}

#[tokio::test]
async fn the_documented_flat_body_works() {
    let world = World::start(Api::Capability).await;
    let body = json!({ "name": "abc", "cpu_cores": 2, "memory_gb": 4, "storage_gb": 20, "ssh_key": KEY });
    let (status, vm) = world.post("/vms", &body).await;
    // S-145, S-146, S-147
    assert_eq!(
        (status, &vm["resources"]),
        (StatusCode::OK, &json!({ "cpu": 2, "memory": 4, "storage": 20 }))
    );
    world.stop().await;
}

#[tokio::test]
async fn the_id_works_on_every_route() {
    let world = World::start(Api::Capability).await;
    let (_, vm) = world.post("/vms", &create_body("abc")).await;
    let (id, port) = (vm["id"].as_str().unwrap(), &vm["ssh_port"]);
    let at = |rest: &str| format!("/vms/{id}{rest}");

    let (status, shown) = world.get(&at("")).await;
    // S-157
    assert_eq!((status, &shown["status"]), (StatusCode::OK, &json!("running")));
    let (status, access) = world.get(&at("/access")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        // S-160
        access,
        json!({ "ssh_host": "203.0.113.7", "ssh_port": port, "vm_id": id, "multipass_name": id })
    );
    let (status, added) = world.post(&at("/ssh-keys"), &json!({ "key": KEY, "name": "default" })).await;
    // S-161
    assert_eq!((status, &added["id"]), (StatusCode::OK, &json!(id)));
    let (status, stopped) = world.post(&at("/stop"), &Value::Null).await;
    // S-159
    assert_eq!((status, &stopped["status"]), (StatusCode::OK, &json!("stopped")));
    let (status, refused) = world.post(&at("/ssh-keys"), &json!({ "key": KEY })).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");
    let (status, _) = world.post(&at("/start"), &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    world.reaches(id, "running").await;
    let (status, _) = world.post(&at("/restart"), &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    world.reaches(id, "running").await;
    let (status, gone) = world.call(Method::DELETE, &at(""), None).await;
    // S-158
    assert_eq!((status, gone), (StatusCode::OK, Value::Null));
    let (status, missing) = world.get(&at("")).await;
    // S-157
    assert_eq!((status, missing), (StatusCode::NOT_FOUND, json!({ "detail": format!("VM {id} not found") })));
    // A client whose first answer was lost asks again.
    assert_eq!(world.call(Method::DELETE, &at(""), None).await.0, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn an_asynchronous_create_is_followed_by_its_job_and_by_access() {
    let world = World::start_slow(Api::Capability).await;
    let (status, accepted) = world.post("/vms?async=true", &create_body("abc")).await;
    assert_eq!((status, &accepted["status"]), (StatusCode::ACCEPTED, &json!("creating")));
    let (id, job) = (accepted["vm_id"].as_str().unwrap(), accepted["job_id"].as_str().unwrap());
    let (status, access) = world.get(&format!("/vms/{id}/access")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(access, json!({ "ssh_port": null, "vm_id": id, "multipass_name": id, "status": "creating" }));
    let (_, shown) = world.get(&format!("/vms/{id}")).await;
    assert_eq!((&shown["status"], &shown["ssh_port"]), (&json!("creating"), &Value::Null));
    assert_eq!(world.get(&format!("/vms/jobs/{job}")).await.1["status"], "creating");
    world.let_boot();
    world.reaches(id, "running").await;
    let (status, done) = world.get(&format!("/vms/jobs/{job}")).await;
    assert_eq!((status, &done["status"], &done["error"]), (StatusCode::OK, &json!("ready"), &Value::Null));
    let (status, missing) = world.get("/vms/jobs/aaaaaaaaaaaaaaaa").await;
    assert_eq!((status, missing), (StatusCode::NOT_FOUND, json!({ "detail": "job not found" })));
    assert_eq!(world.post("/vms?async=maybe", &create_body("b")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    world.stop().await;
}

#[tokio::test]
async fn i5_a_stranger_sees_and_touches_nothing() {
    let world = World::start(Api::Capability).await;
    let (_, vm) = world.post("/vms", &create_body("abc")).await;
    assert_eq!(world.get("/vms").await, (StatusCode::OK, json!([])));
    let id = vm["id"].as_str().unwrap();
    let near = format!("{}{}", &id[..id.len() - 1], if id.ends_with('a') { 'b' } else { 'a' });
    for which in ["abc", near.as_str(), "golem-abc", "..%2F..%2Fetc", "%00"] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::GET, "/access"),
            (Method::POST, "/stop"),
            (Method::POST, "/start"),
            (Method::POST, "/restart"),
            (Method::POST, "/ssh-keys"),
        ] {
            let (status, _) = world.call(method.clone(), &format!("/vms/{which}{rest}"), None).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {which}{rest}");
        }
        world.call(Method::DELETE, &format!("/vms/{which}"), None).await;
    }
    for (method, path) in [(Method::GET, "/summary"), (Method::POST, "/admin/shutdown")] {
        assert_eq!(world.call(method, path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.get(&format!("/vms/{id}")).await.1["status"], "running");
    world.stop().await;
}

#[tokio::test]
async fn s_156_under_open_names_work_and_everyone_sees_all() {
    let world = World::start(Api::Open).await;
    assert_eq!(world.get("/vms").await, (StatusCode::OK, json!([])));
    let (_, first) = world.post("/vms", &create_body("abc")).await;
    let (_, second) = world.post("/vms", &create_body("def")).await;
    let (status, list) = world.get("/vms").await;
    let ids = |vms: &Value| -> std::collections::BTreeSet<String> {
        vms.as_array().unwrap().iter().map(|vm| vm["id"].to_string()).collect()
    };
    // S-156
    assert_eq!((status, ids(&list)), (StatusCode::OK, ids(&json!([first, second]))));
    assert_eq!(list[0], first, "as the create answered");
    world.call(Method::DELETE, "/vms/def", None).await;
    assert_eq!(world.get("/vms/abc").await.1["id"], list[0]["id"]);
    let (_, summary) = world.get("/summary").await;
    assert_eq!(summary["status"], "running");
    assert_eq!(summary["env"], json!({ "environment": "production", "network": "testnet" }));
    assert_eq!(summary["resources"]["available"], json!({ "cpu": 99, "memory": 99, "storage": 990 }));
    assert_eq!(summary["vms"][0]["status"], "running");
    assert_eq!(world.call(Method::POST, "/admin/shutdown", None).await.1, json!({ "ok": true }));
    world.http().stop_asked().await;
    world.stop().await;
}

#[tokio::test]
async fn info_is_complete_and_streams_are_off() {
    let world = World::start(Api::Capability).await;
    let (status, info) = world.get("/provider/info").await;
    let zero = "0x0000000000000000000000000000000000000000";
    assert_eq!(status, StatusCode::OK);
    // S-131, S-162
    assert_eq!(info["provider_id"], http_support::PROVIDER_ID);
    assert_eq!((&info["stream_payment_address"], &info["glm_token_address"]), (&json!(zero), &json!(zero)));
    assert_eq!((&info["ip_address"], &info["country"]), (&json!("203.0.113.7"), &json!("SE")));
    for path in ["/payments/streams", "/vms/abc/stream"] {
        // S-182
        assert_eq!(world.get(path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let response = world.raw(Method::GET, "/health").send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "status": "healthy" }));
    world.stop().await;
}

#[tokio::test]
async fn a_quote_says_that_vms_are_free_where_payments_are_off() {
    let world = World::start(Api::Capability).await;
    let (status, quote) = world.post("/quotes", &json!({ "size": "medium" })).await;
    assert_eq!(status, 200, "{quote}");
    assert_eq!(quote["free"], true);
    assert_eq!((&quote["rate_wei_per_second"], &quote["price_per_month"]), (&json!(0), &json!("0")));
    assert_eq!(
        (&quote["provider_id"], &quote["quote_id"]),
        (&json!(http_support::PROVIDER_ID), &json!(null))
    );
    assert_eq!(quote["resources"], json!({ "cpu": 2, "memory": 4, "storage": 20 }));
    world.stop().await;
}

#[tokio::test]
async fn s_080_refusals_name_their_reason() {
    let world = World::start(Api::Capability).await;
    let sized = |name: &str, cpu: u32| json!({ "name": name, "ssh_key": KEY, "resources": { "cpu": cpu, "memory": 1, "storage": 10 } });
    for n in 0..6 {
        assert_eq!(world.post("/vms", &sized(&format!("vm-{n}"), 16)).await.0, StatusCode::OK);
    }
    let (status, refused) = world.post("/vms?async=true", &sized("big", 16)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("Insufficient resources available on provider") && detail.contains("capacity"));
    let (status, refused) = world.post("/vms", &sized("vm-0", 1)).await;
    assert_eq!(
        (status, refused),
        (StatusCode::CONFLICT, json!({ "detail": "a VM named vm-0 already exists" }))
    );
    let image = json!({ "name": "abc", "ssh_key": KEY, "image": "windows" });
    let (status, refused) = world.post("/vms", &image).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused, json!({ "detail": "image windows is not available on this provider" }));
    world.node().set_draining(true).await.unwrap();
    let (status, refused) = world.post("/vms", &sized("abc", 1)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused, json!({ "detail": "provider is draining and takes no new rentals" }));
    world.stop().await;
}

#[tokio::test]
async fn bad_bodies_are_refused_in_fastapis_shape() {
    let world = World::start(Api::Capability).await;
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
    let barely = typed().body(vec![b' '; 64 * 1024 + 1]).send().await.unwrap();
    assert_eq!(barely.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let (status, unknown) = world.get("/nothing").await;
    assert_eq!((status, unknown), (StatusCode::NOT_FOUND, json!({ "detail": "Not Found" })));
    let (status, wrong) = world.call(Method::PUT, "/vms", None).await;
    assert_eq!((status, wrong), (StatusCode::METHOD_NOT_ALLOWED, json!({ "detail": "Method Not Allowed" })));
    assert!(world.node().vms().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_create_that_fails_says_why() {
    let world = World::start(Api::Capability).await;
    world.fail_next_create();
    let (status, failed) = world.post("/vms", &create_body("abc")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed, json!({ "detail": "simulating: a fault was asked for" }));
    world.stop().await;
}

#[tokio::test]
async fn s_248_more_than_a_hundred_requests_a_minute_are_refused_with_a_time_to_wait() {
    let world = World::start_limited(Api::Capability, 100).await;
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
    let world = World::start_slow(Api::Capability).await;
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
    let world = World::start(Api::Capability).await;
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

#[tokio::test]
async fn i_14_a_form_of_a_page_does_nothing_and_no_page_reaches_the_operator() {
    let world = World::start(Api::Open).await;
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
async fn two_hundred_connections_are_all_answered() {
    let world = World::start(Api::Capability).await;
    let asked = (0..200).map(|_| world.raw(Method::GET, "/api/v1/provider/info").send());
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    world.stop().await;
}

#[tokio::test]
async fn the_operator_api_opens_only_with_its_token_and_its_name() {
    let world = World::start(Api::Capability).await;
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
    world.http().stop_asked().await;
    world.stop().await;
}

/// Whoever sends a request's head, or its body, a byte now and then holds a connection only so long.
#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off_while_others_are_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start(Api::Capability).await;
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
        let ended = tokio::time::timeout(http_support::DEADLINE * 2, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "still open");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    world.stop().await;
}

/// A disk of a few MiB at a folder; unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(folder: &std::path::Path) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=40m,mode=700", "golem-small-disk"])
            .arg(folder)
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Needs root, as whole runs of the suite have: for a disk of its own.
#[tokio::test]
async fn h_16_a_full_disk_is_told_to_renter_and_operator_and_passes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::at(folder.path()) else { return };
    let world = World::start_in(folder).await;
    let (status, vm) = world.post("/vms", &create_body("before")).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    let id = vm["id"].as_str().unwrap();
    assert_eq!(world.operator().summary().await.unwrap().disk_trouble, None);

    disk.fill();
    let full = "the provider's disk is full";
    for path in ["/vms", "/vms?async=true"] {
        let (status, said) = world.post(path, &create_body("during")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
        assert!(said["detail"].as_str().unwrap().starts_with(full), "{said}");
    }
    // What is there can be looked at, and what cannot be recorded is refused with the reason.
    assert_eq!(world.get(&format!("/vms/{id}")).await.0, StatusCode::OK);
    let summary = world.operator().summary().await.unwrap();
    assert_eq!(summary.disk_trouble.as_deref(), Some(full));
    let refused = loop {
        // The ledger's own log has some room left from before.
        let (status, said) = world.post(&format!("/vms/{id}/stop"), &Value::Null).await;
        if status != StatusCode::OK {
            break (status, said);
        }
        world.post(&format!("/vms/{id}/start"), &Value::Null).await;
    };
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.1);
    assert!(refused.1["detail"].as_str().unwrap().starts_with("the provider's disk is"), "{}", refused.1);

    disk.free();
    assert_eq!(world.operator().summary().await.unwrap().disk_trouble, None, "a write was tried again");
    let (status, vm) = world.post("/vms", &create_body("after")).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    world.stop().await;
    drop(disk);
}
