//! The lines that people read, and that they say what programs read.

use std::collections::BTreeMap;
use std::path::Path;

use crate::status::judge::tests::{self, port, read, report, summary, vm};
use crate::status::{Local, NodeFacts, Status, StatusFacts, StatusSettings, judge};
use crate::views::Summary;
use golem_reach::report::{LocalState, PortsReport, Reach, SourceReport};
use golem_test_support::healthy_node::SSH_PORTS;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const FIRST: u16 = SSH_PORTS.start;

/// A node with a VM, with which nothing is wrong, and whose wallet nobody asked for.
fn good() -> StatusFacts {
    StatusFacts { wallet: None, ..tests::good() }
}

fn with_ports(change: impl FnOnce(&mut PortsReport)) -> StatusFacts {
    let mut report = report();
    change(&mut report);
    StatusFacts { ports: Ok(report), ..good() }
}

/// What programs and people read of `facts`; whether nobody outside is asked is in `skipped`.
fn judged(skipped: bool, facts: StatusFacts) -> (Value, String) {
    let status = status_of(skipped, facts);
    let text = anstream::adapter::strip_str(&super::text(&status)).to_string();
    (serde_json::to_value(status).unwrap(), text)
}

fn status_of(skipped: bool, facts: StatusFacts) -> Status {
    let mut environment = BTreeMap::from([("HOME".to_owned(), "/nowhere".to_owned())]);
    environment.insert("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION".to_owned(), skipped.to_string());
    let node = golem_host::node::Node::own(&environment).unwrap();
    let resolved = golem_host::settings::load(BTreeMap::new(), environment, Path::new("/nowhere")).unwrap();
    judge(&StatusSettings::of(&node, &resolved.settings), facts)
}

#[test]
fn a_healthy_node_has_the_documented_lines() {
    let (_, text) = judged(false, good());
    let documented = "Overall         Healthy\n\nMultipass       ✅ OK\n\nProvider Port   0.0.0.0:7466\n  \
                      Local         ✅ service is listening\n  External      ✅ reachable\n\n\
                      SSH Ports       50800-50899 — OK\n  Usable free   99\n  In use        1\n";
    // S-030, S-037
    assert!(text.starts_with(documented), "{text}");
    assert!(text.contains("by 2 of 2 check servers"), "{text}");
    // S-027, S-028
    assert!(text.contains("  Usable free   99\n  In use        1\n"), "{text}");
    let mut facts = StatusFacts { backend_name: "qemu", ..good() };
    if let Some(Ok(node)) = &mut facts.node {
        node.summary.backend.accelerator = Some("tcg".to_owned());
    }
    let (_, text) = judged(false, facts);
    assert!(text.contains("VM Backend      ✅ qemu on tcg"), "{text}");
}

/// M-01: whether and when the books were compared with the chain, and what was missing.
#[test]
fn m_01_the_books_have_a_line() {
    let with = |at: Option<Timestamp>, differences: usize| {
        let missing = json!({
            "stream_id": 7, "vm_id": null, "kind": "terminated", "transaction": "0xab",
            "chain_wei": 1_050_000_000_000_000_000u64, "books_wei": 0,
        });
        let books = json!({
            "checked_at": at, "differences": differences, "missing": vec![missing; differences], "decimals": 18,
            "error": null,
        });
        let mut facts = good();
        if let Some(Ok(NodeFacts { summary: Summary { payments: Some(payments), .. }, .. })) = &mut facts.node
        {
            payments.books = Some(serde_json::from_value(books).unwrap());
        }
        judged(false, facts).1
    };
    let equal = with(Some(Timestamp::now()), 0);
    assert!(equal.contains("Books           ✅ equal the chain, compared 0 s ago"), "{equal}");
    let different = with(Some(Timestamp::now()), 1);
    for part in [
        "Books           ❌ differ from the chain in 1 place(s)",
        "1.05 ETH by the chain",
        "books check --repair",
    ] {
        // M-01
        assert!(different.contains(part), "{part}: {different}");
    }
    assert!(with(None, 0).contains("Books           not compared with the chain yet"));
}

