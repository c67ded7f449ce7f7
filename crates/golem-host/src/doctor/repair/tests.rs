use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;

use super::*;

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A node that died, in a folder that others may enter.
fn died(folder: &Path) -> Node {
    let node = Node::named(folder.join("data"), &BTreeMap::new());
    std::fs::create_dir_all(node.data_dir.join("keys")).unwrap();
    std::fs::write(node.data_dir.join("operator.token"), "t").unwrap();
    std::fs::write(node.data_dir.join("keys/provider_key.json"), "k").unwrap();
    drop(UnixListener::bind(node.data_dir.join("operator.sock")).unwrap());
    std::fs::write(&node.pid_file, "4711").unwrap();
    for (path, mode) in [
        ("", 0o755),
        ("keys", 0o750),
        ("operator.token", 0o644),
        ("keys/provider_key.json", 0o640),
        ("provider.pid", 0o600),
    ] {
        set(&node.data_dir.join(path), mode);
    }
    node
}

#[tokio::test]
async fn what_is_repaired_is_recorded_and_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    let at = |path: &str| node.data_dir.join(path);
    let done = fix(&node, Timestamp::now()).await.unwrap();
    assert_eq!(done.len(), 6, "{done:#?}");
    assert_eq!(
        ["", "keys", "operator.token", "keys/provider_key.json"].map(|path| mode(&at(path))),
        [0o700, 0o700, 0o600, 0o600]
    );
    assert!(!at("operator.sock").exists() && !node.pid_file.exists());
    let record = at("doctor/repairs.json");
    assert_eq!((mode(&record), mode(&at("doctor"))), (0o600, 0o700));
    assert_eq!(fix(&node, Timestamp::now()).await.unwrap(), [], "nothing is left to do");

    // What was changed since stays as it is.
    set(&at("operator.token"), 0o400);
    let undone = undo(&node).unwrap();
    assert_eq!((undone.put_back.len(), undone.left.len()), (5, 1), "{undone:#?}");
    assert_eq!(
        ["", "keys", "operator.token", "keys/provider_key.json"].map(|path| mode(&at(path))),
        [0o755, 0o750, 0o400, 0o640]
    );
    assert_eq!(std::fs::read_to_string(&node.pid_file).unwrap(), "4711");
    assert!(at("operator.sock").symlink_metadata().is_ok() && !at("doctor").exists());
    assert_eq!(undo(&node).unwrap(), Undone::default());
}

#[tokio::test]
async fn a_node_that_runs_keeps_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    std::fs::remove_file(node.data_dir.join("operator.sock")).unwrap();
    std::fs::remove_file(&node.pid_file).unwrap();
    let _held = PidFile::take(&node.pid_file).await.unwrap();
    let socket = UnixListener::bind(node.data_dir.join("operator.sock")).unwrap();
    fix(&node, Timestamp::now()).await.unwrap();
    assert!(node.pid_file.exists() && node.data_dir.join("operator.sock").exists());
    drop(socket);
}

#[tokio::test]
async fn what_came_in_the_place_of_something_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    fix(&node, Timestamp::now()).await.unwrap();
    std::fs::write(&node.pid_file, "5").unwrap();
    let undone = undo(&node).unwrap();
    assert!(undone.left.iter().any(|one| one.path() == node.pid_file), "{undone:#?}");
    assert_eq!(std::fs::read_to_string(&node.pid_file).unwrap(), "5");
}

#[tokio::test]
async fn a_folder_that_is_no_nodes_is_left_alone_and_so_is_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    let other = folder.path().join("other");
    std::fs::write(&other, "x").unwrap();
    set(&other, 0o644);
    std::os::unix::fs::symlink(&other, node.data_dir.join("images")).unwrap();
    fix(&node, Timestamp::now()).await.unwrap();
    assert_eq!(mode(&other), 0o644);
    undo(&node).unwrap();
    for mark in ["operator.token", "keys/provider_key.json"] {
        std::fs::remove_file(node.data_dir.join(mark)).unwrap();
    }
    assert_eq!(fix(&node, Timestamp::now()).await.unwrap(), []);
    assert_eq!(mode(&node.data_dir), 0o755);
}

#[tokio::test]
async fn a_link_or_a_socket_in_the_place_of_a_file_does_not_stop_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    let at = |path: &str| node.data_dir.join(path);
    fix(&node, Timestamp::now()).await.unwrap();
    for path in ["operator.token", "keys/provider_key.json"] {
        std::fs::remove_file(at(path)).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", at("operator.token")).unwrap();
    let _socket = UnixListener::bind(at("keys/provider_key.json")).unwrap();
    let undone = undo(&node).unwrap();
    assert_eq!((undone.put_back.len(), undone.left.len()), (4, 2), "{undone:#?}");
    assert_eq!((mode(&node.data_dir), at("doctor").exists()), (0o755, false));
}

#[tokio::test]
async fn what_another_user_wrote_down_is_not_done() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "x").unwrap();
    set(&victim, 0o600);
    let own = node.data_dir.join(FOLDER);
    golem_files::private_folder(&own).unwrap();
    let repair = Repair::Mode { path: victim.clone(), before: 0o666, after: 0o600 };
    let repairs = vec![Recorded { at: Timestamp::now(), repair }];
    write(&own, &Record { format: FORMAT, repairs }).unwrap();
    std::os::unix::fs::chown(own.join(RECORD), Some(65_534), None).unwrap();
    assert!(matches!(undo(&node), Err(RepairError::Record { .. })));
    assert!(matches!(fix(&node, Timestamp::now()).await, Err(RepairError::Record { .. })));
    assert_eq!(mode(&victim), 0o600);
}

/// What a crash left between the record and the deed is passed over.
#[test]
fn what_was_recorded_and_not_done_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    let own = node.data_dir.join(FOLDER);
    golem_files::private_folder(&own).unwrap();
    let token = node.data_dir.join("operator.token");
    let planned = [
        Repair::Mode { path: token.clone(), before: 0o644, after: 0o600 },
        Repair::Aside { path: node.pid_file.clone(), to: own.join("1-provider.pid") },
    ];
    let repairs = planned.iter().map(|repair| Recorded { at: Timestamp::now(), repair: repair.clone() });
    write(&own, &Record { format: FORMAT, repairs: repairs.collect() }).unwrap();
    let undone = undo(&node).unwrap();
    assert_eq!((undone.put_back.len(), undone.left.len()), (0, 2), "{undone:#?}");
    assert!(mode(&token) == 0o644 && node.pid_file.exists() && !own.exists());
}

#[tokio::test]
async fn one_at_a_time_and_never_over_a_record_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let node = died(folder.path());
    let own = node.data_dir.join(FOLDER);
    std::fs::create_dir(&own).unwrap();
    let held = lock(&own).unwrap();
    assert!(matches!(fix(&node, Timestamp::now()).await, Err(RepairError::Busy)));
    drop(held);
    std::fs::write(own.join(RECORD), "{").unwrap();
    assert!(matches!(fix(&node, Timestamp::now()).await, Err(RepairError::Record { .. })));
    assert!(matches!(undo(&node), Err(RepairError::Record { .. })));
    assert_eq!(std::fs::read_to_string(own.join(RECORD)).unwrap(), "{");
}
