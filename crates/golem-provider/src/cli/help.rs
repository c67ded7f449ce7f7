//! Help, and what is told of a command line that cannot be read.
//!
//! Owns how the commands are grouped on the first screen, `help` and `version`. What each command says of itself stands with
//! its words, in `arguments`.

mod examples;

use std::ffi::OsString;
use std::fmt::Write;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, ValueEnum};
use serde_json::json;

use super::Exit;
use super::arguments::{Arguments, Format};
use super::printer::Printer;
use golem_host::settings;

/// The commands of the first screen, in groups. A test holds them against those that there are.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "The node",
        &[
            "setup",
            "start",
            "stop",
            "reload",
            "status",
            "doctor",
            "dashboard",
            "alerts",
            "logs",
            "drain",
            "config",
            "backup",
            "restore",
            "uninstall",
        ],
    ),
    ("Its VMs", &["vms", "images", "isolation", "recover", "import"]),
    ("Found and reached", &["market", "ports"]),
    ("Money", &["pricing", "earnings", "streams", "books", "wallet", "networks"]),
    ("Renting from others", &["rent"]),
    ("Beside the node", &["discovery", "port-checker", "completions", "help", "version"]),
];

/// Exit codes, for the end of the help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong use (arguments, or settings),
  3 the provider is not running, 130 interrupted while it asked";

const MORE: &str = "More: `golem-provider help COMMAND`, `golem-provider help settings [WORD]`";

/// What `version --verbose` adds.
const ABOUT: [(&str, &str); 3] = [
    ("Homepage", env!("CARGO_PKG_HOMEPAGE")),
    ("Repository", env!("CARGO_PKG_REPOSITORY")),
    ("Licence", env!("CARGO_PKG_LICENSE")),
];

/// The command line, each command with its examples.
pub(super) fn with_examples() -> clap::Command {
    examples::EXAMPLES.iter().fold(Arguments::command(), |command, (path, lines)| {
        let lines = lines.iter().map(|line| format!("\n  golem-provider {line}"));
        let text = format!("Examples:{}", lines.collect::<String>());
        ending(command, &path.split(' ').collect::<Vec<_>>(), &text)
    })
}

/// `command` with `text` at the end of the help of its command at `path`.
fn ending(command: clap::Command, path: &[&str], text: &str) -> clap::Command {
    match path {
        [] => command.after_help(text.to_owned()),
        [name, rest @ ..] => command.mut_subcommand(name, |command| ending(command, rest, text)),
    }
}

/// The command line with its first screen.
#[must_use]
pub fn command() -> clap::Command {
    let command = with_examples();
    let mut groups = String::new();
    for (heading, names) in GROUPS {
        let _ = write!(groups, "\n{heading}:\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(groups, "  {name:<13} {about}");
        }
    }
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}\n\n{EXIT_CODES}\n{MORE}\n"
    ))
}

/// Where the answer goes to `typed`, which cannot be read as a whole.
fn printer_of(typed: &[OsString]) -> Printer {
    let words = typed.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let mut format = Format::Table;
    let mut before = "";
    for word in words {
        let named = word.strip_prefix("--format=").or((before == "--format").then_some(word));
        match (word, named.and_then(|named| Format::from_str(named, true).ok())) {
            ("--json", _) => return Printer::new(Format::Json, false),
            (_, Some(named)) => format = named,
            _ => {}
        }
        before = word;
    }
    Printer::new(format, false)
}

/// What was typed; or how the process ends, where that asks for help only or cannot be read.
pub(super) fn read(typed: &[OsString]) -> Result<Arguments, Exit> {
    read_for(printer_of(typed), typed)
}

fn read_for(printer: Printer, typed: &[OsString]) -> Result<Arguments, Exit> {
    let read = command().try_get_matches_from(typed).and_then(|found| Arguments::from_arg_matches(&found));
    let error = match read {
        Ok(arguments) => return Ok(arguments),
        Err(error) => error,
    };
    // Nobody has said what was meant by them.
    let is_there = |names: &[&str]| {
        typed.iter().take_while(|word| *word != "--").any(|word| names.iter().any(|name| word == name))
    };
    match error.kind() {
        ErrorKind::DisplayVersion => {
            version(is_there(&["--verbose", "-v"]), printer);
        }
        ErrorKind::DisplayHelp => printer.show(&error.render().ansi().to_string()),
        kind => {
            if printer.json {
                let text = error.render().to_string();
                let message = match kind {
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command was given",
                    _ => text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim(),
                };
                let fix = "golem-provider help tells what can be typed";
                printer.failure(Exit::WrongUse, message, Some(fix));
            }
            let _ = error.print();
            return Err(Exit::WrongUse);
        }
    }
    Err(Exit::Done)
}

