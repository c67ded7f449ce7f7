//! Log lines for the journal.
//!
//! Owns the mark that tells systemd's journal how urgent a line is (`man 3 sd-daemon`), so that `journalctl -p warning`
//! shows what is. Never decides what is logged.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Standard error, where that is the journal.
#[derive(Debug, Clone, Copy)]
pub struct Journal;

impl Journal {
    /// `None` if standard error is anything else: a terminal, a file, or a pipe, also below a service.
    #[must_use]
    pub fn of_standard_error() -> Option<Self> {
        let told = std::env::var("JOURNAL_STREAM").ok()?;
        let file = std::fs::metadata("/proc/self/fd/2").ok()?;
        (told == format!("{}:{}", file.dev(), file.ino())).then_some(Self)
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = JournalLine<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        JournalLine { priority: priority(Level::INFO), to: io::stderr() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        JournalLine { priority: priority(*metadata.level()), to: io::stderr() }
    }
}

/// The number of a level in syslog.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Writes an event. Of one with several lines each has the mark: to the journal they are entries of their own.
#[derive(Debug)]
pub struct JournalLine<W> {
    priority: u8,
    to: W,
}

impl<W: Write> Write for JournalLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut marked = Vec::with_capacity(bytes.len() + 8);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            write!(marked, "<{}>", self.priority)?;
            marked.extend_from_slice(line);
        }
        // In one piece, so that lines of others do not come between.
        self.to.write_all(&marked).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_how_urgent_it_is() {
        let mut line = JournalLine { priority: priority(Level::WARN), to: Vec::new() };
        line.write_all(b"a port is closed\n  because\n").unwrap();
        assert_eq!(String::from_utf8(line.to).unwrap(), "<4>a port is closed\n<4>  because\n");
        let urgency = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(priority);
        assert_eq!(urgency, [3, 4, 6, 7, 7]);
    }

    #[test]
    fn what_is_no_journal_gets_no_marks() {
        // Tests have none, whatever runs them.
        assert!(Journal::of_standard_error().is_none());
    }
}
