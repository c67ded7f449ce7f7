//! Others' words on a terminal.
//!
//! Owns the rule: what would move the cursor, set the title or reach the clipboard is shown and not sent.
//! Colours and weights (SGR) are ours, and are let through where the text is ours.

use std::fmt::Write;

/// `text` with its control characters shown, except line ends and tabs; `styles` lets colours through.
#[must_use]
pub fn visible(text: &str, styles: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let text = text.replace("\r\n", "\n");
    let mut rest = text.as_str();
    while let Some(letter) = rest.chars().next() {
        if styles && let Some(length) = style(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        // Writing into a String never fails.
        let _ = match letter {
            '\n' | '\t' => {
                shown.push(letter);
                Ok(())
            }
            // As `cat -v` shows them: ^[ for escape.
            '\0'..='\x1f' => write!(shown, "^{}", char::from(letter as u8 + b'@')),
            '\x7f' => write!(shown, "^?"),
            // C1 controls, and what turns the direction of writing.
            '\u{80}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                write!(shown, "<U+{:04X}>", u32::from(letter))
            }
            letter => {
                shown.push(letter);
                Ok(())
            }
        };
    }
    shown
}

/// The beginning of others' `text`, at most `most` characters, without control characters: what fits in a line of ours.
#[must_use]
pub fn line_of(text: &str, most: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(most).collect()
}

/// The length of the colour or weight with which `text` begins.
fn style(text: &str) -> Option<usize> {
    let end = text.strip_prefix("\x1b[")?.find(|letter: char| !letter.is_ascii_digit() && letter != ';')? + 2;
    text[end..].starts_with('m').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_begins_a_text_of_others_is_short_and_moves_nothing() {
        assert_eq!(line_of("a\x1b[2Jb\r\n\u{9b}ü", 99), "a[2Jbü");
        assert_eq!(line_of("\u{7}äöü", 2), "äö", "characters, not bytes");
    }

    #[test]
    fn i_12_what_a_terminal_would_obey_is_shown() {
        let hostile = "\x1b]0;title\x07\x1b[2J\x1b]52;c;aGk=\x07 \u{9b}31m\u{202e} ok\r\n\tend\r\x7f";
        let shown = "^[]0;title^G^[[2J^[]52;c;aGk=^G <U+009B>31m<U+202E> ok\n\tend^M^?";
        assert_eq!(visible(hostile, false), shown);
        assert_eq!(visible(hostile, true), shown);
        let coloured = "\x1b[1;31merror\x1b[0m: \x1b[31";
        assert_eq!(visible(coloured, true), "\x1b[1;31merror\x1b[0m: ^[[31");
        assert_eq!(visible(coloured, false), "^[[1;31merror^[[0m: ^[[31");
    }

    proptest! {
        #[test]
        fn i_12_nothing_that_controls_a_terminal_is_left(text in "\\PC*[\\x00-\\x1f\\x7f-\\u{9f}]{0,9}\\PC*") {
            let shown = visible(&text, false);
            prop_assert!(shown.chars().all(|letter| !letter.is_control() || letter == '\n' || letter == '\t'));
        }
    }
}