#[test]
fn ports_that_are_off_are_worded_as_documented() {
    let unreachable = |count: usize| {
        with_ports(|report| {
            for one in report.ssh.iter_mut().rev().take(count) {
                *one = port(one.port, Reach::Unreachable, LocalState::Free);
            }
        })
    };
    let (_, text) = judged(false, unreachable(20));
    // S-026, S-027, S-028, S-029
    assert!(text.contains("SSH Ports       50800-50899 — limited — 20 issue(s)\n  Usable free   79\n  In use        1\n  Issues        20 not reachable externally"), "{text}");
    let (_, text) = judged(false, unreachable(100));
    // S-026, S-029
    assert!(text.contains("— blocked\n") && text.contains("100 not reachable externally"), "{text}");
    let mut facts = unreachable(3);
    if let Some(Ok(node)) = &mut facts.node {
        node.listening.clear();
    }
    let (_, text) = judged(false, facts);
    // S-026, S-029
    assert!(
        text.contains("limited — 4 issue(s)") && text.contains("3 unreachable, 1 not listening"),
        "{text}"
    );
}

#[test]
fn what_others_said_of_the_ports_is_told_with_its_cause() {
    let at = Timestamp::now() - jiff::SignedDuration::from_mins(12);
    let silent = with_ports(|report| {
        for source in &mut report.sources {
            source.problem = Some("does not answer (Connection refused)".to_owned());
        }
        report.provider.checked_at = Some(at);
    });
    let (_, text) = judged(false, silent.clone());
    // S-043
    assert!(text.contains("  External      not known: no check server answered ("), "{text}");
    assert!(text.contains("  Last known    API reachable, 100 SSH ports reachable, 12 min ago\n"), "{text}");
    let (_, text) = judged(true, silent);
    assert!(text.contains("External      not checked") && text.contains("50899 — not checked"), "{text}");
    let held = with_ports(|report| report.provider = port(7466, Reach::Unknown, LocalState::Held));
    let (_, text) =
        judged(false, StatusFacts { running: false, pid: None, node: None, local: Local::Held, ..held });
    assert!(text.contains("❌ port unavailable — held by nginx (pid 42)"), "{text}");
    let problem = json!({
        "cause": "not-forwarded", "critical": true, "ports": "50800", "what": "the router does not forward TCP 50800",
        "impact": "none", "fixes": ["do this", "or that"], "help": "docs/troubleshooting.md#ports",
    });
    let (_, text) =
        judged(false, with_ports(|report| report.problems.push(serde_json::from_value(problem).unwrap())));
    let lines = "  - The router does not forward TCP 50800\n      fix: do this\n           or that\n      \
                 more: docs/troubleshooting.md#ports\n";
    // S-253
    assert!(text.contains(lines), "{text}");
}

fn reach() -> impl Strategy<Value = Reach> {
    prop::sample::select(vec![Reach::Reachable, Reach::Unreachable, Reach::Unknown])
}

