//! Log lines for systemd's journal.
//!
//! Owns their two forms: an entry whose fields the journal knows by name (`journalctl GOLEM_PORT=50800`, its native
//! protocol), and a mark at the beginning of a line that says how urgent it is (`man 3 sd-daemon`), for JSON and for entries
//! that the journal does not take. Never decides what is logged.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::Value;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

use crate::log_json::Fields;

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

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest name of a field that the journal keeps.
const NAME: usize = 64;

/// Writes each event as an entry with fields of its own: `GOLEM_` and the field's name in capitals.
#[derive(Debug)]
pub struct JournalFields {
    socket: UnixDatagram,
    to: PathBuf,
}

impl JournalFields {
    /// For the journal of this machine.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open() -> io::Result<Self> {
        Self::to(SOCKET.into())
    }

    fn to(to: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }
}

impl<S: Subscriber> Layer<S> for JournalFields {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let priority = priority(*event.metadata().level());
        let text = text(&fields);
        let entry = entry(priority, event.metadata().target(), &text, &fields);
        // One that is too long, or a journal that is busy.
        if self.socket.send_to(&entry, &self.to).is_err() {
            let mut line = JournalLine { priority, to: io::stderr() };
            let _ = line.write_all(format!("{text}\n").as_bytes());
        }
    }
}

/// What people read: the message, then the fields.
fn text(fields: &Fields) -> String {
    let mut text = fields.0.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, value) in fields.0.iter().filter(|(name, _)| *name != "message") {
        let plain = value.as_str().filter(|value| !value.contains([' ', '"', '\n']));
        match plain {
            Some(plain) => text += &format!(" {name}={plain}"),
            None => text += &format!(" {name}={value}"),
        }
    }
    text
}

fn entry(priority: u8, target: &str, text: &str, fields: &Fields) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", text);
    put(&mut entry, "PRIORITY", &priority.to_string());
    put(&mut entry, "SYSLOG_IDENTIFIER", "golem-provider");
    put(&mut entry, "GOLEM_TARGET", target);
    for (name, value) in fields.0.iter().filter(|(name, _)| *name != "message") {
        let known =
            |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
        let name: String = "GOLEM_".chars().chain(name.chars().map(known)).take(NAME).collect();
        match value.as_str() {
            Some(value) => put(&mut entry, &name, value),
            None => put(&mut entry, &name, &value.to_string()),
        }
    }
    entry
}

/// Adds a field; one with several lines has its length before it.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
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
    fn an_entry_has_its_fields_by_name_and_causes_with_them() {
        use tracing_subscriber::layer::SubscriberExt;

        let folder = tempfile::tempdir().unwrap();
        let journal = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        journal.set_nonblocking(true).unwrap();
        let fields = JournalFields::to(folder.path().join("socket")).unwrap();
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("a cause"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(fields), || {
            tracing::warn!(port = 50_800u16, vm = "a b", "a port\nis closed");
            tracing::error!(error = &error as &dyn std::error::Error, "not sent");
            // A forged field would follow a line's end.
            tracing::info!(name = "x\nPRIORITY=0", "named");
        });
        let mut entries = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(length) = journal.recv(&mut bytes) {
            entries.push(bytes[..length].to_vec());
        }
        let message = "a port\nis closed port=50800 vm=\"a b\"";
        let mut expected = b"MESSAGE\n".to_vec();
        expected.extend_from_slice(&(message.len() as u64).to_le_bytes());
        expected.extend_from_slice(message.as_bytes());
        expected.extend_from_slice(b"\nPRIORITY=4\nSYSLOG_IDENTIFIER=golem-provider\n");
        assert!(entries[0].starts_with(&expected), "{:?}", String::from_utf8_lossy(&entries[0]));
        let known = |entry: &[u8], field: &str| String::from_utf8_lossy(entry).contains(field);
        assert!(known(&entries[0], "\nGOLEM_PORT=50800\n") && known(&entries[0], "\nGOLEM_VM=a b\n"));
        assert!(
            known(&entries[1], "\nGOLEM_ERROR_SOURCES=[\"a cause\"]\n"),
            "{:?}",
            String::from_utf8_lossy(&entries[1])
        );
        let forged = [b"GOLEM_NAME\n".as_slice(), &12u64.to_le_bytes(), b"x\nPRIORITY=0\n"].concat();
        assert!(entries[2].windows(forged.len()).any(|window| window == forged));
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn what_is_no_journal_gets_no_marks() {
        // Tests have none, whatever runs them.
        assert!(Journal::of_standard_error().is_none());
    }
}
