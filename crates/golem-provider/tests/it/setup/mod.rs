//! `setup` of the true binary: on a terminal, by flags, and where something is in the way; and the checklist that it ends with.

mod ending;
mod image;
mod market;

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use golem_test_support::{Home, StopAtEnd};
use insta::assert_snapshot;
use serde_json::Value;

use crate::ports::{Puppet, verified};
use crate::terminal::Terminal;

/// A terminal as small as they come.
const COLUMNS: u16 = 80;

const TERM: [(&str, &str); 1] = [("TERM", "xterm-256color")];

/// The questions where there is no image to fetch.
const QUESTIONS: [&str; 7] = [
    "Name that renters see [",
    "Country, two letters [",
    "Rent out cores, GiB of memory, GiB of storage [",
    "Market: testnet (test money) or mainnet [testnet]",
    "USD a month for a core, a GiB of memory, of storage [5 2 0.1]",
    "Address for earnings (none: the node's wallet) [none]",
    "Have the router forward the ports (UPnP, NAT-PMP, PCP)? [no]",
];

fn settings(home: &Home) -> Option<String> {
    std::fs::read_to_string(home.data().join(".env")).ok()
}

fn types(terminal: &mut Terminal, question: &str, answer: &str) {
    terminal.shows(question);
    terminal.keyboard.write_all(format!("{answer}\n").as_bytes()).unwrap();
}

/// Enter takes good defaults; a second run has nothing to change, and writes nothing.
#[test]
fn enter_takes_what_is_good_and_a_second_run_changes_nothing() {
    let plain = [("TERM", "dumb"), ("NO_COLOR", "1"), ("LC_ALL", "POSIX")];
    for environment in [&TERM[..], &plain] {
        let home = Home::new();
        let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, environment);
        let before = terminal.modes();
        QUESTIONS.iter().for_each(|question| types(&mut terminal, question, ""));
        terminal.shows("Write this? [yes]");
        assert_eq!(settings(&home), None, "nothing is written before that was asked");
        types(&mut terminal, "Write this? [yes]", "");
        terminal.shows("start the node with: golem-provider start --daemon");
        assert_eq!((terminal.end(), terminal.modes()), (Some(0), before), "{}", terminal.screen());
        let written = settings(&home).unwrap();
        assert!(
            written.starts_with("GOLEM_PROVIDER_NAME=") || written.contains("\nGOLEM_PROVIDER_NAME="),
            "{written}"
        );
        assert!(!written.contains("RENT"), "what follows the machine is not set: {written}");
        for line in terminal.text().lines() {
            assert!(line.trim_end().chars().count() <= usize::from(COLUMNS), "{line:?}");
        }
        if environment.len() > 1 {
            assert!(!terminal.text().contains('\x1b'), "{:?}", terminal.text());
        }

        let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, environment);
        QUESTIONS.iter().for_each(|question| types(&mut terminal, question, ""));
        terminal.shows("Nothing to change in");
        assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
        assert!(!terminal.screen().contains("Write this?"));
        assert_eq!(settings(&home).unwrap(), written);
    }
}

