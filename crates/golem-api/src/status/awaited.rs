//! What a node that has just started does not have yet, and gets by itself.
//!
//! Owns which of it is worth waiting for. Never waits: whoever asks does, and for as long as they like. What has failed, or is
//! not wished, is not waited for: [`judge`](super::judge) tells of it.

use golem_reach::certificates::HttpsCause;
use golem_reach::report::PortsReport;

use crate::views::Summary;

/// A stage on the way to the first renter, in the order in which a node reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Its ports are tried from outside for the first time.
    Ports,
    /// The certificate for https is obtained.
    Certificate,
    /// The first advert is sent.
    Advert,
}

impl Awaited {
    /// For whom waits.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ports => "the ports are tried from outside",
            Self::Certificate => "the certificate for https is obtained",
            Self::Advert => "the first advert is sent",
        }
    }
}

/// What the node that tells `summary` and `ports` waits for now; `None` if nothing more comes by itself.
/// `skip_port_verification` tells that nobody outside is asked about ports.
#[must_use]
pub fn awaited(summary: &Summary, ports: &PortsReport, skip_port_verification: bool) -> Option<Awaited> {
    let https = summary.https.as_ref();
    if !skip_port_verification && ports.rounds == 0 {
        return Some(Awaited::Ports);
    }
    if https.is_some_and(|https| https.problems.iter().any(|problem| problem.cause == HttpsCause::Pending)) {
        return Some(Awaited::Certificate);
    }
    summary.adverts.iter().any(|advert| advert.standing == "starting").then_some(Awaited::Advert)
}

#[cfg(test)]
mod tests {
    use golem_test_support::healthy_node;
    use serde_json::{Value, json};

    use super::*;

    fn summary(https: Option<&str>, adverts: &[&str]) -> Summary {
        let mut summary = healthy_node::summary(&[]);
        summary["https"] = https.map_or(Value::Null, |cause| {
            json!({ "endpoint": null, "port": 443, "source": "acme", "certificate": null, "next_renewal": null,
                    "problems": [{ "cause": cause, "what": "", "fixes": [], "help": "" }] })
        });
        let advert = |standing: &&str| {
            json!({ "market": "websocket", "place": "", "standing": standing, "problem": null, "key": null,
                    "expires_at_block": null, "lapses_at": null, "looked_at": null, "writes": 0, "failed_writes": 0,
                    "gas": 0, "cost_wei": 0 })
        };
        summary["adverts"] = adverts.iter().map(advert).collect();
        serde_json::from_value(summary).unwrap()
    }

    fn ports(rounds: u64) -> PortsReport {
        let mut report = healthy_node::ports_report();
        report["rounds"] = rounds.into();
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn only_what_comes_by_itself_is_waited_for_in_its_order() {
        let all = summary(Some("pending"), &["current", "starting"]);
        assert_eq!(awaited(&all, &ports(0), false), Some(Awaited::Ports));
        assert_eq!(awaited(&all, &ports(0), true), Some(Awaited::Certificate));
        assert_eq!(awaited(&all, &ports(1), false), Some(Awaited::Certificate));
        for https in [None, Some("off"), Some("refused"), Some("unreachable")] {
            let starting = summary(https, &["starting"]);
            assert_eq!(awaited(&starting, &ports(1), false), Some(Awaited::Advert), "{https:?}");
            for adverts in [&[][..], &["current"], &["hidden"], &["problem", "current"]] {
                assert_eq!(
                    awaited(&summary(https, adverts), &ports(1), false),
                    None,
                    "{https:?} {adverts:?}"
                );
            }
        }
    }
}
