use golem_reach::report::{LocalState, Reach};
use golem_test_support::healthy_node;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

use super::super::judge;
use super::super::tests::{good, settings};
use super::*;
use crate::views::AdvertView;

fn judged(settings: &StatusSettings, facts: StatusFacts) -> Checklist {
    judge(settings, facts).checklist
}

fn advert(standing: &str) -> AdvertView {
    let problem = (standing == "problem").then_some("no gas; fix: `golem-provider wallet faucet`");
    serde_json::from_value(json!({
        "market": "golem_base", "place": "a market", "standing": standing, "problem": problem, "key": null,
        "expires_at_block": null, "lapses_at": null, "looked_at": null, "writes": 0, "failed_writes": 0, "gas": 0,
        "cost_wei": 0,
    }))
    .unwrap()
}

/// `good`, changed.
fn with(change: impl FnOnce(&mut Summary)) -> StatusFacts {
    let mut facts = good();
    if let Some(Ok(node)) = &mut facts.node {
        node.summary.adverts = vec![advert("current")];
        change(&mut node.summary);
    }
    facts
}

#[test]
fn u_06_a_node_with_which_nothing_is_wrong_is_rented_found_reached_and_paid() {
    let list = judged(&settings(), with(|_| ()));
    for (name, row) in list.rows() {
        assert_eq!((row.answer, &row.fix), (Answer::Yes, &None), "{name}: {row:?}");
    }
    assert!(!list.is_blocked());
}

#[test]
fn u_06_what_is_in_the_way_is_told_with_its_fix_and_what_the_settings_ask_for_blocks_nothing() {
    let no_gas = with(|summary| summary.adverts = vec![advert("problem")]);
    let row = judged(&settings(), no_gas).found;
    assert_eq!((row.answer, row.reason.as_str()), (Answer::No, "On a market: no gas"));
    assert_eq!(row.fix.as_deref(), Some("`golem-provider wallet faucet`"));
    let unseen = with(|summary| summary.adverts = vec![advert("starting")]);
    assert_eq!(judged(&settings(), unseen).found.answer, Answer::Unknown);
    let backend = StatusFacts {
        backend: Err("nft not found; install with: apt-get install nftables".to_owned()),
        ..good()
    };
    let list = judged(&settings(), backend);
    assert_eq!(list.rented.fix.as_deref(), Some("apt-get install nftables"));
    assert!(list.is_blocked());
    let free = with(|summary| {
        summary.payments = None;
        summary.adverts.clear();
    });
    let list = judged(&settings(), free);
    assert_eq!((list.paid.answer, list.found.answer), (Answer::No, Answer::No));
    assert!(!list.is_blocked(), "{list:?}");
    // A node that is full is what its operator wants.
    let full = |change: fn(&mut Summary)| {
        let list = judged(&settings(), with(change));
        assert!(list.rented.answer == Answer::No && !list.is_blocked(), "{list:?}");
    };
    full(|summary| summary.free.cpu = 0);
    full(|summary| summary.vms = summary.max_vms);
    let held = StatusFacts { running: false, pid: None, node: None, local: Local::Held, ..good() };
    let list = judged(&settings(), held);
    assert!(list.reached.reason.contains("TCP port 7466 is held by"), "{list:?}");
    assert!(list.rented.fix.unwrap().contains("golem-provider start"));
}

#[test]
fn u_11_test_money_on_the_market_of_real_money_is_no_pay_and_an_issue() {
    let settings = StatusSettings { test_money_on_mainnet: Some("hoodi".to_owned()), ..settings() };
    let status = judge(&settings, with(|_| ()));
    assert_eq!(status.checklist.paid.answer, Answer::No);
    assert!(status.checklist.paid.fix.unwrap().contains("GOLEM_PROVIDER_PAYMENTS_NETWORK"));
    let issues: Vec<_> = status.overall.issues.iter().map(|issue| issue.text.as_str()).collect();
    assert!(matches!(issues.as_slice(), [one] if one.contains("test money of hoodi")), "{issues:?}");
}

/// U-06: the API alone is not enough, and neither are ports without it.
#[test]
fn u_06_reached_needs_the_api_and_a_port() {
    for (api, ssh, answer) in [
        (Reach::Reachable, Reach::Reachable, Answer::Yes),
        (Reach::Reachable, Reach::Unreachable, Answer::No),
        (Reach::Unreachable, Reach::Reachable, Answer::No),
        (Reach::Reachable, Reach::Unknown, Answer::Unknown),
        (Reach::Unknown, Reach::Reachable, Answer::Unknown),
    ] {
        let mut facts = with(|_| ());
        if let Ok(report) = &mut facts.ports {
            report.provider.status = api;
            report.ssh.iter_mut().for_each(|port| port.status = ssh);
        }
        assert_eq!(judged(&settings(), facts).reached.answer, answer, "{api:?} {ssh:?}");
    }
}

