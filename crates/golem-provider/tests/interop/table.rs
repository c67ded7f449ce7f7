//! The suite's table: each step, passed or failed, with the reason.
//!
//! Owns its form. A step that fails does not end the walk: the next ones are tried too, and the
//! test fails at the end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The steps of one client.
pub(crate) struct Table {
    client: &'static str,
    rows: Vec<(String, bool, String)>,
}

impl Table {
    pub(crate) const fn new(client: &'static str) -> Self {
        Self { client, rows: Vec::new() }
    }

    /// Takes one step; `walk` panics when it fails, and otherwise gives what there is to say of it.
    pub(crate) fn step<T: Default>(&mut self, name: &str, walk: impl FnOnce() -> (T, String)) -> T {
        match catch_unwind(AssertUnwindSafe(walk)) {
            Ok((value, remark)) => {
                self.rows.push((name.to_owned(), true, remark));
                value
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let line = text.unwrap_or_default().replace('\n', " ┊ ");
                self.rows.push((name.to_owned(), false, line));
                T::default()
            }
        }
    }

    /// Prints the table, adds it to the file that `GOLEM_INTEROP_TABLE` names, and fails when a step
    /// did.
    pub(crate) fn end(self) {
        let width = self.rows.iter().map(|(name, _, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.client);
        for (name, passed, remark) in &self.rows {
            let verdict = if *passed { "passed" } else { "FAILED" };
            writeln!(text, "{}", format!("  {name:<width$}  {verdict}  {remark}").trim_end()).unwrap();
        }
        println!("{text}");
        if let Some(path) = std::env::var_os("GOLEM_INTEROP_TABLE") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            writeln!(file.unwrap(), "{text}").unwrap();
        }
        assert!(!self.rows.is_empty() && self.rows.iter().all(|(_, passed, _)| *passed), "{text}");
    }
}
