//! A node in a control group, on few processors, with its data on a small volume.

use std::path::PathBuf;
use std::process::Command;

use golem_test_support::{Home, Running, wait_until, wanted};
use golem_vm::cgroup::{CgroupPlace, CgroupPlaces};

/// A control group of memory for a node.
struct Group(PathBuf);

impl Group {
    /// A group with a limit of 2 GiB, in whichever version this machine has for memory.
    fn with_two_gib() -> Self {
        let places = CgroupPlaces::of_this_process().unwrap();
        let (place, file): (&CgroupPlace, _) = match (places.v1.get("memory"), &places.v2) {
            (Some(place), _) => (place, "memory.limit_in_bytes"),
            (None, Some(place)) => (place, "memory.max"),
            (None, None) => panic!("this machine has no control groups"),
        };
        // In version 2, beside the own one: below it, processes are in the way.
        let beside = place.own.parent().filter(|parent| parent.starts_with(&place.top));
        let parent = if file == "memory.max" { beside.unwrap_or(&place.own) } else { &place.own };
        let group = Self(parent.join(format!("golem-test-{}", std::process::id())));
        std::fs::create_dir(&group.0).unwrap();
        std::fs::write(group.0.join(file), (2u64 << 30).to_string()).unwrap();
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_until("an empty group", || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// A node on one processor, whose disks' volume is memory of `gib` GiB; in `group`, if that is given.
fn start(home: &Home, group: Option<&Group>, gib: u32) -> Running {
    let script = "set -e; mkdir -p \"$1\"; mount -t tmpfs -o \"size=$2g,mode=700\" tmpfs \"$1\"; \
                  [ -z \"$3\" ] || echo 0 >\"$3/cgroup.procs\"; shift 3; exec \"$@\"";
    let node = home.command(&["start"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]).arg(home.data());
    command.arg(gib.to_string()).arg(group.map(|group| group.0.clone()).unwrap_or_default());
    command.args(["taskset", "-c", "0"]).arg(node.get_program()).args(node.get_args());
    command.env_clear().envs(node.get_envs().filter_map(|(name, text)| Some((name, text?))));
    command.current_dir(home.folder.path());
    Running::of(command, "listening on")
}

fn offered(home: &Home) -> (u64, u64, u64) {
    let (_, summary) = home.http("GET", "/api/v1/summary", "");
    let total = &summary["resources"]["total"];
    (total["cpu"].as_u64().unwrap(), total["memory"].as_u64().unwrap(), total["storage"].as_u64().unwrap())
}

/// H-09, H-10: the group has 2 GiB, of which half of one is kept; the volume has 13 GiB, of which 2 are kept and some
/// of one is the ledger's.
#[test]
fn h_09_h_10_a_node_offers_what_it_may_use_and_not_what_the_host_has() {
    let group = Group::with_two_gib();
    let home = Home::new().set("GOLEM_PROVIDER_API_AUTH", "open");
    let node = start(&home, Some(&group), 13);
    assert_eq!(offered(&home), (1, 1, 10));
    let large = serde_json::json!({ "name": "large", "resources": { "cpu": 1, "memory": 2, "storage": 10 },
        "ssh_key": wanted("x", None)["ssh_key"] });
    let (status, refusal) = home.http("POST", "/api/v1/vms", &large.to_string());
    assert_eq!(status, 503, "{refusal}");
    home.rent("small");
    drop(node);
}

/// H-20: what the operator offers, as far as it is there.
#[test]
fn h_20_an_operator_rents_out_a_part_and_more_than_a_guest_a_core() {
    let home = Home::new()
        .set("GOLEM_PROVIDER_API_AUTH", "open")
        .set("GOLEM_PROVIDER_RENT_CPU", "1")
        .set("GOLEM_PROVIDER_RENT_MEMORY_GB", "1")
        .set("GOLEM_PROVIDER_RENT_STORAGE_GB", "11")
        .set("GOLEM_PROVIDER_CPU_OVERCOMMIT", "3.0");
    let node = start(&home, None, 20);
    assert_eq!(offered(&home), (3, 1, 11));
    // As the operator sees it, where the node's data is.
    let status = home.command(&["status", "--json"]);
    let mut inside = Command::new("nsenter");
    inside.args(["--mount", "--target", &node.child.id().to_string()]).arg(status.get_program());
    inside
        .args(status.get_args())
        .env_clear()
        .envs(status.get_envs().filter_map(|(name, text)| Some((name, text?))));
    let shown: serde_json::Value = serde_json::from_slice(&inside.output().unwrap().stdout).unwrap();
    assert_eq!(
        shown["resources"]["total"],
        serde_json::json!({ "cpu": 3, "memory": 1, "storage": 11 }),
        "{shown:#}"
    );
    drop(node);
    let home = home.set("GOLEM_PROVIDER_RENT_STORAGE_GB", "100000");
    let mut node = start(&home, None, 20);
    node.says("GOLEM_PROVIDER_RENT_STORAGE_GB=100000 is more than can be rented out here");
    assert_eq!(offered(&home), (3, 1, 17));
}
