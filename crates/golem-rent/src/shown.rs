//! Text of strangers, as it may be shown.
//!
//! Owns its length, and that nothing in it moves a terminal. Never knows what it says.

use golem_types::visible::line_of;

/// Most characters that are shown.
const MOST: usize = 300;

/// The start of `text`, without control characters.
pub(super) fn shown(text: &str) -> String {
    line_of(text, MOST)
}
