//! What a renter agrees to, and is told of.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use alloy_primitives::Address;
use golem_chain::{Place, Quote};
use golem_test_support::{Home, wait_until};
use golem_testchain::{Anvil, CHAIN_ID};
use golem_types::Resources;
use ruint::aliases::U256;
use serde_json::json;

use super::world::{PROVIDER, RATE, World, wei};
use crate::terminal::Terminal;

/// M-12: no price is paid without a question, or a bound where nobody can be asked.
#[test]
fn nothing_is_paid_that_nobody_agreed_to() {
    let world = World::new();
    let _node = world.home.start(&[]);
    let before = world.funds();
    let url = world.url();
    let create = ["rent", "create", "web", "--provider", &url];
    for more in [&[][..], &["--yes"], &["--most", "1000"]] {
        let output =
            world.renter.command(&[&create[..], more].concat()).stdin(Stdio::null()).output().unwrap();
        let said = Home::show(&output);
        // M-12
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("give --yes and --most COINS_A_MONTH"), "{said}");
    }
    let mut declined = Terminal::run(&world.renter, &create);
    declined.shows("40 ETH a month");
    declined.shows("to pay now, for 1 h: 0.0547945205479452 ETH");
    declined.shows("Rent it? [y/N]");
    writeln!(declined.keyboard, "n").unwrap();
    declined.shows("you did not agree; nothing was paid");
    assert_eq!(declined.child.wait().unwrap().code(), Some(1));
    assert_eq!((world.funds(), world.streams()), (before, (0, 0)));
    let mut agreed = Terminal::run(&world.renter, &create);
    agreed.shows("Rent it? [y/N]");
    writeln!(agreed.keyboard, "y").unwrap();
    agreed.shows("web runs. Log in:");
    assert_eq!(agreed.child.wait().unwrap().code(), Some(0));
    assert_eq!(world.stream(1).deposit, U256::from(RATE) * U256::from(3600));
}

/// A provider that does nothing but quote, at these `rates` one after the other; each quote is over in two seconds.
fn quotes(world: &World, rates: [u64; 2]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (wallet, contract) = (Anvil::wallet(PROVIDER).unwrap(), world.chain.contract());
    std::thread::spawn(move || {
        for (rate, number) in rates.into_iter().zip(1u8..) {
            let quote = Quote {
                provider: wallet.address(),
                resources: Resources::new(1, 1, 10),
                token: Address::ZERO,
                rate: rate.into(),
                expires_at: now() + 2,
                nonce: [number; 16],
            };
            let signed = quote.sign(Place { chain_id: CHAIN_ID, contract }, &wallet).unwrap();
            let answer = json!({
                "quote_id": signed.id(), "provider_id": quote.provider.to_string(), "resources": quote.resources,
                "free": false, "rate_wei_per_second": rate, "price_per_month": "", "symbol": "ETH",
                "usd_per_month": null, "chain_id": CHAIN_ID, "stream_payment_address": contract.to_string(),
                "glm_token_address": Address::ZERO.to_string(), "expires_at": quote.expires_at,
                "nonce": alloy_primitives::hex::encode_prefixed(quote.nonce),
                "signature": alloy_primitives::hex::encode_prefixed(signed.signature),
            })
            .to_string();
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            // Up to the end of its JSON.
            while !asked.ends_with(b"}}") {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).unwrap();
                asked.extend_from_slice(&part[..count]);
            }
            assert!(asked.starts_with(b"POST /api/v1/quotes "), "{}", String::from_utf8_lossy(&asked));
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
    });
    url
}

/// This machine's time, in seconds since the epoch.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

/// M-12: whoever thinks for longer than a quote lasts agreed to its price, and not to that of the next one.
#[test]
fn m_12_a_second_quote_that_is_dearer_is_not_paid() {
    let world = World::new();
    let url = quotes(&world, [RATE, RATE + 1]);
    let before = world.funds();
    let create = ["rent", "create", "web", "--provider", &url, "--payments-network", "mine"];
    let mut thinking = Terminal::run(&world.renter, &create);
    thinking.shows("Rent it? [y/N]");
    let over = now() + 2;
    wait_until("the quote is over", || now() > over);
    writeln!(thinking.keyboard, "y").unwrap();
    // M-12
    thinking.shows("the provider asks for more now than when you agreed; nothing was paid");
    assert_eq!(thinking.child.wait().unwrap().code(), Some(1));
    assert_eq!((world.funds(), world.streams()), (before, (0, 0)));
}

/// What the wallet has is told for every network, and what to do where one does not answer.
#[test]
fn the_balance_is_told_on_every_network() {
    let world = World::with_token();
    let balance = world.json(&["balance"]);
    let networks = balance["networks"].as_array().unwrap();
    let of = |name: &str| {
        networks.iter().find(|one| one["network"] == name).unwrap_or_else(|| panic!("{balance}"))
    };
    let mine = of("mine");
    assert_eq!(
        (&mine["symbol"], &mine["gas_symbol"], &mine["error"]),
        (&json!("GLM"), &json!("ETH"), &json!(null))
    );
    let only = world.run(&["balance", "--payments-network", "mine", "--json"]);
    assert_eq!(wei(&only, "balance_wei"), U256::from(10).pow(U256::from(21)), "every digit");
    assert!(mine["coins_from"].as_str().unwrap().contains("a machine of your own"), "{mine}");
    let gone = of("l2.holesky");
    assert!(gone["error"].is_string() && gone["balance_wei"].is_null(), "{gone}");
    assert!(gone["coins_from"].as_str().unwrap().contains("faucet"), "{gone}");
    let text = String::from_utf8(world.run(&["balance", "--payments-network", "mine"]).stdout).unwrap();
    assert!(text.contains("1000 GLM, and ") && text.contains("chain id 31337, RPC http"), "{text}");
}

/// A program is told when money gets short: once, by its environment, and not for ever.
#[test]
fn keep_warns_by_a_hook() {
    let world = World::new();
    let _node = world.home.start(&[]);
    world.create("web", &[]);
    world.warp(2000);
    let folder = world.renter.folder.path();
    let (hook, told) = (folder.join("hook"), folder.join("told"));
    let script = format!(
        "#!/bin/sh\nprintf '%s %s %s\\n' \"$GOLEM_RENT_VM\" \"$GOLEM_RENT_REASON\" \"$GOLEM_RENTER_PRIVATE_KEY\" >> {}\n",
        told.display()
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    let hook = hook.display().to_string();
    let kept = world.run(&["keep", "web", "--most", "0.000001", "--once", "--warn", &hook]);
    assert_eq!(kept.status.code(), Some(1), "{}", Home::show(&kept));
    wait_until("it is told", || told.exists());
    assert_eq!(std::fs::read_to_string(&told).unwrap(), "web bound \n", "no key is told");
    let missing = world.run(&["keep", "web", "--most", "0.000001", "--once", "--warn", "/nowhere"]);
    let said = Home::show(&missing);
    assert!(said.contains("nobody was told that money gets short: /nowhere cannot be started"), "{said}");
}
