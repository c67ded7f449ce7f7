//! The true binary and a real EVM: money that reaches the wallet, and a node that is killed at every
//! step of a monitor's tick and of a withdrawal.

use golem_test_support::{Home, Running, wait_until};
use golem_testchain::{Anvil, CHAIN_ID, FaucetServer, contracts};
use golem_types::StreamId;
use golem_types::wire::Exact;
use ruint::aliases::U256;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The provider's account.
const PROVIDER: usize = 2;

/// Wei a second: about a hundredth of a coin an hour.
const RATE: u64 = 10u64.pow(16) / 3600;

struct Market {
    runtime: Runtime,
    chain: Anvil,
    home: Home,
}

impl Market {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let chain = runtime.block_on(Anvil::start(&contracts(), &[])).unwrap();
        let home = Home::new()
            .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", Anvil::key(PROVIDER))
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "anvil")
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
            .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0")
            .set("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "1");
        let contract = chain.contract().to_string();
        home.add_network("anvil", CHAIN_ID, chain.url(), &contract, &["--local"]);
        Self { runtime, chain, home }
    }

    fn open(&self, seconds: u64) -> StreamId {
        let deposit = U256::from(RATE) * U256::from(seconds);
        let recipient = self.chain.account(PROVIDER);
        self.runtime.block_on(self.chain.create(1, recipient, deposit, u128::from(RATE))).unwrap()
    }

    fn rent(&self, name: &str, seconds: u64) -> (String, StreamId) {
        let stream = self.open(seconds);
        (self.home.rent_paid(name, Some(u64::try_from(stream.0).unwrap())), stream)
    }

    fn warp(&self, seconds: u64) {
        self.runtime.block_on(self.chain.warp(seconds)).unwrap();
    }

    fn balance(&self) -> U256 {
        self.runtime.block_on(self.chain.balance(self.chain.account(PROVIDER))).unwrap()
    }

    fn status(&self, id: &str) -> Value {
        self.home.http("GET", &format!("/api/v1/vms/{id}"), "").1["status"].clone()
    }

    fn start_to_die(&self, point: &str) -> Running {
        self.home.start_with(&[], &[("FAILPOINTS", &format!("{point}=return"))])
    }
}

fn wei(value: &Value) -> U256 {
    value.to_string().parse().unwrap()
}

/// The command's figures are those of the wallet, to the wei; it works with the node and
/// without it, and its history agrees.
#[test]
fn streams_withdraw_pays_into_the_wallet() {
    let market = Market::new();
    let home = &market.home;
    let check = home.json(&["networks", "check", "--json"]);
    assert_eq!(check["reachable"], true, "{check}");
    let mut node = home.start(&[]);
    for name in ["one", "two"] {
        market.rent(name, 7200);
    }
    market.warp(3600);
    let mut balance = market.balance();
    #[derive(serde::Deserialize)]
    struct Balance {
        balance_wei: Exact,
    }
    let shown = home.run(&["wallet", "balance", "--json"]);
    let shown: Balance = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown.balance_wei.0, balance);
    let mut withdraw = |arguments: &[&str], count: usize| {
        let done = home.json(&[&["streams", "withdraw", "--json"], arguments].concat());
        let rows = done.as_array().unwrap();
        assert_eq!(rows.len(), count, "{done}");
        let sum = |name: &str| rows.iter().map(|row| wei(&row[name])).fold(U256::ZERO, |a, b| a + b);
        let (paid, cost) = (sum("paid_wei"), sum("cost_wei"));
        assert!(rows.iter().all(|row| row["error"].is_null()), "{done}");
        assert!(paid > U256::from(RATE) * U256::from(1800) * U256::from(count as u64));
        // S-234, S-235
        assert_eq!(market.balance(), balance + paid - cost);
        balance = market.balance();
    };
    withdraw(&["--vm-id", "two"], 1);
    market.warp(1900);
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.end(), Some(0));
    withdraw(&["--all"], 2);
    let history = home.json(&["streams", "history", "--json"]);
    assert_eq!(history.as_array().unwrap().len(), 3);
    assert!(history.as_array().unwrap().iter().all(|one| one["state"] == "paid"));
    // M-14: nothing is left that is worth its gas, and that is no failure.
    market.warp(10);
    let again = home.json(&["streams", "withdraw", "--all", "--json"]);
    let rows = again.as_array().unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| row["outcome"] == "skipped"), "{again}");
    // M-09: an operator who wants it all the same gets it, whatever it costs.
    let balance = market.balance();
    let forced = home.json(&["streams", "withdraw", "--vm-id", "one", "--force", "--json"]);
    let [row] = &forced.as_array().unwrap()[..] else { panic!("{forced}") };
    let (paid, cost) = (wei(&row["paid_wei"]), wei(&row["cost_wei"]));
    assert_eq!((&row["error"], market.balance()), (&Value::Null, balance + paid - cost), "{forced}");
    assert!(cost > paid / U256::from(10), "not worth it by the settings: {forced}");
    // M-07
    let sent = home.json(&["wallet", "transactions", "--all", "--json"]);
    assert!(sent.as_array().unwrap().iter().all(|one| one["state"] == "mined"), "{sent}");
    assert_eq!(sent.as_array().unwrap().len(), 4);
    assert_eq!(home.json(&["wallet", "transactions", "--json"]), serde_json::json!([]));
    assert!(!home.run(&["wallet", "cancel", "--all", "--yes"]).status.success(), "nothing waits");
    let earnings = home.json(&["streams", "earnings", "--since", "1d", "--by", "month", "--json"]);
    assert_eq!(earnings["periods"][0]["withdrawals"], 4);
    assert_eq!(earnings["totals"]["received_wei"], earnings["periods"][0]["received_wei"]);
    let vested = wei(&earnings["totals"]["withdrawn_wei"]) + wei(&earnings["totals"]["withdrawable_wei"]);
    assert_eq!(wei(&earnings["totals"]["vested_wei"]), vested);
}

