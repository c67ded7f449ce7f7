//! The true binary, killed at every step of a rental's life and at random, and what the next
//! start makes of it (I1, I2, I4, I6).
//!
//! The simulated backend keeps its machines in files, so they outlive the node as guests do.
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use golem_test_support::{DEADLINE, Home, Running, wait_until};
use serde_json::{Value, json};

use crate::backup::{address, passphrase};

/// Steps of a create, in order.
const CREATE: &[&str] =
    &["before-reserve", "reserved", "before-create", "created", "started", "port-open", "running"];

/// Steps of a delete, in order.
const DELETE: &[&str] = &["before-goal-deleted", "goal-deleted", "before-delete", "backend-deleted", "ended"];

/// What is asked of a snapshot, and the steps of that.
const SNAPSHOT: &[(&str, &str, &[&str])] = &[
    ("POST", "", &["snapshot-made", "snapshot-settled"]),
    ("POST", "/one/restore", &["snapshot-stopped", "snapshot-restored", "snapshot-settled"]),
    ("DELETE", "/one", &["snapshot-deleted", "snapshot-settled"]),
];

/// Steps of suspending a VM and of letting it go on, in order.
const SUSPEND: &[(&str, &str)] = &[
    ("suspend", "before-suspend"),
    ("suspend", "suspended"),
    ("resume", "started"),
    ("resume", "port-open"),
    ("resume", "running"),
];

fn body(name: &str) -> String {
    json!({
        "name": name,
        "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
        "resources": { "cpu": 1, "memory": 1, "storage": 10 },
    })
    .to_string()
}

/// A request whose answer may never come, because the node dies of it.
fn ask(home: &Home, method: &str, path: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, home.api)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// What the guest behind `port` says first.
fn greeting(port: u16) -> Option<[u8; 7]> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut start = [0; 7];
    stream.read_exact(&mut start).ok()?;
    Some(start)
}

/// Every machine on the backend.
fn machines(home: &Home) -> BTreeSet<String> {
    std::fs::read_dir(home.data().join("sim"))
        .into_iter()
        .flatten()
        .filter_map(|file| {
            file.ok()?.file_name().into_string().ok()?.strip_suffix(".json").map(str::to_owned)
        })
        .collect()
}

fn vms(home: &Home) -> Vec<Value> {
    home.json(&["vms", "list", "--json"]).as_array().cloned().unwrap()
}

/// Waits until nothing is under way, then checks everything that must hold then.
fn settles(home: &Home) -> Vec<Value> {
    wait_until("nothing is under way", || {
        vms(home)
            .iter()
            .all(|vm| !matches!(vm["status"].as_str(), Some("creating" | "stopping" | "suspending")))
    });
    let vms = vms(home);
    let ids: BTreeSet<String> = vms.iter().map(|vm| vm["id"].as_str().unwrap().to_owned()).collect();
    wait_until("machines and rows agree (I1)", || machines(home) == ids);
    let ports: BTreeSet<u64> = vms.iter().map(|vm| vm["ssh_port"].as_u64().unwrap()).collect();
    assert_eq!(ports.len(), vms.len(), "no port twice");
    for vm in &vms {
        let port = u16::try_from(vm["ssh_port"].as_u64().unwrap()).unwrap();
        match vm["status"].as_str().unwrap() {
            "running" => assert_eq!(greeting(port).as_ref(), Some(b"SSH-2.0"), "{vm}"),
            _ => assert_eq!(greeting(port), None, "{vm}"),
        }
    }
    for port in home.ssh_ports().filter(|port| !ports.contains(&u64::from(*port))) {
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "{port} is open and nobody's");
    }
    let status = home.json(&["status", "--json"]);
    assert_eq!(status["vms"], vms.len(), "{status}");
    vms
}

/// Starts a node that kills itself at `point`.
fn start_to_die(home: &Home, point: &str) -> Running {
    home.start_with(&[], &[("FAILPOINTS", &format!("{point}=return"))])
}

/// I1, I4: killed at any step of a create, the rental is finished by the next
/// start, or was never made; nothing is lost and nothing is left.
#[test]
fn i1_a_node_killed_at_any_step_of_a_create_converges() {
    for point in CREATE {
        let home = Home::new();
        let mut node = start_to_die(&home, point);
        ask(&home, "POST", "/api/v1/vms?async=true", &body("abc"));
        assert_eq!(node.end(), None, "{point}: it should have been killed");
        let _node = home.start(&[]);
        // S-092
        let left = settles(&home);
        if *point == "before-reserve" {
            assert!(left.is_empty(), "{point}: {left:?}");
        } else {
            // S-217
            assert_eq!(left.len(), 1, "{point}");
            assert_eq!(left[0]["status"], "running", "{point}");
        }
    }
}

