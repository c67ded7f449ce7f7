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

/// Signals that come while the node becomes another program: neither ends it in silence, nor is one lost.
#[test]
fn signals_that_come_while_the_node_starts_anew_are_not_lost() {
    let home = Home::new();
    let mut node = home.start(&[]);
    for gap in [2, 5, 8, 11, 15, 25] {
        node.signal(Signal::HUP);
        // Not waited for but let pass: somewhere in there is the change of programs.
        std::thread::park_timeout(std::time::Duration::from_millis(gap));
        node.signal(Signal::HUP);
        node.wait_for("listening on");
        assert_eq!(home.http("GET", "/health", "").0, 200);
    }
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));

    for gap in [2, 5, 8, 11, 15, 25] {
        let mut node = home.start(&["--stop-vms-on-exit"]);
        home.rent("web-server");
        node.signal(Signal::HUP);
        std::thread::park_timeout(std::time::Duration::from_millis(gap));
        node.signal(Signal::TERM);
        // All that a stop owes is done, whichever program did it.
        assert_eq!(node.end(), Some(0), "{gap} ms: {:#?}", node.seen);
        let records = std::fs::read_dir(home.data().join("sim")).unwrap();
        let records: String =
            records.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok()).collect();
        let records = records.replace(' ', "");
        let is_stopped = records.contains("\"running\":false") && !records.contains("\"running\":true");
        assert!(is_stopped, "{gap} ms: {records}: {:#?}", node.seen);
        let mut node = home.start(&[]);
        home.json(&["vms", "delete", "web-server", "--yes", "--json"]);
        node.signal(Signal::TERM);
        assert_eq!(node.end(), Some(0));
    }
}

/// A reload is refused where the node could not start, and it goes on as it is.
#[test]
fn a_reload_that_would_end_the_node_is_refused() {
    let home = Home::new();
    let program = home.folder.path().join("golem-provider");
    let mut command = home.command(&["start"]);
    std::fs::hard_link(command.get_program(), &program)
        .or_else(|_| std::fs::copy(command.get_program(), &program).map(drop))
        .unwrap();
    let mut moved = std::process::Command::new(&program);
    moved.args(command.get_args()).env_clear();
    moved.envs(command.get_envs().filter_map(|(name, text)| Some((name, text?))));
    command = moved;
    command.current_dir(home.folder.path());
    let mut node = golem_test_support::Running::of(command, "listening on");
    let refused = |node: &mut golem_test_support::Running, says: &str| {
        node.signal(Signal::HUP);
        node.wait_for(says);
        let line = node.seen.last().unwrap();
        assert!(line.contains("not reloaded") && line.contains("fix:"), "{line}");
        assert_eq!(home.http("GET", "/health", "").0, 200);
    };
    std::fs::rename(&program, home.folder.path().join("gone")).unwrap();
    refused(&mut node, "cannot be run");
    std::fs::write(&program, "#!/bin/sh\nexit 7\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    refused(&mut node, "does not run");
    std::fs::rename(home.folder.path().join("gone"), &program).unwrap();
    node.signal(Signal::HUP);
    node.wait_for("reloading");
    node.wait_for("listening on");
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
}