/// Killed at any step of a withdrawal, the next start finishes it: the money comes once, and the
/// books say what the chain says.
#[test]
fn a_node_killed_at_any_step_of_a_withdrawal_pays_once_and_forgets_nothing() {
    for point in [
        "withdraw-before-record",
        "withdraw-recorded",
        "transaction-before-record",
        "transaction-recorded",
        "transaction-sent",
        "withdraw-mined",
    ] {
        let market = Market::new();
        let mut node = market.start_to_die(point);
        let (_, stream) = market.rent("one", 7200);
        market.warp(3600);
        let before = market.balance();
        market.home.run(&["streams", "withdraw", "--all"]);
        assert_eq!(node.end(), None, "{point}: it should have been killed");
        let _node = market.home.start(&[]);
        let history = || market.home.json(&["streams", "history", "--json"]);
        let recorded = usize::from(point != "withdraw-before-record");
        wait_until(point, || {
            let history = history();
            let rows = history.as_array().unwrap();
            rows.len() == recorded && rows.iter().all(|one| one["state"] == "paid")
        });
        let history = history();
        let sum = |name: &str| {
            history.as_array().unwrap().iter().map(|one| wei(&one[name])).fold(U256::ZERO, |a, b| a + b)
        };
        assert_eq!(market.balance(), before + sum("amount_wei") - sum("cost_wei"), "{point}");
        let (seen, _) = market.runtime.block_on(market.chain.stream(stream)).unwrap();
        assert_eq!(seen.withdrawn, sum("amount_wei"), "{point}: paid once");
    }
}

/// I4: killed at any step of a tick, the next start stops what is not paid for, resumes what is, and
/// touches nothing else.
#[test]
fn i4_a_node_killed_at_any_step_of_a_tick_converges() {
    for point in ["monitor-read", "monitor-before-stop", "monitor-before-resume", "monitor-before-delete"] {
        let mut market = Market::new();
        if point == "monitor-before-delete" {
            market.home = market.home.set("GOLEM_PROVIDER_STREAM_HOLD_SECONDS", "1");
        }
        let (paying, ending);
        {
            let _node = market.home.start(&[]);
            paying = market.rent("paying", 1_000_000).0;
            ending = market.rent("ending", 3600);
            if point == "monitor-before-resume" {
                market.warp(3700);
                wait_until("it is stopped", || market.status(&ending.0) == "stopped");
            }
        }
        let top_up = U256::from(RATE) * U256::from(10_000);
        match point {
            "monitor-before-resume" => {
                market.runtime.block_on(market.chain.top_up(ending.1, top_up)).unwrap()
            }
            _ => market.warp(3700),
        }
        // Killed before it says that it listens, perhaps: a tick begins at once.
        let mut command = market.home.command(&["start"]);
        command.env("FAILPOINTS", format!("{point}=return")).stderr(std::process::Stdio::null());
        let status = command.status().unwrap();
        assert_eq!(status.code(), None, "{point}: it should have been killed");
        let _node = market.home.start(&[]);
        match point {
            "monitor-before-resume" => wait_until(point, || market.status(&ending.0) == "running"),
            "monitor-before-delete" => wait_until(point, || market.status(&ending.0).is_null()),
            _ => wait_until(point, || market.status(&ending.0) == "stopped"),
        }
        assert_eq!(market.status(&paying), "running", "{point}");
    }
}

