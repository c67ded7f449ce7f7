//! What is set is what the true binary does.

use std::io::{Read, Write};
use std::net::TcpStream;

use golem_test_support::{Home, Running, StopAtEnd, alive, wait_until, wanted};
use rustix::process::Signal;
use serde_json::json;

/// Status and words of a create of `cpu` cores, `memory` and `storage` GB.
fn create(home: &Home, name: &str, cpu: u32, memory: u32, storage: u32) -> (u16, String) {
    let mut body = wanted(name, None);
    body["resources"] = json!({ "cpu": cpu, "memory": memory, "storage": storage });
    let (status, answer) = home.http("POST", "/api/v1/vms", &body.to_string());
    let detail = &answer["detail"];
    (status, detail.as_str().or_else(|| detail[0]["msg"].as_str()).unwrap_or_default().to_owned())
}

/// With no setting but a backend that needs nothing, in a network of its own because the ports are the default ones.
/// Needs root, as whole runs of the suite have.
#[test]
fn s_007_a_first_start_needs_nothing_but_the_network() {
    if !golem_test_support::as_root() {
        return;
    }
    let home = Home::bare().set("GOLEM_PROVIDER_VM_BACKEND", "sim");
    let start = home.command(&["start", "--network", "testnet"]);
    let mut alone = std::process::Command::new("unshare");
    alone.args(["--net", "sh", "-c", "ip link set lo up; exec \"$0\" \"$@\""]);
    alone.arg(start.get_program()).args(start.get_args()).env_clear();
    alone.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    alone.current_dir(home.folder.path());
    let mut node = Running::of(alone, "listening on");
    let said = node.seen.join("\n");
    assert!(
        said.contains("listening on http://0.0.0.0:7466 ") && said.contains("network=\"testnet\""),
        "{said}"
    );
    // S-109: where it listens. S-111, S-112: the last one is not the end.
    assert!(
        said.contains("http://0.0.0.0:7466 ") && said.contains("SSH ports 50800-50899 are free"),
        "{said}"
    );
    // S-120: paid out of the box, on today's network.
    assert!(said.contains("contract=0xb5a225b2f82D3eFe743D95bA7Fe3BbC475C0a12E"), "{said}");
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0), "{:#?}", node.seen);
}

/// Whoever comes by browser reads on which network this node is paid, whatever old clients are told.
#[test]
fn the_page_names_the_network_that_the_node_is_paid_on() {
    let home = Home::new()
        .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "auto")
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "");
    let _node = home.start(&[]);
    let mut stream = TcpStream::connect((home.host, home.api)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains("Paid by the second on</th><td>hoodi</td>"), "{page}");
}

/// In the background as in the foreground, in production.
#[test]
fn a_node_in_the_background_is_on_the_network_that_is_named() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    for network in ["testnet", "mainnet"] {
        let started = home.json(&["start", "--daemon", "--network", network, "--json"]);
        let pid = started["pid"].as_u64().unwrap();
        // S-188
        assert!(alive(pid) && home.pid_file().exists());
        let state = home.json(&["status", "--json"]);
        // S-188, S-206, S-207
        assert_eq!(
            state["environment"],
            json!({ "environment": "production", "network": network, "dev_mode": false }),
            "{state}"
        );
        // S-190: as of a node in the foreground.
        assert_eq!((&state["running"], &state["pid"]), (&json!(true), &json!(pid)));
        assert_eq!(home.json(&["stop", "--json"])["stopped"], true);
        wait_until("the process is gone", || !alive(pid));
    }
}

/// A file in the folder from which the node is started.
#[test]
fn s_101_a_file_of_settings_is_read() {
    let home = Home::new();
    std::fs::write(
        home.folder.path().join(".env"),
        "GOLEM_PROVIDER_COUNTRY=pl\nGOLEM_PROVIDER_NAME='my node'\n",
    )
    .unwrap();
    let node = home.start(&[]);
    // S-103: in the log here; in the advert where there is a market.
    assert!(node.seen.iter().any(|line| line.contains("name=\"my node\"")), "{:#?}", node.seen);
    let (_, info) = home.http("GET", "/api/v1/provider/info", "");
    // S-104
    assert_eq!(info["country"], "PL", "{info}");
}

