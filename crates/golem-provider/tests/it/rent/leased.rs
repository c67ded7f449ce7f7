//! Rentals that are paid by leases, on contract version 4.

use golem_test_support::{Home, wait_until};
use golem_testchain::Anvil;
use ruint::aliases::U256;
use serde_json::json;

use super::world::{RATE, RENTER, World, wei};

/// What a lease's rate is: rounded up, where a price's is cut off.
const LEASE_RATE: u64 = RATE + 1;

/// From the quote to the refund: what is told of money is what the wallet has, to the wei, and each sum was approved exactly.
#[test]
fn a_vm_is_rented_by_a_lease_used_and_ended_and_the_books_are_right() {
    let world = World::leased();
    let _node = world.home.start(&[]);
    let before = world.funds();
    let quote = world.json(&["quote", "--provider", &world.url(), "--payments-network", "mine"]);
    assert_eq!((&quote["free"], &quote["rate_wei_per_second"]), (&json!(false), &json!(LEASE_RATE)));
    assert_eq!(quote["stream_payment_address"].as_str().unwrap().parse(), Ok(world.contract));
    assert_eq!(world.funds(), before, "a quote costs nothing");

    // Also where the network is not named: the node serves no other way to pay.
    let vm = world.create("web", &["--hours", "2", "--most", "41"]);
    assert_eq!((&vm["status"], &vm["payment"]["stream_id"]), (&json!("running"), &json!(1)), "{vm}");
    assert_eq!(vm["payment"]["contract_version"], 4);
    let stream = world.stream(1);
    let lease = stream.lease.unwrap();
    assert_eq!(stream.deposit, U256::from(LEASE_RATE) * U256::from(7200));
    assert_eq!(
        (lease.donation.basis_points, lease.donation.deposit),
        (0, U256::ZERO),
        "nobody asked to donate"
    );
    assert_eq!(world.funds(), before - stream.deposit);
    let record = world.renter.folder.path().join(".golem/renter/rentals/web.json");
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    let kept = &record["payment"]["lease"];
    assert_eq!(kept["terms_hash"], format!("{:#x}", lease.terms_hash));
    assert_eq!((&kept["id"], &kept["duration"]), (&json!(format!("{:#x}", lease.id)), &json!(7200)));

    let list = world.json(&["list"]);
    assert_eq!((&list[0]["name"], &list[0]["status"]), (&json!("web"), &json!("running")), "{list}");
    let topped = world.json(&["topup", "web", "--hours", "3"]);
    let left = topped["payment"]["stream"]["remaining_seconds"].as_u64().unwrap();
    assert!((5 * 3600 - 60..=5 * 3600).contains(&left), "{topped}");
    assert_eq!(world.allowance(), U256::ZERO, "no more than what was paid was ever allowed");
    let keep = world.run(&["keep", "web", "--most", "1", "--below", "20000", "--once", "--json"]);
    assert!(keep.status.success(), "{}", Home::show(&keep));
    assert_eq!(world.stream(1).deposit, U256::from(LEASE_RATE) * U256::from(6 * 3600));
    assert_eq!(world.json(&["stop", "web"])["status"], "stopped");
    world.json(&["start", "web"]);
    wait_until("it runs again", || world.json(&["show", "web"])["status"] == "running");

    world.warp(3600);
    let ended = world.run(&["destroy", "web", "--json"]);
    assert!(ended.status.success(), "{}", Home::show(&ended));
    let (paid, refunded) = (wei(&ended, "paid_wei"), wei(&ended, "refunded_wei"));
    assert_eq!(paid + refunded, U256::from(LEASE_RATE) * U256::from(6 * 3600));
    assert!(paid >= U256::from(LEASE_RATE) * U256::from(3600));
    assert_eq!(world.funds(), before - paid);
    assert_eq!(world.provider_funds(), paid, "what the contract paid out");
    assert_eq!(world.json(&["list"]), json!([]));
    wait_until("nothing runs", || world.running() == 0);
    assert_eq!(world.streams(), (1, 0));
}

/// Where the renter's program kills itself in a create, and whether at the second time: a lease takes two transactions, the approval
/// and the stream's. Places before them are those of version 1.
const CREATE: &[(&str, &str)] = &[
    ("rent-recorded", "return"),
    ("rent-sent", "return"),
    ("rent-mined", "return"),
    ("rent-recorded", "1*off->return"),
    ("rent-sent", "1*off->return"),
    ("rent-mined", "1*off->return"),
    ("rent-booked", "1*off->return"),
    ("rent-asking", "return"),
    ("rent-asked", "return"),
    ("rent-rented", "return"),
];

/// From which of them on the stream is open.
const OPENED: usize = 5;