/// Test money by one command, where money is worth nothing, from
/// the servers that are named.
#[test]
fn the_faucet_is_asked_on_test_networks_only() {
    let mut market = Market::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Of its own: a connection belongs to the runtime in which it was made.
    let rpc = golem_testchain::Rpc::new(market.chain.url()).unwrap();
    let bank = market.chain.account(0);
    let faucet = runtime.block_on(FaucetServer::start(rpc, bank)).unwrap();
    let set_balance = |balance: &str| {
        let account = market.chain.account(PROVIDER);
        market
            .runtime
            .block_on(market.chain.ask("anvil_setBalance", serde_json::json!([account, balance])))
            .unwrap();
    };
    set_balance("0x1");
    market.home = market
        .home
        .set("GOLEM_PROVIDER_L2_FAUCET_URL", &faucet.url())
        .set("GOLEM_PROVIDER_L2_CAPTCHA_URL", faucet.captcha_url())
        .set("GOLEM_PROVIDER_L2_CAPTCHA_API_KEY", faucet.site());
    let ask = |home: &Home| home.json(&["wallet", "faucet-l2", "--json"]);
    let refused = ask(&market.home);
    assert_eq!(
        // S-223
        (&refused["requested"], faucet.paid()),
        (&Value::Bool(false), 0),
        "no test network: {refused}"
    );
    let file = market.home.data().join("networks/anvil.toml");
    let profile = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, profile.replace("testnet = false", "testnet = true")).unwrap();
    let given = ask(&market.home);
    // S-016, S-224, S-226, S-227
    assert_eq!((&given["requested"], faucet.paid()), (&Value::Bool(true), 1), "{given}");
    assert!(given["transaction"].as_str().unwrap().starts_with("0x"));
    assert_eq!(given["balance_wei"], "100000000000000001");
    assert_eq!(ask(&market.home)["requested"], false, "enough is there");
    assert_eq!(faucet.paid(), 1);
    set_balance("0x1");
    let mut wrong = Home::new();
    wrong.environment.clone_from(&market.home.environment);
    std::fs::create_dir_all(wrong.data().join("networks")).unwrap();
    std::fs::copy(&file, wrong.data().join("networks/anvil.toml")).unwrap();
    let wrong = wrong.set("GOLEM_PROVIDER_L2_CAPTCHA_API_KEY", "another");
    let output = wrong.run(&["wallet", "faucet-l2"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // S-228
    assert!(output.status.code() == Some(1) && said.contains("captcha server refused"), "{said}");
}

/// An operator who names the wrong version of the payment contract, or another contract, is told so: by
/// `networks check`, and in the log at the start.
#[test]
fn a_contract_that_is_not_the_profiles_is_named() {
    let market = Market::new();
    let deploy = |name: &str| {
        let words = [U256::ONE, U256::ONE];
        market.runtime.block_on(market.chain.deploy(&contracts(), name, &words)).unwrap().to_string()
    };
    let (four, token) = (deploy("StreamPaymentV4"), deploy("TestToken"));
    let add = |name: &str, contract: &str, more: &[&str]| {
        let id = CHAIN_ID.to_string();
        let mut arguments = vec!["networks", "add", name, "--chain-id", &id, "--local", "--json"];
        arguments.extend(["--rpc-url", market.chain.url(), "--contract", contract]);
        market.home.json(&[&arguments, more].concat());
        let output = market.home.run(&["networks", "check", name]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let newer = ["--contract-version", "4"];
    for (contract, more, code, said) in [
        (&*four, &[][..], 1, "is of version 4, not 1; fix: contract_version = 4"),
        (&token, &[], 1, "is no payment contract that is known, neither version 1 nor 4"),
        (&four, &newer, 0, "the payment contract, version 4.\n"),
        (&market.chain.contract().to_string(), &[], 0, "the payment contract, version 1.\n"),
        (&market.chain.contract().to_string(), &newer, 1, "is of version 1, not 4"),
    ] {
        let (exit, text) = add("other", contract, more);
        assert!(exit == Some(code) && text.contains(said), "{exit:?} {text}");
    }
    // M-13: so is a token that is not what the profile says, or is not there.
    let (contract, nobody) = (market.chain.contract().to_string(), format!("0x{:040x}", 77));
    let named = ["--token", &token, "--token-symbol"];
    for (more, code, said) in [
        (&[named[0], named[1], named[2], "TST"][..], 0, "is usable"),
        (&[named[0], named[1], named[2], "GLM"], 0, "calls itself TST, and the profile says GLM"),
        (
            &["--token", &token, "--token-symbol", "TST", "--token-decimals", "6"],
            1,
            "fix: token_decimals = 18",
        ),
        (&["--token", &nobody], 1, "there is no contract at the token's address"),
    ] {
        let (exit, text) = add("other", &contract, more);
        assert!(exit == Some(code) && text.contains(said), "{exit:?} {text}");
        assert_eq!(text.contains("calls itself"), said.contains("calls itself"), "{text}");
    }
    add("other", &four, &[]);
    let home = market.home.set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "other");
    let mut node = home.start(&[]);
    let said = "the contract at the payment address is of version 4, not 1";
    if !node.seen.iter().any(|line| line.contains(said)) {
        node.wait_for(said);
    }
}
