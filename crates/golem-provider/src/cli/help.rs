//! Help, and what is told of a command line that cannot be read.
//!
//! Owns how the commands are grouped on the first screen, `help` and `version`. What each command says of itself stands with
//! its words, in `arguments`.

use std::ffi::OsString;
use std::fmt::Write;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use serde_json::json;

use super::Exit;
use super::arguments::Arguments;
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
            "status",
            "dashboard",
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
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong use: unknown arguments, or settings that are wrong
  3  the provider is not running, and the command needs it
  130  interrupted while it asked";

const MORE: &str = "`golem-provider help COMMAND` tells more of a command,
`golem-provider help settings [WORD]` of the settings.";

/// What `version --verbose` adds.
const ABOUT: [(&str, &str); 3] = [
    ("Homepage", env!("CARGO_PKG_HOMEPAGE")),
    ("Repository", env!("CARGO_PKG_REPOSITORY")),
    ("Licence", env!("CARGO_PKG_LICENSE")),
];

/// The command line with its first screen.
#[must_use]
pub fn command() -> clap::Command {
    let command = Arguments::command();
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
        "{{about}}\n\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}\n\n{EXIT_CODES}\n\n{MORE}\n"
    ))
}

/// What was typed; or how the process ends, where that asks for help only or cannot be read.
pub(super) fn read(typed: &[OsString]) -> Result<Arguments, Exit> {
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
            let printer = Printer { json: is_there(&["--json"]), quiet: false };
            version(is_there(&["--verbose", "-v"]), printer);
        }
        ErrorKind::DisplayHelp => {
            let _ = error.print();
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return Err(Exit::WrongUse);
        }
        _ => {
            if is_there(&["--json"]) {
                let text = error.render().to_string();
                let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
                let fix = "golem-provider help tells what can be typed";
                Printer { json: true, quiet: false }.failure(Exit::WrongUse, message.trim(), Some(fix));
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
    Ok(read(&typed.collect::<Vec<_>>()).err().unwrap_or(Exit::Done))
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
}
