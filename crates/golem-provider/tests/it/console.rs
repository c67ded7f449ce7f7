//! `rent console` as people and scripts use it: the true binary, on a terminal and in a pipe.

use std::io::Write;
use std::process::Stdio;

use golem_test_support::{Home, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use crate::terminal::Terminal;

const PROMPT: &str = "sim login:";

/// Whether a key that is typed on the terminal comes as it is.
fn is_raw(terminal: &Terminal) -> bool {
    !tcgetattr(&terminal.keyboard).unwrap().local_modes.contains(LocalModes::ICANON)
}

/// A console on a terminal of its own, at whose prompt something was typed.
fn opened(home: &Home) -> Terminal {
    let mut terminal = Terminal::run(home, &["rent", "console", "web"]);
    terminal.shows("Ctrl-] leaves");
    wait_until("the terminal is raw", || is_raw(&terminal));
    terminal.keyboard.write_all(b"hello\x03\r").unwrap();
    terminal.shows(PROMPT);
    assert!(terminal.screen().contains("hello"), "{}", terminal.screen());
    terminal
}

/// The exit status of what ran on it, after which the terminal is as it was.
fn ends(mut terminal: Terminal) -> Option<i32> {
    let code = terminal.end();
    assert!(!is_raw(&terminal), "the terminal is as before");
    code
}

#[test]
fn a_console_gives_the_terminal_back_however_it_ends_and_works_in_a_pipe() {
    let home = Home::new().set("GOLEM_TEST_TOTALS", "8,16,200");
    let mut node = home.start(&[]);
    let url = format!("http://{}:{}", home.host, home.api);
    let create = home.run(&["rent", "create", "web", "--provider", &url, "--free", "--yes"]);
    assert!(create.status.success(), "{}", Home::show(&create));

    let mut pipe = home.command(&["rent", "console", "web"]);
    let mut pipe = pipe.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    pipe.stdin.take().unwrap().write_all(b"root\r").unwrap();
    let output = pipe.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", Home::show(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "root\r\nsim login: ");

    let mut left = opened(&home);
    left.keyboard.write_all(b"\x1d").unwrap();
    assert_eq!(ends(left), Some(0));

    let first = opened(&home);
    let second = opened(&home);
    first.shows("another session took the console over");
    assert_eq!(ends(first), Some(1));
    kill_process(Pid::from_raw(i32::try_from(second.child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(ends(second), Some(130));

    let lost = opened(&home);
    node.signal(Signal::KILL);
    assert_eq!(ends(lost), Some(1));
    node.end();
    let nobody = home.run(&["rent", "console", "web"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", Home::show(&nobody));
}
