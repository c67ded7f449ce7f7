//! Whether a port is reachable, from what several checkers say.
//!
//! Owns the judgement, as a pure function. Never asks, and never takes silence for a no (I3).
//!
//! The majority of the checkers that answered decides, so that neither a dead nor a lying minority
//! changes anything. Where two halves contradict each other, one that *showed* that it got through
//! (it repeats what only the node's listener says) is believed: that cannot be made up, whereas a
//! no may be the checker's own network. Where it only claims so, nothing is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use golem_types::visible::line_of;
use jiff::Timestamp;

/// Longest text of a checker that is kept, in characters.
const TEXT_MAXIMUM: usize = 120;

/// What makes a checker's yes worth something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// It says so.
    Claimed,
    /// It repeats what the port says.
    Shown,
}

/// Why a port is not reachable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnreachableReason {
    /// The connection was refused.
    Refused,
    /// Nothing came back.
    TimedOut,
    /// No network leads to the address.
    NoRoute,
    /// Something accepted, and it was not this node.
    AnotherAnswers,
    /// A checker claims to have been let in, and nobody came.
    NobodyCame,
    /// What else a checker said.
    Other(String),
}

impl UnreachableReason {
    /// The reason in the words `text` of a checker.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let known = text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| known.contains(word));
        if has(&["refused"]) {
            Self::Refused
        } else if has(&["timed out", "timeout"]) {
            Self::TimedOut
        } else if has(&["no route", "unreachable"]) {
            Self::NoRoute
        } else {
            let text = line_of(text, TEXT_MAXIMUM);
            Self::Other(if text.is_empty() { "no reason given".to_owned() } else { text })
        }
    }

    /// The reason as tables and JSON have it.
    #[must_use]
    pub const fn tag(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::NoRoute => "no_route",
            Self::AnotherAnswers => "another_answers",
            Self::NobodyCame => "nobody_came",
            Self::Other(_) => "other",
        }
    }

    /// What the tag alone does not tell: a checker's own words.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Other(text) => Some(text),
            _ => None,
        }
    }

    /// The reason of a tag and its detail. A tag of another version is told as it is.
    #[must_use]
    pub fn from_tag(tag: &str, detail: Option<String>) -> Self {
        let known = [Self::Refused, Self::TimedOut, Self::NoRoute, Self::AnotherAnswers, Self::NobodyCame];
        let other = || Self::Other(detail.unwrap_or_else(|| tag.to_owned()));
        known.into_iter().find(|reason| reason.tag() == tag).unwrap_or_else(other)
    }
}

/// What one checker says of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It was let in.
    Open(Proof),
    /// It was not.
    Closed(UnreachableReason),
}

/// Whether a port is reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reachability {
    /// It is.
    Reachable,
    /// It is not.
    Unreachable(UnreachableReason),
    /// Nobody can tell.
    Unknown,
}

/// The verdict on a port of which the checkers that answered say this.
#[must_use]
pub fn judge(said: &[Finding]) -> Reachability {
    let open = said.iter().filter(|said| matches!(said, Finding::Open(_))).count();
    let closed = said.len() - open;
    let shown = said.contains(&Finding::Open(Proof::Shown));
    if open > closed || (open == closed && shown) {
        return Reachability::Reachable;
    }
    if closed <= open {
        return Reachability::Unknown;
    }
    let mut reasons = BTreeMap::<&UnreachableReason, usize>::new();
    for said in said {
        if let Finding::Closed(why) = said {
            *reasons.entry(why).or_default() += 1;
        }
    }
    // The commonest; of several, always the same one.
    let why = reasons.into_iter().max_by(|(a, n), (b, m)| n.cmp(m).then(b.cmp(a))).map(|(why, _)| why);
    why.map_or(Reachability::Unknown, |why| Reachability::Unreachable(why.clone()))
}

