//! Lists of ports as the kernel writes them: `22,8080-8090`.
//!
//! Owns their text. Never touches the kernel's.

use std::collections::BTreeSet;

/// The ports that `text` lists; `None` if any part of it is not understood.
pub(super) fn parse(text: &str) -> Option<BTreeSet<u16>> {
    let text = text.trim_end_matches(['\n', '\0']);
    let mut ports = BTreeSet::new();
    if text.is_empty() {
        return Some(ports);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        ports.extend(first..=last);
    }
    Some(ports)
}

/// Digits only: `parse` of numbers takes a sign as well.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The text of `ports`.
pub(super) fn text(ports: &BTreeSet<u16>) -> String {
    parts(ports).join(",")
}

/// The text of `ports` as lists of at most `length` bytes, which together are all; one that is empty, if
/// there are none.
pub(super) fn pieces(ports: &BTreeSet<u16>, length: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for part in parts(ports) {
        match pieces.last_mut() {
            Some(piece) if piece.is_empty() => *piece = part,
            Some(piece) if piece.len() + 1 + part.len() < length => {
                piece.push(',');
                piece.push_str(&part);
            }
            _ => pieces.push(part),
        }
    }
    // The kernel takes an empty list from a line that is empty.
    pieces.into_iter().map(|piece| piece + "\n").collect()
}

fn parts(ports: &BTreeSet<u16>) -> Vec<String> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    let part = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.into_iter().map(part).collect()
}
