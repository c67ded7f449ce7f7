use std::collections::BTreeMap;

use super::*;

fn node(folder: &Path) -> Node {
    Node::named(folder.join("data"), &BTreeMap::new())
}

fn made(folder: &Path, mode: u32) -> Node {
    let node = node(folder);
    std::fs::create_dir(&node.data_dir).unwrap();
    std::fs::write(node.data_dir.join("operator.token"), "t").unwrap();
    let close = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    close(&node.data_dir.join("operator.token"), 0o600);
    close(&node.data_dir, mode);
    node
}

#[test]
fn a_data_directory_that_others_may_enter_is_broken_and_repairable_only_if_it_is_a_nodes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(data_directory(&node(folder.path())).state, State::Ok);
    let open = made(folder.path(), 0o755);
    let row = data_directory(&open);
    assert_eq!((row.state, row.repairable), (State::Broken, true), "{row:?}");
    assert!(row.seen.contains("mode 0755") && row.fixes[0].starts_with("`chmod"), "{row:?}");
    std::fs::remove_file(open.data_dir.join("operator.token")).unwrap();
    let row = data_directory(&open);
    assert!(!row.repairable && row.fixes[0].contains("GOLEM_PROVIDER_DATA_DIR"), "{row:?}");
}

#[test]
fn a_link_and_a_socket_have_modes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let node = made(folder.path(), 0o700);
    std::os::unix::fs::symlink("/etc/passwd", node.data_dir.join("images")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(node.data_dir.join("operator.sock")).unwrap();
    assert_eq!(open_modes(&node.data_dir).unwrap(), []);
}

/// Who keeps the data directory on another disk links to it.
#[test]
fn a_data_directory_behind_a_link_is_looked_at_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let open = made(folder.path(), 0o777);
    let linked = Node::named(folder.path().join("link"), &BTreeMap::new());
    std::os::unix::fs::symlink(&open.data_dir, &linked.data_dir).unwrap();
    let row = data_directory(&linked);
    assert_eq!((row.state, row.repairable), (State::Broken, true), "{row:?}");
    assert!(row.seen.contains("mode 0777"), "{row:?}");
}

#[test]
fn a_socket_is_left_behind_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let node = made(folder.path(), 0o700);
    assert_eq!(leftovers(&node)[0].state, State::Ok);
    let socket = node.data_dir.join("operator.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::write(&node.pid_file, "1").unwrap();
    assert_eq!(stale(&node).unwrap(), Vec::<PathBuf>::new(), "it listens");
    drop(listener);
    assert_eq!(stale(&node).unwrap(), [node.pid_file.clone(), socket]);
    let rows = leftovers(&node);
    assert_eq!((rows.len(), rows[0].state, rows[0].repairable), (1, State::Notice, true));
    std::fs::write(node.data_dir.join("restore-unfinished.json"), "{}").unwrap();
    let rows = leftovers(&node);
    assert_eq!((rows.len(), rows[0].state, rows[0].repairable), (2, State::Broken, false), "{rows:?}");
}

#[test]
fn a_disk_is_full_before_guests_are_paused() {
    let room =
        |free, inodes_free, read_only| Room { free, total: 100 << 30, inodes_free, inodes: 1000, read_only };
    for (free, inodes, read_only, state) in [
        (50 << 30, 500, false, State::Ok),
        (50 << 30, 500, true, State::Broken),
        (TIGHT - 1, 500, false, State::Notice),
        (FULL - 1, 500, false, State::Broken),
        (50 << 30, 10, false, State::Notice),
        (50 << 30, 0, false, State::Broken),
    ] {
        let row = disk("/data", &room(free, inodes, read_only));
        assert_eq!(row.state, state, "{row:?}");
        assert_eq!(row.fixes.is_empty(), state == State::Ok);
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(disks(&folder.path().join("not/there")).len(), 1, "what is to be made is looked for above");
    std::os::unix::fs::symlink("/nowhere", folder.path().join("vms")).unwrap();
    assert!(disks(folder.path()).iter().any(|row| row.state == State::Broken));
}

#[test]
fn most_servers_decide_about_the_clock() {
    let minutes = SignedDuration::from_mins;
    assert_eq!(clock_row(3, Vec::new()).state, State::Unknown);
    assert_eq!(clock_row(3, vec![minutes(0), minutes(500), minutes(1)]).state, State::Ok);
    let row = clock_row(3, vec![minutes(0), minutes(-30), minutes(-31)]);
    assert_eq!(row.state, State::Broken);
    assert!(row.seen.contains("30 minutes behind") && row.fixes[0].contains("set-ntp"), "{row:?}");
}
