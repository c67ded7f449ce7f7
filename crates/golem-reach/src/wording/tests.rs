//! Each cause by its name, its fix by the ports and the address that it is about.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::report::{LocalState, Reach, SourceReport};
use super::*;
use crate::verdict::UnreachableReason;

const PUBLIC: [u8; 4] = [203, 0, 113, 7];
const LAN: [u8; 4] = [192, 168, 1, 5];

fn port(port: u16, why: Option<UnreachableReason>) -> PortReport {
    PortReport {
        port,
        status: if why.is_some() { Reach::Unreachable } else { Reach::Reachable },
        reason: why.as_ref().map(|why| why.tag().to_owned()),
        reason_detail: why.as_ref().and_then(|why| why.detail().map(ToOwned::to_owned)),
        local: Some(LocalState::Free),
        local_detail: None,
        in_use: false,
        agreed: 2,
        answered: 2,
        disputed: false,
        checked_at: Some(Timestamp::UNIX_EPOCH),
    }
}

/// A node of which everything is well: the API and ten SSH ports.
fn well() -> PortsReport {
    let source = |source: &str| SourceReport {
        source: source.to_owned(),
        problem: None,
        seen_at: None,
        inside: false,
    };
    PortsReport {
        address: Some(PUBLIC.into()),
        verified_only: true,
        checking: None,
        rounds: 1,
        checked_at: Some(Timestamp::UNIX_EPOCH),
        sources: vec![source("http://one"), source("http://two")],
        provider: port(7466, None),
        ssh: (50800..50810).map(|number| port(number, None)).collect(),
        web: Vec::new(),
        problems: Vec::new(),
    }
}

/// The same, of which nobody found `ports` because of `why`.
fn closed(ports: &[u16], why: &UnreachableReason) -> PortsReport {
    let mut report = well();
    for row in std::iter::once(&mut report.provider).chain(&mut report.ssh) {
        if ports.contains(&row.port) {
            *row = port(row.port, Some(why.clone()));
        }
    }
    report
}

/// Behind a router, where incoming connection attempts can be seen.
fn behind(inbound: &[(u16, bool)]) -> HostFacts {
    HostFacts {
        lan: Some(LAN.into()),
        only_ipv4: true,
        inbound: Some(inbound.iter().copied().collect()),
        ..HostFacts::default()
    }
}

