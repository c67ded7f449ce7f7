//! A ledger that is copied, lost or damaged.

use std::path::{Path, PathBuf};

use golem_test_support::{Home, Running, wait_until};
use rustix::process::Signal;
use serde_json::Value;

fn ledger(home: &Home) -> PathBuf {
    home.data().join("provider.db")
}

/// Puts the database `file` alone, without what SQLite keeps beside it, in place of the home's.
fn restore(home: &Home, file: &Path) {
    lose(home);
    std::fs::copy(file, ledger(home)).unwrap();
}

fn lose(home: &Home) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(home.data().join(format!("provider.db{suffix}")));
    }
}

/// What the operator sees of each VM, by name.
fn vms(home: &Home) -> Vec<(String, String, u64, String)> {
    let vms = home.json(&["vms", "list", "--json"]);
    let text = |vm: &Value, key: &str| vm[key].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = vms
        .as_array()
        .unwrap()
        .iter()
        .map(|vm| (text(vm, "name"), text(vm, "status"), vm["ssh_port"].as_u64().unwrap(), text(vm, "id")))
        .collect();
    all.sort();
    all
}

#[test]
fn h_11_a_copy_is_whole_and_a_lost_or_damaged_ledger_is_rebuilt() {
    let home = Home::new();
    let mut node = home.start(&[]);
    home.rent("web-server");
    let second = home.rent("db-server");
    home.http("POST", &format!("/api/v1/vms/{second}/stop"), "");
    wait_until("stopped", || vms(&home).iter().any(|vm| vm.1 == "stopped"));
    let before = vms(&home);
    let start = |home: &Home| home.start(&[]);
    let stop = |node: &mut Running| {
        node.signal(Signal::TERM);
        assert_eq!(node.end(), Some(0), "{:#?}", node.seen);
    };
    let output = home.run(&["recover"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`golem-provider stop`, VMs run on"), "{said}");
    stop(&mut node);

    // A copy of the one file holds every row.
    let copy = home.folder.path().join("copy.db");
    std::fs::copy(ledger(&home), &copy).unwrap();
    restore(&home, &copy);
    let mut node = start(&home);
    assert_eq!(vms(&home), before);
    stop(&mut node);

    // Lost: the node says what to do, and touches nothing.
    lose(&home);
    let mut node = start(&home);
    assert_eq!(vms(&home), []);
    wait_until("told of", || {
        home.json(&["status", "--json"])["overall"]["issues"].to_string().contains("golem-provider recover")
    });
    stop(&mut node);
    let look = home.json(&["recover", "--dry-run", "--json"]);
    assert_eq!((look["done"].as_bool(), look["vms"].as_array().unwrap().len()), (Some(false), 2), "{look}");
    let output = home.run(&["recover"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("fix: look with --dry-run, then add --yes"), "{said}");
    let done = home.json(&["recover", "--yes", "--json"]);
    assert_eq!(done["done"], true, "{done}");
    assert_eq!(home.json(&["recover", "--yes", "--json"])["vms"], serde_json::json!([]), "once is enough");
    let mut node = start(&home);
    assert_eq!(vms(&home), before, "with their ids, ports and states");
    let log = node.seen.join("\n");
    assert!(log.contains("VM adopted"), "the running one runs on: {log}");
    stop(&mut node);

    // Damaged in the middle, cut off, and no database at all: refused, left as it is, rebuilt.
    let whole = std::fs::read(ledger(&home)).unwrap();
    let mut middle = whole.clone();
    let length = middle.len();
    middle[4096..length].fill(0x5a);
    for bytes in [middle, b"this was a ledger".to_vec(), whole[..length / 2].to_vec()] {
        lose(&home);
        std::fs::write(ledger(&home), &bytes).unwrap();
        let output = home.run(&["start"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the ledger is damaged") && said.contains("`golem-provider recover`"),
            "{said}"
        );
        assert_eq!(std::fs::read(ledger(&home)).unwrap(), bytes, "left as it is");
        let done = home.json(&["recover", "--yes", "--json"]);
        let aside = done["put_aside"].as_str().unwrap();
        assert_eq!(std::fs::read(aside).unwrap(), bytes);
        std::fs::remove_file(aside).unwrap();
        let mut node = start(&home);
        assert_eq!(vms(&home), before);
        stop(&mut node);
    }
}
