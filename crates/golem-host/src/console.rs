//! A guest's console, of which only the end is kept, from one look to the next.
//!
//! Owns what was added meanwhile. Never looks.

/// What of `now` was added since a look at a console told `before`, of which the beginning may be gone by now; all of it
/// after a new launch.
#[must_use]
pub fn added<'a>(before: &str, now: &'a str) -> &'a str {
    // Where the beginning was lost within a sign.
    let now = now.trim_start_matches(char::REPLACEMENT_CHARACTER);
    let (all, known) = (now.as_bytes(), before.as_bytes());
    // For each end within `now`: how long its longest other end is that begins it.
    let mut begins = vec![0; all.len()];
    let longer = |begins: &[usize], mut length: usize, byte: u8| {
        while length > 0 && all.get(length) != Some(&byte) {
            length = begins[length - 1];
        }
        length + usize::from(all.get(length) == Some(&byte))
    };
    for at in 1..all.len() {
        begins[at] = longer(&begins, begins[at - 1], all[at]);
    }
    // The longest end of `before` that begins `now`.
    let common = known.iter().fold(0, |length, byte| longer(&begins, length, *byte));
    now.get(common..).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U-10
    #[test]
    fn u_10_what_was_added_to_a_console_is_told_once() {
        for (before, now, new) in [
            ("", "", ""),
            ("", "boot", "boot"),
            ("boot\n", "boot\nlogin: ", "login: "),
            ("boot", "boot", ""),
            // The beginning is gone.
            ("one\ntwo\nthree\n", "two\nthree\nfour\n", "four\n"),
            ("ababab", "abababab", "ab"),
            ("aaaa", "aaaa", ""),
            ("xé", "\u{fffd}éy", "y"),
            // A new launch.
            ("one\n", "two\n", "two\n"),
            ("aab", "aac", "aac"),
        ] {
            assert_eq!(added(before, now), new, "{before:?} {now:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn u_10_nothing_of_a_console_is_lost(text in "[ab\n]{0,40}", more in "[ab\n]{0,20}", lost in 0..40usize) {
            let all = text.clone() + &more;
            let now = all.get(lost.min(text.len())..).unwrap_or_default();
            // As much is told as was added, or less only where it cannot be told from what was there.
            let told = added(&text, now);
            proptest::prop_assert!(more.ends_with(told));
            proptest::prop_assert!(lost > 0 || told == more);
        }
    }
}
