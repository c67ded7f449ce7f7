use std::net::IpAddr;
use std::time::Duration;

use super::client::default_route;
use super::report::MappedPort;
use super::*;
use crate::report::{Cause, ProblemReport};

fn report(external: &str, refused: &[u16]) -> MappingReport {
    let port = |port| MappedPort {
        port,
        forwarded: !refused.contains(&port),
        problem: refused.contains(&port).then(|| GatewayError::Taken.to_string()),
    };
    MappingReport {
        gateway: [192, 168, 7, 1].into(),
        protocol: Protocol::Pcp,
        external_address: Some(external.parse().unwrap()),
        to: [192, 168, 7, 2].into(),
        lease_seconds: 3600,
        silent: false,
        ports: [7466, 50800, 50801, 50802].map(port).to_vec(),
        problems: Vec::new(),
    }
}

#[test]
fn what_is_in_the_way_of_a_mapping_is_named_with_its_fix() {
    let known: Option<IpAddr> = "203.0.113.1".parse().ok();
    let say = |problems: Vec<ProblemReport>| {
        problems
            .iter()
            .map(|one| format!("{} → {}: {}", one.what, one.impact, one.fixes.join("; ")))
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(&report("203.0.113.1", &[]), known, false, &[]), []);
    assert_eq!(problems(&report("203.0.113.1", &[]), None, false, &[]), []);
    assert_eq!(problems(&report("192.168.1.7", &[]), known, false, &[])[0].cause, Cause::DoubleNat);
    let other = say(problems(&report("203.0.113.5", &[50801, 50802]), known, false, &[50803]));
    assert_eq!(
        other,
        [
            "the router's address is 203.0.113.5, and renters are told 203.0.113.1 → renters cannot reach this node \
             at all: set GOLEM_PROVIDER_PUBLIC_IP=203.0.113.5, or to auto",
            "TCP 50801-50802 is not forwarded: the port is taken in the router → 2 of 4 SSH ports are not forwarded: \
             turn on UPnP or NAT-PMP in the router's settings, or forward TCP 50801-50802 to 192.168.7.2 there \
             yourself",
            "TCP 50803 was not asked for: routers keep few mappings, and 128 are asked for at most → 1 of 4 SSH ports \
             are not forwarded: set GOLEM_PROVIDER_PORT_RANGE_END=50803, or forward TCP 50803 to 192.168.7.2 in the \
             router yourself",
        ]
    );
}

#[test]
fn leases_are_renewed_in_time_and_never_in_a_rush() {
    for (lease, renewal) in [(0, 30), (100, 50), (3600, 600), (u64::from(u32::MAX), 600)] {
        let report = MappingReport { lease_seconds: lease, ..report("203.0.113.1", &[]) };
        assert_eq!(report.renewal(), Duration::from_secs(renewal), "{lease}");
    }
}

#[test]
fn the_router_is_that_of_the_default_route_with_the_least_metric() {
    let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
    let route = |to: &str, by: [u8; 4], metric: u32, mask: &str| {
        format!("eth\t{to}\t{:08X}\t0003\t0\t0\t{metric}\t{mask}\t0\t0\t0\n", u32::from_ne_bytes(by))
    };
    let table = [
        route("0007A8C0", [0; 4], 0, "00FFFFFF"),
        route("00000000", [192, 168, 9, 1], 600, "00000000"),
        route("00000000", [192, 168, 7, 1], 100, "00000000"),
        route("00000000", [10, 8, 0, 1], 50, "00000080"),
    ];
    assert_eq!(default_route(&format!("{head}{}", table.concat())), Some([192, 168, 7, 1].into()));
    assert_eq!(default_route(head), None);
    assert_eq!(default_route("nonsense\nx y\n"), None);
}
