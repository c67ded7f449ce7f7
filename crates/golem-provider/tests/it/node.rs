//! The true binary with the simulated backend: start, stop, background, what the operator sees.

use golem_test_support::{DEADLINE, Home, StopAtEnd, alive, wait_until};
use rustix::process::Signal;

/// Where the PID file is depends on the environment; what is in the data directory does not.
#[test]
fn s_187_a_data_directory_has_one_node_whatever_the_environment_says() {
    let mut home = Home::new();
    let _node = home.start(&[]);
    let elsewhere = home.folder.path().join("elsewhere").display().to_string();
    home.environment.insert("XDG_STATE_HOME".into(), elsewhere);
    for command in [&["start"][..], &["restore", "no-such-file", "--passphrase-file", "none"]] {
        let output = home.run(command);
        assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("a provider runs"),
            "{}",
            Home::show(&output)
        );
    }
    assert_eq!(home.json(&["status", "--json"])["running"], true);
}

#[test]
fn a_node_starts_serves_and_stops() {
    let home = Home::new();
    let mut node = home.start(&["--network", "testnet"]);
    let order: Vec<_> = ["VM backend is usable", "SSH ports", "listening on"]
        .iter()
        .map(|text| node.seen.iter().position(|line| line.contains(text)).unwrap_or(usize::MAX))
        .collect();
    assert!(order.is_sorted() && !order.contains(&usize::MAX), "{:#?}", node.seen);

    let (status, info) = home.http("GET", "/api/v1/provider/info", "");
    // S-212
    assert_eq!(status, 200);
    let key: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(home.data().join("keys/provider_key.json")).unwrap())
            .unwrap();
    assert_eq!(info["provider_id"], key["address"]);

    let state = home.json(&["status", "--json"]);
    assert_eq!(state["overall"]["status"], "healthy", "{state}");
    // S-009
    assert_eq!(state["pid"], node.child.id());
    // S-011
    assert_eq!(state["ports"]["provider"]["local_detail"], "service is listening");
    // S-195
    assert_eq!(state["environment"]["network"], "testnet");
    // S-184
    assert_eq!(state["environment"]["environment"], "production");

    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0), "{:#?}", node.seen);
    assert!(!home.pid_file().exists());
    assert!(!home.reaches(home.api));
}

#[test]
fn s_187_a_second_start_is_refused_and_names_the_first() {
    let home = Home::new();
    let node = home.start(&[]);
    for arguments in [&["start"][..], &["start", "--daemon"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("a provider runs already (pid {})", node.child.id())), "{said}");
    }
}

