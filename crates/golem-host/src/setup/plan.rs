//! What a setup would change.
//!
//! Owns the difference between what counts and what is wanted. Never knows what a name means, and never writes.

use std::collections::BTreeMap;

use serde::Serialize;

/// A setting that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub name: &'static str,
    /// What counts now; `None` if it is not set.
    pub before: Option<String>,
    /// What would count; `None` if it would no longer be set.
    pub after: Option<String>,
}

/// Those of `wanted` that differ from what counts `now`. An empty text is a setting that is not set.
#[must_use]
pub fn plan(now: &BTreeMap<&'static str, String>, wanted: &BTreeMap<&'static str, String>) -> Vec<Change> {
    let set = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    wanted
        .iter()
        .map(|(&name, after)| Change { name, before: set(now.get(name)), after: set(Some(after)) })
        .filter(|change| change.before != change.after)
        .collect()
}

/// What is written for `changes`: a setting that is no longer set has an empty text.
#[must_use]
pub fn written(changes: &[Change]) -> BTreeMap<&'static str, String> {
    changes.iter().map(|change| (change.name, change.after.clone().unwrap_or_default())).collect()
}

/// The changes for people, a line each.
#[must_use]
pub fn told(changes: &[Change]) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
    let lines = changes.iter().map(|change| {
        format!("  {}\n      {} -> {}", change.name, text(&change.before), text(&change.after))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `text` as `N` words apart by spaces or commas, if that is what it is.
#[must_use]
pub fn words<const N: usize>(text: &str) -> Option<[String; N]> {
    let words: Vec<String> =
        text.split([' ', ',', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    words.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["A", "B", "C"];

    fn settings() -> impl Strategy<Value = BTreeMap<&'static str, String>> {
        proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), "[a-b]{0,2}", 0..3)
    }

    proptest! {
        /// Once it was done, nothing is left to do; and only what differs is touched.
        #[test]
        fn a_plan_that_was_done_has_nothing_left(now in settings(), wanted in settings()) {
            let changes = plan(&now, &wanted);
            let mut after = now.clone();
            after.extend(written(&changes));
            prop_assert_eq!(plan(&after, &wanted), vec![]);
            prop_assert!(changes.iter().all(|change| wanted.contains_key(change.name) && change.before != change.after));
        }
    }

    #[test]
    fn changes_are_told_with_what_was_and_what_will_be() {
        let changes = plan(
            &BTreeMap::from([("A", "1".to_owned()), ("C", "3".to_owned())]),
            &BTreeMap::from([("A", "2".to_owned()), ("B", "x y".to_owned()), ("C", String::new())]),
        );
        assert_eq!(
            told(&changes),
            "  A\n      1 -> 2\n  B\n      (not set) -> x y\n  C\n      3 -> (not set)"
        );
        assert_eq!(words::<3>(" 1, 2\t3 "), Some(["1", "2", "3"].map(str::to_owned)));
        assert_eq!(words::<3>("1 2"), None);
    }
}
