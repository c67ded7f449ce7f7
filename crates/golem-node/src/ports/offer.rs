//! Which ports may be handed out.
//!
//! Owns the rule, as a pure function. Never picks one: [`super::pick()`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use golem_reach::verdict::PortVerdict;

/// What has to be known of a port before a rental gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortPolicy {
    /// That it is free on this host: nothing is verified.
    Free,
    /// That it is reachable; until anything is known of any, that it is free. For development.
    Lenient,
    /// That it is reachable.
    Verified,
}

/// What may be handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Ports of the range that may not.
    pub blocked: BTreeSet<u16>,
    /// Whether no port of the range was ever seen to be reachable.
    pub unverified: bool,
}

/// What may be handed out of `range` under `policy`, given what is `known`.
#[must_use]
pub fn offered(policy: PortPolicy, range: Range<u16>, known: &BTreeMap<u16, PortVerdict>) -> Offered {
    let reachable = |port: &u16| known.get(port).is_some_and(|verdict| verdict.problem.is_none());
    let unreachable = |port: &u16| known.get(port).is_some_and(|verdict| verdict.problem.is_some());
    let unverified = !range.clone().any(|port| reachable(&port));
    let blocked = match policy {
        PortPolicy::Free => BTreeSet::new(),
        PortPolicy::Lenient if unverified => range.filter(unreachable).collect(),
        PortPolicy::Lenient | PortPolicy::Verified => range.filter(|port| !reachable(port)).collect(),
    };
    Offered { blocked, unverified }
}

#[cfg(test)]
mod tests {
    use super::*;
    use golem_reach::verdict::UnreachableReason;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn known(pairs: &[(u16, bool)]) -> BTreeMap<u16, PortVerdict> {
        let verdict = |&(port, reachable): &(u16, bool)| {
            let problem = (!reachable).then_some(UnreachableReason::Refused);
            let address = [203, 0, 113, 7].into();
            let at = Timestamp::UNIX_EPOCH;
            (port, PortVerdict { port, problem, address, sources: BTreeSet::new(), answered: 1, at })
        };
        pairs.iter().map(verdict).collect()
    }

    #[test]
    fn s_062_while_nothing_is_known_only_development_and_a_node_that_does_not_verify_rent_out() {
        let blocked = |policy, pairs: &[(u16, bool)]| offered(policy, 50800..50804, &known(pairs)).blocked;
        let all = BTreeSet::from([50800, 50801, 50802, 50803]);
        assert_eq!(blocked(PortPolicy::Verified, &[]), all);
        assert_eq!(blocked(PortPolicy::Lenient, &[]), BTreeSet::new());
        assert_eq!(blocked(PortPolicy::Free, &[(50801, false)]), BTreeSet::new());
        assert_eq!(blocked(PortPolicy::Lenient, &[(50801, false)]), BTreeSet::from([50801]));
        let one = [(50801, false), (50802, true)];
        assert_eq!(blocked(PortPolicy::Lenient, &one), BTreeSet::from([50800, 50801, 50803]));
        assert_eq!(blocked(PortPolicy::Verified, &one), BTreeSet::from([50800, 50801, 50803]));
        // A verdict on the API's port opens no SSH port.
        assert!(offered(PortPolicy::Verified, 50800..50804, &known(&[(7466, true)])).unverified);
    }

    proptest! {
        #[test]
        fn s_062_what_is_known_to_be_unreachable_is_never_offered_by_a_node_that_verifies(
            pairs in proptest::collection::vec((1u16..40, any::<bool>()), 0..40), lenient: bool,
        ) {
            let policy = if lenient { PortPolicy::Lenient } else { PortPolicy::Verified };
            let known = known(&pairs);
            let offered = offered(policy, 1..40, &known);
            for (port, verdict) in known {
                prop_assert_eq!(offered.blocked.contains(&port), verdict.problem.is_some());
            }
        }
    }
}
