//! The suite's table: each step, passed or failed, with the reason.
//!
//! Owns its form. A step that fails does not end the walk: the next ones are tried too, and the
//! test fails at the end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;

use serde_json::Value;

use super::world::{shown, tail};

/// Most characters of a step's name that are printed.
const NAME: usize = 60;

/// The steps of one client. Printed when it ends, and also when the walk is cut off.
pub(crate) struct Table {
    client: &'static str,
    rows: Vec<(String, bool, String)>,
    ended: bool,
}

impl Table {
    pub(crate) const fn new(client: &'static str) -> Self {
        Self { client, rows: Vec::new(), ended: false }
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

    /// Takes the steps of a program that has walked by itself: it printed a line of JSON for each, `step` with `remark`
    /// or `failed`, and ended with 0 after the last.
    pub(crate) fn walk(&mut self, program: &Output) {
        let said = String::from_utf8_lossy(&program.stdout);
        for line in said.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            self.step(line["step"].as_str().unwrap(), || {
                assert!(line["failed"].is_null(), "{}", line["failed"].as_str().unwrap());
                ((), line["remark"].as_str().unwrap().to_owned())
            });
        }
        if !program.status.success() {
            self.step("its walk came to its end", || -> ((), String) {
                panic!("{}", tail(&shown(program).1))
            });
        }
    }

    /// Prints the table, and fails when a step did.
    pub(crate) fn end(mut self) {
        self.ended = true;
        let text = self.print();
        assert!(!self.rows.is_empty() && self.rows.iter().all(|(_, passed, _)| *passed), "{text}");
    }

    /// Prints the table, and adds it to the file that `GOLEM_INTEROP_TABLE` names.
    fn print(&self) -> String {
        // A request with its body is longer than anybody reads.
        let name = |name: &str| -> String {
            let short = name.chars().take(NAME);
            if name.chars().nth(NAME).is_some() { short.chain(['…']).collect() } else { short.collect() }
        };
        let width = self.rows.iter().map(|row| name(&row.0).chars().count()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.client);
        for (step, passed, remark) in &self.rows {
            let name = name(step);
            let verdict = if *passed { "passed" } else { "FAILED" };
            writeln!(text, "{}", format!("  {name:<width$}  {verdict}  {remark}").trim_end()).unwrap();
        }
        if !self.ended {
            text += "  the walk was cut off: FAILED\n";
        }
        println!("{text}");
        if let Some(path) = std::env::var_os("GOLEM_INTEROP_TABLE") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            // At once: tables of tests that run together must not be mixed.
            file.unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
        }
        text
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !self.ended {
            self.print();
        }
    }
}
