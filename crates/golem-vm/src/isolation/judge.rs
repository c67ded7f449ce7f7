//! The result of each attempt.
//!
//! Owns what follows from what the guest and this host saw. Never tries anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::capture::Capture;
use super::plan::{Attempt, AttemptProof, Expected};
use super::report::{AttemptResult, AttemptRow, IsolationReport};
use super::traps::Traps;

/// What the guest says about one attempt.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct GuestReport {
    pub(super) id: usize,
    pub(super) outcome: GuestResult,
    #[serde(default)]
    pub(super) detail: String,
}

/// The guest's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum GuestResult {
    /// A connection was made.
    Open,
    /// Something came back.
    Answered,
    /// Refused, unreachable or silent.
    None,
    /// It went out; the guest cannot know more.
    Sent,
    /// It could not be tried.
    Error,
}

/// Everything that is known of one attempt.
#[derive(Debug, Clone, Copy)]
struct Evidence<'a> {
    outcome: Option<&'a GuestReport>,
    /// This host itself gets through.
    control: bool,
    /// One of the traps was told the attempt's word.
    caught: bool,
    /// The attempt's target was seen on the wire; `None` if nobody watched.
    wire: Option<bool>,
}

pub(super) fn judge(
    attempts: &[Attempt],
    controls: &[bool],
    outcomes: &BTreeMap<usize, GuestReport>,
    traps: &Traps,
    wire: &Capture,
) -> IsolationReport {
    let rows = attempts.iter().enumerate().map(|(number, attempt)| {
        let address = attempt.step.address.parse::<IpAddr>().ok();
        let went = |address| match attempt.proof {
            AttemptProof::Wire { stranger: true } => wire.went_to(address) || wire.asked_for(address),
            AttemptProof::Wire { stranger: false } => {
                attempt.step.port == Some(traps.port) && wire.went_to(address)
            }
            // Where a trap is, the word tells; any program of this host may come there without one.
            _ => false,
        };
        let evidence = Evidence {
            outcome: outcomes.get(&number),
            control: controls.get(number).copied().unwrap_or_default(),
            caught: traps.caught(number),
            wire: wire.sees().then(|| wire.heard(number) || address.is_some_and(went)),
        };
        let (verdict, detail) = verdict(attempt.wanted, attempt.proof, evidence);
        AttemptRow {
            what: attempt.what,
            target: attempt.target.clone(),
            wanted: if attempt.wanted == Expected::Works { "works" } else { "refused" },
            verdict,
            detail,
        }
    });
    IsolationReport::new(rows.collect(), wire.sees(), traps.wordless())
}

/// The verdict, and what it rests on where that is not plain.
fn verdict(wanted: Expected, proof: AttemptProof, evidence: Evidence<'_>) -> (AttemptResult, String) {
    let seen = evidence.outcome.map(|outcome| outcome.outcome);
    let detail = evidence.outcome.map_or("", |outcome| outcome.detail.as_str());
    let through = matches!(seen, Some(GuestResult::Open | GuestResult::Answered));
    let not_tried = |why: &str| (AttemptResult::NotTried, why.to_owned());
    if wanted == Expected::Works {
        return match seen {
            _ if through => (AttemptResult::Works, String::new()),
            _ if !evidence.control => not_tried("this host itself gets no answer there"),
            None => not_tried("the guest did not report in time"),
            Some(GuestResult::Error) => not_tried(detail),
            Some(_) => (AttemptResult::Fails, detail.to_owned()),
        };
    }
    if evidence.caught {
        return (AttemptResult::Reached, "it arrived at a trap of this check".to_owned());
    }
    if through {
        return (AttemptResult::Reached, "the guest got an answer".to_owned());
    }
    if evidence.wire == Some(true) {
        return (AttemptResult::Reached, "it was seen on this host's network devices".to_owned());
    }
    match seen {
        None => return not_tried("the guest did not report in time"),
        Some(GuestResult::Error) => return not_tried(detail),
        Some(_) => {}
    }
    let shown = match proof {
        AttemptProof::Guest => true,
        // Whoever catches it tells the kind and not the address.
        AttemptProof::Trap(_) | AttemptProof::Answer => evidence.control,
        AttemptProof::Wire { .. } => evidence.wire.is_some(),
    };
    if shown {
        return (AttemptResult::Refused, String::new());
    }
    not_tried(match proof {
        AttemptProof::Wire { .. } => "only root can see whether it leaves this host",
        AttemptProof::Trap(_) => "this host does not get there itself",
        _ => "nothing answers there, so that a refusal would show nothing",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        proof: AttemptProof,
        seen: Option<GuestResult>,
        control: bool,
        caught: bool,
        wire: Option<bool>,
    ) -> AttemptResult {
        let outcome = seen.map(|outcome| GuestReport { id: 0, outcome, detail: String::new() });
        let evidence = Evidence { outcome: outcome.as_ref(), control, caught, wire };
        verdict(Expected::Refused, proof, evidence).0
    }

    #[test]
    fn nothing_is_called_refused_that_could_not_have_been_seen() {
        let here = AttemptProof::Trap(Some(("10.0.0.1".parse().unwrap(), 0)));
        let wire = AttemptProof::Wire { stranger: false };
        assert_eq!(judged(here, Some(GuestResult::None), true, false, None), AttemptResult::Refused);
        assert_eq!(judged(here, Some(GuestResult::None), false, false, None), AttemptResult::NotTried);
        assert_eq!(
            judged(AttemptProof::Answer, Some(GuestResult::None), false, false, Some(false)),
            AttemptResult::NotTried
        );
        assert_eq!(judged(wire, Some(GuestResult::None), true, false, Some(false)), AttemptResult::Refused);
        assert_eq!(judged(wire, Some(GuestResult::None), true, false, None), AttemptResult::NotTried);
        for silent in [None, Some(GuestResult::Error)] {
            assert_eq!(judged(here, silent, true, false, Some(false)), AttemptResult::NotTried);
        }
    }

    #[test]
    fn whoever_sees_it_it_was_reached() {
        let here = AttemptProof::Trap(None);
        for (seen, caught, wire) in [
            (Some(GuestResult::None), true, None),
            (Some(GuestResult::Error), true, None),
            (None, true, Some(false)),
            (Some(GuestResult::Open), false, None),
            (Some(GuestResult::Answered), false, Some(false)),
            (Some(GuestResult::None), false, Some(true)),
        ] {
            assert_eq!(
                judged(here, seen, false, caught, wire),
                AttemptResult::Reached,
                "{seen:?} {caught} {wire:?}"
            );
        }
    }
}