/// Whether `more` checkers, whatever they say, can no longer turn the verdict on a port of which those
/// that answered say this.
#[must_use]
pub fn is_decided(said: &[Finding], more: usize) -> bool {
    let open = said.iter().filter(|said| matches!(said, Finding::Open(_))).count();
    let majority = open.abs_diff(said.len() - open);
    match judge(said) {
        // With a proof, it stands against as many.
        Reachability::Reachable => majority + usize::from(said.contains(&Finding::Open(Proof::Shown))) > more,
        Reachability::Unreachable(_) => majority > more,
        Reachability::Unknown => more == 0,
    }
}

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortVerdict {
    pub port: u16,
    /// Why it is not reachable; `None` if it is.
    pub problem: Option<UnreachableReason>,
    /// The public address that was dialled.
    pub address: IpAddr,
    /// The checkers that said so.
    pub sources: BTreeSet<String>,
    /// How many answered.
    pub answered: u16,
    /// When the verification began that found it out.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said() -> impl Strategy<Value = Finding> {
        prop_oneof![
            Just(Finding::Open(Proof::Claimed)),
            Just(Finding::Open(Proof::Shown)),
            Just(Finding::Closed(UnreachableReason::Refused)),
            Just(Finding::Closed(UnreachableReason::TimedOut)),
            Just(Finding::Closed(UnreachableReason::AnotherAnswers)),
            "[ -~]{0,10}".prop_map(|text| Finding::Closed(UnreachableReason::of(&text))),
        ]
    }

    const fn kind(verdict: &Reachability) -> u8 {
        match verdict {
            Reachability::Reachable => 0,
            Reachability::Unreachable(_) => 1,
            Reachability::Unknown => 2,
        }
    }

    #[test]
    fn s_064_one_that_answers_is_enough_and_two_halves_need_a_proof() {
        let (claimed, shown) = (Finding::Open(Proof::Claimed), Finding::Open(Proof::Shown));
        let refused = Finding::Closed(UnreachableReason::Refused);
        assert_eq!(judge(&[]), Reachability::Unknown);
        assert_eq!(judge(std::slice::from_ref(&claimed)), Reachability::Reachable);
        assert_eq!(
            judge(std::slice::from_ref(&refused)),
            Reachability::Unreachable(UnreachableReason::Refused)
        );
        assert_eq!(judge(&[claimed.clone(), refused.clone()]), Reachability::Unknown);
        assert_eq!(judge(&[shown, refused.clone()]), Reachability::Reachable);
        let timed_out = Finding::Closed(UnreachableReason::TimedOut);
        assert_eq!(
            judge(&[claimed, refused, timed_out.clone(), timed_out]),
            Reachability::Unreachable(UnreachableReason::TimedOut)
        );
    }

    #[test]
    fn a_checkers_words_are_sorted_and_kept_without_what_terminals_obey() {
        for (text, reason) in [
            ("[Errno 111] Connection refused", UnreachableReason::Refused),
            ("Connection timed out", UnreachableReason::TimedOut),
            ("TIMEOUT", UnreachableReason::TimedOut),
            ("No route to host", UnreachableReason::NoRoute),
            ("Network is unreachable", UnreachableReason::NoRoute),
            ("a\u{1b}[31mred\nword", UnreachableReason::Other("a[31mredword".to_owned())),
            ("", UnreachableReason::Other("no reason given".to_owned())),
        ] {
            assert_eq!(UnreachableReason::of(text), reason, "{text:?}");
        }
    }

    #[test]
    fn a_tag_is_one_word_and_another_versions_is_told_as_it_is() {
        for reason in [
            UnreachableReason::Refused,
            UnreachableReason::TimedOut,
            UnreachableReason::NoRoute,
            UnreachableReason::AnotherAnswers,
            UnreachableReason::NobodyCame,
        ] {
            assert!(reason.tag().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", reason.tag());
            assert_eq!(UnreachableReason::from_tag(reason.tag(), None), reason);
        }
        let other = UnreachableReason::from_tag("connection refused", None);
        assert_eq!((other.to_string().as_str(), other.tag()), ("connection refused", "other"));
    }

    proptest! {
        /// S-071: whatever a lying minority says, the verdict is the honest majority's.
        #[test]
        fn s_071_a_lying_minority_of_any_shape_changes_nothing(
            open: bool, lies in proptest::collection::vec(said(), 0..6), more in 1usize..4, at in any::<prop::sample::Index>(),
        ) {
            let truth = if open { Finding::Open(Proof::Claimed) } else { Finding::Closed(UnreachableReason::Refused) };
            let mut all = lies.clone();
            let at = at.index(all.len() + 1);
            all.splice(at..at, std::iter::repeat_n(truth.clone(), lies.len() + more));
            prop_assert_eq!(kind(&judge(&all)), kind(&judge(&[truth])));
        }

        #[test]
        fn s_070_what_does_not_answer_says_nothing_and_unknown_is_never_unreachable(all in proptest::collection::vec(said(), 0..8)) {
            let open = all.iter().filter(|said| matches!(said, Finding::Open(_))).count();
            let closed = all.len() - open;
            match judge(&all) {
                Reachability::Reachable => prop_assert!(open >= closed && open > 0),
                Reachability::Unreachable(why) => {
                    prop_assert!(closed > open);
                    prop_assert!(all.contains(&Finding::Closed(why)));
                }
                Reachability::Unknown => prop_assert!(open == closed),
            }
        }

        #[test]
        fn answers_that_agree_with_a_verdict_never_change_it(all in proptest::collection::vec(said(), 1..8), proof: bool) {
            let verdict = judge(&all);
            let mut more = all.clone();
            more.push(match &verdict {
                Reachability::Reachable => Finding::Open(if proof { Proof::Shown } else { Proof::Claimed }),
                Reachability::Unreachable(why) => Finding::Closed(why.clone()),
                Reachability::Unknown => return Ok(()),
            });
            prop_assert_eq!(judge(&more), verdict);
        }

        #[test]
        fn s_070_nothing_that_comes_after_a_decision_turns_it(
            all in proptest::collection::vec(said(), 0..8), late in proptest::collection::vec(said(), 0..8),
        ) {
            let whole = [&all[..], &late].concat();
            if is_decided(&all, late.len()) {
                prop_assert_eq!(kind(&judge(&whole)), kind(&judge(&all)));
            }
            // Nor is there more to wait for than that: as many that say the contrary leave it open.
            let contrary = match judge(&all) {
                Reachability::Reachable => Finding::Closed(UnreachableReason::Refused),
                _ => Finding::Open(Proof::Shown),
            };
            let turned = [&all[..], &vec![contrary; late.len()]].concat();
            if !is_decided(&all, late.len()) && !late.is_empty() {
                prop_assert_ne!(kind(&judge(&turned)), kind(&judge(&all)));
            }
        }

        #[test]
        fn the_order_of_answers_does_not_matter(mut all in proptest::collection::vec(said(), 0..8)) {
            let verdict = judge(&all);
            all.reverse();
            prop_assert_eq!(judge(&all), verdict);
        }

        #[test]
        fn a_reason_survives_being_written(text in "\\PC{0,150}") {
            let reason = UnreachableReason::of(&text);
            let detail = reason.detail().map(ToOwned::to_owned);
            prop_assert_eq!(UnreachableReason::from_tag(reason.tag(), detail), reason);
        }
    }
}