/// A restore that is killed at any step leaves the old data or the new, and the same command again brings it to its end.
#[test]
fn h_11_a_restore_that_is_killed_at_any_step_leaves_the_old_or_the_new() {
    let source = Home::new();
    let new = Value::from(source.make_key());
    let (file, secret) = (source.folder.path().join("backup"), passphrase(&source, "secret"));
    let file = file.to_str().unwrap();
    let kill = |home: &Home, arguments: &[&str], point: &str| {
        let mut command = home.command(arguments);
        let output = command.env("FAILPOINTS", format!("{point}=return")).output().unwrap();
        assert_eq!(
            output.status.code(),
            None,
            "{point}: it should have been killed: {}",
            Home::show(&output)
        );
    };
    let backup = ["backup", file, "--passphrase-file", &secret];
    kill(&source, &backup, "backup-written");
    assert!(!std::path::Path::new(file).exists(), "whole or not there");
    assert!(source.run(&backup).status.success());

    let restore = ["restore", file, "--yes", "--passphrase-file", &secret];
    for point in ["restore-begun", "restore-staged", "restore-exchanged", "restore-moved", "restore-kept"] {
        let home = Home::new();
        let old = Value::from(home.make_key());
        golem_files::private_folder(&home.data().join("vms/a")).unwrap();
        golem_files::replace(&home.data().join("vms/a/disk"), b"a disk").unwrap();
        kill(&home, &restore, point);
        let is_new = !matches!(point, "restore-begun" | "restore-staged");
        assert_eq!(address(&home), if is_new { new.clone() } else { old }, "{point}");
        let disk = || std::fs::read(home.data().join("vms/a/disk")).unwrap();
        assert_eq!(disk(), b"a disk", "{point}");
        if is_new {
            let said = home.run(&["start"]);
            assert!(
                String::from_utf8_lossy(&said.stderr).contains("was cut short; fix: run"),
                "{}",
                Home::show(&said)
            );
        }
        assert!(home.run(&restore).status.success(), "{point}");
        assert_eq!((address(&home), disk()), (new.clone(), b"a disk".to_vec()), "{point}");
        let mut beside: Vec<_> = std::fs::read_dir(home.folder.path().join(".golem"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        beside.sort();
        assert_eq!(beside.len(), 2, "{point}: {beside:?}");
        assert!(beside[1].starts_with("provider-before-restore-"), "{point}: {beside:?}");
    }
}

/// S-092, I1: killed at any step of a delete, nothing of the rental is left after the next start.
#[test]
fn s_092_i1_a_node_killed_at_any_step_of_a_delete_converges() {
    for point in DELETE {
        let home = Home::new();
        let mut node = start_to_die(&home, point);
        let id = home.rent("abc");
        ask(&home, "DELETE", &format!("/api/v1/vms/{id}"), "");
        assert_eq!(node.end(), None, "{point}: it should have been killed");
        let _node = home.start(&[]);
        let left = settles(&home);
        // Before the goal was written nobody had been promised anything.
        assert_eq!(left.len(), usize::from(*point == "before-goal-deleted"), "{point}");
    }
}

/// I1: killed between a guest's end and its row, a stop is a stop.
#[test]
fn i1_a_node_killed_in_a_stop_stops_the_vm() {
    let home = Home::new();
    let mut node = start_to_die(&home, "stopped");
    let id = home.rent("abc");
    ask(&home, "POST", &format!("/api/v1/vms/{id}/stop"), "");
    assert_eq!(node.end(), None);
    let _node = home.start(&[]);
    assert_eq!(settles(&home)[0]["status"], "stopped");
}

/// I1, I6: ten kills in a row while twenty renters create and delete; whatever was
/// confirmed is there, whatever was deleted is not, and nothing else is.
#[test]
fn s_092_i1_i6_ten_random_kills_during_twenty_creates_lose_and_leak_nothing() {
    let home =
        Home::wide(40).set("GOLEM_PROVIDER_MAX_VMS", "40").set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    let mut confirmed: BTreeSet<String> = BTreeSet::new();
    for round in 0..10_u64 {
        let mut node = home.start(&[]);
        let victim = confirmed.iter().next().cloned();
        std::thread::scope(|scope| {
            let creates: Vec<_> = (0..2)
                .map(|n| {
                    let home = &home;
                    scope.spawn(move || {
                        ask(home, "POST", "/api/v1/vms?async=true", &body(&format!("vm-{round}-{n}")))
                    })
                })
                .collect();
            let delete = victim.as_ref().map(|id| {
                let (home, path) = (&home, format!("/api/v1/vms/{id}"));
                scope.spawn(move || ask(home, "DELETE", &path, ""))
            });
            // A different moment in each round: after so many lines of the log, or all answers.
            let mut lines = 0;
            while lines < round && !creates.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                lines += u64::from(node.another_line());
            }
            node.child.kill().unwrap();
            for create in creates {
                let answer = create.join().unwrap();
                confirmed.extend(answer.and_then(|answer| Some(answer["vm_id"].as_str()?.to_owned())));
            }
            if let Some(delete) = delete {
                // Confirmed or not, it was asked for once: it may be gone.
                delete.join().unwrap();
            }
        });
        node.child.wait().unwrap();
        if let Some(victim) = victim {
            confirmed.remove(&victim);
        }
    }
    let _node = home.start(&[]);
    let left: BTreeSet<String> =
        settles(&home).iter().map(|vm| vm["id"].as_str().unwrap().to_owned()).collect();
    assert!(left.is_superset(&confirmed), "lost: {:?}", confirmed.difference(&left));
}

/// I1, I6: killed at any step of making, restoring or deleting a snapshot, the next start does it to its end: row and disk
/// agree, and the VM runs.
#[test]
fn i6_a_node_killed_at_any_step_of_a_snapshot_converges() {
    for (method, path, points) in SNAPSHOT {
        for point in *points {
            let home = Home::new();
            let node = home.start(&[]);
            let vm = ask(&home, "POST", "/api/v1/vms", &body("abc")).unwrap();
            let id = vm["id"].as_str().unwrap();
            let snapshots = format!("/api/v1/vms/{id}/snapshots");
            if !path.is_empty() {
                let made = ask(&home, "POST", &snapshots, r#"{"name":"one"}"#).unwrap();
                assert_eq!(made["status"], "ready", "{made}");
            }
            drop(node);
            let mut node = start_to_die(&home, point);
            wait_until("the VM is taken back", || vms(&home)[0]["status"] == "running");
            let asked = if path.is_empty() { r#"{"name":"one"}"# } else { "" };
            let answer = ask(&home, method, &format!("{snapshots}{path}"), asked);
            // The last step is told before the node dies of it.
            assert!(answer.is_none_or(|said| said["detail"].is_null()), "{method} {point}: it was refused");
            assert_eq!(node.end(), None, "{method} {point}: it should have been killed");
            let _node = home.start(&[]);
            wait_until("nothing is under way", || {
                let left = ask(&home, "GET", &snapshots, "").unwrap();
                left.as_array().unwrap().iter().all(|snapshot| snapshot["status"] == "ready")
            });
            let left = ask(&home, "GET", &snapshots, "").unwrap();
            let record = std::fs::read(home.data().join(format!("sim/{id}.json"))).unwrap();
            let record: Value = serde_json::from_slice(&record).unwrap();
            let names: Vec<&Value> =
                left.as_array().unwrap().iter().map(|snapshot| &snapshot["name"]).collect();
            assert_eq!(json!(names), record["snapshots"], "{method} {point}");
            assert_eq!(names.is_empty(), *method == "DELETE", "{method} {point}");
            wait_until("the VM runs", || vms(&home)[0]["status"] == "running");
            settles(&home);
        }
    }
}

/// I1, I6: killed at any step of being suspended or going on, a VM is suspended, or runs, and was never booted anew.
#[test]
fn i1_a_node_killed_at_any_step_of_a_suspension_converges() {
    for (order, point) in SUSPEND {
        let home = Home::new();
        let node = home.start(&[]);
        let vm = ask(&home, "POST", "/api/v1/vms", &body("abc")).unwrap();
        let path = format!("/api/v1/vms/{}", vm["id"].as_str().unwrap());
        if *order == "resume" {
            let suspended = ask(&home, "POST", &format!("{path}/suspend"), "").unwrap();
            assert_eq!(suspended["status"], "suspended", "{suspended}");
        }
        drop(node);
        let mut node = start_to_die(&home, point);
        let before = if *order == "resume" { "suspended" } else { "running" };
        wait_until("the VM is taken back", || vms(&home)[0]["status"] == before);
        // One that goes on is answered before its task does so.
        ask(&home, "POST", &format!("{path}/{order}"), "");
        assert_eq!(node.end(), None, "{order} {point}: it should have been killed");
        let _node = home.start(&[]);
        let after = if *order == "resume" { "running" } else { "suspended" };
        wait_until("it is what it was to be", || vms(&home)[0]["status"] == after);
        if after == "suspended" {
            ask(&home, "POST", &format!("{path}/resume"), "").unwrap();
            wait_until("the VM runs", || vms(&home)[0]["status"] == "running");
        }
        let record = home.data().join(format!("sim/{}.json", vm["id"].as_str().unwrap()));
        let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        assert_eq!(record["boots"], 1, "{order} {point}: {record}");
        settles(&home);
    }
}

/// I1, I6: killed once it is granted, a resize is done by the next start.
#[test]
fn i1_a_node_killed_in_a_resize_restarts_the_vm_with_what_it_gets() {
    let home = Home::new();
    let node = home.start(&[]);
    let vm = ask(&home, "POST", "/api/v1/vms", &body("abc")).unwrap();
    let id = vm["id"].as_str().unwrap();
    drop(node);
    let mut node = start_to_die(&home, "resized");
    wait_until("the VM is taken back", || vms(&home)[0]["status"] == "running");
    let answer = ask(&home, "POST", &format!("/api/v1/vms/{id}/resize"), r#"{"memory_gb":2}"#);
    assert_eq!(answer, None, "it should have been killed");
    assert_eq!(node.end(), None);
    let _node = home.start(&[]);
    let boots = || {
        let record = std::fs::read(home.data().join(format!("sim/{id}.json"))).unwrap();
        serde_json::from_slice::<Value>(&record).unwrap()["boots"].as_u64()
    };
    wait_until("it was booted anew", || boots() == Some(2) && vms(&home)[0]["status"] == "running");
    assert_eq!(vms(&home)[0]["resources"]["memory"], 2);
    settles(&home);
}
