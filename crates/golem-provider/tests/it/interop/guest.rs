//! The published requestor rents a real guest: it boots, is logged in to, is stopped and started with its disk,
//! and leaves nothing behind. Beside it a renter of today rents from the same node, over https and by a lease.
//!
//! Needs root, QEMU, nftables and the image that `GOLEM_TEST_IMAGE` names.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use golem_test_support::NoGuestLeft;
use serde_json::json;

use super::rent::{create, find_and_open, listed, streams};
use super::table::Table;
use super::today::{Today, end};
use super::world::{World, tail};

/// Longest that a boot may take; half a minute on an idle machine without hardware virtualisation.
const BOOT: Duration = Duration::from_secs(400);

/// What a command that was typed into the guest says.
fn typed(world: &World, script: &str) -> String {
    let (succeeded, text) = world.type_into(&["vm", "ssh", "first"], &format!("{script}\n"));
    assert!(succeeded, "{}", tail(&text));
    text
}

/// Waits until the requestor's VM `name` runs; how long that took.
fn runs(world: &World, name: &str) -> String {
    let began = Instant::now();
    while world.vm(name)["status"] != "running" {
        assert!(began.elapsed() < BOOT, "it does not run: {}", world.vm(name));
        golem_test_support::pause();
    }
    format!("after {} s", began.elapsed().as_secs())
}

#[test]
fn the_published_requestor_and_a_renter_of_today_rent_real_guests_at_once() {
    let image = golem_test_support::guest::image();
    let mut world = World::new();
    world.home = world
        .home
        .set("GOLEM_PROVIDER_VM_BACKEND", "qemu")
        .set("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "debian-12")
        .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    world.home.json(&["images", "add", "debian-12", &image, "--json"]);
    let (today, world) = Today::new(world);
    let _no_guest_left = NoGuestLeft(&world.home);
    let _node = world.home.start(&[]);
    world.wait_for_advert();
    let renter = today.as_ref().map(|today| today.rent(&world, "debian-12"));
    let mut table = Table::new("request-vm-on-golem 0.1.58, Golem Base driver, a real guest (QEMU)");
    let opened = find_and_open(&world, &mut table);
    table.step("vm create --stream-id", || {
        let began = Instant::now();
        let port = create(&world, "first", Some(opened));
        assert_eq!(world.vm("first")["status"], "running");
        let seconds = began.elapsed().as_secs();
        ((), format!("runs after {seconds} s, port {port}; the requestor then fails on its own row, which is repaired"))
    });
    listed(&world, &mut table, 1);
    if let Some(renter) = renter {
        end(renter);
    }
    table.step("vm ssh", || {
        let text = typed(&world, "echo mine > kept && sync; echo \"$(whoami)@$(hostname), $(nproc) CPU\"");
        assert!(text.contains("ubuntu@first, 1 CPU"), "{}", tail(&text));
        ((), "a command runs in it: ubuntu@first, 1 CPU".to_owned())
    });
    table.step("vm stats", || ((), stats(&world)));
    streams(&world, &mut table, opened, 1);
    table.step("vm stop", || {
        let text = world.says(&["vm", "stop", "first"]);
        assert!(text.contains("VM Stopped Successfully"), "{}", tail(&text));
        assert_eq!(world.vm("first")["status"], "stopped");
        ((), "shut down".to_owned())
    });
    table.step("vm start", || {
        let text = world.says(&["vm", "start", "first"]);
        assert!(text.contains("VM Started Successfully"), "{}", tail(&text));
        let seconds = runs(&world, "first");
        let kept = typed(&world, "echo still $(cat kept)");
        assert!(kept.contains("still mine"), "{}", tail(&kept));
        ((), format!("runs {seconds}, with its disk"))
    });
    let machines = || std::fs::read_dir(world.home.data().join("vms")).unwrap().count();
    table.step("vm destroy", || {
        let text = world.says(&["vm", "destroy", "first"]);
        assert!(text.contains("VM Destroyed Successfully"), "{}", tail(&text));
        assert_eq!(machines(), 0);
        ((), "neither process nor disk is left".to_owned())
    });
    table.step("vm create, opening the stream itself", || {
        create(&world, "second", None);
        assert_eq!(machines(), 1);
        ((), String::new())
    });
    table.step("vm purge", || {
        let text = world.says(&["vm", "purge", "--yes"]);
        assert!(text.contains("100.0%"), "{}", tail(&text));
        assert_eq!(world.home.json(&["vms", "list", "--json"]), json!([]));
        assert_eq!(machines(), 0);
        ((), "neither process nor disk is left".to_owned())
    });
    table.end();
}

/// What the live statistics show first; they go on for ever, and are ended.
fn stats(world: &World) -> String {
    let mut child = world.requestor(&["vm", "stats", "first"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.contains("Disk") {
        let count = output.read(&mut part).unwrap();
        assert!(count > 0, "it ended: {}", tail(&text));
        text += &String::from_utf8_lossy(&part[..count]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("CPU Usage") && text.contains("Memory"), "{}", tail(&text));
    "processor, memory and disk; it runs for ever, and is ended".to_owned()
}
