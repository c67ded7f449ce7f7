//! The whole way, for real: the true binary, a real guest, a real ssh client through the node's
//! port, and a node that is killed while its guest runs.
//!
//! Needs root, QEMU, nftables and the image that `GOLEM_TEST_IMAGE` names.
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use golem_host::move_in::{self, Move};
use golem_test_support::{Home, NoGuestLeft, alive, guest, pause, wait_until};
use serde_json::{Value, json};

use crate::backup::{another, stop};

/// Longest that a boot may take here; about 25 s on an idle machine of two cores.
const BOOT: Duration = Duration::from_secs(300);

fn ssh(home: &Home, port: u64, script: &str) -> Output {
    let key = home.folder.path().join("key");
    guest::ssh("ubuntu@127.0.0.1", u16::try_from(port).unwrap(), &key, script).output().unwrap()
}

fn says(home: &Home, port: u64, script: &str) -> String {
    let output = ssh(home, port, script);
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Polls as existing clients do until the VM `id` is in `state`.
fn reaches(home: &Home, id: &str, state: &str) -> Value {
    let began = Instant::now();
    loop {
        let (_, vm) = home.http("GET", &format!("/api/v1/vms/{id}"), "");
        if vm["status"] == state {
            return vm;
        }
        assert!(vm["status"] != "error" && began.elapsed() < BOOT, "not {state}: {vm}");
        pause();
    }
}

/// I1, I4.
#[test]
fn i4_a_rented_guest_outlives_a_killed_node() {
    let image = guest::image();
    let home = Home::new()
        .set("GOLEM_PROVIDER_VM_BACKEND", "qemu")
        .set("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "debian-12")
        .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    let _no_guest_left = NoGuestLeft(&home);
    let key = guest::keypair(home.folder.path(), "key", &["-t", "rsa", "-b", "2048"]);
    assert_eq!(home.json(&["images", "add", "debian-12", &image, "--json"])["here"], true);
    let mut node = home.start(&[]);

    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let wanted = json!({
        "name": "my-webserver",
        "resources": { "cpu": 1, "memory": 1, "storage": 10 },
        "ssh_key": public,
    });
    let (status, accepted) = home.http("POST", "/api/v1/vms?async=true", &wanted.to_string());
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["vm_id"].as_str().unwrap().to_owned();
    // S-143
    reaches(&home, &id, "running");
    let (_, access) = home.http("GET", &format!("/api/v1/vms/{id}/access"), "");
    let port = access["ssh_port"].as_u64().unwrap();
    // S-003, S-087, S-093, S-160
    assert_eq!(says(&home, port, "echo mine > kept && sync && hostname && nproc"), "my-webserver\n1");
    let boot_id = says(&home, port, "cat /proc/sys/kernel/random/boot_id");

    // The node is killed; its guest runs on, and the next node serves it on the same port.
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    assert!(!ssh(&home, port, "true").status.success(), "the proxy went with the node");
    let mut node = home.start(&[]);
    assert_eq!(home.http("GET", &format!("/api/v1/vms/{id}"), "").1["status"], "running");
    // S-095, S-217
    assert_eq!(says(&home, port, "cat /proc/sys/kernel/random/boot_id"), boot_id, "the same boot");

    // The guest's process is killed: seen, and booted again with its disk.
    let pid_file = home.data().join("vms").join(&id).join("qemu.pid");
    let pid = guest::process(&pid_file).unwrap().as_raw_nonzero().get();
    guest::kill(&pid_file);
    // S-091
    reaches(&home, &id, "creating");
    reaches(&home, &id, "running");
    assert_eq!(says(&home, port, "cat kept"), "mine");
    let console = home.json(&["vms", "logs", &id, "--json"]);
    assert!(console.to_string().len() > 2, "{console}");

    // Deleted: no process, no file, no port, no rule.
    assert_eq!(home.http("DELETE", &format!("/api/v1/vms/{id}"), "").0, 200);
    // S-088, S-092
    assert!(std::fs::read_dir(home.data().join("vms")).unwrap().next().is_none());
    // S-097
    assert!(!home.reaches(u16::try_from(port).unwrap()));
    let rules = Command::new("nft").args(["list", "table", "inet", "golem_provider"]).output().unwrap();
    assert!(!rules.status.success() || guest::other_guests(), "no guest, no rules");
    assert!(!alive(pid.unsigned_abs().into()));
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.end(), Some(0), "{:#?}", node.seen);
}

/// A disk whose boot sector writes `says` to the serial port and halts, as an image for the catalogue.
fn silent_image(home: &Home, says: &[u8]) -> std::path::PathBuf {
    // cli; xor ax, ax; mov ds, ax; mov si, text; 8: lodsb; test al, al; jz 19; mov dx, 0x3f8; out dx, al;
    // jmp 8; 19: hlt; jmp 19; text:
    let code = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x16, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee,
        0xeb, 0xf5, 0xf4, 0xeb, 0xfd,
    ];
    let mut sector = [code.as_slice(), says].concat();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    let [raw, image] = ["silent.raw", "silent.qcow2"].map(|name| home.folder.path().join(name));
    std::fs::write(&raw, sector).unwrap();
    let made = Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(raw).arg(&image).status();
    assert!(made.unwrap().success());
    image
}