/// Waits until the node has nothing, so that there is room for the next.
fn gone(world: &World) {
    wait_until("it is gone", || world.home.json(&["vms", "list", "--json"]) == json!([]));
}

/// Runs the renter, which kills itself at `point`.
fn dies(world: &World, (point, when): (&str, &str), arguments: &[&str]) {
    let mut command = world.command(arguments);
    let died = command.env("FAILPOINTS", format!("{point}={when}")).output().unwrap();
    assert_eq!(died.status.code(), None, "{point} {when}: {}", Home::show(&died));
}

/// Killed anywhere in a create, the same command goes on or begins anew, and `destroy` undoes it: one stream is paid for one VM,
/// and all comes back but what was used.
#[test]
fn a_renter_of_a_lease_killed_anywhere_goes_on_or_undoes_and_pays_once() {
    let world = World::leased();
    let _node = world.home.start(&[]);
    let url = world.url();
    for (number, point) in CREATE.iter().enumerate() {
        let (opened, _) = world.streams();
        // Each pays for longer than those before: what they had approved and did not use is not enough.
        let [hours, more] = [2 * number + 1, 2 * number + 2].map(|hours| hours.to_string());
        let name = format!("web-{number}");
        dies(&world, *point, &["create", &name, "--provider", &url, "--hours", &hours]);
        if point.0 == "rent-rented" {
            wait_until("it runs", || world.json(&["show", &name])["status"] == "running");
        } else {
            world.create(&name, &["--hours", &hours]);
        }
        assert_eq!((world.streams(), world.running()), ((opened + 1, 1), 1), "{point:?}");
        if number == 0 {
            // An end that was cut off, too.
            dies(&world, ("rent-sent", "return"), &["destroy", &name]);
        }
        world.json(&["destroy", &name]);
        assert_eq!(world.streams().1, 0, "{point:?}");
        gone(&world);
        if number < OPENED {
            continue;
        }
        let undone = format!("undone-{number}");
        dies(&world, *point, &["create", &undone, "--provider", &url, "--hours", &more]);
        world.json(&["destroy", &undone]);
        assert_eq!((world.json(&["list"]), world.streams().1), (json!([]), 0), "{point:?}");
        gone(&world);
    }
    // What did not come back is what the provider was paid.
    let thousand = U256::from(10).pow(U256::from(21));
    assert_eq!(world.funds() + world.provider_funds(), thousand);
}

/// What people read, and what they are told where something is missing.
#[test]
fn renting_by_a_lease_reads_well() {
    let mut world = World::leased();
    let _node = world.home.start(&[]);
    let url = world.url();
    // What the renter does not want is not paid; nor by who has nothing of the token, or of what gas is paid in.
    let fails = |world: &World, more: &[&str]| {
        let output = world.run(&[&["create", "web", "--provider", &url], more].concat());
        assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
        Home::show(&output)
    };
    let said = fails(&world, &["--most", "39.9"]);
    assert!(said.contains("it costs 40 ") && said.contains("more than 39.9; nothing was paid"), "{said}");
    for network in ["hoodi", "l2.holesky"] {
        let said = fails(&world, &["--payments-network", network]);
        let wanted = if network == "hoodi" { "which none of your networks is" } else { "is paid by leases" };
        assert!(said.contains(wanted), "{said}");
    }
    world.renter = world.renter.set("GOLEM_RENTER_PRIVATE_KEY", Anvil::key(0));
    let said = fails(&world, &[]);
    assert!(
        said.contains("has 0 GLM on mine") && said.contains("0.0547945205479488 GLM are missing"),
        "{said}"
    );
    let poor = "7".repeat(64);
    world.mint(&poor);
    world.renter = world.renter.set("GOLEM_RENTER_PRIVATE_KEY", &poor);
    let said = fails(&world, &[]);
    assert!(
        said.contains("nothing of the own money of mine") && said.contains("which pays for gas"),
        "{said}"
    );
    assert_eq!(world.streams(), (0, 0));

    world.renter = world.renter.set("GOLEM_RENTER_PRIVATE_KEY", Anvil::key(RENTER));
    let create = world.run(&["create", "web", "--provider", &url, "--payments-network", "mine"]);
    let said = Home::show(&create);
    for text in [
        "GLM an hour",
        "to pay now, for 1 h: 0.0547945205479488 GLM on mine (chain id 31337), and gas",
        "quote: 40 GLM a month, signed",
        "paid 0.0547945205479488 GLM for 1 h: stream 1",
        "web runs. Log in:",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    let balance = world.run(&["balance", "--payments-network", "mine", "--json"]);
    assert_eq!(wei(&balance, "balance_wei"), world.funds(), "what it has of the token");
}
