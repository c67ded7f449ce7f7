//! What a renter sees of a VM.

use golem_api::VmAccess;
use golem_node::ledger::{Ledger, MeasuredHost, MeasuredVm};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, create_body};

/// A VM that runs: its id.
async fn vm(world: &World, name: &str) -> String {
    let (status, made) = world.post("/vms", &create_body(name)).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    world.reaches(&id, "running").await;
    id
}

/// Keeps that the VM `id` was measured in the minutes that ended so many minutes ago, oldest first.
async fn measured(world: &World, id: &str, ago: &[(i64, MeasuredVm)]) {
    let ledger = Ledger::open(&world.data_dir().join(golem_node::LEDGER_FILE)).unwrap();
    let now = Timestamp::now().as_second();
    let host = MeasuredHost { cpu_percent: 1, memory_percent: 1, storage_percent: 1, vms: 1 };
    for (minutes, used) in ago {
        let minute = now - now.rem_euclid(60) - minutes * 60;
        ledger.measured(minute, host, vec![(id.parse().unwrap(), *used)]).await.unwrap();
    }
}

const USED: MeasuredVm = MeasuredVm {
    cpu_permille: Some(250),
    memory_bytes: 300 << 20,
    disk_bytes: 2 << 30,
    received_per_second: Some(1000),
    sent_per_second: None,
};

#[tokio::test]
async fn a_renter_sees_what_the_vm_uses_and_nothing_that_nobody_knows() {
    let world = World::start(VmAccess::Capability).await;
    let id = vm(&world, "web").await;
    let (status, now) = world.get(&format!("/vms/{id}/metrics/latest")).await;
    assert_eq!((status, &now["vm_id"]), (StatusCode::OK, &json!(id)));
    // Just made: what is held is known, and no rate.
    assert!(now["memory_used_bytes"].as_u64().unwrap() > 0 && now["disk_used_bytes"].as_u64().unwrap() > 0);
    for unknown in ["cpu_percent", "rates_over_seconds", "network_sent_bytes_per_second"] {
        assert_eq!(now.get(unknown), Some(&Value::Null), "{unknown}: {now}");
    }
    let rented = ["cpu_rented_cores", "memory_rented_bytes", "disk_rented_bytes"].map(|name| &now[name]);
    assert_eq!(rented, [&json!(1), &json!(1_u64 << 30), &json!(10_u64 << 30)]);
    // Nothing went through its port yet, and that is counted.
    assert_eq!(now["network_received_bytes"], 0);

    world.post(&format!("/vms/{id}/stop"), &Value::Null).await;
    world.reaches(&id, "stopped").await;
    let (status, off) = world.get(&format!("/vms/{id}/metrics/latest")).await;
    assert_eq!(status, StatusCode::OK);
    for unknown in ["memory_used_bytes", "disk_used_bytes", "network_received_bytes", "cpu_percent"] {
        assert_eq!(off.get(unknown), Some(&Value::Null), "{unknown}: {off}");
    }
    assert_eq!(off["memory_rented_bytes"], json!(1_u64 << 30));
    world.stop().await;
}

