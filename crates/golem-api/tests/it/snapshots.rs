//! Snapshots of a VM's disk, over the public API.

use golem_api::VmAccess;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, create_body};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|snapshot| snapshot["name"].as_str().unwrap()).collect()
}

async fn create(world: &World) -> String {
    let (status, vm) = world.post("/vms", &create_body("abc")).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    vm["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_disk_is_kept_given_back_and_forgotten() {
    let world = World::start(VmAccess::Capability).await;
    let vm = create(&world).await;
    let at = |more: &str| format!("/vms/{vm}/snapshots{more}");
    assert_eq!(world.get(&at("")).await, (StatusCode::OK, json!([])));
    let (status, one) = world.call(Method::POST, &at(""), Some(&json!({ "name": "one" }))).await;
    assert_eq!(status, StatusCode::OK, "{one}");
    assert_eq!(
        (&one["name"], &one["status"], &one["consistency"]),
        (&json!("one"), &json!("ready"), &json!("file_system"))
    );
    assert_eq!(
        (&one["storage"], &one["vm_id"], &one["error_message"]),
        (&json!(10), &json!(vm), &Value::Null)
    );
    // It counts as a disk.
    let free = world.node().capacity().free.storage;
    assert_eq!(free, 1000 - 20);

    // Without a name it is called by its time; more than may be are refused, as is a name twice.
    let (status, two) = world.call(Method::POST, &at(""), None).await;
    assert_eq!(status, StatusCode::OK, "{two}");
    let (status, many) = world.call(Method::POST, &at(""), Some(&json!({ "name": "three" }))).await;
    assert_eq!(
        (status, &many["detail"]),
        (StatusCode::CONFLICT, &json!("the VM has 2 snapshots, which is the most here; delete one first"))
    );
    let (status, _) =
        world.call(Method::DELETE, &at(&format!("/{}", two["name"].as_str().unwrap())), None).await;
    assert_eq!(status, StatusCode::OK);
    let (status, twice) = world.call(Method::POST, &at(""), Some(&json!({ "name": "one" }))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{twice}");

    // A VM that runs is shut down and booted for it.
    let (status, restored) = world.call(Method::POST, &at("/one/restore"), None).await;
    assert_eq!(status, StatusCode::OK, "{restored}");
    world.reaches(&vm, "running").await;
    assert_eq!(names(&world.get(&at("")).await.1), ["one"]);

    for (method, path, wanted) in [
        (Method::DELETE, "/never", StatusCode::NOT_FOUND),
        (Method::POST, "/never/restore", StatusCode::NOT_FOUND),
        (Method::POST, "/..%2f..%2fetc/restore", StatusCode::NOT_FOUND),
        (Method::DELETE, "/-a", StatusCode::NOT_FOUND),
    ] {
        let (status, answer) = world.call(method, &at(path), None).await;
        assert_eq!(status, wanted, "{path}: {answer}");
    }
    for bad in [
        json!({ "name": "A" }),
        json!({ "name": "a/b" }),
        json!({ "title": "x" }),
        json!({ "name": 1 }),
        json!([]),
    ] {
        let (status, answer) = world.call(Method::POST, &at(""), Some(&bad)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    }
    // Whoever does not know the VM's id learns nothing.
    let (status, _) = world.get("/vms/abc/snapshots").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    world.stop().await;
}

#[tokio::test]
async fn what_fails_is_told_and_takes_no_room() {
    let world = World::start(VmAccess::Capability).await;
    let vm = create(&world).await;
    let at = |more: &str| format!("/vms/{vm}/snapshots{more}");
    world.fail_next_snapshot();
    let (status, failed) = world.call(Method::POST, &at(""), Some(&json!({ "name": "one" }))).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{failed}");
    assert_eq!(world.node().capacity().free.storage, 1000 - 10);
    let (_, list) = world.get(&at("")).await;
    assert_eq!((&list[0]["status"], list[0]["error_message"].is_string()), (&json!("failed"), true));
    let (status, _) = world.call(Method::POST, &at("/one/restore"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // The same again is made.
    let (status, made) = world.call(Method::POST, &at(""), Some(&json!({ "name": "one" }))).await;
    assert_eq!(status, StatusCode::OK, "{made}");

    // A restore that fails leaves the VM as it was, and running.
    world.fail_next_snapshot();
    let (status, failed) = world.call(Method::POST, &at("/one/restore"), None).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{failed}");
    world.reaches(&vm, "running").await;
    assert_eq!(world.get(&at("")).await.1[0]["status"], "ready");
    world.stop().await;
}
