//! What messages mean, and what to do: the table that `doctor` looks into, and from which the troubleshooting page is made.
//!
//! Owns the headings of that page, their order, and how a message is found in the table. A test holds every message of it
//! against the program's source, so that neither drifts from the other.

mod money;
mod reach;
mod start;

use std::fmt::Write;

use super::check::{Check, anchor};
use super::repair;

/// One heading of the page.
#[derive(Debug)]
pub struct Topic {
    /// The heading.
    pub heading: &'static str,
    /// What stands below it.
    pub parts: &'static [Part],
}

/// A part of a topic.
#[derive(Debug)]
pub enum Part {
    /// Words, in Markdown.
    Text(&'static str),
    /// Messages with what they mean; the headings of both columns, and the rows, in Markdown.
    Table([&'static str; 2], &'static [(&'static str, &'static str)]),
}

/// Everything, in the order of the page.
pub const TOPICS: [&Topic; 24] = [
    &start::THE_NODE_DOES_NOT_START,
    &start::LEFT_BEHIND,
    &start::KVM,
    &start::ISOLATION,
    &start::THE_LEDGER_IS_LOST_OR_DAMAGED,
    &start::THE_DISK_IS_FULL,
    &start::CLOCK,
    &start::UPDATES,
    &reach::RENTERS_DO_NOT_FIND_THE_NODE,
    &reach::NOBODY_RENTS,
    &reach::BEHIND_A_PROXY,
    &reach::PORTS,
    &reach::PORT_MAPPING,
    &reach::THE_PUBLIC_ADDRESS,
    &reach::CHECK_SERVERS,
    &start::RESOURCES,
    &start::A_VM,
    &start::CREATES_ARE_REFUSED,
    &money::PAYMENTS,
    &money::RENTING,
    &start::GUESTS_ARE_SLOW,
    &start::GUESTS_HAVE_NO_NETWORK,
    &money::MONEY_DOES_NOT_COME,
    &money::THE_BOOKS_DIFFER_FROM_THE_CHAIN,
];

/// Letters of a message that have to be in a text that is about it: fewer are in many texts.
const LEAST: usize = 14;

/// What the page begins with.
const HEAD: &str = "# Troubleshooting

`golem-provider status` says what is wrong first, what to do about it, and where on this page there is more. It
asks nobody for longer than 2.5 s; `golem-provider ports check` waits for slow check servers and looks closer. The log
tells why: on the terminal, or with
`--daemon` in `~/.golem/provider/logs/provider.log`, which `golem-provider logs --follow` shows (of the service, its journal). `GOLEM_PROVIDER_LOG_LEVEL=debug` tells more.

## What doctor looks at

`golem-provider doctor` looks at everything that `status` knows, and closer, whether or not the node runs. Each row says what was seen and what
to do; exit code 1 means that something is broken. `doctor --fix` does what is safe, and writes down what it did in `doctor/repairs.json`
of the data directory; `doctor --undo` puts that back. `doctor --bundle FILE` writes what a bug report needs into a file, without secrets:
have a look at it before you send it.
";

/// A message of the table that a text is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The heading that it stands under.
    pub heading: &'static str,
    /// What to do, in Markdown.
    pub fix: &'static str,
}

impl Advice {
    /// Where the documentation has it.
    #[must_use]
    pub fn help(&self) -> String {
        format!("docs/troubleshooting.md#{}", anchor(self.heading))
    }
}

/// The messages of a cell: what stands between backticks, each as the parts that do not change.
pub fn messages(cell: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.map(|message| message.split('…').map(str::trim).filter(|part| !part.is_empty()).collect())
}

/// What the table has of `text`: the message of which most stands in it. `None` if it has none.
#[must_use]
pub fn about(text: &str) -> Option<Advice> {
    let text = text.to_lowercase();
    let length = |parts: &[&str]| {
        let mut rest = text.as_str();
        for part in parts {
            let (_, after) = rest.split_once(&part.to_lowercase())?;
            rest = after;
        }
        Some(parts.iter().map(|part| part.len()).sum::<usize>())
    };
    let mut best: Option<(usize, Advice)> = None;
    for topic in TOPICS {
        for part in topic.parts {
            let Part::Table(_, rows) = part else { continue };
            for (cell, fix) in *rows {
                let found = messages(cell).filter_map(|parts| length(&parts)).max();
                if let Some(found) = found.filter(|found| *found >= LEAST)
                    && best.is_none_or(|(most, _)| found > most)
                {
                    best = Some((found, Advice { heading: topic.heading, fix }));
                }
            }
        }
    }
    best.map(|(_, advice)| advice)
}

/// The troubleshooting page.
#[must_use]
pub fn markdown() -> String {
    let mut page = format!("{HEAD}\n| row | looks at | `--fix` |\n|---|---|---|\n");
    for check in Check::ALL {
        let repaired = repair::what_is_done(check).unwrap_or("");
        let link = format!("[{}](#{})", check.title(), anchor(check.heading()));
        let _ = writeln!(page, "| {link} | {} | {repaired} |", check.looks_at());
    }
    for topic in TOPICS {
        let _ = write!(page, "\n## {}\n", topic.heading);
        for part in topic.parts {
            match part {
                Part::Text(text) => {
                    let _ = write!(page, "\n{text}\n");
                }
                Part::Table([first, second], rows) => {
                    let _ = write!(page, "\n| {first} | {second} |\n|---|---|\n");
                    rows.iter().for_each(|(message, fix)| {
                        let _ = writeln!(page, "| {message} | {fix} |");
                    });
                }
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_heading() {
        for check in Check::ALL {
            assert!(TOPICS.iter().any(|topic| topic.heading == check.heading()), "{check:?}");
        }
    }

    #[test]
    fn a_text_is_about_the_message_of_which_most_stands_in_it() {
        let found = about("Guests: /dev/kvm is not there, says the host").unwrap();
        assert_eq!(found.help(), "docs/troubleshooting.md#kvm");
        assert!(found.fix.contains("modprobe kvm_intel"), "{}", found.fix);
        let found = about("The node: a provider runs already (pid 7)").unwrap();
        assert_eq!(found.heading, "The node does not start");
        assert_eq!(about("all is well"), None);
        assert_eq!(about(""), None);
    }

    #[test]
    fn the_page_has_every_message_once() {
        let page = markdown();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(rows.len(), distinct.len());
        assert!(page.contains("\n## KVM\n") && page.ends_with('\n') && !page.contains("\n\n\n"));
    }
}