#[tokio::test]
async fn what_was_used_is_told_by_range_with_its_gaps() {
    let world = World::start(VmAccess::Capability).await;
    let (id, other) = (vm(&world, "web").await, vm(&world, "other").await);
    let history = async |id: &str, range: &str| {
        let (status, history) = world.get(&format!("/vms/{id}/metrics/history{range}")).await;
        assert_eq!(status, StatusCode::OK, "{history}");
        history
    };
    assert_eq!(history(&id, "").await["points"], json!([]), "just made");

    let silent = MeasuredVm { cpu_permille: None, received_per_second: None, ..USED };
    measured(&world, &id, &[(300, USED), (20, USED), (19, silent)]).await;
    let hour = history(&id, "").await;
    assert_eq!((&hour["range"], &hour["step_seconds"]), (&json!("1h"), &json!(60)));
    let points = hour["points"].as_array().unwrap();
    assert_eq!(points.len(), 2, "{hour}");
    let at = points[0]["at"].as_str().unwrap();
    assert!(at.ends_with(":00.000000") && at > hour["from"].as_str().unwrap(), "{hour}");
    let [first, second] = [0, 1].map(|number| {
        let of = |name: &str| points[number][name].clone();
        [of("cpu_percent"), of("memory_used_bytes"), of("network_received_bytes_per_second")]
    });
    assert_eq!(first, [json!(25.0), json!(300 << 20), json!(1000)]);
    assert_eq!(second, [Value::Null, json!(300 << 20), Value::Null]);
    assert_eq!(points[0]["network_sent_bytes_per_second"], Value::Null);

    for (range, step) in [("6h", 300), ("24h", 900), ("7d", 3600), ("30d", 14_400)] {
        let wide = history(&id, &format!("?range={range}")).await;
        assert_eq!((&wide["range"], &wide["step_seconds"]), (&json!(range), &json!(step)));
        let points = wide["points"].as_array().unwrap();
        assert!((1..=3).contains(&points.len()), "{wide}");
        assert_eq!(points.last().unwrap()["cpu_percent"], 25.0, "{wide}");
    }
    assert_eq!(history(&other, "?range=30d").await["points"], json!([]), "another's are not told");
    world.stop().await;
}

