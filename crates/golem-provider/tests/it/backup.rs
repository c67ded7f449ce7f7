//! A node that is backed up while it works, and comes back elsewhere.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use golem_test_support::{Home, Running, wait_until, wanted};
use rustix::process::Signal;
use serde_json::Value;

/// A private file with `passphrase` in it.
pub(crate) fn passphrase(home: &Home, passphrase: &str) -> String {
    let path = home.folder.path().join(format!("passphrase-{passphrase}"));
    std::fs::write(&path, format!("{passphrase}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// Another home, with the same ports and settings.
pub(crate) fn another(home: &Home) -> Home {
    let mut another = Home::new();
    another.environment.clone_from(&home.environment);
    (another.api, another.operator, another.ssh) = (home.api, home.operator, home.ssh);
    another
}

pub(crate) fn stop(node: &mut Running) {
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0), "{:#?}", node.seen);
}

fn ids(home: &Home) -> BTreeSet<String> {
    let vms = home.json(&["vms", "list", "--json"]);
    vms.as_array().unwrap().iter().map(|vm| vm["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn address(home: &Home) -> Value {
    home.json(&["wallet", "show", "--json"])["address"].clone()
}

/// Every file in `folder`, by the way to it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone())
            }
            all.insert(path);
        }
    }
    all
}

fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{why}: {said}");
}

#[test]
fn h_11_a_node_that_is_backed_up_while_it_works_is_the_same_elsewhere() {
    let home = Home::new().set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    golem_files::private_subfolder(&home.data()).unwrap();
    golem_files::replace(&home.data().join(".env"), b"GOLEM_PROVIDER_NAME=backed-up\n").unwrap();
    let mut node = home.start(&[]);
    let before = BTreeSet::from([home.rent("one")]);
    let (file, secret) = (home.folder.path().join("backup"), passphrase(&home, "secret"));
    let file = file.to_str().unwrap();
    let (done, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Creates and deletes, one after the other, as long as backups are made.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let vm = home.http("POST", "/api/v1/vms", &wanted("more", None).to_string()).1;
                // Refused until the last one is gone.
                if let Some(id) = vm["id"].as_str() {
                    home.http("DELETE", &format!("/api/v1/vms/{id}"), "");
                    made.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let arguments = ["backup", file, "--force", "--passphrase-file", &secret, "--json"];
        let outputs = [home.run(&arguments), home.run(&arguments)];
        // Before anything is asserted: the other thread waits for it.
        done.store(true, Ordering::Relaxed);
        for output in outputs {
            let said: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)));
            assert_eq!((&said["provider_id"], &said["notes"]), (&address(&home), &serde_json::json!([])));
        }
    });
    assert!(made.into_inner() > 0, "it worked meanwhile");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left = files(&home.data()).into_iter().any(|path| path.display().to_string().contains("copy"));
    assert!(!left, "no copy of the ledger is left");
    refused(
        &home.run(&["restore", file, "--yes", "--passphrase-file", &secret]),
        "`golem-provider stop`, VMs run on",
    );
    stop(&mut node);

    let fresh = another(&home);
    let said = fresh.json(&["restore", file, "--passphrase-file", &secret, "--json"]);
    assert_eq!((said["done"].as_bool(), said["kept"].clone()), (Some(true), Value::Null), "{said}");
    assert_eq!(address(&fresh), address(&home));
    assert_eq!(std::fs::read(fresh.data().join(".env")).unwrap(), b"GOLEM_PROVIDER_NAME=backed-up\n");
    let mut node = fresh.start(&[]);
    let info = fresh.http("GET", "/api/v1/provider/info", "").1;
    assert_eq!(
        info["provider_id"].as_str().map(str::to_lowercase),
        address(&home).as_str().map(str::to_lowercase)
    );
    let found = ids(&fresh);
    assert!(found.is_superset(&before), "{found:?}");
    // What is not there is never taken for gone (I3): the renter is told, and the row stays.
    wait_until("told of", || {
        let vms = fresh.json(&["vms", "list", "--json"]);
        let mut lost =
            vms.as_array().unwrap().iter().filter(|vm| before.contains(vm["id"].as_str().unwrap()));
        lost.all(|vm| {
            vm["status"] == "error"
                && vm["error"].as_str().is_some_and(|error| error.contains("disk is missing"))
        })
    });
    stop(&mut node);

    // Over what is there: asked for, and the VMs that are there run on.
    refused(&home.run(&["restore", file, "--passphrase-file", &secret]), "then add --yes");
    let machines = files(&home.data().join("sim"));
    let said = home.json(&["restore", file, "--yes", "--passphrase-file", &secret, "--json"]);
    assert!(Path::new(said["kept"].as_str().unwrap()).join("provider.db").exists(), "{said}");
    assert_eq!(files(&home.data().join("sim")), machines);
    let mut node = home.start(&[]);
    let vms = home.json(&["vms", "list", "--json"]);
    let runs = vms.as_array().unwrap().iter().filter(|vm| vm["status"] == "running");
    let running: BTreeSet<_> = runs.map(|vm| vm["id"].as_str().unwrap().to_owned()).collect();
    assert!(running.is_superset(&before), "{vms}");
    stop(&mut node);
}

