mod ports;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use golem_node::AdmissionLimits;
use golem_reach::report::{LocalState, PortReport, PortsReport};
use golem_test_support::healthy_node::{self, SSH_PORTS};
use golem_types::Resources;
use golem_types::wire::Exact;
use jiff::Timestamp;
use ruint::aliases::U256;
use serde_json::{Value, json};

use super::*;
use crate::status::WalletFacts;
use crate::views::{PaymentsView, Summary};

const FIRST: u16 = SSH_PORTS.start;

pub(in crate::status) fn settings() -> StatusSettings {
    StatusSettings {
        how_to_start: "golem-provider start",
        installed: "0.1.0",
        data_dir: PathBuf::from("/nowhere"),
        environment: "production",
        network: "mainnet",
        host: Ipv4Addr::UNSPECIFIED.into(),
        port: 7466,
        ssh_ports: SSH_PORTS,
        skip_port_verification: false,
        limits: AdmissionLimits {
            max_vms: 10,
            minimum: Resources::new(1, 1, 10),
            cpu_threshold: 90,
            memory_threshold: 85,
            storage_threshold: 90,
            max_snapshots: 2,
            quotes_reserve: false,
        },
        test_money_on_mainnet: None,
        withdraws: false,
    }
}

pub(in crate::status) fn port(port: u16, status: Reach, local: LocalState) -> PortReport {
    read(healthy_node::port(port, &json!(status), &json!(local)))
}

/// What a verification found, of which every port is reachable.
pub(in crate::status) fn report() -> PortsReport {
    read(healthy_node::ports_report())
}

pub(in crate::status) fn vm(name: &str, ssh_port: u16) -> VmView {
    read(healthy_node::vm(name, ssh_port))
}

pub(in crate::status) fn summary(ports: &[u16]) -> Summary {
    read(healthy_node::summary(ports))
}

pub(in crate::status) fn read<T: serde::de::DeserializeOwned>(told: Value) -> T {
    serde_json::from_value(told).unwrap()
}

/// A node with a VM, with which nothing is wrong.
pub(in crate::status) fn good() -> StatusFacts {
    let node = NodeFacts {
        summary: summary(&[FIRST]),
        vms: vec![vm("web", FIRST)],
        listening: BTreeSet::from([FIRST]),
    };
    StatusFacts {
        running: true,
        pid: Some(7),
        node: Some(Ok(node)),
        backend: Ok(()),
        backend_name: "multipass",
        local: Local::Listening,
        ports: Ok(report()),
        image_missing: None,
        latest: None,
        held: BTreeSet::new(),
        wallet: Some(WalletFacts {
            address: "0xabc".to_owned(),
            symbol: "ETH".to_owned(),
            balance: Ok(Exact(U256::from(5))),
            has_faucet: true,
        }),
    }
}

fn with_ports(change: impl FnOnce(&mut PortsReport)) -> StatusFacts {
    let mut report = report();
    change(&mut report);
    StatusFacts { ports: Ok(report), ..good() }
}

fn with_node(change: impl FnOnce(&mut NodeFacts)) -> StatusFacts {
    let mut facts = good();
    if let Some(Ok(node)) = &mut facts.node {
        change(node);
    }
    facts
}

fn judged(facts: StatusFacts) -> Value {
    judged_with(&settings(), facts)
}

fn judged_with(settings: &StatusSettings, facts: StatusFacts) -> Value {
    serde_json::to_value(judge(settings, facts)).unwrap()
}

/// All issues of `json`, a line each.
fn issues(json: &Value) -> String {
    let issues = json["overall"]["issues"].as_array().unwrap();
    issues.iter().map(|issue| format!("{}\n", issue.as_str().unwrap())).collect()
}

fn silent(report: &mut PortsReport) {
    for source in &mut report.sources {
        source.problem = Some("does not answer (Connection refused)".to_owned());
    }
}

#[test]
fn nothing_off_is_healthy() {
    let json = judged(good());
    // S-037
    assert_eq!(json["overall"], json!({ "status": "healthy", "issues": [] }));
    assert_eq!(json["ports"]["provider"]["local_detail"], "service is listening");
}

