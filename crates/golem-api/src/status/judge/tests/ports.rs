//! The verdict on the ports.

use super::*;

/// The counts, and the words for them.
#[test]
fn ports_are_counted_and_worded() {
    let stage = |unreachable: usize, in_use: &[u16], listening: &[u16]| {
        let mut facts = with_ports(|report| {
            for one in report.ssh.iter_mut().rev().take(unreachable) {
                *one = port(one.port, Reach::Unreachable, LocalState::Free);
            }
        });
        facts.node = Some(Ok(NodeFacts {
            summary: summary(in_use),
            vms: in_use.iter().map(|port| vm("web", *port)).collect(),
            listening: listening.iter().copied().collect(),
        }));
        judged(facts)
    };
    let seven: Vec<u16> = (FIRST..FIRST + 7).collect();
    let json = stage(20, &seven, &seven);
    let ssh = &json["ports"]["ssh"];
    assert_eq!(
        // S-045, S-046, S-047
        (&ssh["usable_free"], &ssh["in_use"], &ssh["status"]),
        (&json!(73), &json!(7), &json!("limited"))
    );
    // S-029
    assert_eq!(issues(&json), "SSH ports 50800-50899: 20 not reachable externally\n");
    let json = stage(3, &seven, &seven[1..]);
    assert_eq!(
        // S-048
        json["ports"]["ssh"]["issues"],
        json!({ "unreachable": 3, "not_listening": 1, "held": 0, "unknown": 0 })
    );
    // S-029
    assert!(issues(&json).contains("50899: 3 unreachable, 1 not listening\n"), "{json:#}");
    let json = stage(100, &[], &[]);
    assert_eq!(
        // S-045, S-046
        (&json["ports"]["ssh"]["status"], &json["ports"]["ssh"]["usable_free"]),
        (&json!("blocked"), &json!(0))
    );
    let ports = stage(1, &seven, &seven)["ports"]["ssh"]["ports"].clone();
    // S-050
    assert_eq!(ports[0], json!({ "port": FIRST, "status": "reachable", "listening": true }));
    assert_eq!(ports[99], json!({ "port": FIRST + 99, "status": "unreachable", "listening": false }));
}

/// While no check server answers, every port is unknown, the API's counts
/// as unreachable, and what listens is still told.
#[test]
fn a_failed_check_leaves_ports_unknown_and_tells_who_listens() {
    let json = judged(with_ports(silent));
    // S-043
    assert_eq!(json["ports"]["provider"]["status"], "unreachable");
    let reason = json["ports"]["provider"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("check failed: no check server answered (2 asked; "), "{reason}");
    let ssh = &json["ports"]["ssh"];
    // S-044
    assert_eq!((&ssh["range"], &ssh["usable_free"]), (&json!([50_800, 50_900]), &json!(0)));
    // S-051
    assert!(ssh.get("free").is_none());
    let ports = ssh["ports"].as_array().unwrap();
    // S-049
    assert_eq!(ports.len(), 100);
    // S-052
    assert!(ports.iter().all(|port| port["status"] == "unknown"));
    // S-052
    assert_eq!((&ports[0]["listening"], &ports[1]["listening"]), (&json!(true), &json!(false)));
}

/// A VM whose guest does not run has its port closed, and nothing is wrong with that.
#[test]
fn only_a_running_vms_port_has_to_listen() {
    for status in [VmStatus::Creating, VmStatus::Stopping, VmStatus::Stopped] {
        let json = judged(with_node(|node| {
            node.listening.clear();
            node.vms[0].status = status;
        }));
        assert_eq!(json["overall"]["status"], "healthy", "{json:#}");
    }
}

/// What was found out before is told with its age while check servers are silent.
#[test]
fn what_was_known_before_a_check_that_fails_is_told() {
    let at = Timestamp::now() - jiff::SignedDuration::from_mins(12);
    let json = judged(with_ports(|report| {
        silent(report);
        report.provider.checked_at = Some(at);
    }));
    let known = json!({ "at": at, "provider": "reachable", "ssh_reachable": 100 });
    assert_eq!(json["ports"]["last_known"], known);
    assert_eq!(judged(good())["ports"]["last_known"], Value::Null);
}

