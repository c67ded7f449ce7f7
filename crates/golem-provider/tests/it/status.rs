//! `status` of the true binary, with check servers that are true, lie, are silent, or are gone.

use std::net::TcpListener;

use golem_test_support::{Feed, Home, Running};
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::ports::{Puppet, verified, wait_for_round};

/// The standard output of `status`, without the numbers of this run.
fn text(home: &Home, arguments: &[&str]) -> String {
    let mut command = vec!["status"];
    command.extend(arguments);
    home.snapshot(&home.run(&command))
}

fn issues(state: &Value) -> String {
    state["overall"]["issues"].to_string()
}

/// With a true check server and nothing wrong, the lines are the documented ones, and so are the names in
/// JSON.
#[test]
fn a_healthy_node_prints_the_documented_lines() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&[&url]);
    let _node = home.start(&[]);
    wait_for_round(&home, 1);
    home.rent("web-server");
    let shown = text(&home, &[]);
    let documented: Vec<&str> =
        shown.lines().skip_while(|line| !line.starts_with("Overall")).take(11).collect();
    // S-012, S-020, S-022, S-023, S-024, S-025, S-026, S-027, S-028, S-030
    assert_snapshot!(documented.join("\n"));
    let state = home.json(&["status", "--json"]);
    // S-037, S-039
    assert_eq!(state["overall"], json!({ "status": "healthy", "issues": [] }));
    assert_eq!(state["ports"]["provider"]["status"], "reachable");
    let ssh = &state["ports"]["ssh"];
    // S-045, S-046, S-047
    assert_eq!((&ssh["status"], &ssh["usable_free"], &ssh["in_use"]), (&json!("ok"), &json!(7), &json!(1)));
    // S-050
    assert_eq!(ssh["ports"][0], json!({ "port": home.ssh, "status": "reachable", "listening": true }));
    assert_eq!(home.run(&["status", "--exit-code"]).status.code(), Some(0));
}

/// What a check server says of each port is told as it is.
#[test]
fn each_outcome_of_a_check_has_its_words() {
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url]);
    let all = || home.ssh_ports().chain([home.api]);
    let _node = home.start(&[]);
    for (number, (open, grade, code, words)) in (1..).zip([
        // S-026, S-033
        (Vec::new(), "error", 2, "— blocked"),
        (
            all().filter(|port| *port != home.api).collect(),
            "error",
            2,
            // S-024, S-031
            "❌ unreachable — connection timed out",
        ),
        // S-026, S-036
        (all().filter(|port| *port != home.ssh).collect(), "issues", 1, "— limited — 1 issue(s)"),
        // S-026, S-037
        (all().collect(), "healthy", 0, "— OK"),
    ]) {
        if number > 1 {
            *puppet.open.lock().unwrap() = open;
            home.run(&["ports", "check"]);
        }
        wait_for_round(&home, number);
        let state = home.json(&["status", "--json"]);
        assert_eq!(state["overall"]["status"], grade, "{state}");
        let shown = text(&home, &["--exit-code"]);
        assert!(shown.contains(words) && shown.contains(&format!("exit: Some({code})")), "{words}: {shown}");
    }
}

/// Checkers that are gone, or accept and say nothing, are told and waited for no longer
/// than a moment; other check servers can be named.
#[test]
fn dead_and_silent_check_servers_are_told_with_their_fix() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let home = verified(&["http://127.0.0.1:1", &silent_url]);
    // Nobody runs: this command verifies by itself, and gives up in time.
    let output = home.run(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let state: Value = serde_json::from_slice(&output.stdout).unwrap();
    // S-032, S-254
    assert!(issues(&state).contains("no check server answered (2 asked; http://127.0.0.1:1"), "{state}");
    // S-043
    assert_eq!(state["ports"]["provider"]["status"], "unreachable");
    let ports = state["ports"]["ssh"]["ports"].as_array().unwrap();
    // S-052
    assert!(ports.iter().all(|port| port["status"] == "unknown" && port["listening"] == false), "{state}");
    assert!(
        home.ssh_ports().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()),
        "nothing is left open"
    );
    assert!(!home.data().exists(), "looking makes nothing");
    let (_server, url) = Home::new().check_server();
    let home = home.set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", &url);
    let output = home.run(&["status", "--json"]);
    let state: Value = serde_json::from_slice(&output.stdout).unwrap();
    // S-254: another server serves.
    assert_eq!(state["ports"]["ssh"]["status"], "ok", "{state}");
    assert_eq!(state["ports"]["provider"]["status"], "reachable");
}