/// What keeps renters out is an error, and named.
#[test]
fn what_keeps_renters_out_is_an_error() {
    let closed = |report: &mut PortsReport| {
        report.provider = port(7466, Reach::Unreachable, LocalState::Served);
    };
    let blocked = |report: &mut PortsReport| {
        for one in &mut report.ssh {
            *one = port(one.port, Reach::Unreachable, LocalState::Free);
        }
    };
    let stopped = StatusFacts { running: false, pid: None, node: None, local: Local::Free, ..good() };
    for (facts, words) in [
        (
            with_node(|node| node.summary.disk_trouble = Some("the provider's disk is full".to_owned())),
            "No VM can be rented out or changed: the provider's disk is full: make room or mend it in",
        ),
        // S-031
        (with_ports(closed), "TCP port 7466 is not reachable from outside: connection timed out"),
        (
            // S-032
            with_ports(silent),
            "no check server answered (2 asked; https://one does not answer (Connection refused))",
        ),
        (with_ports(|report| report.address = None), "the public address is not known"),
        (with_ports(|report| report.sources.clear()), "no check server is named"),
        (StatusFacts { ports: Err("no answer within 2 s".to_owned()), ..good() }, "no answer within 2 s"),
        // S-033
        (with_ports(blocked), "None of the SSH ports 50800-50899 is reachable from outside"),
        (
            // S-034
            StatusFacts { backend: Err("multipass is not installed".to_owned()), ..good() },
            "multipass is not installed",
        ),
        // S-035
        (StatusFacts { local: Local::Free, ..good() }, "Nothing answers on the provider's port 7466"),
        (
            StatusFacts { node: Some(Err("timeout".to_owned())), ..good() },
            "The provider does not answer: timeout",
        ),
        (stopped.clone(), "The provider is not running"),
    ] {
        let json = judged(facts);
        assert_eq!(json["overall"]["status"], "error", "{words}");
        assert!(issues(&json).contains(words), "{json:#}");
    }
    let rented = StatusFacts { held: BTreeSet::from([FIRST]), ..stopped.clone() };
    let json = judged(rented);
    assert_eq!(json["ports"]["ssh"]["in_use"], 1);
    assert!(json["overall"]["issues"].to_string().contains("1 VM(s) are rented out"), "{json:#}");
    let held = |report: &mut PortsReport| report.provider = port(7466, Reach::Unknown, LocalState::Held);
    let facts = StatusFacts { ports: with_ports(held).ports, local: Local::Held, ..stopped };
    let json = judged(facts);
    assert_eq!(json["ports"]["provider"]["held_by"], "nginx (pid 42)");
    assert!(json["overall"]["issues"].to_string().contains("nginx (pid 42)"), "{json:#}");
}

/// H-01: who would be paid with real money for guests on translation is told why nothing is rented out.
#[test]
fn h_01_a_node_that_is_closed_says_why_and_what_to_do() {
    let facts = with_node(|node| {
        node.summary.closed = Some("provider takes no new rentals".to_owned());
        node.summary.backend.accelerator = Some("tcg".to_owned());
        node.summary.backend.accelerator_problem = Some("no device; fix: modprobe".to_owned());
    });
    let json = judged(facts);
    assert_eq!(json["overall"]["status"], "error", "{json:#}");
    let told =
        "Provider takes no new rentals: no device; fix: modprobe; or set GOLEM_PROVIDER_ALLOW_TCG=true";
    assert!(issues(&json).contains(told), "{json:#}");
    assert_eq!(json["vm_backend"]["accelerator"], "tcg");
}

#[test]
fn i_01_a_guest_that_is_not_kept_in_is_named_with_the_fix() {
    let problem = |problem| with_node(|node| node.vms[0].network_problem = Some(problem));
    let json = judged(problem(NetworkProblem::Cut("nft: no".to_owned())));
    assert_eq!(json["overall"]["status"], "error", "{json:#}");
    let told = issues(&json);
    assert!(told.contains("The network of web is cut") && told.contains("vms restart web"), "{told}");
    for (facts, words) in [
        (problem(NetworkProblem::Shared), "An older version launched web"),
        (
            problem(NetworkProblem::Restricted("nft is not installed; fix: get it".to_owned())),
            "web has no network but SSH in: nft is not installed; fix: get it",
        ),
        (
            with_node(|node| {
                node.summary.backend.network_problem = Some("guests reach nothing; fix: it".to_owned())
            }),
            "Guests reach nothing; fix: it",
        ),
    ] {
        let json = judged(facts);
        assert_eq!(json["overall"]["status"], "issues", "{json:#}");
        assert!(issues(&json).contains(words), "{json:#}");
    }
}

