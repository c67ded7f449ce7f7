//! What renters do with VMs, over the public API.

use golem_api::VmAccess;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{DEADLINE, KEY, PROVIDER_ID, World, create_body};

#[tokio::test]
async fn what_is_asked_for_early_tells_how_far_it_is_and_images_are_listed() {
    let world = World::start_slow(VmAccess::Capability).await;
    let (status, early) = world.post("/vms?async=true", &create_body("early")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    for member in ["lifecycle_stage", "status_message", "progress", "transitioning", "next_poll_seconds"] {
        assert!(!early[member].is_null(), "{member} in {early}");
        let job = world.get(&format!("/vms/jobs/{}", early["job_id"].as_str().unwrap())).await.1;
        assert!(!job[member].is_null(), "{member} in {job}");
    }
    assert_eq!((&early["status"], &early["transitioning"]), (&json!("creating"), &json!(true)));
    world.let_boot();
    let id = early["vm_id"].as_str().unwrap();
    world.reaches(id, "running").await;
    let access = world.get(&format!("/vms/{id}/access")).await.1;
    assert_eq!(access["ssh_user"], golem_vm::seed::USER);
    let images = world.get("/images").await.1;
    assert_eq!(images, json!({ "images": [{ "name": "24.04", "default": true }] }));
    world.stop().await;
}

#[tokio::test]
async fn a_create_answers_with_a_running_vm() {
    let world = World::start(VmAccess::Capability).await;
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
    let world = World::start(VmAccess::Open).await;
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

/// The first line that whoever listens on `port` says; `None` if nobody does.
async fn greeting(port: u16) -> Option<String> {
    use tokio::io::AsyncBufReadExt;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut lines = tokio::io::BufReader::new(stream).lines();
    tokio::time::timeout(DEADLINE, lines.next_line()).await.ok()?.ok()?
}

#[tokio::test]
async fn the_documented_flat_body_works() {
    let world = World::start(VmAccess::Capability).await;
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
    let world = World::start(VmAccess::Capability).await;
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
        json!({
            "ssh_host": "203.0.113.7", "ssh_port": port, "ssh_user": "ubuntu", "vm_id": id, "multipass_name": id
        })
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
    let world = World::start_slow(VmAccess::Capability).await;
    let (status, accepted) = world.post("/vms?async=true", &create_body("abc")).await;
    assert_eq!((status, &accepted["status"]), (StatusCode::ACCEPTED, &json!("creating")));
    let (id, job) = (accepted["vm_id"].as_str().unwrap(), accepted["job_id"].as_str().unwrap());
    let (status, access) = world.get(&format!("/vms/{id}/access")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(
        access,
        json!({
            "ssh_port": null, "ssh_user": "ubuntu", "vm_id": id, "multipass_name": id, "status": "creating"
        })
    );
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
    let world = World::start(VmAccess::Capability).await;
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
    let world = World::start(VmAccess::Open).await;
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
    world.api().stop_requested().await;
    world.stop().await;
}

#[tokio::test]
async fn info_is_complete_and_streams_are_off() {
    let world = World::start(VmAccess::Capability).await;
    let (status, info) = world.get("/provider/info").await;
    let zero = "0x0000000000000000000000000000000000000000";
    assert_eq!(status, StatusCode::OK);
    // S-131, S-162
    assert_eq!(info["provider_id"], PROVIDER_ID);
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
    let world = World::start(VmAccess::Capability).await;
    let (status, quote) = world.post("/quotes", &json!({ "size": "medium" })).await;
    assert_eq!(status, 200, "{quote}");
    assert_eq!(quote["free"], true);
    assert_eq!((&quote["rate_wei_per_second"], &quote["price_per_month"]), (&json!(0), &json!("0")));
    assert_eq!((&quote["provider_id"], &quote["quote_id"]), (&json!(PROVIDER_ID), &json!(null)));
    assert_eq!(quote["resources"], json!({ "cpu": 2, "memory": 4, "storage": 20 }));
    world.stop().await;
}

#[tokio::test]
async fn s_080_refusals_name_their_reason() {
    let world = World::start(VmAccess::Capability).await;
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
async fn a_create_that_fails_says_why() {
    let world = World::start(VmAccess::Capability).await;
    world.fail_next_create();
    let (status, failed) = world.post("/vms", &create_body("abc")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed, json!({ "detail": "simulating: a fault was asked for" }));
    world.stop().await;
}
