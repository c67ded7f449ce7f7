//! What programs and scripts read: forms of an answer, errors, exit codes; what follows a log, and what asks first.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use golem_test_support::{Home, StopAtEnd, wait_until};
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::terminal::Terminal;

fn said(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = home.run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// U-03: a slip in a file of settings stops neither a look nor a stop, and what needs settings it does.
#[test]
fn u_03_a_slip_in_the_settings_stops_no_command_that_needs_none() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    std::fs::write(home.folder.path().join(".env"), "GOLEM_PROVIDER_MAX_VMS=many\nno line\n").unwrap();
    for arguments in [
        &["status"][..],
        &["vms", "list"],
        &["logs"],
        &["drain", "off"],
        &["ports", "list"],
        &["images", "list"],
        &["networks", "list"],
        &["pricing", "show"],
        &["dashboard"],
        &["version"],
        &["help"],
        &["help", "settings"],
        &["stop"],
    ] {
        let (code, _, notes) = said(&home, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {notes}");
        let needs_none = matches!(arguments[0], "version" | "help");
        assert_eq!(
            notes.contains("warning: not used: GOLEM_PROVIDER_MAX_VMS=many"),
            !needs_none,
            "{arguments:?}"
        );
        assert_eq!(
            notes.contains(".env:2 the line has no `=`; fix: "),
            !needs_none,
            "{arguments:?}: {notes}"
        );
    }
    for arguments in [
        &["start"][..],
        &["setup", "--yes", "--dry-run"],
        &["config", "show"],
        &["config", "monitor", "--interval", "60"],
        &["pricing", "set", "--usd-per-core", "5"],
        &["ports", "check"],
    ] {
        let (code, _, errors) = said(&home, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains("GOLEM_PROVIDER_MAX_VMS=many"), "{arguments:?}: {errors}");
    }
    let (code, document, _) = said(&home, &["vms", "list", "--json"]);
    let error: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((code, &error["error"]["code"]), (Some(3), &"not_running".into()));
}

/// U-09: whatever goes wrong, who asked for JSON gets one document.
#[test]
fn u_09_every_error_is_one_document() {
    let home = Home::bare();
    for (arguments, code, exit) in [
        (&["--json"][..], "wrong_use", 2),
        (&["vms", "--json"], "wrong_use", 2),
        (&["vms", "lsit", "--json"], "wrong_use", 2),
        (&["vms", "lsit", "--format", "json"], "wrong_use", 2),
        (&["--format=json", "vms", "lsit"], "wrong_use", 2),
        (&["help", "strat", "--json"], "wrong_use", 2),
        (&["help", "--format", "json", "settings", "nonsense"], "failed", 1),
        (&["vms", "list", "--json", "--format", "csv"], "wrong_use", 2),
        (&["vms", "delete", "web", "--json"], "not_running", 3),
        (&["logs", "--json"], "failed", 1),
        (&["reload", "--json"], "not_running", 3),
        (&["config", "list", "nonsense", "--json"], "failed", 1),
        (&["images", "pull", "nonsense", "--json"], "failed", 1),
    ] {
        let (status, document, people) = said(&home, arguments);
        let document: Value =
            serde_json::from_str(&document).unwrap_or_else(|_| panic!("{arguments:?}: {document}"));
        let error = document["error"].as_object().unwrap();
        assert_eq!((status, error["code"].as_str()), (Some(exit), Some(code)), "{arguments:?}: {document}");
        assert!(!error["message"].as_str().unwrap().is_empty() && error.contains_key("fix"), "{document}");
        assert_eq!((document.as_object().unwrap().len(), error.len()), (1, 3), "{document}");
        assert!(!people.is_empty(), "{arguments:?}");
    }
    let (status, document, _) = said(&home, &["vms", "list", "--format", "yaml"]);
    assert_eq!(status, Some(3));
    assert_snapshot!(document);
    // Nothing is done whose answer could not be printed.
    let (status, document, errors) = said(&home, &["drain", "on", "--format", "csv"]);
    assert_eq!((status, document.as_str()), (Some(2), ""));
    assert!(errors.contains("; fix: --format json or yaml"), "{errors}");
}

#[test]
fn u_10_lists_have_four_forms_and_names_alone() {
    let home = Home::bare().set("GOLEM_PROVIDER_DATA_DIR", "/nowhere/golem");
    let of = |arguments: &[&str]| {
        let (code, text, errors) = said(&home, arguments);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
        text
    };
    assert_eq!(of(&["networks", "list", "--format", "json"]), of(&["networks", "ls", "--json"]));
    assert_eq!(of(&["networks", "list", "--format", "table"]), of(&["networks", "list"]));
    assert_snapshot!(of(&["networks", "list", "--format", "csv"]));
    assert_snapshot!(of(&["config", "list", "max_vms", "--format", "yaml"]));
    assert_eq!(
        of(&["config", "list", "max_vms", "--format", "csv"]),
        "name,value,source\nGOLEM_PROVIDER_MAX_VMS,10,default\n"
    );
    assert_eq!(of(&["config", "list", "max_vms", "-q"]), "GOLEM_PROVIDER_MAX_VMS\n");
    assert!(of(&["images", "ls", "-q"]).lines().any(|name| name == "24.04"));
    // What was done is said to whoever reads documents alone.
    assert_eq!(of(&["stop", "--quiet"]), "");
    assert!(of(&["stop", "--quiet", "--json"]).contains("\"stopped\": false"));
}

/// U-10: a follower sees each line once, across files, and ends by Ctrl-C or with its reader.
#[test]
fn u_10_a_log_is_followed_until_ctrl_c_or_until_nobody_reads() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    let (code, _, errors) = said(&home, &["logs"]);
    assert!(code == Some(1) && errors.contains("fix: start it with --daemon"), "{errors}");
    home.json(&["start", "--daemon", "--json"]);
    let last = said(&home, &["logs", "-n", "1"]).1;
    assert_eq!(last.lines().count(), 1, "{last}");
    let document = home.json(&["logs", "--json"]);
    assert!(document["lines"].as_array().unwrap().len() > 1, "{document}");
    let mut following = home.command(&["logs", "-f", "-n", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let drained = || {
        home.json(&["drain", "on", "--json"]);
        home.json(&["drain", "off", "--json"]);
        home.rent(&format!("web-{}", rand_name()))
    };
    // It has opened the log once it tells of what comes then.
    let id = drained();
    let mut seen = vec![lines.next().unwrap().unwrap()];
    let log = home.data().join("logs/provider.log");
    std::fs::rename(&log, log.with_extension("log.1")).unwrap();
    std::fs::write(&log, "a line of the next file\n").unwrap();
    while !seen.last().unwrap().contains("a line of the next file") {
        seen.push(lines.next().unwrap().unwrap());
    }
    assert!(seen.iter().any(|line| line.contains(&id[..20])), "{seen:#?}");
    kill_process(Pid::from_child(&following), Signal::INT).unwrap();
    assert_eq!(following.wait().unwrap().code(), Some(0));
    // A reader that goes away ends it, too, with the next line.
    let mut following = home.command(&["logs", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    following.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let following = std::cell::RefCell::new(following);
    wait_until("it ends", || {
        let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        std::io::Write::write_all(&mut file, b"another line\n").unwrap();
        following.borrow_mut().try_wait().unwrap().is_some()
    });
    assert_eq!(following.into_inner().wait().unwrap().code(), Some(0));
    // A console, as long as there is its VM.
    let mut following =
        home.command(&["vms", "logs", &id, "--follow"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = String::new();
    home.json(&["vms", "delete", &id, "--yes", "--json"]);
    following.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    // Gone before it was looked at is another end than gone while it was.
    assert!(
        matches!(following.wait().unwrap().code(), Some(0 | 1)) && errors.contains("not found"),
        "{errors}"
    );
}

/// A name that no other VM of a test has.
fn rand_name() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos()
}

/// U-10: a reload says what is different, and whether it was refused.
#[test]
fn u_10_a_reload_tells_what_became_of_it() {
    // Opening the key takes a second, before which the node as it was still answers.
    let home = Home::new().set("GOLEM_PROVIDER_KEY_PASSPHRASE_FILE", "~/passphrase");
    home.make_key();
    let passphrase = home.folder.path().join("passphrase");
    golem_files::replace(&passphrase, b"correct horse battery").unwrap();
    home.json(&["wallet", "encrypt", "--json"]);
    let _stop = StopAtEnd(&home);
    let started = home.json(&["start", "--daemon", "--json"]);
    home.rent("web");
    let settings = |text: &str| {
        // Whole at once, as editors do.
        std::fs::write(home.folder.path().join("new"), text).unwrap();
        std::fs::rename(home.folder.path().join("new"), home.folder.path().join(".env")).unwrap();
    };
    settings("GOLEM_PROVIDER_MAX_VMS=3\nGOLEM_PROVIDER_NAME=renamed\n");
    let (code, text, errors) = said(&home, &["reload"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.ends_with("\n  VMs at most         10 → 3\n"), "{text}");
    assert!(text.contains("\n  Name                golem-provider → renamed\n"), "{text}");
    // It is back when that is said, with its VMs.
    let status = home.json(&["status", "--json"]);
    assert_eq!((&status["pid"], &status["vms"]), (&started["pid"], &1.into()), "{status}");
    let done = home.json(&["reload", "--json"]);
    assert_eq!(
        (&done["reloaded"], &done["pid"], &done["changed"]),
        (&true.into(), &started["pid"], &serde_json::json!({}))
    );
    settings("GOLEM_PROVIDER_MAX_VMS=many\n");
    let (code, document, errors) = said(&home, &["reload", "--json"]);
    let error: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((code, &error["error"]["code"]), (Some(1), &"failed".into()), "{errors}");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("not reloaded, the provider goes on as it is: GOLEM_PROVIDER_MAX_VMS=many"),
        "{message}"
    );
    assert_eq!(home.json(&["status", "--json"])["resources"]["max_vms"], 3, "as before");
    // What only the node can see it says in its log.
    settings("");
    std::fs::write(&passphrase, "wrong").unwrap();
    let (code, _, errors) = said(&home, &["reload"]);
    assert!(
        code == Some(1) && errors.contains("goes on as it is: the node would start without its key"),
        "{errors}"
    );
    golem_files::replace(&passphrase, b"correct horse battery").unwrap();
    home.json(&["stop", "--json"]);
    // One in a terminal would end by a hangup.
    let mut terminal = Terminal::run(&home, &["start"]);
    terminal.shows("listening on");
    let (code, _, errors) = said(&home, &["reload"]);
    assert!(code == Some(1) && errors.contains("runs in a terminal"), "{errors}");
    assert_eq!(home.http("GET", "/health", "").0, 200);
    terminal.interrupt();
    assert_eq!(terminal.end(), Some(0));
}

/// U-08: who sits at a terminal is asked before a rental is destroyed, and scripts go on as they were.
#[test]
fn u_08_a_destroy_asks_at_a_terminal_and_nobody_else() {
    let home = Home::new().set("GOLEM_PROVIDER_API_AUTH", "open");
    let _node = home.start(&[]);
    let url = format!("http://127.0.0.1:{}", home.api);
    let create = |name: &str| home.json(&["rent", "create", name, "--provider", &url, "--free", "--json"]);
    let left = || home.json(&["vms", "list", "--json"]).as_array().unwrap().len();
    create("asked");
    let mut terminal = Terminal::run(&home, &["rent", "destroy", "asked"]);
    terminal.shows("Destroy asked at http://127.0.0.1:");
    std::io::Write::write_all(&mut terminal.keyboard, b"n\n").unwrap();
    assert_eq!(terminal.end(), Some(1));
    terminal.shows("Nothing was destroyed.");
    assert_eq!(left(), 1);
    let mut terminal = Terminal::run(&home, &["rent", "destroy", "asked"]);
    terminal.shows("[y/N]");
    std::io::Write::write_all(&mut terminal.keyboard, b"y\n").unwrap();
    assert_eq!((terminal.end(), left()), (Some(0), 0), "{}", terminal.screen());
    create("told");
    let mut terminal = Terminal::run(&home, &["rent", "rm", "told", "--yes"]);
    assert_eq!((terminal.end(), left()), (Some(0), 0), "{}", terminal.screen());
    create("script");
    home.json(&["rent", "destroy", "script", "--json"]);
    assert_eq!(left(), 0);
}

/// U-10: draining is over when no VM is left, if that is waited for.
#[test]
fn u_10_draining_is_waited_for() {
    let home = Home::new();
    let _node = home.start(&[]);
    let id = home.rent("web");
    let mut waiting = home.command(&["drain", "on", "--wait"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("waiting until no VM is left"), "{line}");
    assert!(waiting.try_wait().unwrap().is_none());
    home.json(&["vms", "delete", &id, "--yes", "--json"]);
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert_eq!(said(&home, &["drain", "on", "--wait"]).0, Some(0));
}