fn only(report: &PortsReport, facts: &HostFacts) -> ProblemReport {
    let mut found = problems(report, facts);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn nothing_is_told_of_a_node_that_is_well() {
    assert_eq!(problems(&well(), &HostFacts::default()), []);
}

/// Each of the four causes has a message and a fix of its own.
#[test]
fn each_cause_of_a_closed_api_port_has_its_own_message_and_fix() {
    let mut held = well();
    held.provider = PortReport {
        status: Reach::Unknown,
        local: Some(LocalState::Held),
        local_detail: Some("nginx (pid 12)".to_owned()),
        ..held.provider
    };
    let timed_out = closed(&[7466], &UnreachableReason::TimedOut);
    let mut wrong = timed_out.clone();
    wrong.sources[0].seen_at = Some([198, 51, 100, 9].into());
    let mut silent = well();
    silent.provider.status = Reach::Unknown;
    for source in &mut silent.sources {
        source.problem = Some("does not answer".to_owned());
    }
    let causes = [
        (held, behind(&[]), Cause::PortHeld, "in use by nginx (pid 12)", "stop nginx (pid 12)"),
        (
            timed_out.clone(),
            behind(&[(7466, false)]),
            Cause::NotForwarded,
            "router does not forward TCP 7466 to 192.168.1.5",
            "forward TCP 7466 to 192.168.1.5",
        ),
        (
            timed_out,
            behind(&[(7466, true)]),
            Cause::Firewall,
            "firewall of this host keeps TCP 7466 out",
            "ufw allow 7466/tcp",
        ),
        (
            wrong,
            behind(&[(7466, false)]),
            Cause::WrongAddress,
            "sees this node at 198.51.100.9",
            "GOLEM_PROVIDER_PUBLIC_IP=198.51.100.9",
        ),
        (silent, behind(&[]), Cause::NoAnswer, "none of 2 check servers answers", "way to the internet"),
    ];
    for (report, facts, cause, what, fix) in causes {
        let problem = only(&report, &facts);
        assert_eq!(problem.cause, cause);
        // S-252
        assert!(problem.what.contains(what), "{problem:#?}");
        // S-067
        assert!(problem.fixes[0].contains(fix), "{problem:#?}");
        // S-066
        assert!(problem.critical && problem.impact.contains("this node at all"), "{problem:#?}");
    }
}

#[test]
fn s_253_ports_of_the_range_are_told_together_and_what_is_lost_with_them() {
    let some: Vec<u16> = (50803..50806).chain([50808]).collect();
    let report = closed(&some, &UnreachableReason::Refused);
    let problem = only(&report, &behind(&some.iter().map(|port| (*port, false)).collect::<Vec<_>>()));
    assert_eq!(problem.ports, "50803-50805, 50808");
    assert_eq!(problem.impact, "4 of 10 SSH ports are not rented out");
    assert!(!problem.critical);
    let all: Vec<u16> = (50800..50810).collect();
    let mut report = closed(&all, &UnreachableReason::TimedOut);
    report.ssh[3].in_use = true;
    let problem = only(&report, &behind(&all.iter().map(|port| (*port, true)).collect::<Vec<_>>()));
    assert!(problem.critical);
    assert_eq!(problem.impact, "the renters of 1 VMs cannot log in; no VM can be rented out");
    assert!(problem.fixes[0].ends_with("ufw allow 50800:50809/tcp"), "{problem:#?}");
    // What was not looked at closely is like what was.
    let problem = only(&report, &behind(&[(50800, true)]));
    assert_eq!(problem.ports, "50800-50809");
    // A port of the range that is held is told with who holds it.
    let mut report = well();
    report.ssh[2] =
        PortReport { status: Reach::Unknown, local: Some(LocalState::Held), ..report.ssh[2].clone() };
    let problem = only(&report, &behind(&[]));
    assert_eq!((problem.cause, problem.ports.as_str()), (Cause::PortHeld, "50802"));
}

#[test]
fn s_254_where_the_address_is_to_blame_no_port_is() {
    let all: Vec<u16> = std::iter::once(7466).chain(50800..50810).collect();
    let mut inside = closed(&all, &UnreachableReason::TimedOut);
    inside.address = Some(LAN.into());
    assert_eq!(only(&inside, &behind(&[])).cause, Cause::DoubleNat);
    inside.address = Some([100, 70, 1, 2].into());
    assert_eq!(only(&inside, &behind(&[])).cause, Cause::DoubleNat);
    let mut ipv6 = closed(&all, &UnreachableReason::Refused);
    ipv6.address = Some("2001:db9::7".parse().unwrap());
    assert_eq!(only(&ipv6, &behind(&[])).cause, Cause::Ipv6Only);
    let mut unknown = well();
    unknown.address = None;
    unknown.provider.status = Reach::Unknown;
    assert_eq!(only(&unknown, &behind(&[])).cause, Cause::AddressUnknown);
    // An address at which other ports are found is not to blame.
    let mut found = closed(&[50801], &UnreachableReason::TimedOut);
    found.address = Some(LAN.into());
    assert_eq!(only(&found, &behind(&[(50801, true)])).cause, Cause::Firewall);
    // A check server in the same network cannot tell what it is like outside.
    let mut within = closed(&all, &UnreachableReason::TimedOut);
    within.sources[0].seen_at = Some(LAN.into());
    assert!(only(&within, &behind(&[])).what.contains("not outside"));
}

#[test]
fn what_cannot_be_told_apart_is_not() {
    let facts = HostFacts { inbound: None, ..behind(&[]) };
    let problem = only(&closed(&[7466], &UnreachableReason::TimedOut), &facts);
    assert_eq!(problem.cause, Cause::Blocked);
    assert!(
        problem.fixes.iter().any(|fix| fix.contains("router"))
            && problem.fixes.iter().any(|fix| fix.contains("ufw"))
    );
    let hosted = HostFacts { has_public_address: true, ..facts.clone() };
    let problem = only(&closed(&[7466], &UnreachableReason::TimedOut), &hosted);
    assert!(problem.fixes.iter().all(|fix| !fix.contains("router")), "{problem:#?}");
    let hosted = HostFacts { inbound: Some(BTreeMap::from([(7466, false)])), ..hosted };
    assert_eq!(only(&closed(&[7466], &UnreachableReason::TimedOut), &hosted).cause, Cause::Upstream);
    for why in [UnreachableReason::AnotherAnswers, UnreachableReason::NobodyCame] {
        assert_eq!(only(&closed(&[7466], &why), &behind(&[])).cause, Cause::AnotherAnswers);
    }
    let mut disputed = well();
    disputed.ssh[0] = PortReport { status: Reach::Unknown, disputed: true, ..disputed.ssh[0].clone() };
    assert_eq!(only(&disputed, &behind(&[])).cause, Cause::Disputed);
}

/// S-068: every problem leads to a heading that is there.
#[test]
fn s_068_the_help_of_every_problem_is_in_the_documentation() {
    let page = include_str!("../../../../docs/troubleshooting.md");
    let headings: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-');
            heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
        })
        .collect();
    for cause in [Cause::NoAnswer, Cause::WrongAddress, Cause::PortHeld, Cause::Firewall, Cause::Blocked] {
        assert!(headings.iter().any(|heading| heading == cause.anchor()), "{cause:?}: {headings:?}");
    }
}