/// What keeps renters out is named, with what to do about it, and where there is more.
#[test]
fn what_keeps_renters_out_is_named_with_its_fix() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&[&url]);
    let held = [home.api, home.ssh + 1].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let own = format!("(pid {})", std::process::id());
    let shown = text(&home, &[]);
    let holder = |line: &str| shown.lines().any(|shown| shown.contains(line) && shown.contains(&own));
    assert!(holder("  Local         ❌ port unavailable — held by"), "{shown}");
    // S-252
    assert!(holder("  - TCP port [API] is held by"), "{shown}");
    // S-253
    assert!(holder(&format!("  - TCP {} is in use by", home.ssh + 1)), "{shown}");
    assert!(shown.contains("GOLEM_PROVIDER_PORT_RANGE_START"), "{shown}");
    assert!(shown.contains("      more: docs/troubleshooting.md#ports"), "{shown}");
    let state: Value = serde_json::from_slice(&home.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(state["ports"]["problems"][0]["cause"], "port-held", "{state}");
    drop(held);

    // Only one gets through.
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url]);
    puppet.open.lock().unwrap().push(home.ssh);
    let state: Value = serde_json::from_slice(&home.run(&["status", "--json"]).stdout).unwrap();
    // S-040
    assert!(issues(&state).contains("cannot be reached from outside"), "{state}");
    let shown = text(&home, &[]);
    assert!(shown.contains("      fix: let TCP [API], ") && shown.contains(" in on this host"), "{shown}");
}

/// Where the settings say that nobody is asked, nobody is; what is on this host is told all the same.
#[test]
fn where_ports_are_not_verified_nobody_is_asked() {
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url]).set("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true");
    let _held = TcpListener::bind(("127.0.0.1", home.ssh)).unwrap();
    let shown = text(&home, &[]);
    assert!(shown.contains("External      not checked") && shown.contains("1 held by"), "{shown}");
    assert!(puppet.asked.lock().unwrap().is_empty());
}

/// A look leaves an empty home empty, whatever backend is meant.
#[test]
fn looking_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake_multipass::install(folder.path()).unwrap();
    for backend in ["qemu", "multipass", "sim"] {
        let home = Home::new()
            .set("GOLEM_PROVIDER_VM_BACKEND", backend)
            .set("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", program.to_str().unwrap());
        let shown = text(&home, &[]);
        assert!(shown.contains("Overall         Error"), "{shown}");
        let made: Vec<_> = std::fs::read_dir(home.folder.path()).unwrap().map(Result::unwrap).collect();
        assert!(made.is_empty(), "{backend}: {made:?}");
    }
}

/// A check server that takes longer than a look may: who waits longer is named.
#[test]
fn a_slow_check_server_is_no_dead_end() {
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = verified(&[&format!("http://{}", slow.local_addr().unwrap())]);
    let shown = text(&home, &[]);
    assert!(shown.contains("It is not known whether renters can reach this node"), "{shown}");
    assert!(shown.contains("`golem-provider ports check` waits longer"), "{shown}");
}

/// S-255: which resource is short, by how much, and which setting says so.
#[test]
fn s_255_a_resource_that_is_short_is_named_with_its_setting() {
    let home =
        Home::new().set("GOLEM_PROVIDER_MEMORY_THRESHOLD", "1").set("GOLEM_PROVIDER_MIN_STORAGE_GB", "60000");
    let _node = home.start(&[]);
    let state = home.json(&["status", "--json"]);
    assert_eq!(state["overall"]["status"], "issues", "{state}");
    let told = issues(&state);
    assert!(told.contains("less than GOLEM_PROVIDER_MIN_STORAGE_GB=60000"), "{told}");
    assert!(told.contains("more than GOLEM_PROVIDER_MEMORY_THRESHOLD=1"), "{told}");
}

