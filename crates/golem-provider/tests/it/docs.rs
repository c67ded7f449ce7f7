//! Commands in the documentation work: each is known to the program as it is written, and is run here, in the order of its
//! page, or by the test that is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use golem_test_support::{Home, StopAtEnd};

/// Pages whose commands are run from the first to the last, each page on a machine of its own, on which the VM `web-01`
/// is rented out as soon as the node runs.
const RUN: [&str; 4] = ["operating.md", "money.md", "networks.md", "security.md"];

/// Commands that need more than a simulated node, or a person, and the files of tests that run them.
const ELSEWHERE: [(&str, &str); 40] = [
    ("alerts test", "alerts.rs"),
    ("backup", "backup.rs"),
    ("books check", "paid/mod.rs"),
    ("dashboard", "dashboard.rs"),
    ("discovery", "private.rs"),
    ("doctor", "doctor.rs"),
    ("earnings", "paid/mod.rs"),
    ("images pull", "cli.rs"),
    ("import", "import.rs"),
    ("isolation check", "isolation/mod.rs"),
    ("networks check", "chain.rs"),
    ("networks deploy", "test_network.rs"),
    ("ports check", "ports.rs"),
    ("rent balance", "rent/agree.rs"),
    ("rent console", "console.rs"),
    ("rent create", "rent/walk.rs"),
    ("rent destroy", "rent/walk.rs"),
    ("rent events", "seeing.rs"),
    ("rent faucet", "test_network.rs"),
    ("rent keep", "rent/walk.rs"),
    ("rent providers", "rent/find.rs"),
    ("rent quote", "rent/walk.rs"),
    ("rent snapshot create", "renters.rs"),
    ("rent ssh", "rent/walk.rs"),
    ("rent start", "rent/walk.rs"),
    ("rent stats", "seeing.rs"),
    ("rent stop", "rent/walk.rs"),
    ("rent rebuild", "renters.rs"),
    ("rent resume", "renters.rs"),
    ("rent suspend", "renters.rs"),
    ("rent topup", "rent/walk.rs"),
    ("restore", "backup.rs"),
    ("setup", "setup/mod.rs"),
    ("streams history", "chain.rs"),
    ("streams list", "paid/mod.rs"),
    ("streams withdraw", "chain.rs"),
    ("wallet balance", "chain.rs"),
    ("wallet encrypt", "keys.rs"),
    ("wallet export", "keys.rs"),
    ("wallet rotate", "keys.rs"),
];

/// A command of a page, without the program's name.
struct Shown {
    page: String,
    line: usize,
    words: Vec<String>,
}

impl Shown {
    /// The command, without what it is given.
    fn name(&self) -> Vec<String> {
        let names = self.words.iter().take_while(|word| !word.starts_with('-'));
        names.take(2).cloned().collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README and the pages of `docs`.
fn pages() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("docs")).unwrap();
    let mut pages: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

/// The program's commands in the blocks of `page` that are for a shell.
fn commands(page: &Path) -> Vec<Shown> {
    let name = page.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(page).unwrap();
    let (mut shown, mut shell) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            shell = line == "```sh";
            continue;
        }
        if !shell {
            continue;
        }
        let line = line.split(" #").next().unwrap();
        for part in line.split(';') {
            let part = part.trim();
            if let Some(rest) = part.strip_prefix("sudo ").unwrap_or(part).strip_prefix("golem-provider ") {
                let words = rest.split_whitespace().map(str::to_owned).collect();
                shown.push(Shown { page: name.clone(), line: number + 1, words });
            }
        }
    }
    shown
}

/// Where what `shown` does is run, if not here.
fn elsewhere(shown: &Shown) -> Option<&'static (&'static str, &'static str)> {
    let text = shown.words.join(" ");
    ELSEWHERE.iter().find(|(command, _)| text == *command || text.starts_with(&format!("{command} ")))
}

#[test]
fn each_command_that_is_shown_is_known() {
    let (home, mut unknown) = (Home::new(), Vec::new());
    for page in pages() {
        for Shown { page, line, words } in commands(&page) {
            // Told instead of done, after all before it was understood.
            let before = words.iter().position(|word| word == "--").unwrap_or(words.len());
            let mut words: Vec<_> = words.iter().map(String::as_str).collect();
            words.insert(before, "--help");
            let output = home.run(&words);
            if output.status.code() != Some(0) {
                unknown.push(format!("{page}:{line}: {}", Home::show(&output)));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn every_command_that_is_shown_is_run_by_a_test() {
    let shown: Vec<_> = pages().iter().flat_map(|page| commands(page)).collect();
    let here: BTreeSet<_> = shown
        .iter()
        .filter(|shown| RUN.contains(&shown.page.as_str()) && elsewhere(shown).is_none())
        .map(|shown| shown.name())
        .collect();
    let mut not_run = Vec::new();
    for one in &shown {
        if elsewhere(one).is_none() && !here.contains(&one.name()) {
            not_run.push(format!("{}:{}: {}", one.page, one.line, one.words.join(" ")));
        }
    }
    assert!(not_run.is_empty(), "no test runs these:\n{}", not_run.join("\n"));
    for (command, file) in ELSEWHERE {
        let text = std::fs::read_to_string(root().join("crates/golem-provider/tests/it").join(file)).unwrap();
        // The tests of `rent` put that word before all others.
        for word in command.split(' ').filter(|word| *word != "rent") {
            assert!(text.contains(&format!("\"{word}\"")), "{file} does not run `{command}`");
        }
    }
    let unused: Vec<_> = ELSEWHERE
        .iter()
        .filter(|one| !shown.iter().any(|shown| elsewhere(shown).is_some_and(|found| found.0 == one.0)))
        .collect();
    assert!(unused.is_empty(), "no page shows these: {unused:?}");
}

#[test]
fn pages_are_followed_from_the_first_command_to_the_last() {
    for name in RUN {
        let home = Home::new();
        let _stop = StopAtEnd(&home);
        let media = home.folder.path().to_str().unwrap().to_owned();
        for shown in commands(&root().join("docs").join(name)) {
            if elsewhere(&shown).is_some() {
                continue;
            }
            let words: Vec<_> = shown.words.iter().map(|word| word.replace("/media/usb", &media)).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let output = home.run(&words);
            assert_eq!(output.status.code(), Some(0), "{name}:{}: {}", shown.line, Home::show(&output));
            if words[0] == "start" {
                home.rent("web-01");
            }
        }
    }
}
