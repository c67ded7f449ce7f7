//! Everything that a command prints.
//!
//! ```text
//!   a command ─┬─► view: what it was asked for ──┐             ┌─► text or table
//!              ├─► list: the same, row by row ───┼─ --format ──┼─► JSON or YAML: one document
//!              └─► done: what it did ────────────┘             └─► comma-separated values: of lists
//!                          └── --quiet: names of a list's rows alone, nothing of what was done
//! ```
//! Owns standard output (data) and standard error (everything else). A reader that went away (`| head`) is no error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::arguments::Format;
use super::{Exit, layout};
use crate::logs;
use golem_host::documents::{self, DocumentError};
use golem_types::visible::visible;

/// Bold red, bold yellow and plain again.
const ERROR: &str = "\x1b[1;31merror\x1b[0m";
const WARNING: &str = "\x1b[1;33mwarning\x1b[0m";

/// Time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// How often it is looked how far something is.
const STAGE: Duration = Duration::from_millis(500);

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    pub format: Format,
    /// Whether standard output is one document for a program.
    pub json: bool,
    /// Whether no more is wanted than what was asked for: no notes, warnings or progress, and nothing of what was done.
    pub quiet: bool,
}

impl Printer {
    pub(super) const fn new(format: Format, quiet: bool) -> Self {
        Self { format, json: matches!(format, Format::Json | Format::Yaml), quiet }
    }

    /// Prints `document` for programs, or what `text` makes for people.
    pub(super) fn answer<D: Serialize>(self, document: &D, text: impl FnOnce() -> String) {
        match self.format {
            Format::Json => self.out_or_error(serde_json::to_string_pretty(document).map_err(Into::into)),
            Format::Yaml => self.out_or_error(documents::yaml(document)),
            Format::Table | Format::Csv => self.show(&text()),
        }
    }

    /// Prints what was done, unless nobody wants to read that.
    pub(super) fn done<D: Serialize>(self, document: &D, text: impl FnOnce() -> String) {
        if self.json || !self.quiet {
            self.answer(document, text);
        }
    }

    /// Prints `document`, which is `rows` and what belongs to them. `columns` is the heading of the rows: paths into a row
    /// with commas between them, of which the first is what a row is called.
    pub(super) fn list<D: Serialize, R: Serialize>(
        self,
        document: &D,
        rows: &[R],
        columns: &str,
        text: impl FnOnce() -> String,
    ) {
        match (self.format, columns.split(',').next()) {
            (Format::Csv, _) => self.out_or_error(documents::csv(rows, columns)),
            (Format::Table, Some(name)) if self.quiet => {
                let names = documents::names(rows, name);
                if !rows.is_empty() {
                    self.out_or_error(names.map(|names| names.join("\n")));
                }
            }
            _ => self.answer(document, text),
        }
    }

    fn out_or_error(self, text: Result<String, DocumentError>) {
        match text {
            Ok(text) => self.out(&text),
            Err(error) => self.error(Exit::Failed, &golem_service::log::with_causes(&error)),
        }
    }

    /// Prints text for people, which fits the terminal if there is one.
    pub(super) fn show(self, text: &str) {
        match layout::terminal_width() {
            Some(width) => self.out(&layout::wrapped(text, width)),
            None => self.out(text),
        }
    }

    /// Prints to standard output as it is.
    pub(super) fn out(self, text: &str) {
        let text = text.trim_end();
        if io::stdout().is_terminal() && !self.json {
            let _ = writeln!(anstream::stdout(), "{}", visible(text, true));
        } else {
            let _ = writeln!(anstream::stdout(), "{text}");
        }
    }

    /// Others' words for standard output: on a terminal not even their colours are sent.
    pub(super) fn others(self, text: &str) -> String {
        if io::stdout().is_terminal() { visible(text, false) } else { text.to_owned() }
    }

    /// Prints others' words to standard output, every byte as it is.
    ///
    /// # Errors
    /// [`ReaderGone`]: who prints on and on ends then.
    pub(super) fn raw(self, text: &str) -> Result<(), ReaderGone> {
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|_| ReaderGone)
    }

    /// Tells that nothing was done, because whoever was asked did not agree.
    pub(super) fn declined(self, text: &str) -> Exit {
        if self.json {
            self.failure(Exit::Failed, text, None);
        }
        self.note(text);
        Exit::Failed
    }

    /// Tells people something beside the answer.
    pub(super) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{}", visible(text, true));
        }
    }

    /// Tells people about something that may be wrong.
    pub(super) fn warning(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{WARNING}: {}", visible(text, true));
        }
    }

    /// Shows people that something goes on, until the answer is dropped; nothing without a terminal.
    pub(super) fn waiting(self, what: impl Into<Cow<'static, str>>) -> Spinner {
        if self.quiet || !logs::can_redraw() {
            return Spinner(ProgressBar::hidden());
        }
        let spinner = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(TICK);
        Spinner(spinner)
    }

    /// What `work` comes to; meanwhile people see how far it is, as `stage` tells.
    pub(super) async fn watched<T>(
        self,
        what: &str,
        work: impl Future<Output = T>,
        stage: impl AsyncFn() -> Option<String>,
    ) -> T {
        let waiting = self.waiting(what.to_owned());
        let stages = async {
            loop {
                tokio::time::sleep(STAGE).await;
                if let Some(stage) = stage().await {
                    waiting.say(format!("{what}: {stage}"));
                }
            }
        };
        tokio::select! {
            done = work => done,
            never = stages => match never {},
        }
    }

    /// Tells why a command ends with `exit`. The fix stands in the text, after `; fix: `.
    pub(super) fn error(self, exit: Exit, text: &str) {
        if self.json {
            let parts = text.split_once("; fix: ").filter(|(_, fix)| !fix.contains("; fix: "));
            let (message, fix) = parts.map_or((text, None), |(message, fix)| (message, Some(fix)));
            self.failure(exit, message, fix);
        }
        let _ = writeln!(anstream::stderr(), "{ERROR}: {}", visible(text, true));
    }

    /// Tells programs why a command ends with `exit`, as they read it everywhere.
    pub(super) fn failure(self, exit: Exit, message: &str, fix: Option<&str>) {
        let error = json!({ "error": { "code": exit.code(), "message": message, "fix": fix } });
        let text = match self.format {
            Format::Yaml => documents::yaml(&error).unwrap_or_default(),
            _ => format!("{error:#}"),
        };
        let _ = writeln!(anstream::stdout(), "{}", text.trim_end());
    }
}

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads on")]
pub(super) struct ReaderGone;

/// Clears the line when dropped.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    /// Shows how far it is.
    pub(super) fn say(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
