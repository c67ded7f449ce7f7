//! A guest's console, of which only the end is kept, from one look to the next.
//!
//! Owns what was added meanwhile. Never looks.

/// What of `now` was added since a look at a console told `before`, of which the beginning may be gone by now; all of it
/// after a new launch.
#[must_use]
pub fn added<'a>(before: &str, now: &'a str) -> &'a str {
    // Where the beginning was lost within a sign.
    let now = now.trim_start_matches(char::REPLACEMENT_CHARACTER);
    // After the longest end of `before` that begins it.
    before.char_indices().find_map(|(at, _)| now.strip_prefix(&before[at..])).unwrap_or(now)
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