/// A wrong answer is told with its reason where it was given, and asked for again.
#[test]
fn a_wrong_answer_is_told_at_its_question_and_asked_for_again() {
    // U-11: with payments, mainnet needs real money, and says so here.
    let home = Home::new().set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "");
    let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, &TERM);
    let good = "0x52908400098527886E0F7030069857D2E4169EE7";
    for (question, wrong, why, right) in [
        (QUESTIONS[0], Some("gno\u{202e}m"), "turn the direction of writing", "my \"node\" # 1"),
        (QUESTIONS[1], Some("Sweden"), "a country as two letters", "no"),
        (QUESTIONS[2], Some("1 1"), "not 3 numbers", "1 1 10"),
        (QUESTIONS[3], Some("mainnet"), "set it to a network of real money", "testnet"),
        (QUESTIONS[4], Some("5 2 -1"), "a number from 0 to 1000000000", "6 3 0.2"),
        (QUESTIONS[5], Some("0x12"), "40 hexadecimal digits", good),
        (QUESTIONS[6], Some("maybe"), "Please answer yes or no", "no"),
    ] {
        if let Some(wrong) = wrong {
            types(&mut terminal, question, wrong);
            // Words may be broken over two lines.
            let shown = || terminal.screen().split_whitespace().collect::<Vec<_>>().join(" ");
            golem_test_support::wait_until(why, || shown().contains(why));
        }
        types(&mut terminal, question, right);
    }
    types(&mut terminal, "Write this? [yes]", "yes");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    let written = settings(&home).unwrap();
    for line in [
        "GOLEM_PROVIDER_COUNTRY=no",
        "GOLEM_PROVIDER_RENT_CPU=1",
        "GOLEM_PROVIDER_RENT_STORAGE_GB=10",
        "GOLEM_PROVIDER_PRICE_USD_PER_GB_STORAGE_MONTH=0.2",
        &format!("GOLEM_PROVIDER_PAYOUT_ADDRESS={good}"),
    ] {
        assert!(written.lines().any(|written| written == line), "{line} in {written}");
    }
    let shown = home.json(&["config", "show", "--json"]);
    let rows = shown["settings"].as_array().unwrap();
    let name = rows.iter().find(|row| row["name"] == "GOLEM_PROVIDER_NAME").unwrap();
    assert_eq!(name["value"], "my \"node\" # 1");
}

/// An interrupt at a question, or the end of the input, leaves everything as it was, the terminal too.
#[test]
fn an_interrupt_at_a_question_changes_nothing() {
    let home = Home::new();
    std::fs::create_dir_all(home.data()).unwrap();
    std::fs::write(home.data().join(".env"), "# mine\nGOLEM_PROVIDER_COUNTRY=DE\n").unwrap();
    let before = settings(&home);
    for (answered, ends) in [(0, &b"\x03"[..]), (3, b"\x03"), (7, b"\x03"), (2, b"\x04")] {
        let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, &TERM);
        let modes = terminal.modes();
        let all = QUESTIONS.iter().chain(&["Write this? [yes]"]);
        all.clone().take(answered).for_each(|question| types(&mut terminal, question, ""));
        terminal.shows(all.clone().nth(answered).unwrap());
        terminal.keyboard.write_all(ends).unwrap();
        assert_eq!(terminal.end(), Some(130), "{}", terminal.screen());
        assert_eq!(terminal.modes(), modes);
        assert_eq!(settings(&home), before);
        let files: Vec<_> =
            std::fs::read_dir(home.data()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [".env"], "{answered}");
    }
}

#[test]
fn flags_set_a_node_up_without_a_terminal() {
    let home = Home::new();
    let arguments = "setup --here --yes --json --name web --country PL --rent-memory-gb 1 --rent-storage-gb 12 \
                     --price-per-core 4 --network testnet --payout none --no-map-ports --image none";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let dry: Vec<&str> = arguments.iter().copied().chain(["--dry-run"]).collect();
    let planned = home.json(&dry);
    assert_eq!((settings(&home), &planned["written"]), (None, &Value::Bool(false)));
    let mut output = home.run(&arguments);
    let mut done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["changes"], planned["changes"], "done as planned");
    // Those are what this machine has.
    for change in done["changes"].as_array_mut().unwrap() {
        if change["name"].as_str().unwrap().contains("RENT") {
            change["before"] = "[ALL]".into();
        }
    }
    output.stdout = serde_json::to_vec_pretty(&done).unwrap();
    assert_snapshot!(home.snapshot(&output));
    assert_eq!(
        settings(&home).unwrap(),
        "GOLEM_PROVIDER_COUNTRY=PL\nGOLEM_PROVIDER_NAME=web\nGOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH=4\n\
         GOLEM_PROVIDER_RENT_MEMORY_GB=1\nGOLEM_PROVIDER_RENT_STORAGE_GB=12\n"
    );
    assert_eq!(home.json(&arguments)["written"], false, "nothing is left to do");
}