/// `version`.
pub(super) fn version(verbose: bool, printer: Printer) -> Exit {
    let number = env!("CARGO_PKG_VERSION");
    let [homepage, repository, licence] = ABOUT.map(|(_, text)| text);
    let document =
        json!({ "version": number, "homepage": homepage, "repository": repository, "licence": licence });
    printer.answer(&document, || {
        let mut text = format!("golem-provider {number}");
        for (name, value) in ABOUT.into_iter().filter(|_| verbose) {
            let _ = write!(text, "\n{:<12}{value}", format!("{name}:"));
        }
        text
    });
    Exit::Done
}

/// `help …`.
pub(super) fn help(topic: &[String], printer: Printer) -> anyhow::Result<Exit> {
    let words: Vec<&str> = topic.iter().map(String::as_str).collect();
    if let ["settings", about @ ..] = words.as_slice() {
        let text = settings::help(about);
        anyhow::ensure!(
            !text.is_empty(),
            "no setting has {} in it; fix: `golem-provider help settings`",
            about.join(" ")
        );
        printer.show(&text);
        return Ok(Exit::Done);
    }
    let typed = ["golem-provider"].into_iter().chain(words).chain(["--help"]).map(OsString::from);
    Ok(read_for(printer, &typed.collect::<Vec<_>>()).err().unwrap_or(Exit::Done))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn u_17_every_command_stands_in_one_group_and_all_on_one_screen() {
        let command = command();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let there: BTreeSet<&str> =
            command.get_subcommands().filter(|one| !one.is_hide_set()).map(clap::Command::get_name).collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), there);
        assert_eq!(grouped.len(), there.len());
        let text = command.clone().render_help().to_string();
        assert!(text.lines().count() <= 60, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    /// The commands that do something, by their paths.
    fn leaves(command: &clap::Command, path: &str) -> Vec<String> {
        let below = command.get_subcommands().filter(|one| !one.is_hide_set());
        let below: Vec<_> =
            below.flat_map(|one| leaves(one, format!("{path} {}", one.get_name()).trim())).collect();
        if below.is_empty() { vec![path.to_owned()] } else { below }
    }

    #[test]
    fn u_10_every_command_has_examples_that_can_be_typed() {
        let there = leaves(&command(), "");
        let with: Vec<_> = examples::EXAMPLES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(with.iter().collect::<BTreeSet<_>>(), there.iter().collect::<BTreeSet<_>>());
        for (path, lines) in examples::EXAMPLES {
            // Its options of all commands are there once it is built.
            let mut all = command();
            all.build();
            let one = path.split(' ').fold(&all, |command, name| command.find_subcommand(name).unwrap());
            let help = one.clone().render_help().to_string();
            for line in lines {
                assert!(help.contains(&format!("\n  golem-provider {line}")), "{path}: {help}");
                let address = "0x0000000000000000000000000000000000000001";
                let words = format!("golem-provider {}", line.replace("0x…", address));
                let read =
                    command().try_get_matches_from(words.split(' ')).map_err(|error| error.to_string());
                let read = Arguments::from_arg_matches(&read.unwrap()).unwrap();
                let name = path.split(' ').next().unwrap();
                let is_csv = read.form() == Format::Csv;
                assert!(line.starts_with(name) && (!is_csv || read.command.is_list()), "{line}");
            }
        }
    }

    /// U-09
    #[test]
    fn u_09_how_an_answer_is_wanted_is_read_from_what_cannot_be_read() {
        let format =
            |typed: &str| printer_of(&typed.split(' ').map(OsString::from).collect::<Vec<_>>()).format;
        for (typed, wanted) in [
            ("vms lsit", Format::Table),
            ("vms lsit --json", Format::Json),
            ("--format json vms lsit", Format::Json),
            ("vms --format=YAML lsit", Format::Yaml),
            ("vms lsit --format jsn", Format::Table),
            ("vms ssh web -- --json", Format::Table),
        ] {
            assert_eq!(format(typed), wanted, "{typed}");
        }
    }
}
