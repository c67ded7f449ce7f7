//! What a renter wants of a VM's first boot and of its disk, from the command line and over HTTP, of a node without payments.

use std::path::Path;

use golem_test_support::{Home, wait_until};
use serde_json::json;

/// Runs `rent create web` with `more`: exit code and what it printed.
fn create(home: &Home, more: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}:{}", home.host, home.api);
    let output = home.run(&[&["rent", "create", "web", "--free", "--provider", &url], more].concat());
    (output.status.code(), Home::show(&output))
}

fn write(home: &Home, name: &str, bytes: &[u8]) -> String {
    let file = home.folder.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

fn key(folder: &Path, name: &str) -> String {
    let key = golem_test_support::guest::keypair(folder, name, &["-t", "ecdsa"]);
    key.with_extension("pub").to_str().unwrap().to_owned()
}

#[test]
fn user_data_that_no_guest_would_take_is_refused_before_anybody_is_asked() {
    let home = Home::new();
    // Nobody is there: what is wrong is seen before that.
    for (name, bytes, said) in [
        ("tab.yaml", &b"#cloud-config\na:\n\tb: 1\n"[..], "is no valid YAML"),
        ("users.yaml", b"#cloud-config\nusers: default\n", "has users that is no list"),
        ("text.txt", b"hello\n", "must begin with #cloud-config"),
        ("nul.sh", b"#!/bin/sh\n\0", "NUL"),
        ("long.sh", &[b"#!/bin/sh\n", &[b'a'; 65_536][..]].concat(), "is longer than 65536 bytes"),
        ("bytes.sh", b"#!/bin/sh\n\xff", "is no text"),
    ] {
        let (code, output) = create(&home, &["--user-data", &write(&home, name, bytes)]);
        assert!(code == Some(1) && output.contains(said), "{name}: {output}");
    }
    let (code, output) = create(&home, &["--user-data", "absent.yaml"]);
    assert!(code == Some(1) && output.contains("absent.yaml cannot be read"), "{output}");
    for (option, value) in [("--hostname", "a b"), ("--timezone", "Mars/Olympus")] {
        assert_eq!(create(&home, &[option, value]).0, Some(2), "{option}");
    }
}

#[test]
fn what_is_wanted_of_the_first_boot_reaches_the_node_and_outlives_it() {
    let home = Home::new();
    let node = home.start(&[]);
    let config = write(&home, "config.yaml", b"#cloud-config\r\npackages: [jq]\r\n");
    let (one, two) = (key(home.folder.path(), "one"), key(home.folder.path(), "two"));
    let more = ["--user-data", &config, "--hostname", "web.example.org", "--timezone", "Europe/Berlin"];
    let (code, output) = create(&home, &[&more[..], &["--ssh-key", &one, "--ssh-key", &two]].concat());
    assert_eq!(code, Some(0), "{output}");
    let (status, refused) =
        home.http("POST", "/api/v1/vms", &json!({ "name": "other", "userdata": "x" }).to_string());
    let problems = refused["detail"].as_array().unwrap();
    assert!(
        status == 422 && problems.iter().any(|problem| problem["type"] == "extra_forbidden"),
        "{refused}"
    );
    drop(node);
    let _again = home.start(&[]);
    let output = home.run(&["rent", "show", "web"]);
    assert!(output.status.success(), "{}", Home::show(&output));
    // It may hold secrets: nothing shows it.
    let shown = home.run(&["vms", "list", "--json"]);
    assert!(!Home::show(&shown).contains("packages"));
}

/// What `rent snapshot` prints, and how it ends.
fn snapshot(home: &Home, words: &[&str]) -> (Option<i32>, String) {
    let output = home.run(&[&["rent", "snapshot"], words].concat());
    (output.status.code(), Home::show(&output))
}

#[test]
fn a_disk_is_kept_and_given_back_from_the_command_line() {
    let home = Home::new();
    let _node = home.start(&[]);
    let (code, output) = create(&home, &[]);
    assert_eq!(code, Some(0), "{output}");
    let (code, made) = snapshot(&home, &["create", "web", "before"]);
    assert!(code == Some(0) && made.contains("Snapshot before of web: file systems held still."), "{made}");
    let list = home.json(&["rent", "snapshot", "list", "web", "--json"]);
    assert_eq!((&list[0]["name"], &list[0]["status"]), (&json!("before"), &json!("ready")), "{list}");
    let (_, table) = snapshot(&home, &["list", "web"]);
    assert!(table.contains("NAME") && table.contains("before"), "{table}");
    let (code, restored) = snapshot(&home, &["restore", "web", "before"]);
    assert!(code == Some(0) && restored.contains("The disk of web is as in before"), "{restored}");
    for words in [&["restore", "web", "never"][..], &["delete", "web", "never"], &["list", "other"]] {
        let (code, said) = snapshot(&home, words);
        assert_eq!(code, Some(1), "{said}");
    }
    assert_eq!(snapshot(&home, &["create", "web", "A b"]).0, Some(2));
    assert_eq!(snapshot(&home, &["delete", "web", "before"]).0, Some(0));
    assert_eq!(home.json(&["rent", "snapshot", "list", "web", "--json"]), json!([]));
}

#[test]
fn a_vm_is_suspended_and_goes_on_from_the_command_line() {
    let home = Home::new();
    let _node = home.start(&[]);
    let (code, output) = create(&home, &[]);
    assert_eq!(code, Some(0), "{output}");
    let said = home.run(&["rent", "suspend", "web"]);
    assert!(
        said.status.success() && Home::show(&said).contains("web is suspended."),
        "{}",
        Home::show(&said)
    );
    assert_eq!(home.json(&["rent", "show", "web", "--json"])["status"], "suspended");
    let vms = home.run(&["vms", "list"]);
    assert!(Home::show(&vms).contains("suspended"), "{}", Home::show(&vms));
    let refused = home.run(&["rent", "stop", "web"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(Home::show(&refused).contains("resume it first"), "{}", Home::show(&refused));
    assert!(home.run(&["rent", "resume", "web"]).status.success());
    wait_until("it goes on", || home.json(&["rent", "show", "web", "--json"])["status"] == "running");
    assert_eq!(home.run(&["rent", "suspend", "other"]).status.code(), Some(1));
}

#[test]
fn a_disk_is_made_anew_from_the_command_line() {
    let home = Home::new();
    let _node = home.start(&[]);
    let (code, output) = create(&home, &[]);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(snapshot(&home, &["create", "web", "one"]).0, Some(0));
    let refused = home.run(&["rent", "rebuild", "web"]);
    let said = Home::show(&refused);
    assert!(!refused.status.success() && said.contains("delete them first"), "{said}");
    assert_eq!(snapshot(&home, &["delete", "web", "one"]).0, Some(0));
    assert!(!home.run(&["rent", "rebuild", "web", "--image", "windows"]).status.success());
    let said = home.run(&["rent", "rebuild", "web", "--yes"]);
    assert!(said.status.success() && Home::show(&said).contains("made anew"), "{}", Home::show(&said));
    wait_until("it runs", || home.json(&["rent", "show", "web", "--json"])["status"] == "running");
    let events = home.json(&["rent", "events", "web", "--json"]);
    assert!(events.to_string().contains("vm.rebuilt"), "{events}");
}