/// S-189: a node that does not react is not waited for without an end, and the operator reads what to do.
#[test]
fn s_189_a_frozen_node_is_told_of_with_what_ends_it() {
    let home = Home::new();
    let mut node = home.start(&[]);
    node.signal(Signal::STOP);
    let output = home.run(&["stop", "--timeout", "1"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(&format!("fix: kill -9 {}", node.child.id())), "{words}");
    // It was asked, and does it when it can.
    node.signal(Signal::CONT);
    assert_eq!(node.end(), Some(0), "{:#?}", node.seen);
}

#[test]
fn i4_a_node_in_the_background_comes_and_goes_and_its_vms_stay() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    // A file that a killed node left behind is no obstacle.
    std::fs::create_dir_all(home.pid_file().parent().unwrap()).unwrap();
    std::fs::write(home.pid_file(), "1").unwrap();

    let started = home.json(&["start", "--daemon", "--json"]);
    let pid = started["pid"].as_u64().unwrap();
    assert!(alive(pid));
    // S-187
    assert_eq!(std::fs::read_to_string(home.pid_file()).unwrap(), pid.to_string());
    let session =
        rustix::process::getsid(rustix::process::Pid::from_raw(i32::try_from(pid).unwrap())).unwrap();
    assert_eq!(u64::try_from(session.as_raw_nonzero().get()).unwrap(), pid, "a session of its own");
    let log = std::fs::read_to_string(started["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("listening on"), "{log}");

    let id = home.rent("web-server");
    let state = home.json(&["status", "--json"]);
    // S-190
    assert_eq!((&state["overall"]["status"], &state["vms"]), (&"healthy".into(), &1.into()), "{state}");
    assert_eq!(state["ports"]["ssh"]["in_use"], 1);
    let ports = state["ports"]["ssh"]["ports"].as_array().unwrap();
    assert_eq!(ports.iter().filter(|port| port["listening"] == true).count(), 1);
    let vm = home.json(&["vms", "show", &id, "--json"]);
    let port = u16::try_from(vm["ssh_port"].as_u64().unwrap()).unwrap();
    assert!(home.reaches(port));

    assert_eq!(home.json(&["stop", "--json"])["stopped"], true);
    // S-189
    wait_until("the process is gone", || !alive(pid));
    assert!(!home.pid_file().exists());
    assert!(!home.reaches(port));

    home.json(&["start", "--daemon", "--json"]);
    let vms = home.json(&["vms", "list", "--json"]);
    // S-189: it was untouched.
    assert_eq!((&vms[0]["id"], &vms[0]["status"]), (&id.as_str().into(), &"running".into()), "{vms}");
    assert!(home.reaches(port));
}

#[test]
fn the_background_process_says_why_it_could_not_start() {
    let home = Home::new();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", home.api)).unwrap();
    let output = home.run(&["start", "--daemon", "--network", "testnet"]);
    assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{}", home.api)), "{said}");
    assert!(said.contains("set GOLEM_PROVIDER_PORT to another"), "{said}");
    assert!(!home.pid_file().exists());
    let log = std::fs::read_to_string(home.data().join("logs/provider.log")).unwrap();
    assert!(log.contains("cannot listen on"), "{log}");
}

#[test]
fn the_operator_manages_vms() {
    let home = Home::new();
    let _node = home.start(&[]);
    assert_eq!(home.json(&["vms", "list", "--json"]), serde_json::json!([]));
    let id = home.rent("web-server");
    home.rent("database");

    let list = String::from_utf8(home.run(&["vms", "list"]).stdout).unwrap();
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["NAME", "STATE", "SSH"]);
    assert_eq!((rows[1][0], rows[2][0], rows.len()), ("web-server", "database", 3), "{list}");
    assert!(rows[1].contains(&id.as_str()) && rows[1].contains(&"running"), "{list}");

    let status = |arguments: &[&str]| home.json(arguments)["status"].as_str().unwrap().to_owned();
    assert_eq!(status(&["vms", "stop", "web-server", "--json"]), "stopped");
    assert_eq!(status(&["vms", "start", &id, "--json"]), "running");
    assert_eq!(status(&["vms", "restart", &id, "--json"]), "running");
    let console = home.json(&["vms", "logs", "web-server", "--json"]);
    assert_eq!(console["id"], id.as_str());
    assert!(console["console"].is_string());

    // Nobody is there to be asked.
    let unasked = home.run(&["vms", "delete", "web-server"]);
    assert_eq!(unasked.status.code(), Some(1));
    assert!(String::from_utf8(unasked.stderr).unwrap().contains("fix: add --yes"));
    assert_eq!(home.json(&["vms", "delete", "web-server", "--yes", "--json"])["deleted"], true);
    assert_eq!(home.json(&["vms", "list", "--json"]).as_array().unwrap().len(), 1);
    let unknown = home.run(&["vms", "show", "web-server"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("not found"));
}

#[test]
fn draining_refuses_new_rentals_and_is_seen() {
    let home = Home::new();
    let _node = home.start(&[]);
    assert_eq!(home.json(&["drain", "on", "--json"])["draining"], true);
    let state = home.json(&["status", "--json"]);
    assert_eq!(
        (&state["draining"], &state["overall"]["status"]),
        (&true.into(), &"issues".into()),
        "{state}"
    );
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    let body = serde_json::json!({ "name": "late", "ssh_key": key });
    let (status, answer) = home.http("POST", "/api/v1/vms", &body.to_string());
    assert!(status >= 400 && answer["detail"].as_str().unwrap().contains("draining"), "{status} {answer}");
    assert_eq!(home.json(&["drain", "off", "--json"])["draining"], false);
    home.rent("late");
}

#[test]
fn vms_ssh_becomes_ssh_at_the_nodes_port() {
    let home = Home::new();
    let bin = home.folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // Stands in for ssh and says how it was called.
    std::fs::write(bin.join("ssh"), "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 42\n").unwrap();
    std::fs::set_permissions(bin.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let _node = home.start(&[]);
    let id = home.rent("web-server");
    let port = home.json(&["vms", "show", &id, "--json"])["ssh_port"].to_string();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output =
        home.command(&["vms", "ssh", "web-server", "--", "uname", "-a"]).env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(42), "the exit code of ssh: {}", Home::show(&output));
    let arguments = String::from_utf8(output.stdout).unwrap();
    let arguments: Vec<_> = arguments.lines().collect();
    assert_eq!(arguments[..2], ["-p", &port]);
    assert_eq!(arguments[arguments.len() - 6..], ["-l", "ubuntu", "--", "127.0.0.1", "uname", "-a"]);
    assert!(!arguments.concat().contains(&id), "the id is the right to use the VM");
}

#[test]
fn a_second_signal_ends_the_node_at_once() {
    let home = Home::new();
    let mut node = home.start(&[]);
    let id = home.rent("web-server");
    let port = home.json(&["vms", "show", &id, "--json"])["ssh_port"].as_u64().unwrap();
    // An open session keeps the proxy draining.
    let _session = std::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    node.signal(Signal::TERM);
    node.wait_for("stopping");
    node.signal(Signal::INT);
    node.wait_for("asked for twice");
    assert_eq!(node.end(), Some(0));
}

#[test]
fn logs_are_json_where_asked_for_and_hold_no_secret() {
    let home = Home::new().set("GOLEM_PROVIDER_LOG_FORMAT", "json");
    let mut node = home.start(&[]);
    let id = home.rent("web-server");
    for words in [&["vms", "stop", &id, "--json"], &["vms", "start", &id, "--json"]] {
        home.json(words);
    }
    home.json(&["vms", "delete", &id, "--yes", "--json"]);
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
    for line in &node.seen {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
    }
    let events: Vec<serde_json::Value> =
        node.seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |message: &str| -> Vec<&serde_json::Value> {
        events.iter().filter(|event| event["message"] == message).collect()
    };
    for told in ["VM reserved, resources allocated", "VM deleted, resources freed"] {
        let sizes: Vec<_> = of(told).iter().map(|event| (&event["cpu"], &event["storage_gb"])).collect();
        // S-241
        assert_eq!(sizes, [(&1.into(), &10.into())], "{told}: {events:#?}");
    }
    let states: Vec<_> = of("VM state changed").iter().map(|event| event["to"].as_str().unwrap()).collect();
    // S-242
    assert_eq!(states, ["running", "stopped", "running"], "{events:#?}");
    let all = node.seen.concat();
    assert!(!all.contains(&id), "ids are rights: {all}");
    let key = std::fs::read_to_string(home.data().join("keys/provider_key.json")).unwrap();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    assert!(!all.contains(key["private_key"].as_str().unwrap()));
    let token = std::fs::read_to_string(home.data().join("operator.token")).unwrap();
    assert!(!all.contains(token.trim()));
}

#[test]
fn s_102_another_id_is_a_warning_and_the_key_wins() {
    let other = "0x00000000000000000000000000000000000000Aa";
    let home = Home::new().set("GOLEM_PROVIDER_ID", other);
    let node = home.start(&[]);
    assert!(node.seen.iter().any(|line| line.contains("the key wins")), "{:#?}", node.seen);
    let (_, info) = home.http("GET", "/api/v1/provider/info", "");
    assert_ne!(info["provider_id"], other);
}

#[test]
fn s_058_ports_that_other_programs_hold_are_told_at_the_start() {
    let home = Home::new();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", home.ssh + 1)).unwrap();
    let node = home.start(&[]);
    let told = format!("held=[{}]", home.ssh + 1);
    assert!(node.seen.iter().any(|line| line.contains(&told)), "{:#?}", node.seen);
}

#[test]
fn the_service_manager_is_told_when_the_node_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let home = Home::new().set("NOTIFY_SOCKET", &path.display().to_string());
    let node = home.start(&[]);
    let mut heard = [0; 128];
    let size = socket.recv(&mut heard).unwrap();
    assert_eq!(&heard[..size], b"READY=1");
    node.signal(Signal::TERM);
    let size = socket.recv(&mut heard).unwrap();
    // Beside it stands how long the stop may take.
    assert!(heard[..size].starts_with(b"STOPPING=1\n"));
}

#[test]
fn development_opens_the_api_and_says_how_to_rent() {
    let home = Home::new().set("GOLEM_ENVIRONMENT", "development");
    let mut node = home.start(&[]);
    node.wait_for("rent a VM: curl");
    let address = format!("http://127.0.0.1:{}/api/v1/vms", home.api);
    assert!(node.seen.last().unwrap().contains(&address), "{:#?}", node.seen);
    let id = home.rent("web-server");
    // Everyone sees every VM, which the default of production hides.
    let (status, all) = home.http("GET", "/api/v1/vms", "");
    assert_eq!((status, &all[0]["id"]), (200, &id.as_str().into()), "{all}");
    // Another shell, in which the variable is not set, sees what the node runs with.
    let outside = home.command(&["status", "--json"]).env_remove("GOLEM_ENVIRONMENT").output().unwrap();
    let state: serde_json::Value = serde_json::from_slice(&outside.stdout).unwrap();
    assert_eq!(state["environment"]["dev_mode"], true);
    // S-205
    assert_eq!(state["environment"]["network"], "development");
}

#[test]
fn i4_vms_stop_with_the_node_only_when_asked_to_and_run_again_with_it() {
    let home = Home::new();
    let mut node = home.start(&["--stop-vms-on-exit"]);
    let id = home.rent("web-server");
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
    let record = std::fs::read_to_string(home.data().join("sim").join(format!("{id}.json"))).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["running"], false, "{record}");
    let _node = home.start(&[]);
    wait_until("the VM runs again", || home.json(&["vms", "show", &id, "--json"])["status"] == "running");
}
