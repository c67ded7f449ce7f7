//! What goes well, and what it costs.

use golem_test_support::{Home, wait_until};
use insta::assert_snapshot;
use ruint::aliases::U256;
use serde_json::json;

use super::world::{RATE, World, wei};

/// From the quote to the refund, paid in the chain's own money and in a token; what is told of
/// money is what the wallet has, to the wei.
#[test]
fn a_vm_is_rented_used_and_ended_and_the_books_are_right() {
    for (world, native) in [(World::new(), true), (World::with_token(), false)] {
        let _node = world.home.start(&[]);
        let before = world.funds();
        let quote = world.json(&["quote", "--provider", &world.url()]);
        assert_eq!((&quote["free"], &quote["rate_wei_per_second"]), (&json!(false), &json!(RATE)));
        assert_eq!(world.funds(), before, "a quote costs nothing");

        let vm = world.create("web", &["--hours", "2", "--most", "40"]);
        assert_eq!((&vm["status"], &vm["payment"]["stream_id"]), (&json!("running"), &json!(1)), "{vm}");
        let stream = world.stream(1);
        assert_eq!(stream.deposit, U256::from(RATE) * U256::from(7200));
        let key =
            std::fs::read_to_string(world.renter.folder.path().join(".golem/renter/ssh/id_ed25519.pub"));
        assert!(key.unwrap().starts_with("ssh-ed25519 "));
        assert!(vm["ssh"]["command"].as_str().unwrap().contains("/ssh/id_ed25519 "), "{vm}");

        let list = world.json(&["list"]);
        assert_eq!((&list[0]["name"], &list[0]["status"]), (&json!("web"), &json!("running")), "{list}");
        let topped = world.json(&["topup", "web", "--hours", "3"]);
        let left = topped["payment"]["stream"]["remaining_seconds"].as_u64().unwrap();
        assert!((5 * 3600 - 60..=5 * 3600).contains(&left), "{topped}");
        assert_eq!(world.json(&["stop", "web"])["status"], "stopped");
        world.json(&["start", "web"]);
        wait_until("it runs again", || world.json(&["show", "web"])["status"] == "running");

        world.warp(3600);
        let show = world.json(&["show", "web"]);
        assert!(show["payment"]["stream"]["vested_wei"].as_u64().unwrap() >= RATE * 3600, "{show}");
        let ended = world.run(&["destroy", "web", "--json"]);
        assert!(ended.status.success(), "{}", Home::show(&ended));
        let (paid, refunded) = (wei(&ended, "paid_wei"), wei(&ended, "refunded_wei"));
        assert_eq!(paid + refunded, U256::from(RATE) * U256::from(5 * 3600));
        assert_eq!(paid, world.stream(1).withdrawn, "what the contract paid out");
        let gas = if native { wei(&ended, "gas_wei") } else { U256::ZERO };
        assert_eq!(world.funds(), before - paid - gas);
        assert_eq!(world.json(&["list"]), json!([]));
        assert_eq!((world.streams(), world.running()), ((1, 0), 0));
    }
}

/// What people read, on the way.
#[test]
fn renting_reads_well() {
    let world = World::new();
    let _node = world.home.start(&[]);
    let mut settings = insta::Settings::clone_current();
    for (pattern, with) in [
        (r"0x[0-9a-f]{64}", "[HASH]"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[TIME]"),
        (r"golem-web-\d{8}-\d{6}(-[a-z2-7]{16})?", "[ID]"),
        // What gas costs, and what has vested, differs by a second or a block.
        (r"\b\d+\.\d{10,}", "[COINS]"),
        (r"\b(\d+ h )?\d+ min;", "[LEFT];"),
    ] {
        settings.add_filter(pattern, with);
    }
    let _guard = settings.bind_to_scope();
    let url = world.url();
    let snapshot = |arguments: &[&str]| world.snapshot(&world.run(arguments));
    assert_snapshot!(snapshot(&["wallet", "--payments-network", "mine"]));
    assert_snapshot!(snapshot(&["list"]));
    assert_snapshot!(snapshot(&[
        "quote",
        "--provider",
        &url,
        "--cpu",
        "2",
        "--memory",
        "4",
        "--storage",
        "20"
    ]));
    assert_snapshot!(snapshot(&["create", "web", "--provider", &url]));
    assert_snapshot!(snapshot(&["list"]));
    world.warp(60);
    assert_snapshot!(snapshot(&["show", "web"]));
    assert_snapshot!(snapshot(&["topup", "web"]));
    assert_snapshot!(snapshot(&["stop", "web"]));
    assert_snapshot!(snapshot(&["destroy", "web"]));
}

/// A VM that costs nothing is rented without a chain, a wallet or money.
#[test]
fn what_is_free_needs_no_money() {
    let world = World::new();
    let home = Home::new();
    let _node = home.start(&[]);
    let url = format!("http://127.0.0.1:{}", home.api);
    let quote = world.json(&["quote", "--provider", &url]);
    assert_eq!((&quote["free"], &quote["quote_id"]), (&json!(true), &json!(null)));
    let vm = world.json(&["create", "free", "--provider", &url, "--free", "--rpc-url", "http://127.0.0.1:1"]);
    assert_eq!((&vm["status"], &vm["payment"]), (&json!("running"), &json!(null)), "{vm}");
    let topup = world.run(&["topup", "free"]);
    assert_eq!(topup.status.code(), Some(1), "{}", Home::show(&topup));
    let ended = world.json(&["destroy", "free"]);
    assert_eq!((&ended["deleted"], &ended["stream_id"]), (&json!(true), &json!(null)), "{ended}");
    assert_eq!(home.json(&["vms", "list", "--json"]), json!([]));
}

/// A stream that runs short is topped up until the bound, and a lapse is made good.
#[test]
fn rentals_are_kept_paid_within_bounds() {
    let world = World::new();
    let _node = world.home.start(&[]);
    world.create("web", &[]);
    let hour = U256::from(RATE) * U256::from(3600);
    let coins = |hours: u32| {
        let wei = hour * U256::from(hours);
        golem_types::Decimal::from_atto(wei).to_string()
    };
    let keep = |most: &str| world.run(&["keep", "web", "--most", most, "--once", "--json"]);
    let kept = keep(&coins(1));
    assert!(kept.status.success() && world.stream(1).deposit == hour, "{}", Home::show(&kept));
    world.warp(2000);
    let kept = keep(&coins(1));
    assert!(
        kept.status.success() && world.stream(1).deposit == hour * U256::from(2),
        "{}",
        Home::show(&kept)
    );
    world.warp(9000);
    wait_until("it is stopped for want of payment", || world.running() == 0);
    let kept = keep(&golem_types::Decimal::from_atto(hour - U256::ONE).to_string());
    assert_eq!(kept.status.code(), Some(1), "{}", Home::show(&kept));
    assert_eq!(world.stream(1).deposit, hour * U256::from(2), "not a wei over the bound");

    // Left to itself, it pays until nothing more may be paid.
    let most = coins(2);
    let mut keeping = world
        .command(&["keep", "web", "--most", &most, "--every", "1"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it runs again", || world.running() == 1);
    world.warp(2000);
    wait_until("the second hour", || world.stream(1).deposit == hour * U256::from(4));
    world.warp(4000);
    assert_eq!(keeping.wait().unwrap().code(), Some(1), "the bound is a failure, for whoever watches it");
    assert_eq!(world.stream(1).deposit, hour * U256::from(4));
    world.json(&["destroy", "web"]);
    let over = keep("1");
    assert_eq!(over.status.code(), Some(1), "no such rental: {}", Home::show(&over));
}
