//! Log lines: where they go and how they look.
//!
//! Owns the subscriber and the log file of a node in the background. Never decides what is
//! logged: secrets never reach it because their types do not print.

mod json;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use golem_service::log::SiteOfEach;
use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFormat, LogLevel};
use json::Json;

/// Size at which the log file is put aside, in bytes.
const FILE_MAXIMUM: u64 = 10 << 20;

/// Log files that are kept beside the current one.
const FILES_KEPT: u32 = 4;

/// Crates whose lines are shown from the level that the operator chose; the others' from `warn`.
const OURS: [&str; 11] = [
    "golem_api",
    "golem_chain",
    "golem_files",
    "golem_market",
    "golem_node",
    "golem_provider",
    "golem_reach",
    "golem_rent",
    "golem_service",
    "golem_types",
    "golem_vm",
];

/// Where log lines go.
#[derive(Debug)]
pub enum Destination {
    /// Standard error.
    Terminal,
    /// `provider.log` in this folder.
    Folder(PathBuf),
}

/// Begins logging; once in a process.
///
/// # Errors
/// When the log file cannot be made.
pub fn begin(format: LogFormat, level: LogLevel, destination: Destination) -> io::Result<()> {
    match destination {
        Destination::Terminal => {
            install(format, level, is_coloured(), || Screen);
        }
        Destination::Folder(folder) => {
            install(format, level, false, Mutex::new(RotatingFile::open(&folder, FILE_MAXIMUM)?));
        }
    }
    // A background node has no standard error to panic on.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Where a request can make a handler panic, every request can.
        static SITE: SiteOfEach = SiteOfEach::new();
        let place = info.location().map(|place| (place.file(), place.line()));
        if let Some(left_out) = SITE.due(place) {
            tracing::error!(left_out, panic = %info, "panicked");
            before(info);
        }
    }));
    Ok(())
}

/// Whether standard error may be coloured: a terminal that can, and nobody who does not want it
/// (`NO_COLOR`, `TERM=dumb`), or somebody who does anyway (`CLICOLOR_FORCE`).
fn is_coloured() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Whether standard error is a terminal on which something can be drawn over.
pub(crate) fn can_redraw() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Progress bars on the terminal to which the log goes as well.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: LazyLock<MultiProgress> = LazyLock::new(|| match can_redraw() {
        true => MultiProgress::new(),
        false => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
    });
    &BARS
}

/// Standard error, with bars out of the way of each line.
struct Screen;

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Begins logging for a command that ends soon: what may be wrong, on standard error, without
/// the time; once in a process.
pub fn begin_for_command() {
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(is_coloured());
    let targets = Targets::new().with_default(LevelFilter::WARN);
    tracing_subscriber::registry().with(targets).with(lines.without_time().with_target(false)).init();
}

fn install<W>(format: LogFormat, level: LogLevel, colour: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|ours| (ours, level)));
    let registry = tracing_subscriber::registry().with(targets);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    match format {
        LogFormat::Json => registry.with(lines.event_format(Json)).init(),
        LogFormat::Text => registry.with(lines.with_target(level >= LevelFilter::DEBUG)).init(),
    }
}

/// A log file that is put aside when it grows too large.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    maximum: u64,
}

impl RotatingFile {
    fn open(folder: &Path, maximum: u64) -> io::Result<Self> {
        golem_files::private_subfolder(folder)?;
        let path = folder.join("provider.log");
        let file = Self::append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, maximum })
    }

    fn append(path: &Path) -> io::Result<File> {
        golem_files::private_file(path, OpenOptions::new().append(true))
    }

    /// `provider.log` becomes `provider.log.1`, that `.2`, and so on; the last is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..FILES_KEPT).rev() {
            let _ = std::fs::rename(aside(number), aside(number + 1));
        }
        std::fs::rename(&self.path, aside(1))?;
        self.file = Self::append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    /// The subscriber writes a whole line at a time, so that no line is split over two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.maximum {
            // A folder that forbids it keeps the one file growing: better than losing lines.
            let _ = self.rotate();
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that keeps what it gets.
    #[derive(Clone, Default)]
    struct Kept(std::sync::Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the ledger failed")]
    struct Outer(#[source] golem_node::ledger::LedgerError);

    #[test]
    fn h_16_both_forms_of_the_log_name_every_cause_once() {
        let error = Outer(golem_node::ledger::LedgerError::File(rustix::io::Errno::NOSPC.into()));
        let said = |format: LogFormat| {
            let kept = Kept::default();
            let writer = kept.clone();
            let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
            let log = || {
                tracing::error!(error = &error as &dyn std::error::Error, port = 7u16, "a \"step\"\nfailed");
            };
            let registry = tracing_subscriber::registry();
            match format {
                LogFormat::Json => {
                    tracing::subscriber::with_default(registry.with(lines.event_format(Json)), log);
                }
                LogFormat::Text => tracing::subscriber::with_default(registry.with(lines), log),
            }
            let bytes = kept.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        };
        let causes = ["the ledger failed", "the database's file cannot be used", "No space left on device"];
        let text = said(LogFormat::Text);
        let json = said(LogFormat::Json);
        for line in [&text, &json] {
            for cause in causes {
                assert_eq!(line.matches(cause).count(), 1, "{line}");
            }
        }
        assert_eq!(json.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["error"], causes[0]);
        assert_eq!(line["error.sources"][0], causes[1]);
        assert_eq!((&line["level"], &line["port"]), (&"ERROR".into(), &7.into()));
        assert_eq!(line["message"], "a \"step\"\nfailed");
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest_lines() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let mut file = RotatingFile::open(&logs, 100).unwrap();
        for number in 0..100 {
            file.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        drop(file);
        // Appends to what is there.
        let mut file = RotatingFile::open(&logs, 100).unwrap();
        file.write_all(b"line 0100\n").unwrap();
        let files: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1 + FILES_KEPT as usize, "{files:?}");
        assert!(files.iter().all(|file| std::fs::metadata(file).unwrap().len() <= 100));
        let newest = std::fs::read_to_string(logs.join("provider.log")).unwrap();
        assert!(newest.ends_with("line 0099\nline 0100\n") || newest == "line 0100\n", "{newest}");
        let before = std::fs::read_to_string(logs.join("provider.log.1")).unwrap();
        assert!(before.lines().all(|line| line.len() == 9) && before.lines().count() == 10, "{before}");
    }
}
