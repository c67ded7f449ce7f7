use golem_test_support::healthy_node;
use serde_json::{Value, json};

use super::*;
use crate::status::ChecklistRow;

const PORT: u16 = healthy_node::SSH_PORTS.start;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// What is wrong with a node that is well but for `change` of its summary.
fn node(change: impl FnOnce(&mut Value)) -> Vec<(Rule, String)> {
    let mut told = healthy_node::summary(&[PORT]);
    change(&mut told);
    let seen = of_node(&serde_json::from_value(told).unwrap(), now());
    seen.conditions.into_iter().map(|condition| (condition.rule, condition.text)).collect()
}

/// The same for a VM that is paid for `runway`.
fn vm(runway: SignedDuration, change: impl FnOnce(&mut Value)) -> Vec<Rule> {
    let mut told = healthy_node::vm("web", PORT);
    change(&mut told);
    let view: VmView = serde_json::from_value(told).unwrap();
    let paid = BTreeMap::from([(view.id.to_string(), now() + runway)]);
    of_vms(&[view], &paid, now()).into_iter().map(|condition| condition.rule).collect()
}

#[test]
fn nothing_is_wrong_with_a_node_that_is_well() {
    assert_eq!(node(|_| ()), []);
    assert_eq!(vm(SignedDuration::from_hours(2), |_| ()), []);
}

#[test]
fn each_trouble_of_a_node_is_told_by_its_rule() {
    let of = |change: fn(&mut Value)| node(change).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>();
    assert_eq!(of(|node| node["backend"]["answers"] = json!(false)), [Rule::BackendDown]);
    assert_eq!(of(|node| node["backend"]["bounds_problem"] = json!("no cgroup")), [Rule::IsolationOff]);
    assert_eq!(of(|node| node["disk_trouble"] = json!("it is full")), [Rule::DiskFull]);
    assert_eq!(of(|node| node["host"]["storage_percent"] = json!(95)), [Rule::DiskFull]);
    assert_eq!(of(|node| node["host"]["storage_percent"] = json!(94)), []);
    assert_eq!(
        of(|node| node["transactions"] = json!(["1 transaction waits", "2 wait"])),
        [Rule::WithdrawalStuck]
    );
    let ends = |at: &str| {
        let certificate = json!({
            "issuer": "x", "names": ["192.0.2.1"], "from": "2025-12-30T00:00:00Z", "until": at,
        });
        let https = json!({
            "endpoint": null, "port": 443, "source": "acme", "certificate": certificate, "next_renewal": null, "problems": [],
        });
        node(|node| node["https"] = https).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
    };
    assert_eq!(ends("2026-01-03T03:04:05Z"), [Rule::CertificateEnding]);
    assert_eq!(ends("2026-01-05T03:04:05Z"), []);
    let advert = |problem: Value, lapses: &str| {
        let advert = json!({
            "market": "websocket", "place": "wss://market.example", "standing": "current", "problem": problem,
            "key": null, "expires_at_block": null, "lapses_at": lapses, "looked_at": null, "writes": 0,
            "failed_writes": 0, "gas": 0, "cost_wei": 0,
        });
        node(|node| node["adverts"] = json!([advert])).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
    };
    assert_eq!(advert(json!("no gas"), "2026-01-03T00:00:00Z"), [Rule::AdvertGone]);
    assert_eq!(advert(json!(null), "2026-01-02T00:00:00Z"), [Rule::AdvertGone]);
    assert_eq!(advert(json!(null), "2026-01-03T00:00:00Z"), []);
}

#[test]
fn each_trouble_of_a_vm_is_told_by_its_rule() {
    let long = SignedDuration::from_hours(2);
    assert_eq!(vm(SignedDuration::from_mins(29), |_| ()), [Rule::RunwayLow]);
    assert_eq!(vm(long, |vm| vm["status"] = json!("error")), [Rule::VmDown]);
    assert_eq!(vm(long, |vm| vm["error"] = json!("its port is not open")), [Rule::VmDown]);
    let problem = json!({ "kind": "cut", "reason": "it has another's address" });
    assert_eq!(vm(long, |vm| vm["network_problem"] = problem), [Rule::IsolationOff]);
    // One that is not paid for is paused, whatever else is said of it.
    let paused = vm(SignedDuration::ZERO, |vm| {
        vm["status"] = json!("stopped");
        vm["error"] = json!("it is not paid for");
        vm["unpaid_since"] = json!("2026-01-02T03:00:00Z");
    });
    assert_eq!(paused, [Rule::VmPaused]);
}

