use std::process::Command;

use super::*;

const LIST: &str = "1000-1009,2000-2009,3000-3009,4000-4009,7777";

/// The list in `folder`, of a kernel on paper.
fn ports(folder: &Path, own: &str, reserved: &str, ports: Range<u16>) -> ReservedPorts {
    std::fs::write(folder.join("ip_local_port_range"), own).unwrap();
    std::fs::write(folder.join("ip_local_reserved_ports"), reserved).unwrap();
    ReservedPorts { folder: folder.into(), memory: folder.join(MEMORY), place: "here".to_owned(), ports }
}

#[test]
fn h_05_lists_are_read_strictly_and_written_as_the_kernel_does() {
    for text in ["", "\n", "7777\n", "0-65535", LIST, "22,24,26-28\n"] {
        let read = list::parse(text).unwrap();
        assert_eq!(list::text(&read), text.trim(), "{text:?}");
        for length in [8, 20, PIECE] {
            let pieces = list::pieces(&read, length);
            let together = pieces.iter().flat_map(|piece| list::parse(piece).unwrap()).collect();
            assert_eq!(read, together, "{text:?} in pieces of {length}");
            assert!(pieces.iter().all(|piece| piece.len() <= length.max(12)));
        }
    }
    for text in ["40-", "-40", "4000-40", "65536", "1,,2", ",", "1;2", "a", "1 2", "+1", "1-2-3", "1,"] {
        assert_eq!(list::parse(text), None, "{text:?}");
    }
}

#[test]
fn h_05_what_is_not_understood_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (own, reserved) in [("32768\t60999\n", "1000-1009,40-\n"), ("nonsense", LIST), ("1 2 3", LIST)] {
        let ports = ports(folder.path(), own, reserved, 50800..50900);
        assert!(matches!(ports.reserve(), Err(ReservedPortsError::Unknown { .. })));
        assert!(ports.see_to_it(None).is_some());
        assert_eq!(std::fs::read_to_string(ports.list()).unwrap(), reserved);
        assert!(!ports.memory.exists());
    }
    // Other systems have neither file.
    let empty = tempfile::tempdir().unwrap();
    let ports = ReservedPorts { folder: empty.path().into(), ..ports(folder.path(), "1 2", "", 1..2) };
    assert_eq!(ports.reserve().unwrap(), BTreeSet::new());
    ports.release().unwrap();
}

#[test]
fn only_what_is_endangered_and_not_yet_reserved_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let missing = |reserved: &str, range: Range<u16>| {
        let ports = ports(folder.path(), "32768\t60999\n", reserved, range);
        let missing = &ports.endangered().unwrap() - &ports.reserved().unwrap().unwrap();
        list::text(&missing)
    };
    assert_eq!(missing("\n", 50800..50900), "50800-50899");
    assert_eq!(missing("22,8080-8090\n", 50800..50900), "50800-50899");
    assert_eq!(missing("50800-50899\n", 50800..50900), "");
    assert_eq!(missing("40000,50000-51000", 50800..50900), "");
    assert_eq!(missing("50800-50898", 50800..50900), "50899");
    assert_eq!(missing("", 20000..20100), "");
    // Half of it is in the system's range.
    assert_eq!(missing("", 60990..61010), "60990-60999");
}

/// H-05: the kernel's own list, in a network of its own.
#[test]
fn h_05_the_list_of_others_is_whole_while_the_node_runs_and_after_it() {
    if !golem_test_support::as_root() {
        return;
    }
    if std::env::var_os("GOLEM_TEST_OWN_NETWORK").is_none() {
        // Run once more, where the list is nobody else's.
        let program = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .arg("--net")
            .arg(program)
            .args([
                "--exact",
                "reserved_ports::tests::h_05_the_list_of_others_is_whole_while_the_node_runs_and_after_it",
            ])
            .env("GOLEM_TEST_OWN_NETWORK", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let node = ReservedPorts::new(folder.path(), 50800..50900);
    let set = |text: &str| std::fs::write(node.list(), format!("{text}\n")).unwrap();
    let now = || list::text(&node.reserved().unwrap().unwrap());
    let even = (2..=40_000).step_by(2).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    for others in ["", "22", LIST, "10000-10001,20000-20001,30000-30001,40000", &even] {
        set(others);
        node.reserve().unwrap();
        let expected =
            if others.is_empty() { "50800-50899".to_owned() } else { format!("{others},50800-50899") };
        assert_eq!(now(), expected);
        assert_eq!(node.reserve().unwrap(), BTreeSet::new(), "once is enough");
        // A node that was killed remembers.
        let node = ReservedPorts::new(folder.path(), 50800..50900);
        node.reserve().unwrap();
        node.release().unwrap();
        assert_eq!(now(), others);
        assert!(!node.memory.exists());
    }

    // What others reserved already is not ours to take away; what they add meanwhile neither.
    set("50800-50849");
    node.reserve().unwrap();
    set("1,50800-50849,50860-50899,60000");
    node.release().unwrap();
    assert_eq!(now(), "1,50800-50849,60000");

    // The list is set anew by others: added again. Other settings: what is no longer needed goes.
    set("");
    node.reserve().unwrap();
    set("7");
    node.reserve().unwrap();
    assert_eq!(now(), "7,50800-50899");
    let moved = ReservedPorts::new(folder.path(), 50890..50910);
    moved.reserve().unwrap();
    assert_eq!(now(), "7,50890-50909");

    // Two nodes with ports in common: the second adds what the first takes away.
    let other_folder = tempfile::tempdir().unwrap();
    let other = ReservedPorts::new(other_folder.path(), 50900..50920);
    other.reserve().unwrap();
    moved.release().unwrap();
    assert_eq!(now(), "7,50910-50919");
    other.reserve().unwrap();
    other.release().unwrap();
    assert_eq!(now(), "7");

    // What was remembered on another boot is the list of then.
    set("50800-50899");
    let memory = Memory { place: "another boot".to_owned(), ports: "50800-50899".to_owned() };
    std::fs::write(&node.memory, serde_json::to_vec(&memory).unwrap()).unwrap();
    node.release().unwrap();
    assert_eq!(now(), "50800-50899");
}

#[test]
fn what_cannot_be_reserved_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let ports = ports(folder.path(), "32768 60999", LIST, 50800..50900);
    // A list on paper is written over where the kernel adds to its own: that is seen.
    ports.reserve().unwrap_err();
    assert!(!ports.memory.exists());
}
