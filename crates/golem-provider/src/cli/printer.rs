//! Everything that a command prints.
//!
//! Owns standard output (data) and standard error (everything else). With `--json`, standard
//! output gets exactly one document. A reader that went away (`| head`) is no error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;

use super::{Exit, layout};
use crate::logs;
use golem_types::visible::visible;

/// Bold red, bold yellow and plain again.
const ERROR: &str = "\x1b[1;31merror\x1b[0m";
const WARNING: &str = "\x1b[1;33mwarning\x1b[0m";

/// Time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    /// Whether standard output is for a program.
    pub json: bool,
    /// Whether only answers and errors are wanted.
    pub quiet: bool,
}

impl Printer {
    /// Prints `document` for programs, or what `text` makes for people.
    pub(super) fn answer<D: Serialize>(self, document: &D, text: impl FnOnce() -> String) {
        if self.json {
            match serde_json::to_string_pretty(document) {
                Ok(line) => self.out(&line),
                Err(error) => self.error(Exit::Failed, &error.to_string()),
            }
        } else {
            self.show(&text());
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
    pub(super) fn raw(self, text: &str) {
        let _ = io::stdout().write_all(text.as_bytes());
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
        spinner.enable_steady_tick(TICK);
        Spinner(spinner)
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
        let _ = writeln!(anstream::stdout(), "{error:#}");
    }
}

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