#[test]
fn h_11_what_cannot_be_restored_changes_nothing_on_a_fresh_machine() {
    let home = Home::new();
    let address = Value::from(home.make_key());
    let (file, secret, wrong) =
        (home.folder.path().join("b"), passphrase(&home, "secret"), passphrase(&home, "wrong"));
    let name = file.to_str().unwrap();
    refused(&home.run(&["backup", name]), "fix: --passphrase-file FILE");
    home.json(&["backup", name, "--passphrase-file", &secret, "--json"]);
    refused(
        &home.run(&["backup", name, "--passphrase-file", &secret]),
        "is there already; fix: name another file, or add --force",
    );
    refused(&home.run(&["backup", "/dev/null", "--force", "--passphrase-file", &secret]), "is no file");
    let output = home.run(&["backup", "-", "--passphrase-file", &secret]);
    assert!(
        output.status.success() && output.stdout.starts_with(b"age-encryption.org/v1\n"),
        "{}",
        Home::show(&output)
    );

    let fresh = another(&home);
    let nothing = files(fresh.folder.path());
    let mut cut = std::fs::read(&file).unwrap();
    let middle = cut.len() / 2;
    cut[middle] ^= 1;
    let spoilt = home.folder.path().join("spoilt");
    std::fs::write(&spoilt, &cut).unwrap();
    let short = home.folder.path().join("short");
    std::fs::write(&short, &cut[..middle]).unwrap();
    for (file, passphrase, why) in [
        (&file, &wrong, "the passphrase is wrong"),
        (&spoilt, &secret, "the backup is damaged: it is not what was written"),
        (&short, &secret, "the backup is damaged"),
        (&PathBuf::from(&secret), &secret, "this is no backup of a provider"),
        (&home.folder.path().join("absent"), &secret, "cannot be read"),
    ] {
        refused(&fresh.run(&["restore", file.to_str().unwrap(), "--passphrase-file", passphrase]), why);
    }
    let look = fresh.json(&["restore", name, "--dry-run", "--passphrase-file", &secret, "--json"]);
    assert_eq!((&look["done"], &look["provider_id"]), (&Value::Bool(false), &address));
    assert_eq!(files(fresh.folder.path()), nothing);
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&fresh.run(&["restore", name, "--passphrase-file", &secret]), "chmod 600");

    // Settings that would have the node look elsewhere for its data.
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    golem_files::replace(&home.data().join(".env"), b"GOLEM_PROVIDER_DATA_DIR=~/.golem/../.golem/provider\n")
        .unwrap();
    home.json(&["backup", name, "--force", "--passphrase-file", &secret, "--json"]);
    refused(&fresh.run(&["restore", name, "--passphrase-file", &secret]), "fix: `GOLEM_PROVIDER_DATA_DIR=");
    assert_eq!(files(fresh.folder.path()), nothing);
}

#[test]
fn h_11_a_ledger_of_a_newer_version_is_refused_at_start_and_no_byte_changes() {
    let home = Home::new();
    let mut node = home.start(&[]);
    home.rent("one");
    stop(&mut node);
    let ledger = home.data().join("provider.db");
    let mut bytes = std::fs::read(&ledger).unwrap();
    // Where SQLite has `user_version`.
    bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
    std::fs::write(&ledger, &bytes).unwrap();
    refused(&home.run(&["start"]), "the ledger has version 999");
    assert_eq!(std::fs::read(&ledger).unwrap(), bytes);
    // It is backed up all the same, and not put where this program would be at a loss.
    let (file, secret) = (home.folder.path().join("b").display().to_string(), passphrase(&home, "secret"));
    let said = home.json(&["backup", &file, "--passphrase-file", &secret, "--json"]);
    assert_eq!(said["ledger_version"], 999);
    refused(
        &another(&home).run(&["restore", &file, "--passphrase-file", &secret]),
        "the backup's ledger has version 999",
    );
}
