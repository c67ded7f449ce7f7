//! The name that renters see.
//!
//! Owns which names can be, and what is made of one that was stored before that was asked. Renters read it in lists of many
//! providers: one that cannot be seen, or that turns the writing around it, would pass for another's.

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use super::value::Value;

/// Most characters: as much as a line of a list has.
const CHARACTERS: usize = 64;

/// Most bytes. An advert has room for 128, of which development takes some for its own mark.
const BYTES: usize = 120;

/// A name without anything that is not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

/// Whether renters see `letter` as itself, or as a space. Not so controls, and what Unicode has for formatting: U+202E turns the
/// direction of writing, U+200B is a space of no width.
fn is_seen(letter: char) -> bool {
    !matches!(
        CodePointMapData::<GeneralCategory>::new().get(letter),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// What is left of `text` without what cannot be in a name.
fn cleaned(text: &str) -> String {
    let mut name = String::new();
    for letter in text.chars().filter(|letter| is_seen(*letter)).take(CHARACTERS) {
        if name.len() + letter.len_utf8() > BYTES {
            break;
        }
        name.push(letter);
    }
    name.trim().to_owned()
}

impl Value for Name {
    fn expects() -> String {
        format!(
            "at most {CHARACTERS} characters ({BYTES} bytes) in one line, all of which are seen: no control characters, and none \
             that turn the direction of writing"
        )
    }

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty() && cleaned(text) == text).then(|| Self(text.to_owned()))
    }

    fn mended(text: &str) -> Option<String> {
        Some(cleaned(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_seen_as_it_is_and_short_enough_for_an_advert() {
        for good in ["golem-provider", "Żółw 1", "北京-2", "a", &"ä".repeat(60), &"x".repeat(64)] {
            assert_eq!(Name::read(good), Some(Name(good.to_owned())), "{good:?}");
        }
        for (bad, left) in [
            ("evil\u{202e}gnp.exe", "evilgnp.exe"),
            ("a\u{2066}b\u{2069}", "ab"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("soft\u{ad}hyphen", "softhyphen"),
            ("tag\u{e0041}s", "tags"),
            ("\u{1b}[31mred\u{7}", "[31mred"),
            ("two\nlines\u{2028}three", "twolinesthree"),
            ("\u{200b} padded \u{200b}", "padded"),
            ("\u{202e}\u{1}", ""),
            (&"x".repeat(65), &"x".repeat(64)),
            (&"ä".repeat(64), &"ä".repeat(60)),
            (&"𝕏".repeat(31), &"𝕏".repeat(30)),
        ] {
            assert_eq!(Name::read(bad), None, "{bad:?}");
            assert_eq!(Name::mended(bad).as_deref(), Some(left), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_of_a_name_is_one_or_nothing(text in "\\PC*|[\\x00-\\x{30ff}]{0,90}") {
            let left = cleaned(&text);
            prop_assert!(left.is_empty() || Name::read(&left) == Some(Name(left.clone())), "{left:?}");
            prop_assert!(left.chars().count() <= CHARACTERS && left.len() <= BYTES);
            prop_assert!(Name::read(&text).is_none() || left == text);
        }
    }
}
