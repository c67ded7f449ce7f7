//! What people are told while renting goes on.
//!
//! Owns how often, and where: on standard error. Never tells the answer.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use golem_rent::Event;

use crate::cli::printer::{Printer, Spinner};

/// How often somebody without a terminal is told that something goes on.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Tells people on standard error how far a command is.
pub(super) struct RentProgress {
    printer: Printer,
    terminal: bool,
    spinner: RefCell<Option<Spinner>>,
    told_at: Cell<Duration>,
}

impl RentProgress {
    pub(super) fn of(printer: Printer) -> Self {
        let terminal = crate::logs::can_redraw();
        Self { printer, terminal, spinner: RefCell::default(), told_at: Cell::default() }
    }

    pub(super) fn tell(&self, told: Event<'_>) {
        match told {
            Event::Step(text) => {
                self.end();
                self.printer.note(text);
            }
            Event::Waiting(what, since) => {
                let text = format!("{what}: {} s", since.as_secs());
                if self.terminal {
                    self.spinner.borrow_mut().get_or_insert_with(|| self.printer.waiting("")).say(text);
                } else if since >= self.told_at.get() + TELL_EVERY {
                    self.told_at.set(since);
                    self.printer.note(&text);
                }
            }
        }
    }

    /// Clears what is still shown.
    pub(super) fn end(&self) {
        self.spinner.take();
        self.told_at.set(Duration::ZERO);
    }
}
