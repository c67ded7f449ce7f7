//! The last log lines of this process, for who looks at it from outside.
//!
//! Owns how many are kept: in memory, bounded in lines and bytes, each with a number. Never decides what is logged, and
//! writes nothing anywhere.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Most lines.
const LINES: usize = 1000;

/// Most bytes of all lines together.
const BYTES: usize = 512 << 10;

/// The lines.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// How many there were so far.
    count: u64,
}

impl Kept {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, count: 0 }
    }

    fn add(&mut self, line: String) {
        self.count += 1;
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || (self.bytes > BYTES && self.lines.len() > 1) {
            let gone = self.lines.pop_front().map_or(0, |line| line.len());
            self.bytes -= gone;
        }
    }

    fn after(&self, number: u64) -> (u64, Vec<String>) {
        // Whoever counts further than this process has, counted the lines of the one before.
        let new = if number > self.count { self.count } else { self.count - number };
        let new = usize::try_from(new).unwrap_or(usize::MAX).min(self.lines.len());
        (self.count, self.lines.iter().skip(self.lines.len() - new).cloned().collect())
    }
}

static KEPT: Mutex<Kept> = Mutex::new(Kept::new());

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is written to it, a line at a time.
#[derive(Debug, Clone, Copy)]
pub struct Recent;

impl Write for Recent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        kept().add(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Recent {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// How many lines there were so far, and those after the first `number` of them that are still kept.
#[must_use]
pub fn after(number: u64) -> (u64, Vec<String>) {
    kept().after(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H-18: a burst takes bounded memory, and who asks again and again gets each line once.
    #[test]
    fn h_18_the_last_lines_are_kept_and_told_once() {
        let mut kept = Kept::new();
        assert_eq!(kept.after(0), (0, Vec::new()));
        for number in 0..3 {
            kept.add(number.to_string());
        }
        assert_eq!(kept.after(1), (3, vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(kept.after(3), (3, Vec::new()));
        assert_eq!(kept.after(99).1.len(), 3, "of a process before this one");
        for _ in 0..2 * LINES {
            kept.add("x".repeat(1000));
        }
        assert!(kept.bytes <= BYTES && kept.lines.len() <= LINES);
        assert_eq!(kept.bytes, kept.lines.iter().map(String::len).sum::<usize>());
        kept.add("y".repeat(2 * BYTES));
        assert_eq!(kept.lines.len(), 1);
    }
}
