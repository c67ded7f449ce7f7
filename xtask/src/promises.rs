//! `docs/promises.md`: each promise of the project, and the tests that show it.
//!
//! A promise counts as shown where its id stands at something that can fail:
//!
//! - in the name of a test that names no other (`s_137_a_stream_to_somebody_else_is_refused`): what the test
//!   asserts is that promise; or
//! - in a comment inside a test (`// S-137` or `// S-137, S-138: why`) right above a statement that asserts. That is
//!   one with an `assert…!`, a `panic!`, an `.unwrap_err()`, or a call of one of [`WAITS`], which fail when what they wait for
//!   does not come. Above a row of a list (of an array, of the arguments of a call, of JSON) it counts if the
//!   statement with the list asserts.
//!
//! A citation anywhere else is refused, so that none only looks like one: in a comment that stands at nothing that
//! asserts, in a name beside another id, in the documentation of a test. What a statement is, the indentation tells:
//! the sources are formatted.
//!
//! The wording of each promise is in `docs/promises.toml`. How a promise is shown follows from the file of the
//! test: see [`Way`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::run::root;

const WORDING: &str = "docs/promises.toml";
const PAGE: &str = "docs/promises.md";

/// Helpers of tests that fail when what they wait for, or look for, does not come.
const WAITS: [&str; 14] = [
    "until",
    "wait_until",
    "reaches",
    "wait_for",
    "says",
    "shows",
    "settles",
    "holds",
    "in_time",
    "counted",
    "must",
    "is_kept_in",
    "stay_empty",
    "kept_in",
];

/// How a test shows something, from the cheapest to the dearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Functions and types, called by the test.
    Unit,
    /// A running program: the node in the test's process, or the true binary.
    Program,
    /// Guests that QEMU runs.
    Guest,
    /// The payment contract on an EVM.
    Chain,
    /// The clients and servers that others publish.
    Client,
}

impl Way {
    /// How the tests in the file at `place` show something.
    fn of(place: &Path) -> Self {
        let parts: Vec<_> = place.iter().filter_map(|part| part.to_str()).collect();
        let Some(after) = parts.iter().position(|part| *part == "tests").map(|at| &parts[at + 1..]) else {
            return Self::Unit;
        };
        match after.strip_prefix(&["it"]).unwrap_or(after) {
            ["interop", ..] | ["published_sdk.rs"] => Self::Client,
            ["chain.rs" | "rent", ..] => Self::Chain,
            ["guest.rs" | "guest" | "isolation", ..] => Self::Guest,
            // Beside the sources that it tests.
            _ if parts.contains(&"src") => Self::Unit,
            _ => Self::Program,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Program => "running program",
            Self::Guest => "real guest",
            Self::Chain => "real chain",
            Self::Client => "published client",
        }
    }
}

/// Writes the page.
pub(crate) fn write() -> anyhow::Result<()> {
    let (page, summary) = page()?;
    std::fs::write(root().join(PAGE), page).with_context(|| format!("{PAGE} cannot be written"))?;
    println!("{summary}");
    Ok(())
}

/// Fails unless the page is what [`write()`] would write.
pub(crate) fn check() -> anyhow::Result<()> {
    let (page, summary) = page()?;
    println!("{summary}");
    let current = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    if current == page { Ok(()) } else { bail!("{PAGE} is out of date; run: cargo xtask promises") }
}