/// H-14: guests that never answer, whose node is killed while they boot. The QEMU of one is killed under the
/// next node; the other's disk is spoilt, and its QEMU will not start again. Of each there is to look at what it
/// said, and what QEMU said of it, when nothing else is left.
#[test]
fn h_14_a_boot_that_fails_leaves_its_console_and_qemus_words() {
    let home = Home::new()
        .set("GOLEM_PROVIDER_VM_BACKEND", "qemu")
        .set("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "silent")
        .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    let _no_guest_left = NoGuestLeft(&home);
    let image = silent_image(&home, b"no \x1b[2Jsystem here\r\n");
    home.json(&["images", "add", "silent", image.to_str().unwrap(), "--json"]);
    let rent = |name: &str| {
        let wanted = json!({
            "name": name,
            "resources": { "cpu": 1, "memory": 1, "storage": 10 },
            "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
        });
        let (status, accepted) = home.http("POST", "/api/v1/vms?async=true", &wanted.to_string());
        assert_eq!(status, 202, "{accepted}");
        ["vm_id", "job_id"].map(|name| accepted[name].as_str().unwrap().to_owned())
    };
    let job = |job: &str| home.http("GET", &format!("/api/v1/vms/jobs/{job}"), "").1;
    let boots = |id: &str| {
        let stages = job(id)["stages"].as_array().unwrap().clone();
        stages.iter().filter(|reached| reached["stage"] == "boot").count()
    };
    let logs = |which: &str| home.json(&["vms", "logs", which, "--json"]);
    let failed_boot = |id: &str| home.http("GET", &format!("/api/v1/vms/{id}/failed-boot"), "").1;
    let machine = |id: &str| home.data().join("vms").join(id);

    let mut node = home.start(&[]);
    let [silent, made_by] = rent("silent");
    wait_until("it waits for an answer", || boots(&made_by) == 1);
    let says = || logs("silent")["console"].as_str().is_some_and(|text| text.ends_with("system here\r\n"));
    wait_until("the guest has said its line", says);
    assert!(says(), "reading takes nothing away");
    let waiting = job(&made_by);
    assert_eq!((&waiting["status"], &waiting["stage"]), (&json!("creating"), &json!("boot")), "{waiting}");
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    let mut node = home.start(&[]);
    wait_until("the next node waits for it", || boots(&made_by) == 2);
    guest::kill(&machine(&silent).join("qemu.pid"));
    wait_until("it is given up and gone", || !machine(&silent).exists());
    let ended = job(&made_by);
    assert_eq!((&ended["status"], &ended["stage"]), (&json!("failed"), &json!("boot")), "{ended}");
    let failed = failed_boot(&silent);
    assert!(failed["console"].as_str().unwrap().ends_with("no \u{1b}[2Jsystem here\r\n"), "{failed}");
    assert_eq!(failed["reason"], ended["error"], "{failed}");
    for which in [&silent, "silent", &made_by] {
        assert_eq!(logs(which)["failed_boot"]["console"], failed["console"], "{which}");
    }

    let [spoilt, made_by] = rent("spoilt");
    wait_until("it waits for an answer", || boots(&made_by) == 1);
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    guest::kill(&machine(&spoilt).join("qemu.pid"));
    std::fs::write(machine(&spoilt).join("disk.qcow2"), b"no disk").unwrap();
    let _node = home.start(&[]);
    wait_until("it is given up and gone", || !machine(&spoilt).exists());
    let logs = logs("spoilt");
    let said = logs["process_log"].as_str().unwrap();
    assert!(said.contains("qemu-system-") && said.contains("disk.qcow2"), "{logs}");
    assert_eq!(logs["failed_boot"]["stage"], "launch", "{logs}");
    // Its renter is not told what is on the host.
    let failed = failed_boot(&spoilt);
    assert!(failed["stage"] == "launch" && !failed.to_string().contains("disk.qcow2"), "{failed}");
    assert!(std::fs::read_dir(home.data().join("vms")).unwrap().next().is_none());
}

/// I4. What a guest's process names and has open goes with the folder.
#[test]
fn h_11_a_guest_runs_on_while_its_node_moves_to_another_place() {
    let image = guest::image();
    let home = Home::new()
        .set("GOLEM_PROVIDER_VM_BACKEND", "qemu")
        .set("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "debian-12")
        .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    let target = another(&home);
    let _no_guest_left = (NoGuestLeft(&home), NoGuestLeft(&target));
    let key = guest::keypair(home.folder.path(), "key", &["-t", "rsa", "-b", "2048"]);
    home.json(&["images", "add", "debian-12", &image, "--json"]);
    let mut node = home.start(&[]);
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let wanted = json!({
        "name": "mover", "resources": { "cpu": 1, "memory": 1, "storage": 10 }, "ssh_key": public,
    });
    let (status, accepted) = home.http("POST", "/api/v1/vms?async=true", &wanted.to_string());
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["vm_id"].as_str().unwrap().to_owned();
    reaches(&home, &id, "running");
    let port = home.http("GET", &format!("/api/v1/vms/{id}/access"), "").1["ssh_port"].as_u64().unwrap();
    let boot_id = says(&home, port, "cat /proc/sys/kernel/random/boot_id");
    stop(&mut node);

    let wanted = Move { from: home.data(), to: target.data(), owner: None, replace: false };
    let plan = move_in::run(&wanted, jiff::Timestamp::now()).unwrap().unwrap();
    assert!(plan.renamed && plan.linked.is_empty(), "{plan:?}");
    let mut node = target.start(&[]);
    reaches(&target, &id, "running");
    assert_eq!(says(&home, port, "cat /proc/sys/kernel/random/boot_id"), boot_id, "the same boot");
    // Its disk is written there, and its monitor, which shuts it down, answers there.
    says(&home, port, "echo mine > kept && sync");
    assert_eq!(target.http("POST", &format!("/api/v1/vms/{id}/stop"), "").0, 200);
    reaches(&target, &id, "stopped");
    assert_eq!(target.http("DELETE", &format!("/api/v1/vms/{id}"), "").0, 200);
    stop(&mut node);
}