/// What is wrong, and of which rules nobody could tell, of a node whose renters' way to it is judged so.
fn reached(answer: Answer, by_choice: bool, newer: Option<&str>) -> Seen {
    let row = |word, answer| RowView {
        word,
        row: ChecklistRow {
            answer,
            reason: "TCP 7466 was not reached".to_owned(),
            fix: Some("open it".to_owned()),
            by_choice,
        },
    };
    let mut seen = Seen::default();
    // Of the four questions, only this one is of ports.
    of_health(
        &[row("rented", Answer::No), row("reached", answer), row("paid", Answer::No)],
        newer,
        &mut seen,
    );
    seen
}

#[test]
fn ports_are_lost_when_renters_do_not_reach_them_and_the_operator_meant_them_to() {
    let lost = reached(Answer::No, false, None);
    let text = "Renters do not reach this node: TCP 7466 was not reached".to_owned();
    assert_eq!(lost.conditions, [wrong(Rule::PortLost, "", text, Some("open it".to_owned()))]);
    assert!(lost.unknown.is_empty());
    assert_eq!(reached(Answer::Yes, false, None), Seen::default());
    assert_eq!(reached(Answer::No, true, None), Seen::default());
    // A check server that is gone makes nothing wrong, and ends nothing.
    let unknown = reached(Answer::Unknown, false, None);
    assert_eq!((unknown.conditions.len(), unknown.unknown), (0, [Rule::PortLost].into()));
}

#[test]
fn a_newer_version_is_told_by_its_number() {
    let seen = reached(Answer::Yes, false, Some("9.9.9"));
    let told: Vec<_> = seen.conditions.iter().map(|one| (one.rule, one.text.as_str())).collect();
    assert_eq!(told, [(Rule::UpdateThere, "Version 9.9.9 is published")]);
}

#[test]
fn each_endpoint_and_each_chain_that_cannot_be_asked_is_told_for_itself() {
    let endpoint = |host: &str, is_well: bool| {
        let health = golem_chain::EndpointHealth { host: host.to_owned(), is_well, ..Default::default() };
        serde_json::to_value(health).unwrap()
    };
    let told = |change: &dyn Fn(&mut Value)| {
        let mut told = healthy_node::summary(&[PORT]);
        change(&mut told["payments"]);
        let seen = of_node(&serde_json::from_value(told).unwrap(), now());
        seen.conditions.into_iter().map(|one| (one.rule, one.subject)).collect::<Vec<_>>()
    };
    let both = [endpoint("a.example", true), endpoint("b.example", false)];
    let down = (Rule::EndpointDown, "l2.holesky b.example".to_owned());
    assert_eq!(told(&|chain| chain["endpoints"] = json!(both)), [down]);
    assert_eq!(told(&|chain| chain["endpoints"] = json!(both[..1])), []);
    let chain = (Rule::EndpointDown, "l2.holesky".to_owned());
    assert_eq!(told(&|told| told["error"] = json!("no endpoint answers")), std::slice::from_ref(&chain));
    // Contracts that earlier rentals still pay by are followed as well.
    let mut earlier = healthy_node::summary(&[PORT]);
    earlier["other_payments"] = json!([earlier["payments"].clone()]);
    earlier["other_payments"][0]["error"] = json!("no endpoint answers");
    let seen = of_node(&serde_json::from_value(earlier).unwrap(), now());
    assert_eq!(seen.conditions.into_iter().map(|one| (one.rule, one.subject)).collect::<Vec<_>>(), [chain]);
}

/// Knowing all of an id is the right to use the VM, and messages go to servers of others.
#[test]
fn no_message_has_all_of_a_vms_id() {
    let mut told = healthy_node::vm("web", PORT);
    told["status"] = json!("error");
    let view: VmView = serde_json::from_value(told).unwrap();
    let id = view.id.clone();
    let seen = of_vms(&[view], &BTreeMap::new(), now());
    let [down] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(down.subject, id.redacted());
    let said = format!("{down:?}");
    assert!(said.contains(id.redacted()) && !said.contains(id.as_str()), "{said}");
}