#[tokio::test]
async fn strange_ranges_and_other_names_are_refused() {
    let world = World::start(VmAccess::Capability).await;
    let id = vm(&world, "web").await;
    for range in ["", "2h", "1H", "1h%00", "1h,6h", "%31h%20", "-1h", &"9".repeat(2000)] {
        let (status, answer) = world.get(&format!("/vms/{id}/metrics/history?range={range}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{range}: {answer}");
        assert_eq!(answer["detail"][0]["loc"], json!(["query", "range"]));
    }
    for query in ["range=1h&range=6h", "range=%ff"] {
        let (status, answer) = world.get(&format!("/vms/{id}/metrics/history?{query}")).await;
        assert!(status.is_client_error() || answer["range"] == "1h", "{query}: {status} {answer}");
    }
    let unknown = format!("{}a", &id[..id.len() - 1]);
    for which in ["web", &unknown, &"x".repeat(3000), "%00", "..%2f..", "%F0%9F%92%A9"] {
        for route in ["metrics/latest", "metrics/history"] {
            let answer = world.raw(Method::GET, &format!("/api/v1/vms/{which}/{route}")).send().await;
            let status = answer.unwrap().status();
            assert!(matches!(status.as_u16(), 404 | 400 | 414), "{which} {route}: {status}");
        }
    }
    world.stop().await;
}

/// What is told of the VM `id`, newest first.
async fn kinds(world: &World, id: &str, limit: &str) -> Vec<String> {
    let (status, told) = world.get(&format!("/vms/{id}/events{limit}")).await;
    assert_eq!((status, &told["vm_id"]), (StatusCode::OK, &json!(id)), "{told}");
    let events = told["events"].as_array().unwrap();
    events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// The stages of the last boot of the VM `id`.
async fn last_boot(world: &World, id: &str) -> Vec<String> {
    let (_, told) = world.get(&format!("/vms/{id}/events")).await;
    let stages = told["last_boot"].as_array().unwrap();
    let times: Vec<_> = stages.iter().map(|stage| stage["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{told}");
    stages.iter().map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_renter_sees_what_happened_to_its_vm_and_how_it_booted() {
    let world = World::start(VmAccess::Capability).await;
    let (id, other) = (vm(&world, "web").await, vm(&world, "other").await);
    let create = ["state.running", "boot.port", "boot.boot", "boot.launch", "boot.disk", "vm.created"];
    assert_eq!(kinds(&world, &id, "").await, create);
    assert_eq!(last_boot(&world, &id).await, ["reserved", "disk", "launch", "boot", "port", "running"]);

    world.post(&format!("/vms/{id}/stop"), &Value::Null).await;
    world.reaches(&id, "stopped").await;
    assert_eq!(kinds(&world, &id, "?limit=2").await, ["state.stopped", "state.stopping"]);
    world.post(&format!("/vms/{id}/start"), &Value::Null).await;
    world.reaches(&id, "running").await;
    let again = ["state.running", "boot.port", "boot.boot", "boot.launch", "state.creating"];
    assert_eq!(kinds(&world, &id, "?limit=5").await, again);
    assert_eq!(last_boot(&world, &id).await, ["launch", "boot", "port", "running"]);

    // Nothing of the provider's money or network, and of no other VM.
    let vm_id = id.parse().unwrap();
    let node = world.node();
    node.note(&vm_id, "withdrawal.paid", "12 coins".to_owned()).await.unwrap();
    node.note(&vm_id, "port.unreachable", "the router at 192.0.2.1".to_owned()).await.unwrap();
    node.note(&vm_id, "payment.ending", format!("\u{1b}[2J{}", "x".repeat(5000))).await.unwrap();
    let (_, told) = world.get(&format!("/vms/{id}/events?limit=3")).await;
    let event = |number: usize| (told["events"][number]["kind"].as_str(), &told["events"][number]["detail"]);
    assert_eq!(event(0), (Some("payment.ending"), &json!(format!("[2J{}", "x".repeat(297)))));
    assert_eq!(event(1), (Some("port.unreachable"), &json!("")));
    assert_eq!(event(2).0, Some("state.running"));
    assert_eq!(kinds(&world, &other, "").await, create);

    let world = world.restart().await;
    world.reaches(&id, "running").await;
    assert_eq!(last_boot(&world, &id).await.last().unwrap(), "running", "kept");
    world.call(Method::DELETE, &format!("/vms/{id}"), None).await;
    let gone = async || world.get(&format!("/vms/{id}/events")).await.0 == StatusCode::NOT_FOUND;
    golem_test_support::until("gone, as on its other routes", gone).await;
    assert_eq!(world.get(&format!("/vms/{id}/metrics/latest")).await.0, StatusCode::NOT_FOUND);
    let told = world.node().events(Some(id.parse().unwrap()), 1).await.unwrap();
    assert_eq!(told[0].kind, "state.deleted", "its operator still sees that");
    world.stop().await;
}

#[tokio::test]
async fn strange_limits_are_refused_and_states_are_bounded() {
    let world = World::start(VmAccess::Capability).await;
    let id = vm(&world, "web").await;
    for limit in ["0", "201", "-1", "", "1e2", "99999999999999999999", "x", "%00"] {
        let (status, answer) = world.get(&format!("/vms/{id}/events?limit={limit}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{limit}: {answer}");
        assert_eq!(answer["detail"][0]["loc"], json!(["query", "limit"]));
    }
    let vm_id = id.parse().unwrap();
    world.node().note(&vm_id, "payment.ending", String::new()).await.unwrap();
    for _ in 0..1500 {
        world.node().note(&vm_id, "state.stopped", String::new()).await.unwrap();
    }
    let all = world.node().events(Some(vm_id), 10_000).await.unwrap();
    assert_eq!(all.len(), 502, "the newest, that of the payment, and that it was made");
    assert_eq!(kinds(&world, &id, "?limit=200").await.len(), 200);
    // The operator's list of all VMs is not filled by one of them.
    let listed = world.node().events(None, 200).await.unwrap();
    assert_eq!(listed.iter().map(|event| &*event.kind).collect::<Vec<_>>(), ["payment.ending", "vm.created"]);
    world.stop().await;
}

#[tokio::test]
async fn the_console_is_its_renters() {
    let world = World::start(VmAccess::Capability).await;
    let id = vm(&world, "web").await;
    let (status, log) = world.get(&format!("/vms/{id}/console-log")).await;
    assert_eq!((status, &log["console"]), (StatusCode::OK, &json!("simulated guest: running\n")));
    world.call(Method::DELETE, &format!("/vms/{id}"), None).await;
    golem_test_support::until("deleted", async || world.node().vms().is_empty()).await;
    assert_eq!(world.get(&format!("/vms/{id}/console-log")).await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}
