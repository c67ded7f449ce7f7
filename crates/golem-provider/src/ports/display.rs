//! How far a verification is, for people.
//!
//! Owns a bar on a terminal, and lines elsewhere, on standard error. Never shows a verdict.

use std::cell::Cell;
use std::io::Write;

use golem_node::port_verification::Verifier;
use golem_reach::report::ProgressReport;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::logs;

/// The bar: ports that somebody came to, of all.
const STYLE: &str = "{spinner} Trying ports from outside [{bar:30}] {pos} of {len}";

/// The display of one verification; it is cleared when dropped.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    /// Ports that the last line told of.
    told: Cell<Option<usize>>,
}

impl Display {
    /// A display on standard error.
    pub(crate) fn new() -> Self {
        let bar = logs::can_redraw().then(|| {
            let bar = logs::bars().add(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()));
            if let Ok(style) = ProgressStyle::with_template(STYLE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, told: Cell::new(None) }
    }

    /// Shows how far it is.
    pub(crate) fn tell(&self, progress: ProgressReport) {
        let ProgressReport { done, visited, total } = progress;
        match &self.bar {
            Some(bar) => {
                bar.set_length(u64::try_from(total).unwrap_or(u64::MAX));
                bar.set_position(u64::try_from(done + visited).unwrap_or(u64::MAX));
                bar.tick();
            }
            None if self.told.replace(Some(done)) != Some(done) => {
                let _ = writeln!(anstream::stderr(), "Trying ports from outside: {done} of {total} done");
            }
            None => {}
        }
    }
}

/// Shows how far the verification is that goes on or comes next, until it is over.
pub(crate) async fn show(verifier: Verifier) {
    let display = Display::new();
    let mut last = verifier.progress();
    let rounds = last.borrow().rounds;
    loop {
        let (over, progress) = {
            let now = last.borrow_and_update();
            (now.rounds > rounds, now.progress)
        };
        if let Some(progress) = progress {
            display.tell(progress.into());
        }
        if over || last.changed().await.is_err() {
            return;
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            logs::bars().remove(bar);
        }
    }
}
