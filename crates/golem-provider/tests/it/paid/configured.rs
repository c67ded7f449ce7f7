//! How payments are configured: profiles, the monitor, withdrawals.

use super::*;

/// Where chain, contract and token come from.
#[test]
fn profiles_and_what_replaces_them() {
    let home = Home::new().set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "");
    let shown = |home: &Home| home.json(&["networks", "show", "--json"]);
    let default = shown(&home);
    assert_eq!((&default["name"], &default["chain_id"]), (&json!("hoodi"), &json!(560_048)));
    let info = |home: &Home| {
        let _node = home.start(&[]);
        home.http("GET", "/api/v1/provider/info", "").1
    };
    // The endpoint is presumed dead; the node starts all the same, and sells nothing unpaid.
    {
        let _node = home.start(&[]);
        let (_, told) = home.http("GET", "/api/v1/provider/info", "");
        // S-120
        assert_eq!(told["stream_payment_address"], "0x0281B792b5491E3548c8Fc17C24A2e0Cb99FbeC2");
        let (status, refused) = create(&home, Value::Null);
        assert!(status == 400 && refused["detail"].as_str().unwrap().contains("paid by leases"), "{refused}");
        // What clients of version 4 are quoted is not that contract's.
        let asked = json!({
            "vm_name": "leased", "cpu": 1, "memory": 1, "storage": 10, "duration_seconds": 3600,
            "requestor_address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        });
        let (status, quoted) = home.http("POST", "/api/v1/payments/lease-quotes", &asked.to_string());
        assert!(status == 200 || quoted["detail"].as_str().unwrap().contains("knows no price"), "{quoted}");
    }
    let folder = home.folder.path().join("deployments");
    std::fs::create_dir(&folder).unwrap();
    let other = "0x00000000000000000000000000000000000000AA";
    std::fs::write(folder.join("l2.json"), format!(r#"{{"StreamPayment": {{"address": "{other}"}}}}"#))
        .unwrap();
    let home = home.set("GOLEM_DEPLOYMENTS_DIR", folder.to_str().unwrap());
    // S-124
    assert_eq!(info(&home)["stream_payment_address"], other);
    let given = "0x00000000000000000000000000000000000000bb";
    let home = home
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", given)
        .set("GOLEM_PROVIDER_GLM_TOKEN_ADDRESS", given);
    let told = info(&home);
    // S-122, S-123
    assert_eq!((&told["stream_payment_address"], &told["glm_token_address"]), (&json!(given), &json!(given)));

    // The endpoint that is given is asked, under each of its names.
    let market = Market::new();
    for name in
        ["GOLEM_PROVIDER_L2_RPC_URL", "GOLEM_PROVIDER_KAOLIN_RPC_URL", "GOLEM_PROVIDER_POLYGON_RPC_URL"]
    {
        let before = market.chain.requests();
        let home = Home::new()
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", given)
            .set(name, market.chain.url())
            .set("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "1");
        let _node = home.start(&[]);
        // S-121
        wait_until("the endpoint is asked", || market.chain.requests() > before);
    }
    for (network, why) in [("mainnet", "has no contract"), ("nowhere", "no payment network is called")] {
        let home = Home::new()
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", network);
        let output = home.run(&["start"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(why) && said.contains("fix:"), "{said}");
    }
}

/// S-183: development logs what is verified and each tick, production does not.
#[test]
fn s_183_development_logs_verification_and_ticks() {
    for (environment, wanted) in [("development", true), ("production", false)] {
        let mut market = Market::new();
        market.home = market.home.set("GOLEM_ENVIRONMENT", environment);
        market.open(1, 3600);
        let mut node = market.home.start(&[]);
        market.home.rent_paid("one", Some(1));
        let before = market.chain.requests();
        wait_until("two ticks", || market.chain.requests() > before + 4);
        node.signal(rustix::process::Signal::TERM);
        node.end();
        for text in ["stream verified", "monitor tick"] {
            assert_eq!(node.seen.iter().any(|line| line.contains(text)), wanted, "{environment}: {text}");
        }
    }
}

/// What is set stays set, and nonsense is refused and changes nothing.
#[test]
fn monitor_and_withdrawals_are_configured() {
    let home = Home::bare();
    for enable in ["true", "false"] {
        home.json(&[
            "config",
            "monitor",
            "--enable",
            enable,
            "--interval",
            "45",
            "--min-remaining",
            "3600",
            "--json",
        ]);
        home.json(&[
            "config",
            "withdraw",
            "--enable",
            enable,
            "--interval",
            "900",
            "--min-wei",
            "1000000000000000",
            "--json",
        ]);
        let shown = home.json(&["config", "show", "--json"]);
        let value = |name: &str| {
            let rows = shown["settings"].as_array().unwrap();
            rows.iter().find(|row| row["name"] == name).unwrap()["value"].clone()
        };
        for (name, text) in [
            ("GOLEM_PROVIDER_STREAM_MONITOR_ENABLED", enable),
            ("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "45"),
            ("GOLEM_PROVIDER_STREAM_MIN_REMAINING_SECONDS", "3600"),
            ("GOLEM_PROVIDER_STREAM_WITHDRAW_ENABLED", enable),
            ("GOLEM_PROVIDER_STREAM_WITHDRAW_INTERVAL_SECONDS", "900"),
            ("GOLEM_PROVIDER_STREAM_MIN_WITHDRAW_WEI", "1000000000000000"),
        ] {
            // S-237, S-238, S-239
            assert_eq!(value(name), text, "{name}");
        }
    }
    let file = home.data().join(".env");
    std::fs::write(
        &file,
        "# mine\nGOLEM_PROVIDER_NAME=kept\nexport GOLEM_PROVIDER_STREAM_MIN_WITHDRAW_WEI=5\n",
    )
    .unwrap();
    home.json(&["config", "withdraw", "--min-wei", "7", "--json"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# mine\nGOLEM_PROVIDER_NAME=kept\nGOLEM_PROVIDER_STREAM_MIN_WITHDRAW_WEI=7\n");
    for bad in [
        &["config", "monitor", "--interval", "-1"][..],
        &["config", "monitor", "--min-remaining", "-5"],
        &["config", "monitor", "--interval", "0"],
        &["config", "monitor", "--enable", "perhaps"],
        &["config", "withdraw", "--min-wei", "-1"],
        &["config", "withdraw", "--min-wei", "1.5"],
        &["config", "withdraw", "--interval", "soon"],
    ] {
        // S-240
        assert_eq!(home.run(bad).status.code(), Some(2), "{bad:?}");
    }
    assert_eq!(home.run(&["config", "monitor"]).status.code(), Some(1), "nothing to change");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

/// With the monitor off nothing is stopped; with it on the interval is what was set.
#[test]
fn s_126_without_the_monitor_nothing_is_stopped() {
    let mut market = Market::new();
    market.home = market.home.set("GOLEM_PROVIDER_STREAM_MONITOR_ENABLED", "false");
    let _node = market.home.start(&[]);
    market.open(1, 3600);
    let id = market.home.rent_paid("one", Some(1));
    market.chain.put(1, Stream { recipient: U160::ZERO, ..market.open(1, 3600) });
    let before = market.chain.requests();
    let (_, shown) = market.home.http("GET", &format!("/api/v1/vms/{id}/stream"), "");
    assert_eq!((&shown["verified"], &shown["reason"]), (&json!(false), &json!("recipient mismatch")));
    assert_eq!(market.home.http("GET", &format!("/api/v1/vms/{id}"), "").1["status"], "running");
    assert_eq!(market.chain.requests(), before + 2, "only what was asked for by hand");
}
