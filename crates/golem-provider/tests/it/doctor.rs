//! `doctor` of the true binary: what it sees with the node running and without, what it repairs and puts back, and that the file
//! for a bug report has no secret.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::read::GzDecoder;
use golem_test_support::Home;
use rustix::process::Signal;
use serde_json::Value;

use crate::ports::{verified, wait_for_round};

/// What `doctor` says, as programs read it, and its exit code.
fn doctor(home: &Home, more: &[&str]) -> (Value, Option<i32>) {
    let arguments = [&["doctor", "--json"], more].concat();
    let output = home.run(&arguments);
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)));
    (said, output.status.code())
}

/// The states of the rows about `check`.
fn states(said: &Value, check: &str) -> Vec<String> {
    let rows = said["rows"].as_array().unwrap().iter().filter(|row| row["check"] == check);
    rows.map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// Without a node it tells what there is to see, makes nothing, and fails, because nobody can rent.
#[test]
fn without_a_node_it_tells_what_it_sees_and_makes_nothing() {
    let home = Home::new();
    let (said, code) = doctor(&home, &[]);
    assert_eq!((code, &said["state"]), (Some(1), &Value::from("broken")), "{said:#}");
    assert_eq!(states(&said, "process"), ["broken"]);
    assert_eq!(states(&said, "disk").len(), 1, "{said:#}");
    assert_eq!(states(&said, "chain"), ["unknown"]);
    assert!(!home.data().exists(), "looking makes nothing");
    let rows = said["rows"].as_array().unwrap();
    let lacks = |row: &&Value| row["state"] == "broken" && row["fixes"][0].as_str().is_none_or(str::is_empty);
    assert_eq!(rows.iter().find(lacks), None, "what is broken has a fix");
    let shown = Home::show(&home.run(&["doctor"]));
    assert!(
        shown.contains("Why am I not rented?") && shown.contains("fix:  `golem-provider start`"),
        "{shown}"
    );
    // A slip in the settings is a row, and nothing is kept from being told.
    let home = home.set("GOLEM_PROVIDER_MAX_VMS", "many");
    let (said, _) = doctor(&home, &[]);
    assert_eq!(states(&said, "settings"), ["broken"], "{said:#}");
}

/// With a node that is well nothing is broken, and the clock is that of the check server.
#[test]
fn a_node_that_is_well_has_nothing_broken() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&[&url]);
    let mut node = home.start(&[]);
    wait_for_round(&home, 1);
    let (said, code) = doctor(&home, &[]);
    assert_eq!(code, Some(0), "{said:#}");
    for (check, state) in
        [("process", "ok"), ("rented", "ok"), ("ports", "ok"), ("clock", "ok"), ("leftovers", "ok")]
    {
        assert_eq!(states(&said, check), [state], "{check}: {said:#}");
    }
    // What the node itself judged is in it.
    home.run(&["drain", "on"]);
    let (said, code) = doctor(&home, &[]);
    assert_eq!((code, states(&said, "rented")), (Some(1), vec!["broken".to_owned()]), "{said:#}");
    // A node that runs keeps its files.
    let (said, _) = doctor(&home, &["--fix"]);
    assert_eq!(said["repaired"], Value::Array(Vec::new()), "{said:#}");
    assert!(home.data().join("operator.sock").exists());
    node.signal(Signal::TERM);
    node.end();
}

/// What a node that was killed left, and a folder that others may enter, are repaired, written down, and put back.
#[test]
fn what_is_repaired_is_put_back() {
    let home = Home::new();
    let mut node = home.start(&[]);
    node.signal(Signal::KILL);
    node.end();
    let (data, socket) = (home.data(), home.data().join("operator.sock"));
    std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    let (said, _) = doctor(&home, &[]);
    assert_eq!(
        (states(&said, "data-directory"), states(&said, "leftovers")),
        (vec!["broken".into()], vec!["notice".into()])
    );
    assert_eq!(mode(&data), 0o755, "it only looks");
    let (said, _) = doctor(&home, &["--fix"]);
    assert_eq!(
        (states(&said, "data-directory"), states(&said, "leftovers")),
        (vec!["ok".into()], vec!["ok".into()])
    );
    assert!(mode(&data) == 0o700 && !socket.exists() && !home.pid_file().exists(), "{said:#}");
    assert_eq!(mode(&data.join("doctor/repairs.json")), 0o600);
    let undone = home.json(&["doctor", "--undo", "--json"]);
    assert_eq!(undone["put_back"].as_array().unwrap().len(), 3, "{undone:#}");
    assert!(mode(&data) == 0o755 && socket.symlink_metadata().is_ok() && home.pid_file().exists());
    // Nothing that was done keeps the node from its next start.
    doctor(&home, &["--fix"]);
    let mut node = home.start(&[]);
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
}

/// Everything in a bundle, by its name.
fn opened(path: &Path) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    entries.collect()
}

/// Secrets that a node has, and some that stand where none should, are in no file of a bundle, which nobody else may read.
#[test]
fn a_bundle_has_what_a_report_needs_and_no_secret() {
    let key = "4c0883a69102937d6231471b5dbb6204fe512961708279feb1be6ae5538da033";
    let home = Home::new()
        .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", key)
        .set("SOME_API_TOKEN", "planted-in-a-variable")
        .set("GOLEM_PROVIDER_L2_RPC_URL", "http://ada:planted-in-an-address@127.0.0.1:1/v3/planted-in-a-path")
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x00000000000000000000000000000000000000aa");
    let daemon = home.run(&["start", "--daemon"]);
    assert!(daemon.status.success(), "{}", Home::show(&daemon));
    let token = std::fs::read_to_string(home.data().join("operator.token")).unwrap();
    let log = home.data().join("logs/provider.log");
    let mut text = std::fs::read_to_string(&log).unwrap();
    text += &format!(
        "WARN by hand: {key} and {token} and password=planted-in-the-log and planted-in-a-variable\n"
    );
    std::fs::write(&log, text).unwrap();
    let path = home.data().with_file_name("node.tar.gz");
    let (said, _) = doctor(&home, &["--bundle", path.to_str().unwrap()]);
    home.run(&["stop"]);
    assert_eq!(said["bundle"], path.to_str().unwrap(), "{said:#}");
    assert_eq!(mode(&path), 0o600);
    let members = opened(&path);
    for name in ["README.txt", "doctor.json", "status.json", "versions.json", "settings.txt", "log.txt"] {
        assert!(!members[name].is_empty(), "{name}");
    }
    for (name, text) in &members {
        for secret in [key, token.trim(), "planted-in"] {
            assert!(!text.contains(secret), "{secret} is in {name}: {text}");
        }
    }
    assert!(members["log.txt"].contains("WARN by hand"), "{}", members["log.txt"]);
    assert!(members["settings.txt"].contains("GOLEM_PROVIDER_VM_BACKEND=sim"), "{}", members["settings.txt"]);
    assert!(members["status.json"].contains("\"running\": true"), "{}", members["status.json"]);
    let again = home.run(&["doctor", "--bundle", path.to_str().unwrap()]);
    assert!(
        Home::show(&again).contains("is there already; fix: name another file"),
        "{}",
        Home::show(&again)
    );
}
