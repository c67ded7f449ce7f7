//! `docs/promises.md`: each promise of the project, and the tests that show it.
//!
//! A test shows a promise by carrying its id: in its name (`s_137_…`, several in a row count), or
//! in a doc comment right above it (`S-137`). The wording of each promise is in
//! `docs/promises.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::run::root;

const WORDING: &str = "docs/promises.toml";
const PAGE: &str = "docs/promises.md";

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
    println!("==> promises\n{summary}");
    let current = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    if current == page { Ok(()) } else { bail!("{PAGE} is out of date; run: cargo xtask promises") }
}

fn page() -> anyhow::Result<(String, String)> {
    let text =
        std::fs::read_to_string(root().join(WORDING)).with_context(|| format!("{WORDING} cannot be read"))?;
    let wording: BTreeMap<String, String> =
        toml::from_str(&text).with_context(|| format!("{WORDING} is damaged"))?;
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(&root())? {
        let source = std::fs::read_to_string(&file)?;
        let place = file.strip_prefix(root())?.display().to_string();
        for (test, ids) in tests(&source) {
            for id in ids {
                if !wording.contains_key(&id) {
                    bail!("{place}: {test} names {id}, which is no promise");
                }
                shown.entry(id).or_default().insert(format!("`{test}` ({place})"));
            }
        }
    }
    let mut page = String::from(
        "# Promises\n\nWhat the node promises, and the tests that show it. \
         Written by `cargo xtask promises` from the tests; not edited by hand.\n\n| id | promise | shown by |\n|---|---|---|\n",
    );
    for (id, promise) in &wording {
        let tests = shown.get(id).map(|tests| tests.iter().cloned().collect::<Vec<_>>().join("<br>"));
        page.push_str(&format!("| {id} | {promise} | {} |\n", tests.unwrap_or_default()));
    }
    let summary = format!("{} of {} shown", shown.len(), wording.len());
    page.push_str(&format!("\n{summary}\n"));
    Ok((page, summary))
}

/// Every Rust source of the project's crates.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in ["crates", "xtask", "bench"] {
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

/// The tests in `source` that name promises, with the ids they name.
fn tests(source: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let mut documented = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            documented.extend(ids(comment, "S-"));
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            if is_test && let Some(name) = function(line) {
                let mut all = std::mem::take(&mut documented);
                let from_name = ids(&name, "s_");
                all.extend(from_name);
                if !all.is_empty() {
                    found.push((name, all));
                }
            }
            is_test = false;
            documented.clear();
        }
    }
    found
}

fn function(line: &str) -> Option<String> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    Some(rest.split(['(', '<']).next()?.to_owned())
}

/// Ids in `text`: `prefix` and exactly three digits. Two ids joined by `to` or an ellipsis stand
/// for all between them.
fn ids(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut numbers: Vec<(usize, usize, u32)> = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let digits: String = text[at + prefix.len()..].chars().take_while(char::is_ascii_digit).collect();
        if digits.len() == 3
            && let Ok(number) = digits.parse()
        {
            numbers.push((at, at + prefix.len() + 3, number));
        }
    }
    let mut all: BTreeSet<u32> = numbers.iter().map(|(_, _, number)| *number).collect();
    for pair in numbers.windows(2) {
        if let [(_, end, first), (start, _, last)] = pair
            && matches!(text[*end..*start].trim_matches(['_', ' ']), "to" | "…")
        {
            all.extend(*first..=*last);
        }
    }
    all.into_iter().map(|number| format!("S-{number:03}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_names_and_comments_of_tests_only() {
        let source = "
            /// S-001: shown.
            #[test]
            fn it_works() {}

            /// S-002 is only mentioned.
            fn helper() {}

            #[tokio::test]
            async fn s_003_s_004_works_too() {}

            #[test]
            fn s_010_to_s_012_a_range() {}

            #[test]
            fn takes_15_s_not_more() {}
        ";
        let found: Vec<(String, Vec<String>)> =
            tests(source).into_iter().map(|(name, ids)| (name, ids.into_iter().collect())).collect();
        let names = |all: &[&str]| all.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                ("it_works".to_owned(), names(&["S-001"])),
                ("s_003_s_004_works_too".to_owned(), names(&["S-003", "S-004"])),
                ("s_010_to_s_012_a_range".to_owned(), names(&["S-010", "S-011", "S-012"])),
            ]
        );
    }
}
