//! What people see: the true binary on a terminal of its own, and the screen as a terminal draws it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use golem_test_support::{Home, wait_until};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

use crate::ports::{request, verified, wait_for_round};

const ROWS: u16 = 60;
const COLUMNS: u16 = 240;

/// A program on a terminal; killed when dropped.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    pub(crate) keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// All that was written to it.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs what `home` runs with `arguments`, as the session of a new terminal.
    pub(crate) fn run(home: &Home, arguments: &[&str]) -> Self {
        Self::sized(home, arguments, COLUMNS, &[("TERM", "xterm-256color")])
    }

    /// As [`Terminal::run`], on a terminal of `columns` columns that `environment` describes.
    pub(crate) fn sized(home: &Home, arguments: &[&str], columns: u16, environment: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = File::from(openpt(flags).unwrap());
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        tcsetwinsize(&keyboard, Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let end = File::from(ioctl_tiocgptpeer(&keyboard, flags).unwrap());
        let run = home.command(arguments);
        // It makes the terminal the session's, so that an interrupt typed there reaches the program.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(run.get_program()).args(run.get_args()).env_clear();
        command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(environment.iter().copied()).current_dir(home.folder.path());
        command.stdin(end.try_clone().unwrap()).stdout(end.try_clone().unwrap()).stderr(end);
        let child = command.spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, columns, 0)));
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let mut output = keyboard.try_clone().unwrap();
        let (shown, kept) = (Arc::clone(&screen), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // An error is its end: nobody has the other end open any more.
            while let Ok(count @ 1..) = output.read(&mut part) {
                // Kept first: who sees it on the screen finds it there.
                kept.lock().unwrap().extend_from_slice(&part[..count]);
                shown.lock().unwrap().process(&part[..count]);
            }
        });
        Self { child, keyboard, screen, written }
    }

    /// What is on the screen now.
    pub(crate) fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows `text`.
    pub(crate) fn shows(&self, text: &str) {
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(text, || self.screen().contains(text));
        }));
        assert!(shown.is_ok(), "no {text:?} on the screen:\n{}", self.screen());
    }

    /// All that was written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// How often `sequence` was written so far.
    fn count(&self, sequence: &str) -> usize {
        self.text().matches(sequence).count()
    }

    /// Types Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }

    /// Waits for the program's end; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// How the terminal treats what is typed and written.
    pub(crate) fn modes(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let Termios { input_modes, output_modes, control_modes, local_modes, .. } =
            tcgetattr(&self.keyboard).unwrap();
        (input_modes, output_modes, control_modes, local_modes)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A check server that comes to the ports that it is sent, one after the other, and answers when nothing
/// more will be sent: those are open.
fn steps() -> (String, Sender<u16>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (visit, visits) = channel::<u16>();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let request = request(&mut stream);
            for port in &visits {
                let _ = TcpStream::connect(("127.0.0.1", port));
                open.push(port);
            }
            let mut results = serde_json::Map::new();
            for port in request["ports"].as_array().unwrap() {
                let accessible = open.iter().any(|open| port == open);
                let error = (!accessible).then_some("Connection timed out");
                results.insert(port.to_string(), json!({ "accessible": accessible, "error": error }));
            }
            let body = json!({ "success": true, "results": results, "message": "" }).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    (url, visit)
}

/// What the line says while ports are tried.
fn bar(reached: usize) -> String {
    format!("] {reached} of 9")
}

/// Each port counts on the screen as somebody comes to it; then the line makes place
/// for the outcome: of each port, and of what is critical, its impact, its fix, and where there is more.
#[test]
fn a_check_on_a_terminal_shows_ports_as_they_are_found() {
    let (url, visit) = steps();
    let home = verified(&[&url]);
    let mut terminal = Terminal::run(&home, &["ports", "check"]);
    // S-061
    terminal.shows("Trying ports from outside [");
    terminal.shows(&bar(0));
    for (reached, port) in (1..).zip(home.ssh_ports()) {
        visit.send(port).unwrap();
        // S-065
        terminal.shows(&bar(reached));
    }
    assert!(!terminal.screen().contains("PORTS"), "{}", terminal.screen());
    drop(visit);
    // S-068
    terminal.shows("Help    docs/troubleshooting.md#");
    assert_eq!(terminal.end(), Some(1), "nobody reaches the API");
    let screen = terminal.screen();
    assert!(!screen.contains("Trying ports"), "{screen}");
    let row = |ports: &str, status: &str| {
        let rows: Vec<&str> = screen.lines().filter(|line| line.starts_with(ports)).collect();
        assert!(rows.len() == 1 && rows[0].contains(status), "{ports} {status}: {screen}");
    };
    row(&home.api.to_string(), "❌ unreachable — connection timed out");
    row(&format!("{}-{}", home.ssh, home.ssh + 7), "✅ reachable");
    let critical = screen.split_once("❌ Critical: ").expect(&screen).1;
    assert!(critical.lines().next().unwrap().contains(&home.api.to_string()), "{screen}");
    // S-066, S-067
    assert!(critical.contains("   Impact  ") && critical.contains("   Fix     "), "{screen}");
}

/// The same while the node starts, below its log.
#[test]
fn a_start_on_a_terminal_shows_ports_as_they_are_found() {
    let (url, visit) = steps();
    let home = verified(&[&url]);
    let mut terminal = Terminal::run(&home, &["start"]);
    // S-061
    terminal.shows(&bar(0));
    let last = home.ssh + 7;
    for (reached, port) in (1..).zip(home.ssh_ports().filter(|port| *port != last)) {
        visit.send(port).unwrap();
        // S-065, S-208
        terminal.shows(&bar(reached));
    }
    // What the node logs meanwhile takes the line away, and brings it again below.
    wait_until("one line, drawn again, below the log", || {
        let screen = terminal.screen();
        let below = screen.trim_end().lines().last().is_some_and(|line| line.contains(&bar(7)));
        below && screen.matches("Trying ports").count() == 1
    });
    drop(visit);
    terminal.shows("help=\"docs/troubleshooting.md#");
    wait_for_round(&home, 1);
    wait_until("the line is gone", || !terminal.screen().contains("Trying ports"));
    for port in [home.api, last] {
        wait_until("its port and the fix", || {
            let screen = terminal.screen();
            screen.lines().any(|line| line.contains(&port.to_string()) && line.contains("; fix: "))
        });
    }
    terminal.interrupt();
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
}

/// `status --watch` draws on the same place again, without colour too; Ctrl-C leaves the terminal as it was.
#[test]
fn watching_on_a_terminal_draws_the_screen_again_and_leaves_it_as_it_was() {
    for home in [Home::new(), Home::new().set("NO_COLOR", "1")] {
        let mut terminal = Terminal::run(&home, &["status", "--watch"]);
        let before = terminal.modes();
        terminal.shows("Overall");
        let node = home.start(&[]);
        wait_until("a look at the node that runs", || {
            !terminal.screen().contains("not running") && terminal.screen().contains("Overall")
        });
        let screen = terminal.screen();
        assert_eq!(screen.matches("Overall").count(), 1, "{screen}");
        assert!(terminal.count("\x1b[2J") >= 2);
        terminal.interrupt();
        assert_eq!(terminal.end(), Some(0));
        assert_eq!(terminal.modes(), before);
        assert!(!terminal.screen.lock().unwrap().screen().hide_cursor(), "the cursor is shown");
        drop(node);
    }
}

/// What `arguments` write to a terminal of `columns` columns, as it is.
pub(crate) fn written(home: &Home, arguments: &[&str], columns: u16, environment: &[(&str, &str)]) -> String {
    let mut terminal = Terminal::sized(home, arguments, columns, environment);
    terminal.end();
    // Its last words arrive after its end.
    let before = std::cell::Cell::new(usize::MAX);
    wait_until("all was read", || {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        let length = terminal.written.lock().unwrap().len();
        before.replace(length) == length
    });
    let bytes = terminal.written.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

/// H-17: what people read fits their terminal, and a terminal that can nothing gets plain text.
#[test]
fn h_17_tables_and_lines_fit_the_terminal_and_a_dumb_one_is_plain() {
    let home = Home::new();
    let _node = home.start(&[]);
    home.rent("web-server");
    let plain = [("TERM", "xterm-256color"), ("NO_COLOR", "1")];
    for columns in [40, 80, 120] {
        for arguments in [&["vms", "list"][..], &["images", "list"], &["status"], &["pricing", "show"]] {
            let text = written(&home, arguments, columns, &plain);
            assert!(!text.contains('\x1b'), "{arguments:?}: {text:?}");
            for line in text.lines() {
                let is_one_word = line.split_whitespace().count() == 1;
                let width = line.chars().map(|sign| if sign > '\u{2000}' { 2 } else { 1 }).sum::<usize>();
                assert!(width <= usize::from(columns) + 2 || is_one_word, "{columns}: {line:?} of\n{text}");
            }
        }
        let images = written(&home, &["images", "list"], columns, &plain);
        insta::assert_snapshot!(format!("h_17_images_list_{columns}"), images);
    }
    for environment in [&[("TERM", "dumb")][..], &plain] {
        let text = written(&home, &["status"], 80, environment);
        assert!(text.contains("Overall         ") && !text.contains('\x1b'), "{text:?}");
    }
    let text = written(&home, &["status"], 80, &[("TERM", "xterm-256color")]);
    assert!(text.contains("\x1b[3"), "colours where they can be: {text:?}");
    // A pipe gets each row in one line, whatever `COLUMNS` says.
    let output = home.command(&["vms", "list"]).env("COLUMNS", "40").output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert_eq!(words.lines().count(), 2, "{words}");
    // Forced.
    let output = home.command(&["status"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("\x1b[3"));
}
