//! Log lines: where they go and how they look.
//!
//! Owns the subscriber, and when lines go to a file. Never decides what is
//! logged: secrets never reach it because their types do not print.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use golem_service::log::SiteOfEach;
use golem_service::log_file::RotatingFile;
use golem_service::log_journal::{Journal, JournalFields};
use golem_service::log_json::Json;
use golem_service::log_recent::Recent;
use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use golem_host::settings::{LogFormat, LogLevel};

/// Crates whose lines are shown from the level that the operator chose; the others' from `warn`.
const OURS: [&str; 13] = [
    "golem_alerts",
    "golem_api",
    "golem_chain",
    "golem_files",
    "golem_host",
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
    /// Standard error: a terminal, or the journal of systemd.
    Terminal,
    /// `provider.log` in this folder.
    Folder(PathBuf),
}

/// Begins logging; once in a process.
///
/// # Errors
/// When the log file cannot be made.
pub fn begin(format: LogFormat, level: LogLevel, destination: Destination) -> io::Result<()> {
    let lines = match destination {
        Destination::Terminal => match Journal::of_standard_error() {
            Some(_) if format == LogFormat::Text => JournalFields::open()?.boxed(),
            // It has the time of each line itself.
            Some(journal) => lines(format, level, Look { colour: false, time: false }, journal),
            None => lines(format, level, Look { colour: is_coloured(), time: true }, || Screen),
        },
        Destination::Folder(folder) => {
            let look = Look { colour: false, time: true };
            lines(format, level, look, Mutex::new(RotatingFile::open(&folder)?))
        }
    };
    let recent = tracing_subscriber::fmt::layer().with_writer(Recent).event_format(Json);
    tracing_subscriber::registry().with(lines).with(recent).with(targets(level)).init();
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

/// Begins logging for a command that ends soon: from `level` on, on standard error, without the time; once in a process.
pub fn begin_for_command(level: LogLevel) {
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(is_coloured());
    tracing_subscriber::registry().with(targets(level)).with(lines.without_time().with_target(false)).init();
}

/// Which lines are written: ours from `level` on, others' from `warn`.
fn targets(level: LogLevel) -> Targets {
    let level = filter(level);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|ours| (ours, level)))
        // Whoever asks is told by the error as well, and says it where it matters.
        .with_target("rustls_platform_verifier", LevelFilter::OFF)
        // Who changed what, whatever else is wanted.
        .with_target("audit", level.max(LevelFilter::INFO))
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// What writes lines, wherever they go.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// How lines of text look.
#[derive(Debug, Clone, Copy)]
struct Look {
    colour: bool,
    /// Whether each begins with the time.
    time: bool,
}

/// Lines for `writer`.
fn lines<W>(format: LogFormat, level: LogLevel, look: Look, writer: W) -> Lines
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(look.colour);
    let with_target = filter(level) >= LevelFilter::DEBUG;
    match format {
        LogFormat::Json => lines.event_format(Json).boxed(),
        LogFormat::Text if look.time => lines.with_target(with_target).boxed(),
        LogFormat::Text => lines.without_time().with_target(with_target).boxed(),
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

    /// A library's line has no place before a command's answer, and anybody's server could fill a log with it.
    #[test]
    fn a_certificate_that_is_refused_is_told_by_who_asked_alone() {
        let would = targets(LogLevel::Debug);
        let error = tracing::Level::ERROR;
        assert!(!would.would_enable("rustls_platform_verifier::verification::others", &error));
        assert!(
            would.would_enable("rustls", &error)
                && would.would_enable("golem_alerts", &tracing::Level::DEBUG)
        );
    }

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
}
