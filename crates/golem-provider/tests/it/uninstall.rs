//! `uninstall`, by a user's own node.

use std::os::unix::fs::PermissionsExt;

use golem_test_support::{Home, wait_until};

/// The one copy of a key in the home.
fn copies(home: &Home) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(home.folder.path()).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_str().unwrap().contains("golem-provider-key-")).collect()
}

/// Issue 17, part 7.
#[test]
fn a_node_goes_with_all_it_made_but_its_key() {
    let home = Home::new().set("GOLEM_PROVIDER_API_AUTH", "open");
    let mut node = home.start(&[]);
    home.rent("web");
    let key = std::fs::read(home.data().join("keys/provider_key.json")).unwrap();
    std::fs::write(home.data().join("diary.txt"), "the operator's").unwrap();

    // Told, and nothing done.
    let plan = home.json(&["uninstall", "--dry-run", "--json"]);
    assert_eq!((&plan["running"], &plan["removed"]), (&true.into(), &false.into()));
    let kinds: Vec<_> = plan["found"].as_array().unwrap().iter().map(|trace| trace["kind"].clone()).collect();
    assert!(kinds.contains(&"vm".into()) && kinds.contains(&"file".into()), "{plan:#}");
    // Nobody is there to say yes.
    let refused = home.run(&["uninstall"]);
    assert_eq!(refused.status.code(), Some(1), "{}", Home::show(&refused));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fix: look with --dry-run, then add --yes"));
    assert!(node.child.try_wait().unwrap().is_none() && copies(&home).is_empty());
    // A copy that would go, too, is none.
    let inside = home.data().join("key.json");
    let refused = home.run(&["uninstall", "--yes", "--key-file", inside.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(node.child.try_wait().unwrap().is_none());

    let done = home.json(&["uninstall", "--yes", "--json"]);
    assert_eq!(done["removed"], true, "{done:#}");
    // It waited for the node's end.
    assert!(node.child.try_wait().unwrap().is_some());
    let copy = copies(&home);
    assert_eq!(done["keys"], serde_json::json!(copy));
    assert_eq!(std::fs::read(&copy[0]).unwrap(), key);
    assert_eq!(copy[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What no node made is left, and named.
    assert_eq!(done["left"], serde_json::json!([home.data().join("diary.txt")]));
    let left: Vec<_> =
        std::fs::read_dir(home.data()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["diary.txt"]);

    let again = home.run(&["uninstall", "--yes"]);
    assert_eq!(again.status.code(), Some(0), "{}", Home::show(&again));
    assert!(String::from_utf8_lossy(&again.stdout).starts_with("Nothing of a provider in "));
    assert_eq!(copies(&home).len(), 1);
}

/// Only the VMs are shut down, as before a program is removed that will be back: the next node goes on with them.
#[test]
fn data_that_is_kept_serves_the_next_node() {
    let home = Home::new().set("GOLEM_PROVIDER_API_AUTH", "open");
    let node = home.start(&[]);
    let vm = home.rent("web");
    let done = home.json(&["uninstall", "--keep-data", "--yes", "--json"]);
    assert_eq!((&done["removed"], &done["keys"]), (&true.into(), &serde_json::json!([])));
    drop(node);
    let _node = home.start(&[]);
    wait_until("the VM", || home.http("GET", &format!("/api/v1/vms/{vm}"), "").1["status"] == "running");
}

/// U-10.
#[test]
fn shells_complete_and_man_pages_are_written() {
    let home = Home::bare();
    for (shell, words) in
        [("bash", "complete -F"), ("zsh", "#compdef golem-provider"), ("fish", "complete -c")]
    {
        let said = home.run(&["completions", shell]);
        let said = String::from_utf8(said.stdout).unwrap();
        // U-10
        assert!(said.contains(words) && said.contains("uninstall"), "{shell}: {said}");
    }
    let folder = home.folder.path().to_str().unwrap();
    assert!(home.run(&["manual", folder]).status.success());
    // U-10
    let page = std::fs::read_to_string(home.folder.path().join("golem-provider-vms-list.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("List the VMs"), "{page}");
}