/// How the ports are reached is tried at its question, whatever comes of it, and nothing is left of the try.
#[test]
fn the_ports_are_tried_from_outside_at_their_question() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&[&url]);
    let done = home.json(&["setup", "--here", "--yes", "--json", "--map-ports"]);
    assert!(done["reach"].as_str().unwrap().starts_with("Reached from outside: yes. TCP "), "{done}");
    assert!(settings(&home).unwrap().contains("GOLEM_PROVIDER_PORT_MAPPING=true"));
    let shut = Puppet::start(Vec::new());
    let home = verified(&[&shut.url]);
    let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, &TERM);
    QUESTIONS[..6].iter().for_each(|question| types(&mut terminal, question, ""));
    types(&mut terminal, QUESTIONS[6], "yes");
    // Nobody's router forwards to loopback; asked again, for the other way.
    terminal.shows("the node listens on 127.0.0.1 only; fix: ");
    types(&mut terminal, "PCP)? [no]", "");
    terminal.shows("Reached from outside: no. TCP port ");
    types(&mut terminal, "`again` asks and tries once more", "again");
    types(&mut terminal, "tries once more: again", "");
    let reached = || terminal.screen().matches("Reached from outside: no.").count() == 2;
    golem_test_support::wait_until("it is tried again", reached);
    assert!(home.data().join("operator.token").metadata().is_err(), "a try makes no token");
}

#[test]
fn without_a_terminal_it_says_what_it_would_ask() {
    let home = Home::new();
    assert_snapshot!(home.snapshot(&home.run(&["setup", "--here"])));
    assert_eq!(settings(&home), None);
}

/// What is in the way is told with its fix, and nothing is written.
#[test]
fn what_is_in_the_way_of_a_setup_is_told_with_its_fix() {
    let failed = |home: &Home, arguments: &[&str], code: i32, words: &[&str]| {
        let output = home.run(arguments);
        let said = Home::show(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(words.iter().chain(&["fix: "]).all(|word| said.contains(word)), "{words:?}: {said}");
        assert_eq!(settings(home), None);
    };
    let setup = ["setup", "--here", "--yes"];
    // A port that another program holds; here this one does.
    let home = Home::new();
    let _listener = TcpListener::bind(("127.0.0.1", home.api)).unwrap();
    let pid = format!("(pid {})", std::process::id());
    failed(&home, &setup, 1, &[&home.api.to_string(), "is held by", &pid, "GOLEM_PROVIDER_PORT"]);
    // A place for settings that cannot be written.
    let home = Home::new();
    std::fs::write(home.folder.path().join(".golem"), "").unwrap();
    failed(&home, &setup, 1, &["cannot be written", ".golem"]);
    // A setting that is set where answers do not reach.
    let home = Home::new().set("GOLEM_PROVIDER_COUNTRY", "DE");
    failed(&home, &["setup", "--here", "--yes", "--country", "se"], 2, &["COUNTRY=DE", "wins (environment)"]);
    let home = Home::new();
    // Numbers that cannot be: as values, and not as flags that nobody knows.
    for (flag, number, why) in [
        ("--rent-cpu", "9999", "is more than the"),
        ("--rent-memory-gb", "99999999999999999999", "is more than the"),
        ("--rent-cpu", "-1", "RENT_CPU=-1"),
        ("--rent-storage-gb", "0", "at least 1"),
        ("--price-per-core", "-1", "a number from 0 to 1000000000"),
        ("--price-per-gb-memory", "-0.5", "a number from 0 to 1000000000"),
        ("--price-per-gb-storage", "1000000001", "a number from 0 to 1000000000"),
        ("--price-per-core", "1e40", "a number from 0 to 1000000000"),
    ] {
        failed(&home, &["setup", "--here", "--yes", flag, number], 2, &[why]);
    }
    // Names that renters could not tell from others.
    for name in ["two\nlines", "right\u{202e}left", "no\u{200b}width", &"x".repeat(65)] {
        failed(&home, &["setup", "--here", "--yes", "--name", name], 2, &["at most 64 characters"]);
    }
    failed(
        &home,
        &["setup", "--here", "--yes", "--image", "no-such"],
        2,
        &["neither a file nor in the catalogue"],
    );
    // U-11
    let home = Home::new().set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "");
    failed(&home, &["setup", "--here", "--yes", "--network", "mainnet"], 2, &["no network of real money"]);
    // H-15: before anything is asked or fetched, in one list with one command.
    let empty = tempfile::tempdir().unwrap();
    let home = Home::new().set("GOLEM_PROVIDER_VM_BACKEND", "qemu");
    std::fs::write(empty.path().join("apk"), "").unwrap();
    let output = home.command(&setup).env("PATH", empty.path()).output().unwrap();
    let said = Home::show(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("qemu-img, ") && said.contains("fix: ") && said.contains("apk add qemu-"),
        "{said}"
    );
}