proptest! {
    /// People and programs read the same verdict, the same counts and the same issues.
    #[test]
    fn text_and_json_agree_in_every_situation(
        running: bool, answers: bool, backend: bool, draining: bool, rounds in 0u64..2,
        sources in prop::collection::vec(any::<bool>(), 0..4), api in reach(),
        ssh in prop::collection::vec(reach(), 100), rented in 0usize..8, listening in 0usize..8, skipped: bool,
        local in prop::sample::select(vec![Local::Listening, Local::Free, Local::Held]),
    ) {
        let mut facts = with_ports(|report| {
            report.rounds = rounds;
            let source = |(number, good): (usize, bool)| SourceReport {
                problem: (!good).then(|| "does not answer".to_owned()),
                source: format!("https://{number}"),
                seen_at: None,
                inside: false,
            };
            report.sources = sources.into_iter().enumerate().map(source).collect();
            report.provider = port(7466, api, LocalState::Served);
            report.ssh = ssh.iter().zip(FIRST..).map(|(reach, one)| port(one, *reach, LocalState::Free)).collect();
        });
        let ports: Vec<u16> = (FIRST..).take(rented).collect();
        let node = NodeFacts {
            summary: Summary { draining, ..summary(&ports) },
            vms: ports.iter().map(|port| vm("web", *port)).collect(),
            listening: (FIRST..).take(listening.min(rented)).collect(),
        };
        facts.node = running.then(|| if answers { Ok(node) } else { Err("timeout".to_owned()) });
        facts.running = running;
        facts.local = local;
        facts.backend = if backend { Ok(()) } else { Err("no QEMU".to_owned()) };
        let (json, text) = judged(skipped, facts);
        // S-039
        let word = match json["overall"]["status"].as_str().unwrap() {
            "healthy" => "Healthy",
            "issues" => "Issues detected",
            "error" => "Error",
            other => panic!("{other}"),
        };
        // S-053
        prop_assert_eq!(text.lines().next().unwrap(), format!("Overall         {word}"));
        let issues = json["overall"]["issues"].as_array().unwrap();
        prop_assert_eq!(issues.is_empty(), word == "Healthy");
        for issue in issues {
            let line = format!("\n  - {}\n", issue.as_str().unwrap());
            prop_assert!(text.contains(&line), "{} {}", line, text);
        }
        let count = |name: &str| json["ports"]["ssh"][name].to_string();
        let (usable, in_use) = (format!("  Usable free   {}\n", count("usable_free")), format!("  In use        {}\n", count("in_use")));
        // U-15
        let is_counted = text.contains(&usable) || text.contains(" free, not verified\n");
        prop_assert!(is_counted && text.contains(&in_use), "{}", text);
        let reachable = json["ports"]["provider"]["status"] == "reachable";
        prop_assert_eq!(text.contains("  External      ✅ reachable"), reachable);
        let blocked = json["ports"]["ssh"]["status"] == "blocked";
        prop_assert_eq!(text.contains(" — blocked"), blocked);
    }
}

/// U-15: what was not verified is no zero, what nobody saw is no "no"; U-16: what renters read is told, and not what was meant.
#[test]
fn u_15_words_say_what_is_known() {
    let (_, text) = judged(true, good());
    assert!(text.contains("  Usable free   99 free, not verified\n"), "{text}");
    let mut facts = good();
    let Some(Ok(node)) = &mut facts.node else { panic!() };
    let advert = |standing: &str, is_behind: bool| {
        read(json!({
            "market": "golem_base", "place": "testnet", "standing": standing, "problem": null, "key": null,
            "expires_at_block": null, "lapses_at": null, "looked_at": null, "writes": 0, "failed_writes": 0, "gas": 0,
            "cost_wei": 0, "is_behind": is_behind,
        }))
    };
    node.summary.adverts = vec![advert("current", false), advert("current", true), advert("hidden", true)];
    let (_, text) = judged(false, facts);
    for line in [
        "✅ renters find the node on testnet",
        "renters find the node on testnet with an earlier offer, until the new one is told",
        "the node is about to be offered on testnet",
    ] {
        assert!(text.contains(&format!("Market          {line}\n")), "{line}: {text}");
    }
}

/// Of a node with which much is wrong, at each width, without colours and with them.
#[test]
fn u_10_status_fits_the_terminal() {
    let mut facts =
        with_ports(|report| report.ssh[3] = port(FIRST + 3, Reach::Unreachable, LocalState::Free));
    facts.image_missing = Some("24.04".to_owned());
    facts.latest = Some("9.9.9".to_owned());
    let coloured = super::text(&status_of(false, facts));
    let age = coloured
        .lines()
        .find_map(|line| line.split_once("Ports checked   ")?.1.split_once(" by "))
        .unwrap()
        .0;
    let coloured = coloured.replace(age, "[AGE]");
    for columns in [40, 80, 120] {
        let shown = golem_host::layout::wrapped(&coloured, columns);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        for line in plain.lines() {
            let is_one_word = line.split_whitespace().count() <= 1;
            assert!(console::measure_text_width(line) <= columns || is_one_word, "{columns}: {line}");
        }
        insta::assert_snapshot!(format!("status_{columns}"), plain);
        insta::assert_snapshot!(format!("status_{columns}_coloured"), shown.replace('\x1b', "␛"));
    }
}