/// Rentals of a node that does not run are counted, and named as what is at stake.
#[test]
fn i3_rentals_are_told_of_while_the_node_does_not_run() {
    let home = Home::new();
    let mut node = home.start(&[]);
    home.rent("web-server");
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
    let state: Value = serde_json::from_slice(&home.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(state["ports"]["ssh"]["in_use"], 1, "{state}");
    assert!(issues(&state).contains("1 VM(s) are rented out"), "{state}");
}

/// The backend's line, as documented where that is Multipass.
#[test]
fn the_backends_line_says_ok_or_missing() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake_multipass::install(folder.path()).unwrap();
    let home = Home::new().set("GOLEM_PROVIDER_VM_BACKEND", "multipass");
    let with = home.set("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", program.to_str().unwrap());
    // S-010, S-021
    assert!(text(&with, &[]).contains("\nMultipass       ✅ OK\n"));
    let without = with.set("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "/nowhere/multipass");
    let shown = text(&without, &[]);
    assert!(
        // S-021, S-034
        shown.contains("\nMultipass       ❌ Missing\n") && shown.contains("Overall         Error"),
        "{shown}"
    );
    fake_multipass::Mode { hangs: true, ..Default::default() }.set(folder.path()).unwrap();
    let hanging = without.set("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", program.to_str().unwrap());
    let shown = text(&hanging, &[]);
    assert!(shown.contains("❌ Missing") && shown.contains("no answer within"), "{shown}");
}

/// A release index that knows a newer version, an older one, nonsense, or nothing.
#[test]
fn a_newer_version_is_told_and_remembered() {
    let index = Feed::start(r#"{"info": {"version": "999.1"}, "releases": {}}"#);
    let home = Home::new().set("GOLEM_PROVIDER_UPDATE_CHECK_URL", &index.url);
    let version = |home: &Home| {
        let output = home.run(&["status", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["version"].clone()
    };
    let installed = env!("CARGO_PKG_VERSION");
    let newer = json!({ "installed": installed, "latest": "999.1", "update_available": true });
    // S-002, S-013
    assert_eq!(version(&home), newer);
    assert!(text(&home, &[]).contains("(version 999.1 is available)"));
    for (says, latest, available) in [
        (format!(r#"{{"info": {{"version": "{installed}"}}}}"#), json!(installed), json!(false)),
        (r#"{"info": {"version": "0.0.1"}}"#.to_owned(), json!("0.0.1"), json!(false)),
        (r#"{"info": {"version": "rm -rf"}}"#.to_owned(), Value::Null, json!(false)),
        ("[]".to_owned(), Value::Null, json!(false)),
        (String::new(), Value::Null, json!(false)),
    ] {
        index.say(&says);
        let told = version(&home);
        assert_eq!((&told["latest"], &told["update_available"]), (&latest, &available), "{says}");
    }
    // With a folder to keep it in it is asked for once, and known when the index is gone.
    std::fs::create_dir_all(home.data()).unwrap();
    index.say(r#"{"info": {"version": "999.1"}}"#);
    assert_eq!(version(&home), newer);
    let asked = index.asked();
    index.say("");
    assert_eq!((version(&home), index.asked()), (newer, asked));
    let off = home.set("GOLEM_PROVIDER_UPDATE_CHECK_URL", "");
    assert_eq!(version(&off), json!({ "installed": installed, "latest": null, "update_available": false }));
}

/// `--watch` looks until it is interrupted, and programs read a document a line.
#[test]
fn watching_shows_changes_and_ends_with_an_interrupt() {
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url]);
    let mut command = home.command(&["status", "--watch", "--json"]);
    command.stderr(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    for _ in 0..3 {
        assert_eq!(next()["running"], false);
    }
    assert_eq!(
        puppet.asked.lock().unwrap().len(),
        1,
        "a check server is not there to be asked every two seconds"
    );
    let _node: Running = home.start(&[]);
    while next()["running"] == false {}
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
