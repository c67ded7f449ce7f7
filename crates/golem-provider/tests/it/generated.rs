//! Files of the repository that are made from tables and from the APIs are up to date.

use std::path::Path;

use golem_host::doctor::advice::{self, Part};
use golem_host::settings;

fn file(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn s_100_env_example_is_made_from_the_table() {
    assert!(
        file(".env.example").unwrap() == settings::env_example(),
        "write it again: golem-provider config render env-example > .env.example"
    );
}

#[test]
fn the_configuration_page_is_made_from_the_table() {
    assert!(
        file("docs/configuration.md").unwrap() == settings::markdown(),
        "write it again: golem-provider config render markdown > docs/configuration.md"
    );
}

#[test]
fn the_descriptions_of_the_apis_are_made_from_their_routers() {
    for (name, made) in
        [("public", golem_api::descriptions::public()), ("operator", golem_api::descriptions::operator())]
    {
        // Not by `assert_eq`, which would print both.
        assert!(
            file(&format!("docs/openapi/{name}.json")).unwrap() == made,
            "docs/openapi/{name}.json is out of date; write it again: cargo xtask generate"
        );
    }
}

#[test]
fn the_troubleshooting_page_is_made_from_the_table() {
    assert!(
        file("docs/troubleshooting.md").unwrap() == advice::markdown(),
        "write it again: golem-provider config render troubleshooting > docs/troubleshooting.md"
    );
}

/// The text of the program's sources in `folder`, as it says it: lines that go on are joined. Neither tests nor the table itself.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "advice" {
            sources(&path, text);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let mut goes_on = false;
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let line = if goes_on { line.trim_start() } else { line };
                let joined = line.strip_suffix('\\');
                goes_on = joined.is_some();
                text.push_str(&joined.unwrap_or(line).replace("\\\"", "\"").to_lowercase());
                if !goes_on {
                    text.push('\n');
                }
            }
        }
    }
}

/// What is written down of a message is what the program says: else nobody finds it.
#[test]
fn every_message_of_the_troubleshooting_page_is_said_by_the_program() {
    let mut said = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut said);
    let is_said = |part: &str| part.len() < 6 || said.contains(part.trim_matches([' ', ':']));
    // Where a value is put between two words, each half stands for itself.
    let halves =
        |part: &str| part.match_indices(' ').any(|(at, _)| is_said(&part[..at]) && is_said(&part[at..]));
    let mut missing = Vec::new();
    for topic in advice::TOPICS {
        for part in topic.parts {
            let Part::Table(_, rows) = part else { continue };
            for message in rows.iter().flat_map(|(cell, _)| advice::messages(cell)) {
                for part in message {
                    let part = part.to_lowercase();
                    for part in part.split("/dev/kvm").flat_map(|part| part.split("/dev/net/tun")) {
                        if !is_said(part) && !halves(part) {
                            missing.push(format!("{}: {part}", topic.heading));
                        }
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "nothing says so any more:\n{}", missing.join("\n"));
}