/// Anything else that is off is an issue, named in a short text.
#[test]
fn anything_else_that_is_off_is_an_issue() {
    let one_off = with_ports(|report| report.ssh[0] = port(FIRST, Reach::Unreachable, LocalState::Served));
    for (facts, words) in [
        (one_off, "The renter of web cannot log in: TCP port 50800"),
        (with_node(|node| node.listening.clear()), "SSH ports 50800-50899: 1 not listening"),
        (with_node(|node| node.summary.draining = true), "draining"),
        (with_node(|node| node.summary.backend.answers = false), "VM backend did not answer"),
        (
            with_node(|node| {
                node.summary.backend.accelerator_problem = Some("no device; fix: modprobe".to_owned());
            }),
            "without hardware virtualization (TCG), slow and not a security boundary: no device; fix: modprobe",
        ),
        (
            with_node(|node| {
                node.summary.backend.bounds_problem = Some("no control groups; fix: mount".to_owned());
            }),
            "No control groups; fix: mount",
        ),
        (with_node(|node| node.vms[0].stream_id = None), "No stream pays for web"),
        (
            // S-255
            with_node(|node| node.summary.host.memory_percent = 86),
            "86 % of the host's memory is in use, 1 more than GOLEM_PROVIDER_MEMORY_THRESHOLD=85",
        ),
        (
            with_node(|node| node.summary.total.storage = 7),
            "7 GB of storage, 3 less than GOLEM_PROVIDER_MIN_STORAGE_GB=10",
        ),
        (
            with_node(|node| {
                node.vms[0].status = VmStatus::Error;
                node.vms[0].error = Some("the disk is gone".to_owned());
            }),
            "The VM web cannot run: the disk is gone: `golem-provider vms logs web`",
        ),
        (with_node(|node| node.summary.version = "0.0.9".to_owned()), "The provider runs version 0.0.9"),
        (
            with_node(|node| {
                node.summary.unmanaged.insert(node.vms[0].id.clone());
            }),
            "1 machine(s) on the backend",
        ),
        (
            StatusFacts { image_missing: Some("24.04".to_owned()), ..good() },
            "golem-provider images pull 24.04",
        ),
        (
            with_node(|node| {
                if let Some(payments) = &mut node.summary.payments {
                    payments.error = Some("no route".to_owned());
                }
            }),
            "The payment chain cannot be asked, rentals run on: no route",
        ),
    ] {
        let json = judged(facts);
        // S-036
        assert_eq!(json["overall"]["status"], "issues", "{json:#}");
        assert!(issues(&json).contains(words), "{words}: {json:#}");
    }
    let empty = || {
        let wallet = good().wallet.map(|wallet| WalletFacts { balance: Ok(Exact(U256::ZERO)), ..wallet });
        StatusFacts { wallet, ..good() }
    };
    assert_eq!(judged(empty())["overall"]["status"], "healthy", "nobody withdraws");
    let withdrawing = StatusSettings { withdraws: true, ..settings() };
    let json = judged_with(&withdrawing, empty());
    assert!(json["overall"]["issues"].to_string().contains("golem-provider wallet faucet-l2"), "{json:#}");
}

/// M-11, M-13: where no price can be asked, or none that is right, nothing is rented, and that is an error.
#[test]
fn a_node_that_cannot_price_streams_is_in_error() {
    for (closed, words) in [
        (json!({ "reason": "no_price" }), "no price in ETH is known"),
        (json!({ "reason": "token_digits", "found": 6, "expected": 18 }), "--token-decimals 6"),
    ] {
        let facts = with_node(|node| {
            let payments = node.summary.payments.as_mut().unwrap();
            payments.closed = Some(serde_json::from_value(closed).unwrap());
        });
        let json = judged(facts);
        assert_eq!(json["overall"]["status"], "error", "{json:#}");
        assert!(json["overall"]["issues"].to_string().contains(words), "{json:#}");
    }
}

/// M-01: books that differ from the chain are told with what is missing and with the fix, and so is a chain that they cannot be
/// compared with.
#[test]
fn m_01_books_that_differ_are_told_with_what_is_missing_and_the_fix() {
    let missing = json!({
        "stream_id": 7, "vm_id": null, "kind": "terminated", "transaction": "0xab",
        "chain_wei": 1_050_000_000_000_000_000u64, "books_wei": 0,
    });
    let with = |differences: usize, error: Option<&str>, is_earlier: bool| {
        let at = (differences < 9).then(jiff::Timestamp::now);
        let books = json!({
            "checked_at": at, "differences": differences, "missing": vec![&missing; differences.min(10)],
            "decimals": 18, "error": error,
        });
        with_node(|node| {
            let payments = node.summary.payments.as_mut().unwrap();
            payments.books = Some(serde_json::from_value(books).unwrap());
            if is_earlier {
                let earlier = PaymentsView { network: "old".to_owned(), ..payments.clone() };
                payments.books = None;
                node.summary.other_payments = vec![earlier];
            }
        })
    };
    let json = judged(with(0, None, false));
    assert_eq!(json["overall"]["status"], "healthy", "{json:#}");
    assert_eq!(json["payments"]["books"]["differences"], 0);
    for (facts, network) in [(with(4, None, false), "l2.holesky"), (with(4, None, true), "old")] {
        let json = judged(facts);
        // M-01
        assert_eq!(json["overall"]["status"], "issues", "{json:#}");
        let one = "stream 7 terminated: 1.05 ETH by the chain, 0 ETH by the books";
        let told = format!(
            "The books of {network} differ from the chain in 4 place(s): {one}; {one}; {one}; and 1 more: \
             `golem-provider books check --repair`"
        );
        assert_eq!(json["overall"]["issues"], json!([told]));
    }
    let json = judged(with(9, Some("no logs"), false));
    let issues = json["overall"]["issues"].to_string();
    assert!(issues.contains("cannot be compared with the chain") && issues.contains("no logs"), "{json:#}");
    assert!(issues.contains("differ from the chain in 9"), "what was found before is still so");
}
