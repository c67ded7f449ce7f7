//! `uninstall`, by a user's own node.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

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

    // Neither by another name of that place, nor over a file, nor where no folder is: seen before the node is stopped.
    let (by_link, there) = (home.folder.path().join("link"), home.folder.path().join("there.json"));
    symlink(home.data().join("keys"), &by_link).unwrap();
    std::fs::write(&there, "x").unwrap();
    let by_dots = home.data().join("keys/../../").join(home.data().file_name().unwrap()).join("key.json");
    for (file, why) in [
        (by_link.join("key.json"), "is in the data directory"),
        (by_dots, "is in the data directory"),
        (there, "is there already"),
        (home.folder.path().join("missing/key.json"), "is in no folder that is there"),
    ] {
        let refused = home.run(&["uninstall", "--yes", "--key-file", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains(why), "{}", Home::show(&refused));
        assert!(node.child.try_wait().unwrap().is_none(), "{}", file.display());
    }

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

/// A folder that is nobody's node is left as it is, whatever the names in it.
#[test]
fn a_folder_that_is_no_nodes_is_left() {
    let home = Home::new();
    let picture = home.data().join("images/holiday.jpg");
    std::fs::create_dir_all(picture.parent().unwrap()).unwrap();
    std::fs::write(&picture, "x").unwrap();
    let done = home.run(&["uninstall", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", Home::show(&done));
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("Nothing of a provider in "));
    assert!(picture.exists());
}

/// Runs a script of the package with `root` in place of `/`, and without a program or a group; what it said.
fn script(name: &str, argument: &str, root: &Path) -> String {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/debian").join(name),
    );
    let at = |folder: &str| root.join(folder).to_str().unwrap().to_owned();
    let text = text
        .unwrap()
        .replace("/var/lib/golem-provider", &at("state"))
        .replace("/etc/", &at("etc/"))
        .replace("/run/", &at("run/"))
        .replace("/root/", &at("root/"))
        .replace("golem-provider uninstall", "true")
        .replace("getent group", "false")
        .replace("-user root", &format!("-user {}", root.metadata().unwrap().uid()));
    let output = std::process::Command::new("sh").args(["-c", &text, name, argument]).output().unwrap();
    assert!(output.status.success(), "{}", Home::show(&output));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn write(root: &Path, files: &[&str]) {
    for file in files {
        std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        std::fs::write(root.join(file), file).unwrap();
    }
}

/// Issue 17, part 7: purged, the package leaves the keys' copies and what no node makes.
#[test]
fn a_purge_loses_no_key_and_nothing_of_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let root = &folder.path().canonicalize().unwrap();
    let ours =
        ["state/provider.db-wal", "state/images/a", "state/keys/provider_key.json", "state/keys/former/0xab"];
    let strangers = ["state/node.age", "state/.word", "state/keys/id_ed25519", "etc/golem-provider/notes"];
    let behind = ["disks/holiday.jpg", "disks/my-vm/disk", "pictures/holiday.jpg"];
    write(root, &ours);
    write(root, &strangers);
    write(root, &behind);
    write(root, &["disks/golem-web-1/disk", "root/.profile"]);
    symlink("../disks", root.join("state/vms")).unwrap();
    symlink(root.join("pictures"), root.join("state/logs")).unwrap();
    for (file, line) in [
        ("state/.env", "\u{feff}GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY = ab"),
        ("etc/golem-provider/env", "# x\n export GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY=cd"),
    ] {
        std::fs::write(root.join(file), line).unwrap();
    }
    script("prerm", "remove", root);
    std::fs::remove_file(root.join("etc/golem-provider/env")).unwrap();
    let said = script("postrm", "purge", root);

    let entries = std::fs::read_dir(root.join("root")).unwrap().map(|entry| entry.unwrap().path());
    let mut kept: Vec<_> = entries.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    kept.sort();
    let keys = [
        "# x\n export GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY=cd",
        "root/.profile",
        "state/keys/former/0xab",
        "state/keys/provider_key.json",
        "\u{feff}GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY = ab",
    ];
    assert_eq!(kept, keys, "{said}");
    for file in strangers.iter().chain(&behind) {
        assert!(root.join(file).exists(), "{file}: {said}");
    }
    for gone in ours.iter().chain(&["state/vms", "state/logs", "state/.env", "disks/golem-web-1"]) {
        assert!(std::fs::symlink_metadata(root.join(gone)).is_err(), "{gone}: {said}");
    }
    for named in ["node.age", ".word", "keys", "/disks;", "etc/golem-provider is not empty"] {
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// Disks behind a link are removed only where root alone can have put them, and behind no second link; a state folder that
/// is a link goes, too.
#[test]
fn a_purge_follows_no_link_into_somebody_elses_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = &folder.path().canonicalize().unwrap();
    write(
        root,
        &[
            "open/golem-web-1/disk",
            "far/golem-web-1/disk",
            "real/provider.db",
            "etc/golem-provider/env",
            "root/.profile",
        ],
    );
    std::fs::set_permissions(root.join("open"), PermissionsExt::from_mode(0o777)).unwrap();
    symlink("far", root.join("near")).unwrap();
    symlink("real", root.join("state")).unwrap();
    for (volume, disks) in [("open", "open"), ("near", "far")] {
        std::fs::create_dir_all(root.join("real")).unwrap();
        if !root.join("state").is_symlink() {
            symlink("real", root.join("state")).unwrap();
        }
        symlink(root.join(volume), root.join("real/vms")).unwrap();
        let said = script("postrm", "purge", root);
        assert!(root.join(disks).join("golem-web-1/disk").exists(), "{said}");
        assert!(said.contains(&format!("may be left in {}", root.join(volume).display())), "{said}");
        assert!(!root.join("state").is_symlink() && !root.join("real/vms").is_symlink(), "{said}");
    }
    assert!(!root.join("etc/golem-provider").exists() && !root.join("real/provider.db").exists());
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
