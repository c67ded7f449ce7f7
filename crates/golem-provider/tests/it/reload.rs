//! The true binary takes over new settings while its VMs run on.

use std::io::Read;

use golem_test_support::{Home, StopAtEnd, wait_until};
use rustix::process::Signal;

/// Writes the working directory's file of settings.
fn write_settings(home: &Home, text: &str) {
    // Whole at once, as editors do.
    let unfinished = home.folder.path().join("settings.new");
    std::fs::write(&unfinished, text).unwrap();
    std::fs::rename(unfinished, home.folder.path().join(".env")).unwrap();
}

/// In development a change of the settings starts the node anew, on every network; mistakes
/// are told, and the node goes on.
#[test]
fn development_takes_over_what_changed_and_vms_run_on() {
    for network in ["development", "mainnet"] {
        let home = Home::new()
            .set("GOLEM_ENVIRONMENT", "development")
            .set("GOLEM_PROVIDER_API_AUTH", "capability")
            .set("GOLEM_PROVIDER_NETWORK", network);
        let mut node = home.start(&[]);
        let id = home.rent("web-server");
        let vm = || home.json(&["vms", "show", &id, "--json"]);
        let before = vm();
        write_settings(&home, "GOLEM_PROVIDER_MAX_VMS=many\n");
        node.wait_for("not reloaded");
        let mistake = node.seen.last().unwrap().clone();
        assert!(mistake.contains("GOLEM_PROVIDER_MAX_VMS=many") && mistake.contains("fix:"), "{mistake}");
        assert_eq!(home.http("GET", "/health", "").0, 200);
        write_settings(&home, "GOLEM_PROVIDER_NAME=renamed\n");
        // S-185
        node.wait_for("reloading");
        node.wait_for("listening on");
        assert!(node.seen.last().unwrap().contains("DEVMODE-renamed"), "{:#?}", node.seen);
        let state = home.json(&["status", "--json"]);
        assert_eq!(state["pid"], node.child.id(), "the same process");
        // S-194, S-200
        assert_eq!(state["environment"]["network"], network);
        let after = vm();
        assert_eq!((&after["status"], &after["ssh_port"]), (&before["status"], &before["ssh_port"]));
        assert!(home.reaches(u16::try_from(after["ssh_port"].as_u64().unwrap()).unwrap()));
        node.signal(Signal::TERM);
        assert_eq!(node.end(), Some(0));
    }
}

/// In production nothing is watched; SIGHUP, which service managers send, does the same.
#[test]
fn a_hangup_starts_a_background_node_anew_with_new_settings() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    let started = home.json(&["start", "--daemon", "--stop-vms-on-exit", "--json"]);
    let pid = i32::try_from(started["pid"].as_i64().unwrap()).unwrap();
    let id = home.rent("web-server");
    write_settings(&home, "GOLEM_PROVIDER_MAX_VMS=1\n");
    let log = || std::fs::read_to_string(home.data().join("logs/provider.log")).unwrap();
    assert!(!log().contains("reloading"));
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    wait_until("the node runs anew", || log().matches("listening on").count() == 2);
    let state = home.json(&["status", "--json"]);
    assert_eq!((&state["pid"], &state["vms"]), (&pid.into(), &1.into()), "{state}");
    let body = r#"{"name": "one-more", "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X"}"#;
    let (_, refusal) = home.http("POST", "/api/v1/vms", body);
    assert!(refusal["detail"].as_str().unwrap().contains("capacity"), "{refusal}");
    // A reload is no end: VMs run on, whatever becomes of them when the node stops.
    assert_eq!(home.json(&["vms", "show", &id, "--json"])["status"], "running");
    assert!(!log().contains("VM state changed from=running"), "{}", log());
}

/// H-11: whoever comes to a VM's port while the node becomes another program waits, and is refused by nobody. Sessions are
/// seen with real guests (`package`): here a guest lives in the node's own process.
#[test]
fn whoever_comes_while_the_node_starts_anew_is_served() {
    let home = Home::new();
    let mut node = home.start(&[]);
    let id = home.rent("web-server");
    let port = home.json(&["vms", "show", &id, "--json"])["ssh_port"].as_u64().unwrap();
    let port = u16::try_from(port).unwrap();
    for _ in 0..3 {
        node.signal(Signal::HUP);
        // From now on its own guests are gone, too.
        node.wait_for("stopped");
        let greeted = || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(golem_test_support::DEADLINE)).unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
        };
        for _ in 0..20 {
            greeted();
        }
        node.wait_for("listening on");
        greeted();
    }
    assert!(node.seen.iter().all(|line| !line.contains("held by other programs")), "{:#?}", node.seen);
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
}
