//! The command line without a node: what it prints and how it exits.
//!
//! Snapshots hold exit code, standard output and standard error together.

use golem_test_support::Home;
use insta::assert_snapshot;

fn snapshot(home: &Home, arguments: &[&str]) -> String {
    home.snapshot(&home.run(arguments))
}

#[test]
fn s_001_help_names_every_command() {
    assert_snapshot!(snapshot(&Home::bare(), &["--help"]));
}

#[test]
fn s_184_start_help_names_the_documented_flags() {
    assert_snapshot!(snapshot(&Home::bare(), &["start", "--help"]));
}

#[test]
fn s_002_u_09_the_version_is_the_built_one_in_one_line() {
    let line = format!("golem-provider {}\n", env!("CARGO_PKG_VERSION"));
    for typed in ["-V", "--version", "version"] {
        let output = Home::bare().run(&[typed]);
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stdout).unwrap()),
            (Some(0), line.clone())
        );
    }
    assert_snapshot!(snapshot(&Home::bare(), &["--version", "--verbose"]));
    assert_eq!(Home::bare().json(&["version", "--json"])["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_arguments_exit_with_2() {
    assert_snapshot!(snapshot(&Home::bare(), &["vms", "lsit"]));
    // U-09
    assert_snapshot!(snapshot(&Home::bare(), &["vms", "lsit", "--json"]));
    assert_snapshot!(snapshot(&Home::bare(), &["vms", "show", "--json"]));
    assert_snapshot!(snapshot(&Home::bare(), &["start", "--network", "--json"]));
    // What is meant for a command in a VM is no word of ours.
    let output = Home::bare().run(&["vms", "shw", "--", "--json"]);
    assert!(output.stdout.is_empty() && output.status.code() == Some(2), "{output:?}");
}

#[test]
fn u_10_help_tells_of_a_command_and_of_settings() {
    let home = Home::bare();
    let help = |typed: &[&str]| {
        let output = home.run(typed);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(help(&["help", "start"]), help(&["start", "--help"]));
    assert_eq!(help(&["help", "vms", "show"]), help(&["vms", "show", "--help"]));
    assert_eq!(help(&["help"]), help(&["--help"]));
    let all = help(&["help", "settings"]);
    let some = help(&["help", "settings", "tls", "key"]);
    for setting in ["GOLEM_PROVIDER_TLS_KEY", "GOLEM_PROVIDER_PORT "] {
        assert!(all.contains(setting), "{setting}: {all}");
    }
    assert!(some.contains("GOLEM_PROVIDER_TLS_KEY") && !some.contains("GOLEM_PROVIDER_PORT "), "{some}");
    let shown = home.json(&["config", "list", "tls", "--json"]);
    let names: Vec<_> = shown["settings"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert!(names.iter().any(|name| **name == "GOLEM_PROVIDER_TLS_PORT"), "{names:?}");
    assert!(names.iter().all(|name| **name != "GOLEM_PROVIDER_LOG_LEVEL"), "{names:?}");
    assert_snapshot!(snapshot(&home, &["help", "strat"]));
    assert_snapshot!(snapshot(&home, &["help", "settings", "nonsense"]));
    assert_snapshot!(snapshot(&home, &["images", "ls"]));
}

#[test]
fn config_show_tells_values_and_where_they_come_from() {
    let home = Home::bare()
        .set("GOLEM_PROVIDER_MAX_VMS", "3")
        .set("GOLEM_PROVIDER_LAUNCH_TIMEOUT_SECONDS", "30")
        .set("GOLEM_PROVIDER_MAX_VM", "4")
        .set("GOLEM_PROVIDER_DATA_DIR", "/srv/golem")
        .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", &"7".repeat(64));
    std::fs::write(home.folder.path().join(".env"), "# mine\nGOLEM_PROVIDER_NAME='my node'\n").unwrap();
    assert_snapshot!(snapshot(&home, &["config", "show"]));
}

#[test]
fn config_show_json_is_json_and_masks_secrets() {
    let home = Home::bare().set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", &"7".repeat(64));
    let document = home.json(&["config", "show", "--json"]);
    let rows = document["settings"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY")["value"], "(secret)");
    assert_eq!(row("GOLEM_PROVIDER_PORT")["value"], "7466");
    assert_eq!(row("GOLEM_PROVIDER_ID")["value"], serde_json::Value::Null);
    assert!(!document.to_string().contains("7777"));
}

#[test]
fn every_wrong_setting_is_reported_in_one_run() {
    let home = Home::bare()
        .set("GOLEM_PROVIDER_PORT", "0")
        .set("GOLEM_PROVIDER_NETWORK", "goerli")
        .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", "not-to-be-shown");
    assert_snapshot!(snapshot(&home, &["start"]));
    assert_snapshot!(snapshot(&home, &["config", "show", "--json"]));
}

/// H-01: who wants KVM and cannot have it is told so at the start, before anything is downloaded.
#[test]
fn h_01_forced_kvm_refuses_to_start_where_guests_cannot_use_it() {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    if ["vmx", "svm"].iter().any(|flag| cpus.split_whitespace().any(|word| word == *flag)) {
        return; // Here it may start.
    }
    let home = Home::new().set("GOLEM_PROVIDER_VM_BACKEND", "qemu").set("GOLEM_PROVIDER_VM_ACCEL", "kvm");
    let output = home.run(&["start"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("KVM is wanted and guests cannot use it: ") && said.contains("; fix: "), "{said}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let home =
        Home::bare().set("GOLEM_PROVIDER_PORT_RANGE_START", "7000").set("GOLEM_PROVIDER_API_AUTH", "open");
    assert_snapshot!(snapshot(&home, &["start", "--network", "mainnet"]));
}

/// S-112: a range that is reversed or empty, one that is too wide, and the widest.
#[test]
fn s_112_ranges_of_ports_that_cannot_be_are_refused() {
    let range = |start: &str, end: &str| {
        Home::bare().set("GOLEM_PROVIDER_PORT_RANGE_START", start).set("GOLEM_PROVIDER_PORT_RANGE_END", end)
    };
    assert_snapshot!(snapshot(&range("50900", "50800"), &["ports", "check"]));
    assert_snapshot!(snapshot(&range("50800", "50800"), &["ports", "check"]));
    assert_snapshot!(snapshot(&range("20000", "30001"), &["start"]));
    range("20000", "30000").json(&["config", "show", "--json"]);
}

#[test]
fn status_of_a_provider_that_is_not_running() {
    let home = Home::new();
    // S-009, S-011
    assert_snapshot!(snapshot(&home, &["status"]));
    assert!(!home.data().exists(), "looking makes nothing");
}

#[test]
fn status_json_of_a_provider_that_is_not_running() {
    let home = Home::new();
    let output = home.run(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let status = serde_json::from_slice::<serde_json::Value>(&output.stdout);
    // S-038
    assert!(status.is_ok(), "{}", Home::show(&output));
    let status = status.unwrap();
    assert_eq!(status["overall"]["status"], "error");
    assert_eq!(
        status["overall"]["issues"],
        serde_json::json!(["The provider is not running: `golem-provider start`"])
    );
    // S-002
    assert_eq!(status["version"]["installed"], env!("CARGO_PKG_VERSION"));
    // S-041
    assert_eq!(status["ports"]["provider"]["port"], home.api);
    // S-042
    assert_eq!(status["ports"]["provider"]["host"], "127.0.0.1");
    assert_eq!(status["ports"]["provider"]["local_detail"], "port is free");
    // S-044
    assert_eq!(status["ports"]["ssh"]["range"], serde_json::json!([home.ssh, home.ssh + 8]));
}

#[test]
fn s_011_a_port_that_another_program_holds_is_told() {
    let home = Home::new();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", home.api)).unwrap();
    let output = home.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["ports"]["provider"]["local_ok"], false);
    assert_eq!(status["ports"]["provider"]["local_detail"], "port is held by another program");
}

#[test]
fn status_names_a_backend_that_is_missing_and_its_fix() {
    let home = Home::new().set("GOLEM_PROVIDER_VM_BACKEND", "qemu").set("PATH", "/nowhere");
    let output = home.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // S-010
    assert_eq!(status["vm_backend"]["ok"], false, "{status}");
    let error = status["vm_backend"]["error"].as_str().unwrap();
    // S-005
    assert!(error.contains("install"), "{error}");
}

#[test]
fn commands_that_need_a_node_say_that_none_runs() {
    let home = Home::new();
    for arguments in [&["vms", "list"][..], &["drain", "on"], &["vms", "delete", "x", "--yes"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(3), "{}", Home::show(&output));
    }
    assert_snapshot!(snapshot(&home, &["vms", "list"]));
    assert_snapshot!(snapshot(&home, &["vms", "list", "--json"]));
}

#[test]
fn s_189_stopping_what_does_not_run_is_no_failure() {
    assert_snapshot!(snapshot(&Home::new(), &["stop"]));
}

#[test]
fn an_image_is_added_listed_and_removed() {
    let home = Home::new();
    let file = home.folder.path().join("disk.qcow2");
    // The header of an empty qcow2 (version 3) of 2 GiB.
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(2u64 << 30).to_be_bytes());
    std::fs::write(&file, bytes).unwrap();
    let path = file.display().to_string();
    assert_eq!(home.json(&["images", "add", "mine", &path, "--json"])["here"], true);
    assert_snapshot!(snapshot(&home, &["images", "list"]));
    // Again: in place of it.
    assert_eq!(home.json(&["images", "add", "mine", &path, "--json"])["here"], true);
    assert_eq!(
        home.json(&["images", "pull", "--all", "--json"]),
        serde_json::json!([]),
        "none is a publisher's"
    );
    assert_eq!(home.json(&["images", "remove", "mine", "--json"])["removed"], true);
    assert_snapshot!(snapshot(&home, &["images", "remove", "mine"]));
    assert_snapshot!(snapshot(&home, &["images", "add", "../mine", &path]));
}

#[test]
fn an_image_outside_the_catalogue_cannot_be_pulled() {
    assert_snapshot!(snapshot(&Home::new(), &["images", "pull", "my-own"]));
}

/// H-15: what is missing is told before anything is downloaded, and all at once.
#[test]
fn h_15_a_first_start_names_everything_missing_and_where_an_image_is() {
    let home = Home::new().set("GOLEM_PROVIDER_VM_BACKEND", "qemu");
    let here = home.folder.path().join("bin");
    std::fs::create_dir(&here).unwrap();
    for program in ["sh", "prlimit"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), here.join(program)).unwrap();
    }
    // In the lists of the system's own folders too, which cannot be taken away from here.
    let in_sbin = |name: &str| {
        ["/usr/sbin", "/sbin"].iter().any(|folder| std::path::Path::new(folder).join(name).exists())
    };
    for words in [&["start"][..], &["start", "--daemon"]] {
        let output = home.command(words).env("PATH", &here).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for name in ["qemu-system-", "qemu-img", "setsid", "slirp4netns"] {
            assert!(said.contains(name) || in_sbin(name), "{name}: {said}");
        }
        assert!(said.contains("install with: apt-get install qemu-system-"), "{said}");
        assert!(!said.contains("downloading"), "{said}");
    }
    // Offline: a network without a way out.
    if golem_test_support::as_root() {
        let start = home.command(&["start"]);
        let mut offline = std::process::Command::new("unshare");
        offline.args(["--net", "sh", "-c", "ip link set lo up; exec \"$0\" \"$@\""]);
        offline.arg(start.get_program()).args(start.get_args()).env_clear();
        offline.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = offline.current_dir(home.folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let url = "https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-";
        assert!(said.contains(&format!("fix: download {url}")), "{said}");
        assert!(said.contains("`golem-provider images add 24.04 FILE`"), "{said}");
    }
}

#[test]
fn s_007_a_first_start_without_its_image_says_what_to_do_and_leaves_nothing_running() {
    let home =
        Home::new().set("GOLEM_PROVIDER_VM_BACKEND", "qemu").set("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "my-own");
    for arguments in [&["start"][..], &["start", "--daemon"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(
                "the default image my-own cannot be had; fix: `golem-provider images add my-own FILE`"
            ),
            "{said}"
        );
        assert!(!home.pid_file().exists());
    }
}
