//! `rent stats` and `rent events` against the true node: what a renter sees of a VM.

use std::process::{Output, Stdio};
use std::time::Duration;

use golem_test_support::{Home, wait_until, wait_up_to};
use serde_json::{Value, json};

/// A renter with a home of its own, on which no node runs.
struct Renter(Home);

impl Renter {
    fn run(&self, arguments: &[&str]) -> Output {
        self.0.command(&["rent"]).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", Home::show(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)))
    }

    /// What people read.
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", Home::show(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn create(&self, name: &str, home: &Home) {
        let url = format!("http://{}:{}", home.host, home.api);
        self.json(&["create", name, "--provider", &url, "--free", "--rpc-url", "http://127.0.0.1:1"]);
    }
}

#[test]
fn a_renter_sees_what_a_vm_does() {
    // It is asked again and again.
    let home = Home::new().set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    let _node = home.start(&[]);
    let renter = Renter(Home::bare());
    renter.create("web", &home);

    let stats = renter.json(&["stats", "web"]);
    assert_eq!((&stats["name"], &stats["history"]), (&json!("web"), &Value::Null));
    let latest = &stats["latest"];
    assert!(latest["memory_used_bytes"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!(latest["memory_rented_bytes"], json!(1_u64 << 30));
    let text = renter.text(&["stats", "web", "--range", "24h"]);
    for word in ["CPU", "of 1 core", "Memory", "MiB of 1024 MiB", "Disk", "Received", "since its boot", "UTC"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }

    // Its minutes come: rates and points.
    wait_up_to(Duration::from_secs(200), "two minutes with the VM", || {
        let stats = renter.json(&["stats", "web", "--range", "1h"]);
        stats["history"]["points"].as_array().unwrap().len() >= 2
            && stats["latest"]["cpu_percent"].is_number()
    });
    let stats = renter.json(&["stats", "web", "--range", "1h"]);
    let cpu = stats["latest"]["cpu_percent"].as_f64().unwrap();
    assert!((1.0..=101.0).contains(&cpu), "a simulated guest is busy: {stats}");
    assert!(stats["latest"]["rates_over_seconds"].as_f64().unwrap() >= 5.0, "{stats}");
    let text = renter.text(&["stats", "web", "--range", "1h"]);
    assert!(text.contains("TIME (UTC)") && text.lines().count() >= 9, "{text}");

    renter.json(&["stop", "web"]);
    let events = renter.json(&["events", "web"]);
    let kinds: Vec<_> = events["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), (&json!("state.stopped"), &json!("vm.created")));
    let stages: Vec<_> =
        events["last_boot"].as_array().unwrap().iter().map(|reached| &reached["stage"]).collect();
    assert_eq!(stages, ["reserved", "disk", "launch", "boot", "port", "running"]);
    let text = renter.text(&["events", "web"]);
    assert!(text.contains("state.stopped") && text.contains("Last boot") && text.contains(" s"), "{text}");
    let csv = renter.text(&["events", "web", "-n", "1", "--format", "csv"]);
    assert!(csv.starts_with("at,kind,detail\n") && csv.lines().count() == 2, "{csv}");

    // Off: nothing is made up.
    let off = renter.json(&["stats", "web"]);
    assert_eq!(
        (&off["latest"]["memory_used_bytes"], &off["latest"]["cpu_percent"]),
        (&Value::Null, &Value::Null)
    );
    assert!(renter.text(&["stats", "web"]).contains("- of 1 core"));

    for (wrong, code) in [
        (vec!["stats", "web", "--range", "2h"], 2),
        (vec!["events", "web", "--limit", "0"], 2),
        (vec!["events", "web", "--limit", "201"], 2),
        (vec!["stats", "nobody"], 1),
        (vec!["events", "nobody"], 1),
    ] {
        let output = renter.run(&wrong);
        assert_eq!(output.status.code(), Some(code), "{wrong:?}: {}", Home::show(&output));
    }
    renter.json(&["destroy", "web", "--yes"]);
    wait_until("it is gone", || home.json(&["vms", "list", "--json"]) == json!([]));
}