#[test]
fn what_renters_may_ask_for_at_least_and_at_most_is_set() {
    let home = Home::new();
    let node = home.start(&[]);
    // S-106, S-107, S-108: by default, the least that can be asked for at all.
    assert_eq!(create(&home, "small", 1, 1, 10).0, 200);
    drop(node);
    let home = Home::new()
        .set("GOLEM_PROVIDER_MIN_CPU_CORES", "2")
        .set("GOLEM_PROVIDER_MIN_MEMORY_GB", "2")
        .set("GOLEM_PROVIDER_MIN_STORAGE_GB", "12")
        .set("GOLEM_PROVIDER_CPU_OVERCOMMIT", "10")
        .set("GOLEM_PROVIDER_MAX_VMS", "1");
    let _node = home.start(&[]);
    // S-106, S-077
    assert_eq!(create(&home, "small", 1, 2, 12), (400, at_least("2 CPU cores")));
    // S-107, S-077
    assert_eq!(create(&home, "small", 2, 1, 12), (400, at_least("2 GB of memory")));
    // S-108
    assert_eq!(create(&home, "small", 2, 2, 11), (400, at_least("12 GB of storage")));
    assert_eq!(create(&home, "one", 2, 2, 12), (200, String::new()));
    let (status, said) = create(&home, "two", 2, 2, 12);
    // S-105
    assert!(status == 503 && said.contains("1 of 1 VMs are rented"), "{status} {said}");
}

fn at_least(what: &str) -> String {
    format!("at least {what} must be requested")
}

#[test]
fn s_078_a_host_that_is_busier_than_is_set_rents_out_nothing_more() {
    let busy = |name: &str| {
        let home = Home::new().set(name, "1");
        let node = home.start(&[]);
        (home, node)
    };
    let (home, _node) = busy("GOLEM_PROVIDER_MEMORY_THRESHOLD");
    let (status, said) = create(&home, "one", 1, 1, 10);
    // S-083: every host uses more than that.
    assert!(
        status == 503 && said.contains("memory threshold") && said.contains("1 % allowed"),
        "{status} {said}"
    );
    let (home, _node) = busy("GOLEM_PROVIDER_CPU_THRESHOLD");
    let spins = std::sync::Arc::new(());
    let spin = std::sync::Arc::downgrade(&spins);
    let spinner = std::thread::spawn(move || while spin.strong_count() > 0 {});
    // S-082
    wait_until("it is busy", || {
        let (status, said) = create(&home, "one", 1, 1, 10);
        if status == 200 {
            home.json(&["vms", "delete", "one", "--yes", "--json"]);
        }
        status == 503 && said.contains("CPU threshold") && said.contains("1 % allowed")
    });
    drop(spins);
    spinner.join().unwrap();
}

/// What renters pay, where and in what follows from the profile alone.
#[test]
fn the_profile_decides_endpoint_and_symbol() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let now = u128::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let mut home = Home::new()
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
        .set("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "1");
    let chains = [("first", 4242u64, "ONE"), ("second", 4243, "TWO")].map(|(name, id, symbol)| {
        let chain = runtime.block_on(golem_testchain::Emulator::start(id, now)).unwrap();
        let (contract, id) = (chain.contract().to_string(), id.to_string());
        let add =
            ["networks", "add", name, "--chain-id", &id, "--rpc-url", chain.url(), "--contract", &contract];
        home.json(&[&add[..], &["--symbol", symbol, "--json"]].concat());
        (name, symbol, chain)
    });
    for (chosen, symbol, chain) in &chains {
        home = home.set("GOLEM_PROVIDER_PAYMENTS_NETWORK", chosen);
        let before: Vec<u64> = chains.iter().map(|(.., chain)| chain.requests()).collect();
        let _node = home.start(&[]);
        let asked = chain.requests();
        // S-201, S-202
        wait_until("its chain is asked again and again", || chain.requests() > asked + 2);
        let others = chains.iter().zip(before).filter(|((name, ..), _)| name != chosen);
        // S-201, S-202
        assert!(others.into_iter().all(|((.., other), before)| other.requests() == before), "{chosen}");
        // S-204
        assert_eq!(home.json(&["streams", "list", "--json"])["symbol"], *symbol);
        let balance = String::from_utf8(home.run(&["wallet", "balance"]).stdout).unwrap();
        // S-204
        assert!(balance.contains(symbol), "{balance}");
    }
}

/// U-14: on the network of real money that ships, too, which has no contract yet; before a key is looked for.
#[test]
fn s_223_the_faucet_is_disabled_where_money_is_worth_something() {
    let home = Home::new()
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
        .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mainnet");
    let output = home.run(&["wallet", "faucet-l2"]);
    assert_eq!(output.status.code(), Some(0), "{}", Home::show(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "Faucet is disabled for current payments network.\n");
    assert_eq!(home.json(&["wallet", "faucet-l2", "--json"])["requested"], false);
}
