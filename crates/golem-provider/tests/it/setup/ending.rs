//! How a setup ends: with what the node gets by itself, or without it where nobody waits for that.

use std::io::Write;
use std::process::Stdio;

use golem_test_support::{Home, Running, StopAtEnd};
use serde_json::Value;

use super::{COLUMNS, QUESTIONS, TERM, settings, types};
use crate::ports::{Puppet, verified};
use crate::terminal::Terminal;

const WAITING: &str = "Waiting until the ports are tried from outside";

/// Answers all questions about a node that runs.
fn answered(home: &Home) -> Terminal {
    let is_written = settings(home).is_some();
    let mut terminal = Terminal::sized(home, &["setup", "--here"], COLUMNS, &TERM);
    QUESTIONS.iter().for_each(|question| types(&mut terminal, question, ""));
    if !is_written {
        types(&mut terminal, "Write this? [yes]", "");
    }
    terminal.shows(WAITING);
    terminal
}

/// A checklist that tells of a node which has just started would tell that nothing is known.
#[test]
fn u_06_a_setup_waits_for_what_comes_by_itself_and_an_interrupt_goes_on() {
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url]);
    *puppet.open.lock().unwrap() = std::iter::once(home.api).chain(home.ssh_ports()).collect();
    let silence = puppet.silence.lock().unwrap();
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);

    let mut terminal = answered(&home);
    terminal.keyboard.write_all(b"\x03").unwrap();
    terminal.shows("Not waited for any longer (interrupted)");
    terminal.shows("Can be reached  not known: ");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());

    // Programs get one document, and nothing before it.
    let mut command = home.command(&["setup", "--here", "--yes", "--json"]);
    command.stdout(Stdio::piped());
    let mut json = Running::of(command, WAITING);
    let mut terminal = answered(&home);
    drop(silence);
    terminal.shows("Can be reached  ✅ yes: TCP ");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    assert_eq!(json.end(), Some(0), "{:#?}", json.seen);
    let printed = std::io::read_to_string(json.child.stdout.take().unwrap()).unwrap();
    let done: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(done["checklist"]["reached"]["answer"], "yes", "{done}");
}
