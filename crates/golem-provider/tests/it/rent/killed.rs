//! A renter that is killed between any two steps.

use golem_test_support::wait_until;

use super::world::World;

/// Every place at which the renter's program kills itself, in the order of a create.
const CREATE: &[&str] = &[
    "rent-kept",
    "rent-before-record",
    "rent-recorded",
    "rent-sent",
    "rent-mined",
    "rent-booked",
    "rent-asking",
    "rent-asked",
    "rent-rented",
];

/// Runs the renter, which kills itself at `point`.
fn dies(world: &World, point: &str, arguments: &[&str]) {
    let mut command = world.command(arguments);
    let died = command.env("FAILPOINTS", format!("{point}=return")).output().unwrap();
    assert_eq!(died.status.code(), None, "{point}: {}", golem_test_support::Home::show(&died));
}

/// Killed anywhere in a create, the same command goes on or begins anew: one VM runs, and the one stream that
/// was opened pays for it, also where the provider's answer was lost.
#[test]
fn a_renter_killed_anywhere_goes_on_and_pays_once() {
    for point in CREATE {
        let world = World::new();
        let _node = world.home.start(&[]);
        let url = world.url();
        dies(&world, point, &["create", "web", "--provider", &url]);
        if *point == "rent-rented" {
            wait_until("it runs", || world.json(&["show", "web"])["status"] == "running");
        } else {
            world.create("web", &[]);
        }
        assert_eq!((world.streams(), world.running()), ((1, 1), 1), "{point}");
        world.json(&["destroy", "web"]);
        assert_eq!((world.streams().1, world.running()), (0, 0), "{point}");
    }
}

/// Killed anywhere in a create, `destroy` undoes it: no stream runs, no VM does, nothing is remembered.
#[test]
fn a_create_that_was_cut_off_is_undone_by_destroy() {
    for point in CREATE {
        let world = World::new();
        let _node = world.home.start(&[]);
        dies(&world, point, &["create", "web", "--provider", &world.url()]);
        let list = world.json(&["list"]);
        assert_eq!(list[0]["name"], "web", "{point}: it is remembered: {list}");
        world.json(&["destroy", "web"]);
        assert_eq!(world.json(&["list"]), serde_json::json!([]), "{point}");
        assert_eq!(world.streams().1, 0, "{point}");
        wait_until("nothing runs unpaid", || world.running() == 0);
    }
}

/// Killed anywhere in the end of a rental, the next `destroy` ends it.
#[test]
fn an_end_that_was_cut_off_is_finished_by_the_next() {
    for point in
        ["rent-ending", "rent-before-record", "rent-recorded", "rent-sent", "rent-mined", "rent-booked"]
    {
        let world = World::new();
        let _node = world.home.start(&[]);
        world.create("web", &[]);
        dies(&world, point, &["destroy", "web"]);
        let ended = world.json(&["destroy", "web"]);
        assert_eq!(ended["stream_id"], 1, "{point}: {ended}");
        assert!(ended["refunded_wei"].as_u64().is_some_and(|wei| wei > 0), "{point}: {ended}");
        assert_eq!((world.streams(), world.running()), ((1, 0), 0), "{point}");
    }
}