fn page() -> anyhow::Result<(String, String)> {
    let text =
        std::fs::read_to_string(root().join(WORDING)).with_context(|| format!("{WORDING} cannot be read"))?;
    let wording: BTreeMap<String, String> =
        toml::from_str(&text).with_context(|| format!("{WORDING} is damaged"))?;
    let mut shown: BTreeMap<String, BTreeSet<(Way, String)>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in sources(&root())? {
        let source = std::fs::read_to_string(&file)?;
        let place = file.strip_prefix(root())?;
        for test in tests(&source) {
            wrong.extend(
                test.wrong.iter().map(|words| format!("{}: {}: {words}", place.display(), test.name)),
            );
            for id in test.shows {
                if !wording.contains_key(&id) {
                    bail!("{}: {} names {id}, which is no promise", place.display(), test.name);
                }
                let by = format!("`{}` ({})", test.name, place.display());
                shown.entry(id).or_default().insert((Way::of(place), by));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("citations that show nothing:\n{}", wrong.join("\n"));
    }
    let mut page = String::from(
        "# Promises\n\nWhat the node promises, and the tests that show it: by calling a unit, by a running program (the \
         node in the test's process, or the true binary), by a real guest, on a real chain, by the clients that others \
         publish. Written by `cargo xtask promises` from the tests; not edited by hand.\n\n\
         | id | promise | how | shown by |\n|---|---|---|---|\n",
    );
    for (id, promise) in &wording {
        let tests = shown.get(id).into_iter().flatten();
        let ways: BTreeSet<Way> = tests.clone().map(|(way, _)| *way).collect();
        let how = ways.iter().map(|way| way.words()).collect::<Vec<_>>().join(", ");
        let by = tests.map(|(_, by)| by.clone()).collect::<Vec<_>>().join("<br>");
        page.push_str(&format!("| {id} | {promise} | {how} | {by} |\n"));
    }
    let summary = format!("{} of {} shown", shown.len(), wording.len());
    page.push_str(&format!("\n{summary}\n"));
    Ok((page, summary))
}

/// Every Rust source of the project's crates.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in ["crates", "xtask", "bench", "testing"] {
        let mut folders = vec![folder.join(part)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                // This file's own tests quote others' names.
                } else if path.extension().is_some_and(|suffix| suffix == "rs")
                    && !path.ends_with("xtask/src/promises.rs")
                {
                    files.push(path);
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A test, and what of its citations counts.
#[derive(Debug, PartialEq, Eq)]
struct Test {
    name: String,
    shows: BTreeSet<String>,
    /// Citations that count for nothing, and why.
    wrong: Vec<String>,
}

/// The tests in `source` that cite promises.
fn tests(source: &str) -> Vec<Test> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    let mut documented = BTreeSet::new();
    let mut is_test = false;
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim();
        if let Some(comment) = code.strip_prefix("///") {
            documented.extend(ids(comment, "S-"));
        } else if code.starts_with("#[") {
            is_test |= code.starts_with("#[test]") || code.starts_with("#[tokio::test");
        } else {
            if is_test && let Some(name) = function(code) {
                let test = test(name, &documented, &lines[at..=end(&lines, at)]);
                if !test.shows.is_empty() || !test.wrong.is_empty() {
                    found.push(test);
                }
            }
            is_test = false;
            documented.clear();
        }
    }
    found
}

/// The test `name`, whose function's `lines` these are.
fn test(name: String, documented: &BTreeSet<String>, lines: &[&str]) -> Test {
    let mut test = Test { shows: ids(&name, "s_"), name, wrong: Vec::new() };
    if test.shows.len() > 1 {
        test.wrong.push("its name has several; move them to the assertions that show them".to_owned());
    }
    if documented.iter().any(|id| !test.shows.contains(id)) {
        test.wrong.push("its documentation has some; move them to the assertions that show them".to_owned());
    }
    for (at, line) in lines.iter().enumerate() {
        let Some(comment) = line.trim().strip_prefix("// ") else { continue };
        let cited = ids(comment, "S-");
        if cited.is_empty() {
            continue;
        }
        // More of the comment may follow.
        let stands = lines[at..].iter().position(|line| !line.trim().starts_with("//"));
        if comment.starts_with("S-") && stands.is_some_and(|more| shows(lines, at + more)) {
            test.shows.extend(cited);
        } else {
            test.wrong.push(format!("{comment:?} stands at nothing that asserts"));
        }
    }
    test
}

/// Whether the statement that begins at line `at` asserts, or the one with the list in which that line is a row.
fn shows(lines: &[&str], at: usize) -> bool {
    if asserts(&lines[at..=end(lines, at)]) {
        return true;
    }
    let above = (0..at)
        .rev()
        .find(|above| !lines[*above].trim().is_empty() && indent(lines[*above]) < indent(lines[at]));
    let opens_a_list = |line: &str| ["(", "[", "({", "[{", ": {"].iter().any(|open| line.ends_with(open));
    above.is_some_and(|above| opens_a_list(lines[above]) && shows(lines, above))
}

/// The last line of the statement, or of the row of a list, that begins at line `at`.
fn end(lines: &[&str], at: usize) -> usize {
    let (first, depth) = (lines[at], indent(lines[at]));
    if first.ends_with([';', ',']) {
        return at;
    }
    let opens = first.ends_with(['{', '(', '[', '|']);
    for (more, line) in lines.iter().enumerate().skip(at + 1).filter(|(_, line)| !line.trim().is_empty()) {
        // What is further out belongs to what is around it.
        if indent(line) < depth {
            return more - 1;
        }
        let ends = line.ends_with([';', ',']) || line.trim_end_matches(')').ends_with('}');
        if (indent(line) == depth && ends) || (!opens && indent(line) == depth + 4 && line.ends_with(';')) {
            return more;
        }
    }
    lines.len() - 1
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether something in `statement` fails when it is not so.
fn asserts(statement: &[&str]) -> bool {
    let macros = |line: &str| {
        line.match_indices("assert").any(|(at, _)| {
            let rest =
                line[at..].trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
            rest.starts_with('!')
        })
    };
    let waits = |line: &str| {
        WAITS.iter().any(|name| {
            line.match_indices(&format!("{name}(")).any(|(at, _)| {
                line[..at]
                    .chars()
                    .next_back()
                    .is_none_or(|before| !before.is_ascii_alphanumeric() && before != '_')
            })
        })
    };
    let code = |line: &&&str| !line.trim().starts_with("//");
    statement
        .iter()
        .filter(code)
        .any(|line| macros(line) || waits(line) || line.contains(".unwrap_err()") || line.contains("panic!("))
}

fn function(line: &str) -> Option<String> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    Some(rest.split(['(', '<']).next()?.to_owned())
}

/// Ids in `text`: `prefix` and exactly three digits.
fn ids(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let digits: String = text[at + prefix.len()..].chars().take_while(char::is_ascii_digit).collect();
        let begins = text[..at].chars().next_back().is_none_or(|before| !before.is_ascii_alphanumeric());
        if digits.len() == 3 && begins {
            all.insert(format!("S-{digits}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(String, Vec<String>, usize)> {
        let all = tests(source);
        let sizes = |test: Test| (test.name, test.shows.into_iter().collect(), test.wrong.len());
        all.into_iter().map(sizes).collect()
    }

    fn one(body: &str) -> (Vec<String>, usize) {
        let lines: String = body.lines().map(|line| format!("{line}\n")).collect();
        let all = found(&format!("#[test]\nfn it() {{\n{lines}}}\n"));
        all.into_iter().next().map(|(_, shows, wrong)| (shows, wrong)).unwrap_or_default()
    }

    #[test]
    fn a_name_counts_when_it_has_one_id() {
        let source = "
            #[tokio::test]
            async fn s_003_works() {}

            #[test]
            fn s_010_s_011_two() {}

            #[test]
            fn takes_15_s_not_more() {}

            fn s_004_a_helper() {}

            /// S-003: what it shows.
            #[test]
            fn s_003_said_twice() {}

            /// S-005: what it shows.
            #[test]
            fn said_elsewhere() {}
        ";
        assert_eq!(
            found(source),
            [
                ("s_003_works".to_owned(), vec!["S-003".to_owned()], 0),
                ("s_010_s_011_two".to_owned(), vec!["S-010".to_owned(), "S-011".to_owned()], 1),
                ("s_003_said_twice".to_owned(), vec!["S-003".to_owned()], 0),
                ("said_elsewhere".to_owned(), vec![], 1),
            ]
        );
    }

    #[test]
    fn a_comment_counts_at_what_asserts_and_is_refused_elsewhere() {
        let good = [
            "    // S-001\n    assert!(true);",
            "    // S-001: a reason\n    assert_eq!(\n        1,\n        1\n    );",
            "    // S-001: a reason\n    // of two lines.\n    home.wait_until(\"it\", || true);",
            "    // S-001\n    let error = node\n        .start()\n        .unwrap_err();",
            "    // S-001\n    insta::assert_snapshot!(text);",
            "    // S-001\n    reaches(&node, VmState::Running).await;",
            "    // S-001\n    for n in 0..2 {\n        assert!(n < 2);\n    }",
            "    for (a, b) in [\n        // S-001\n        (1, 2),\n        (3, 4),\n    ] {\n        assert_ne!(a, b);\n    }",
            "    assert_eq!(\n        seen,\n        json!({\n            \"chain\": {\n                // S-001\n                \"token\": 1,\n            },\n        })\n    );",
        ];
        for body in good {
            assert_eq!(one(body), (vec!["S-001".to_owned()], 0), "{body}");
        }
        let bad = [
            "    // S-001\n    let vm = create();\n    assert!(vm.is_good());",
            "    // as S-001 says\n    assert!(true);",
            "    // S-001\n    node.stop();",
            "    // S-001\n    // assert!(true);\n    node.stop();",
            "    let a = [\n        // S-001\n        1,\n    ];\n    assert!(true);",
            "    look(|| {\n        // S-001\n        stop();\n        assert!(true);\n    });",
            "    // S-001\n    let vm = node\n        .create();\n    assert!(true);",
            "    // S-001\n    reassert(1);",
            "    // S-001\n    do_not_wait_until(1);",
        ];
        for body in bad {
            assert_eq!(one(body), (vec![], 1), "{body}");
        }
        assert_eq!(one("    // S-001, S-002: both.\n    assert!(true);").0, ["S-001", "S-002"]);
        assert_eq!(one("    // ES-001 and S-0011 are none.\n    assert!(true);"), (vec![], 0));
    }

    #[test]
    fn how_it_is_shown_follows_from_the_place() {
        for (place, way) in [
            ("crates/golem-node/src/admit.rs", Way::Unit),
            ("crates/golem-host/src/settings/tests.rs", Way::Unit),
            ("crates/golem-vm/src/qemu/cgroup/tests/real.rs", Way::Unit),
            ("xtask/src/policy.rs", Way::Unit),
            ("crates/golem-node/tests/it/lifecycle.rs", Way::Program),
            ("crates/golem-provider/tests/it/node.rs", Way::Program),
            ("crates/golem-vm/tests/it/guest/mod.rs", Way::Guest),
            ("crates/golem-provider/tests/it/isolation/mod.rs", Way::Guest),
            ("crates/golem-node/tests/it/chain.rs", Way::Chain),
            ("crates/golem-provider/tests/it/rent/walk.rs", Way::Chain),
            ("crates/golem-provider/tests/it/interop/guest.rs", Way::Client),
            ("crates/golem-market/tests/it/published_sdk.rs", Way::Client),
        ] {
            assert_eq!(Way::of(Path::new(place)), way, "{place}");
        }
    }
}