/// A disk with no room to rent out: that is told, and no mistake of somebody who set nothing.
#[test]
fn a_disk_that_is_too_small_is_told_and_refuses_nothing() {
    // Who else may not mount.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let folder = home.folder.path().join(".golem");
    std::fs::create_dir(&folder).unwrap();
    let program = home.command(&["setup", "--here", "--yes", "--dry-run"]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", "mount -t tmpfs -o size=64m none \"$0\" && exec \"$@\""])
        .arg(folder);
    command.arg(program.get_program()).args(program.get_args()).env_clear();
    let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let output = command.envs(set).output().unwrap();
    let said = Home::show(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("There is too little room: 0 GiB") && !said.contains("RENT_STORAGE"), "{said}");
}

/// A node that runs: the checklist, here and after a start in the background.
#[test]
fn u_06_a_start_and_a_setup_end_with_the_checklist() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    let started = home.json(&["start", "--daemon", "--json"]);
    let answers = |document: &Value| {
        ["rented", "found", "reached", "paid"]
            .map(|row| document["checklist"][row]["answer"].as_str().unwrap().to_owned())
    };
    // Nobody outside is asked, no market is told, and VMs are free: by its settings.
    let expected = ["yes", "no", "unknown", "no"];
    assert_eq!(answers(&started), expected, "{started}");
    assert_eq!(answers(&home.json(&["status", "--json"])), expected);
    let done = home.json(&["setup", "--here", "--yes", "--json", "--country", "no"]);
    assert_eq!(answers(&done), expected, "{done}");
    assert!(done["next"].as_str().unwrap().contains("golem-provider reload"), "{done}");
    let text = Home::show(&home.run(&["setup", "--here", "--yes"]));
    for row in [
        "exit: Some(0)",
        "Can be rented   ✅ yes: ",
        "Can be found    ❌ no: ",
        "      fix: remove GOLEM_PROVIDER_ADVERTISERS",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
}

/// Whoever asks for mainnet alone means no test money.
#[test]
fn u_11_mainnet_does_not_start_on_test_money_that_nobody_named() {
    let home = Home::new().set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "");
    // One that is not refused ends as well, with another code.
    let _listener = TcpListener::bind(("127.0.0.1", home.api)).unwrap();
    for arguments in [&["start", "--network", "mainnet"][..], &["start", "--network", "mainnet", "--daemon"]]
    {
        let output = home.run(arguments);
        let said = Home::show(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("GOLEM_PROVIDER_PAYMENTS_NETWORK") && said.contains("test money of hoodi"),
            "{said}"
        );
    }
    let home = home.set("GOLEM_PROVIDER_NETWORK", "mainnet").set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "hoodi");
    let output = home.run(&["status", "--json"]);
    let state: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(state["overall"]["issues"].to_string().contains("test money of hoodi"), "{state}");
    assert_eq!(state["checklist"]["paid"]["answer"], "no");
}

#[test]
fn u_07_an_import_without_an_original_says_that_there_is_nothing() {
    let home = Home::new();
    let output = home.command(&["import", "--dry-run"]).env("PATH", "/usr/bin:/bin").output().unwrap();
    let said = Home::show(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("There is nothing to import"), "{said}");
}