/// Renters come to the plain port as well: https that is not there is told, and is no "no".
#[test]
fn u_06_reached_tells_of_https_where_that_is_wished() {
    let reason = |endpoint: Option<&str>, cause: &str| {
        let facts = with(|summary| {
            let https = json!({
                "endpoint": endpoint, "port": 443, "source": "acme", "certificate": null, "next_renewal": null,
                "problems": [{ "cause": cause, "what": "the authority refuses", "fixes": [], "help": "" }],
            });
            summary.https = Some(serde_json::from_value(https).unwrap());
        });
        let row = judged(&settings(), facts).reached;
        assert_eq!((row.answer, row.fix), (Answer::Yes, None));
        row.reason
    };
    assert!(
        reason(Some("https://203.0.113.7"), "clock").ends_with(", and over https at https://203.0.113.7")
    );
    assert!(reason(None, "refused").ends_with(", and not over https: the authority refuses"));
    assert!(reason(None, "off").ends_with("were reached from outside"));
}

fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![Just(Reach::Reachable), Just(Reach::Unreachable), Just(Reach::Unknown)]
}

prop_compose! {
    fn summaries()(
        trouble in option::of(Just("the disk is full".to_owned())),
        closed in option::of(Just("VMs are not isolated".to_owned())),
        flags in any::<[bool; 4]>(),
        cores in 0u32..3,
        busy in 80u8..100,
        standings in proptest::collection::vec(prop_oneof![
            Just("starting"), Just("current"), Just("hidden"), Just("problem"), Just("new word")
        ], 0..3),
        payments in option::of((option::of(Just("refused".to_owned())), option::of(0u64..9), any::<bool>())),
    ) -> Summary {
        let mut summary: Summary = serde_json::from_value(healthy_node::summary(&[])).unwrap();
        let [draining, answers, unknown_contract, full] = flags;
        (summary.disk_trouble, summary.closed, summary.draining) = (trouble, closed, draining);
        summary.backend.answers = answers;
        (summary.free.cpu, summary.host.cpu_percent) = (cores, busy);
        if unknown_contract {
            summary.unknown_contracts = vec!["1:0xaa".to_owned()];
        }
        if full {
            summary.vms = summary.max_vms;
        }
        summary.adverts = standings.into_iter().map(advert).collect();
        match payments {
            None => summary.payments = None,
            Some((error, block, no_price)) => if let Some(known) = &mut summary.payments {
                (known.error, known.block) = (error, block);
                known.closed = no_price.then_some(PaymentsClosed::NoPrice);
            },
        }
        summary
    }
}

prop_compose! {
    fn facts()(
        summary in summaries(),
        node in 0..3,
        ports in option::of((reach(), proptest::collection::vec(reach(), 0..4), any::<bool>(), 0u64..2)),
        backend in prop_oneof![
            Just(Ok(())), Just(Err("no qemu".to_owned())), Just(Err("no qemu; fix: install it".to_owned()))
        ],
        local in prop_oneof![Just(Local::Listening), Just(Local::Free), Just(Local::Held)],
        image_missing in option::of(Just("24.04".to_owned())),
        no_gas in any::<bool>(),
    ) -> StatusFacts {
        let mut facts = StatusFacts { backend, local, image_missing, ..good() };
        match (node, &mut facts.node) {
            (0, _) => (facts.running, facts.node) = (false, None),
            (1, _) => facts.node = Some(Err("connection refused".to_owned())),
            (_, Some(Ok(known))) => known.summary = summary,
            _ => {}
        }
        match (ports, &mut facts.ports) {
            (Some((api, ssh, address, rounds)), Ok(report)) => {
                let local = json!(LocalState::Free);
                report.ssh = (50_800..).zip(ssh)
                    .map(|(port, reach)| serde_json::from_value(healthy_node::port(port, &json!(reach), &local)).unwrap())
                    .collect();
                report.provider.status = api;
                report.rounds = rounds;
                if !address {
                    report.address = None;
                }
            }
            _ => facts.ports = Err("no answer".to_owned()),
        }
        if no_gas && let Some(wallet) = &mut facts.wallet {
            wallet.balance = Ok(Exact(U256::ZERO));
        }
        facts
    }
}

proptest! {
    /// U-06: whatever was seen, there is an answer; a "no" has a fix, and what was not seen is never a "yes".
    #[test]
    fn u_06_a_no_has_a_fix_and_what_was_not_seen_claims_nothing(
        facts in facts(), skipped in any::<bool>(), withdraws in any::<bool>(), test_money in option::of(Just("hoodi".to_owned())),
    ) {
        let settings = StatusSettings {
            skip_port_verification: skipped, withdraws, test_money_on_mainnet: test_money, ..settings()
        };
        let list = judged(&settings, facts.clone());
        for (name, row) in list.rows() {
            prop_assert!(!row.reason.is_empty(), "{}: {:?}", name, row);
            let has_fix = row.fix.as_ref().is_some_and(|fix| !fix.is_empty());
            match row.answer {
                Answer::Yes => prop_assert!(row.fix.is_none() && !row.by_choice, "{}: {:?}", name, row),
                Answer::No => prop_assert!(has_fix, "{}: {:?}", name, row),
                Answer::Unknown => prop_assert!(!row.by_choice, "{}: {:?}", name, row),
            }
        }
        if !matches!(facts.node, Some(Ok(_))) {
            for row in [&list.rented, &list.found, &list.paid] {
                prop_assert_ne!(row.answer, Answer::Yes);
            }
        }
        let seen = facts.ports.as_ref().is_ok_and(|report| {
            report.provider.status == Reach::Reachable && report.ssh.iter().any(|port| port.status == Reach::Reachable)
        });
        if skipped || !seen {
            prop_assert_ne!(list.reached.answer, Answer::Yes);
        }
    }
}
