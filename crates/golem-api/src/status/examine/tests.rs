use golem_market::survey::PriceRank;
use golem_test_support::healthy_node::SSH_PORTS;
use serde_json::json;

use super::super::{Local, NodeFacts, StatusFacts, StatusSettings, judge};
use super::*;
use crate::status::judge::tests::{self, settings, summary};

/// What was seen of a node with nothing wrong, and without VMs.
fn good() -> StatusFacts {
    let node = NodeFacts { summary: summary(&[]), vms: Vec::new(), listening: [].into() };
    StatusFacts { node: Some(Ok(node)), backend_name: "qemu", wallet: None, ..tests::good() }
}

fn rows_of(facts: StatusFacts, markets: &[MarketView]) -> Vec<Row> {
    let settings: StatusSettings = settings();
    assert_eq!(settings.ssh_ports, SSH_PORTS);
    let status = judge(&settings, facts);
    let seen = Seen { status: &status, markets, without_kvm: None, network_problem: None };
    examine(&seen, Timestamp::now())
}

fn market(error: Option<&str>, cheaper: Option<u8>) -> MarketView {
    MarketView {
        market: "http",
        place: "the market".to_owned(),
        error: error.map(str::to_owned),
        block: None,
        own: None,
        others: Vec::new(),
        more: false,
        usd_month: PriceRank {
            own: 9.0,
            others: 4,
            lowest: Some(1.0),
            median: Some(2.0),
            cheaper_percent: cheaper,
        },
    }
}

fn of(rows: &[Row], check: Check) -> Vec<&Row> {
    rows.iter().filter(|row| row.check == check).collect()
}

#[test]
fn a_healthy_node_has_a_row_for_each_check_and_none_broken() {
    let rows = rows_of(good(), &[]);
    let broken: Vec<_> = rows.iter().filter(|row| row.state == State::Broken).collect();
    assert_eq!(broken, Vec::<&Row>::new());
    assert!(rows.is_sorted_by_key(|row| row.check));
    for check in
        [Check::Rented, Check::Process, Check::Kvm, Check::Ports, Check::Tls, Check::Chain, Check::Update]
    {
        assert_eq!(of(&rows, check).len(), 1, "{check:?}");
    }
    let demand = of(&rows, Check::Demand)[0];
    assert_ne!(demand.state, State::Ok, "{demand:?}");
}

/// Everything that `status` finds is in the rows, and nothing broken is without a fix.
#[test]
fn u_06_each_issue_of_the_status_is_a_row_with_its_fix() {
    let mut facts = good();
    facts.image_missing = Some("24.04".to_owned());
    facts.latest = Some("9.9.9".to_owned());
    if let Some(Ok(node)) = &mut facts.node {
        node.summary.draining = true;
        node.summary.disk_trouble = Some("the provider's disk is full".to_owned());
        node.summary.backend.network_problem = Some("nft is not installed; fix: install it".to_owned());
        node.summary.host.cpu_percent = 99;
    }
    let settings = settings();
    let status = judge(&settings, facts.clone());
    let rows = rows_of(facts, &[]);
    for issue in &status.overall.issues {
        let of_issue = of(&rows, issue.about);
        let state = if issue.critical { State::Broken } else { State::Notice };
        let found = of_issue.iter().any(|row| row.state == state && issue.text.starts_with(&row.seen));
        assert!(found, "{issue:?}: {of_issue:#?}");
    }
    assert!(status.overall.issues.len() >= 5, "{:#?}", status.overall.issues);
    assert!(rows.iter().any(|row| row.state == State::Broken));
    let off = rows.iter().filter(|row| matches!(row.state, State::Broken | State::Notice));
    assert_eq!(off.filter(|row| row.fixes.is_empty()).collect::<Vec<_>>(), Vec::<&Row>::new());
    assert_eq!(of(&rows, Check::Isolation)[0].fixes, ["install it"]);
    assert_eq!(of(&rows, Check::Process)[0].fixes, ["`golem-provider drain off`"]);
    assert_eq!(of(&rows, Check::Update)[0].state, State::Notice);
}

#[test]
fn without_the_node_what_it_alone_knows_is_not_known() {
    let facts = StatusFacts { running: false, pid: None, node: None, local: Local::Free, ..good() };
    let rows = rows_of(facts, &[]);
    assert_eq!(of(&rows, Check::Process)[0].state, State::Broken);
    assert_eq!(of(&rows, Check::Process)[0].fixes, ["`golem-provider start`"]);
    for check in [Check::Resources, Check::Guests, Check::Tls, Check::Chain, Check::Books] {
        assert_eq!(of(&rows, check)[0].state, State::Unknown, "{check:?}");
    }
    assert_eq!(of(&rows, Check::Demand), Vec::<&Row>::new());
}

#[test]
fn a_market_that_shows_no_advert_and_a_price_above_most_are_told() {
    let mut facts = good();
    if let Some(Ok(node)) = &mut facts.node {
        let advert = json!({
            "market": "http", "place": "the market", "standing": "current", "problem": null, "key": null,
            "expires_at_block": null, "lapses_at": null, "looked_at": null, "writes": 1, "failed_writes": 0, "gas": 0,
            "cost_wei": 0,
        });
        node.summary.adverts = vec![serde_json::from_value(advert).unwrap()];
    }
    let rows = rows_of(facts.clone(), &[market(None, Some(75))]);
    assert_eq!(of(&rows, Check::Markets)[0].state, State::Broken);
    let price = of(&rows, Check::Prices)[0];
    assert_eq!(price.state, State::Notice);
    assert!(price.seen.contains("75 % of 4 ask less") && price.fixes[0].contains("pricing set"), "{price:?}");
    let rows = rows_of(facts, &[market(Some("no answer"), Some(10))]);
    assert_eq!(of(&rows, Check::Markets)[0].state, State::Unknown);
    assert_eq!(of(&rows, Check::Prices)[0].state, State::Ok);
}

#[test]
fn what_to_do_is_found_at_the_end_of_a_sentence() {
    for (text, what, fix) in [
        ("It is draining: `x drain off`", "It is draining", Some("`x drain off`")),
        ("The VM a cannot run: no disk: `x logs a`", "The VM a cannot run: no disk", Some("`x logs a`")),
        ("TCP 1 is held by b: stop that", "TCP 1 is held by b", Some("stop that")),
        ("a: b; fix: c: `d`", "a: b", Some("c: `d`")),
        ("The chain: it is down", "The chain: it is down", None),
    ] {
        assert_eq!(split(text), (what, fix));
    }
}