/// What is in the way is told by name, with what to do about it.
#[test]
fn the_cause_is_told_with_its_fix() {
    let problem = |cause: &str, critical: bool, ports: &str, what: &str| -> ProblemReport {
        serde_json::from_value(json!({
            "cause": cause, "critical": critical, "ports": ports, "what": what, "impact": "none",
            "fixes": ["do this", "or that"], "help": "docs/troubleshooting.md#ports",
        }))
        .unwrap()
    };
    let told = |found: ProblemReport| {
        let status = judge(&settings(), with_ports(|report| report.problems.push(found)));
        let issue = status.overall.issues.first().unwrap();
        assert_eq!(issue.fixes, ["do this", "or that"]);
        assert_eq!(issue.help.as_deref(), Some("docs/troubleshooting.md#ports"));
        let json = serde_json::to_value(status).unwrap();
        (json["overall"]["status"].clone(), json["overall"]["issues"].clone())
    };
    for (critical, grade) in [(true, "error"), (false, "issues")] {
        let router = problem("not-forwarded", critical, "50800", "the router does not forward TCP 50800");
        let issue = json!(["The router does not forward TCP 50800"]);
        // S-253
        assert_eq!(told(router), (json!(grade), issue));
    }
    // The server that does not answer is told once, with what to do.
    let unanswered = problem("no-answer", true, "7466, 50800-50899", "none of 2 check servers answers");
    let unanswered = with_ports(|report| {
        silent(report);
        report.problems.push(unanswered);
    });
    let status = judge(&settings(), unanswered);
    // S-254
    assert_eq!(status.overall.issues.len(), 1, "{status:#?}");
    assert_eq!(status.overall.issues[0].fixes[0], "do this");
    // So is the program that holds the API's port.
    let held = problem("port-held", true, "7466", "TCP 7466 is in use by nginx (pid 42)");
    let mut facts = with_ports(|report| {
        report.provider = port(7466, Reach::Unknown, LocalState::Held);
        report.problems.push(held);
    });
    (facts.running, facts.node, facts.local) = (false, None, Local::Held);
    let json = judged(facts.clone());
    // S-252
    assert_eq!(json["overall"]["issues"].to_string().matches("nginx").count(), 1, "{json:#}");
    // Where nobody is to be asked, only what is wrong on this host is told.
    let skipping = StatusSettings { skip_port_verification: true, ..settings() };
    if let Ok(report) = &mut facts.ports {
        report.problems = vec![
            problem("address-unknown", true, "7466", "the public address is not known"),
            problem("blocked", true, "7466", "TCP 7466 cannot be reached from outside"),
            problem("port-held", false, "50801", "TCP 50801 is in use by nginx (pid 42)"),
        ];
    }
    let json = judged_with(&skipping, facts);
    let issues = json["overall"]["issues"].to_string();
    assert!(!issues.contains("cannot be reached") && !issues.contains("address"), "{issues}");
    assert!(issues.contains("TCP 50801 is in use by nginx (pid 42)"), "{issues}");
}

/// What an earlier run of the node found out counts until the first verification of this one.
#[test]
fn verdicts_of_an_earlier_run_count_until_the_first_verification() {
    let fresh = |known: bool| {
        with_ports(|report| {
            report.rounds = 0;
            report.sources.clear();
            if known {
                report.provider.checked_at = Some(Timestamp::UNIX_EPOCH);
            } else {
                report.provider.status = Reach::Unknown;
            }
        })
    };
    assert_eq!(judged(fresh(true))["overall"]["status"], "healthy");
    let json = judged(fresh(false));
    assert_eq!(json["overall"]["status"], "error");
    assert_eq!(json["ports"]["provider"]["reason"], "not checked yet");
}

/// Where the settings turn the check off, it is no fault, and nothing is said to be reachable.
#[test]
fn a_check_that_is_turned_off_is_no_fault() {
    let settings = StatusSettings { skip_port_verification: true, ..settings() };
    let json = judged_with(&settings, with_ports(silent));
    assert_eq!(json["overall"]["status"], "healthy", "{json:#}");
    assert_eq!(
        (&json["ports"]["provider"]["status"], &json["ports"]["ssh"]["usable_free"]),
        (&json!("unreachable"), &json!(0))
    );
    assert_eq!(json["ports"]["provider"]["reason"], "not checked");
}
