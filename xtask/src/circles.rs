//! Circles of files: files of one crate that use each other, so that none can be read or moved alone.
//!
//! Owns one rule: only a module and its own descendants may use each other. Reads `use` declarations and paths that
//! begin with `crate`, `super` or `self`, and follows re-exports to the file that has the item. Never looks into
//! `#[cfg(test)] mod` blocks, which nothing else can use, nor into what macros make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::run::root;

/// A module's path within its crate; the root's is empty.
type Module = Vec<String>;

/// Refuses a crate in which files form a circle.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for folder in ["crates", "testing"] {
        for entry in std::fs::read_dir(root().join(folder))? {
            let krate = entry?.path();
            for file in ["src/lib.rs", "src/main.rs"].map(|file| krate.join(file)) {
                if file.is_file() {
                    let name = krate.file_name().unwrap_or_default().to_string_lossy();
                    let circles = Crate::read(&file)?.circles();
                    wrong.extend(circles.iter().map(|files| format!("{name}: {}", files.join(", "))));
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("these files use each other; move what they share to a file of its own:\n{}", wrong.join("\n"))
}

/// The files of one crate, by module.
#[derive(Default)]
struct Crate(BTreeMap<Module, File>);

/// What one file says of others.
#[derive(Default, Debug)]
struct File {
    /// The paths that it uses, in full.
    used: BTreeSet<Module>,
    /// The names that it passes on, and where they come from.
    passed_on: BTreeMap<String, Module>,
}

impl Crate {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        found.add(file, &folder, Vec::new())?;
        Ok(found)
    }

    /// Adds the module in `file`, whose children lie in `folder`, and them.
    fn add(&mut self, file: &Path, folder: &Path, module: Module) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let (said, children) = read(&text, &module);
        self.0.insert(module.clone(), said);
        for name in children {
            let candidates: [(PathBuf, PathBuf); 2] = [
                (folder.join(format!("{name}.rs")), folder.join(&name)),
                (folder.join(&name).join("mod.rs"), folder.join(&name)),
            ];
            if let Some((file, folder)) = candidates.into_iter().find(|(file, _)| file.is_file()) {
                let mut child = module.clone();
                child.push(name);
                self.add(&file, &folder, child)?;
            }
        }
        Ok(())
    }

    /// The file that has what `path` names, after all that pass it on.
    fn home(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        // A name is passed on a few times; a circle of re-exports does not compile.
        for _ in 0..8 {
            let known =
                (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length])).unwrap_or(0);
            let (module, rest) = path.split_at(known);
            let Some(origin) = rest.first().and_then(|name| self.0.get(module)?.passed_on.get(name)) else {
                return module.to_vec();
            };
            path = [origin, &rest[1..]].concat();
        }
        Vec::new()
    }

    /// Each circle's files.
    fn circles(&self) -> BTreeSet<Vec<String>> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> = self
            .0
            .iter()
            .map(|(module, file)| {
                let homes = file.used.iter().map(|path| self.home(path)).filter(|home| home != module);
                (module, homes.collect())
            })
            .collect();
        let between = |keep: &dyn Fn(&Module, &Module) -> bool| {
            let kept = edges.iter().map(|(from, to)| {
                ((*from).clone(), to.iter().filter(|to| keep(from, to)).cloned().collect::<BTreeSet<_>>())
            });
            components(&kept.collect())
        };
        let all = between(&|_, _| true).into_iter().filter(|files| {
            // A module and its own descendants.
            !files.iter().any(|head| files.iter().all(|file| file.starts_with(head)))
        });
        let siblings = between(&|from, to| !from.starts_with(to) && !to.starts_with(from));
        all.chain(siblings)
            .map(|files| {
                files
                    .iter()
                    .map(|file| if file.is_empty() { "crate".to_owned() } else { file.join("::") })
                    .collect()
            })
            .collect()
    }
}

/// Groups of more than one whose members all lead to each other.
fn components(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.clone()];
        while let Some(module) = next.pop() {
            for to in edges.get(&module).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        edges.keys().map(|module| (module, reached(module))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (module, to) in &reach {
        let circle: BTreeSet<Module> = to
            .iter()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(*module)))
            .cloned()
            .collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// What the text of `module` says of others, and the children that it names.
fn read(text: &str, module: &[String]) -> (File, Vec<String>) {
    let words = words(text);
    let (mut file, mut children) = (File::default(), Vec::new());
    // Blocks that are open, and whether each is a module's; the names of those that are.
    let mut open: Vec<bool> = Vec::new();
    let mut inline: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = |ahead: usize| words.get(at + ahead).map_or("", String::as_str);
        match word.as_str() {
            "mod" if next(2) == ";" => {
                children.push(next(1).to_owned());
                at += 3;
            }
            "mod" if next(2) == "{" => {
                if words[..at].ends_with(&["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned)) {
                    at = after_block(&words, at + 2);
                    continue;
                }
                inline.push(next(1).to_owned());
                open.push(true);
                at += 3;
            }
            "{" => {
                open.push(false);
                at += 1;
            }
            "}" => {
                if open.pop() == Some(true) {
                    inline.pop();
                }
                at += 1;
            }
            "use" => {
                let public = words[..at].iter().rev().take(4).any(|word| word == "pub");
                let mut paths = Vec::new();
                at = tree(&words, at + 1, &[], &mut paths);
                for (path, name) in paths {
                    let Some(full) = absolute(&path, module, &inline) else { continue };
                    if public && inline.is_empty() {
                        file.passed_on.insert(name, full.clone());
                    }
                    file.used.insert(full);
                }
            }
            "crate" | "super" | "self" if next(1) == "::" => {
                let mut paths = Vec::new();
                at = tree(&words, at, &[], &mut paths);
                file.used.extend(paths.iter().filter_map(|(path, _)| absolute(path, module, &inline)));
            }
            _ => at += 1,
        }
    }
    // A name that begins with neither word is a child of this module or another crate's.
    let own = |path: &Module| {
        let relative = path.strip_prefix(&["?".to_owned()])?;
        children.contains(relative.first()?).then(|| [module, relative].concat())
    };
    let settled =
        |path: Module| if path.first().is_some_and(|word| word == "?") { own(&path) } else { Some(path) };
    file.used = file.used.into_iter().filter_map(settled).collect();
    file.passed_on =
        file.passed_on.into_iter().filter_map(|(name, path)| Some((name, settled(path)?))).collect();
    (file, children)
}

/// `path` from the crate's root; one that begins with a plain name gets a `?` before it.
fn absolute(path: &[String], module: &[String], inline: &[String]) -> Option<Module> {
    let here = [module, inline].concat();
    let up = path.iter().take_while(|word| *word == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([&here, &path[1..]].concat()),
        "super" => Some([&here[..here.len().checked_sub(up)?], &path[up..]].concat()),
        _ => Some([&["?".to_owned()], path].concat()),
    }
}

/// Reads the tree of paths that begins at `at`; each path with the name that it gets. Returns what is after it.
fn tree(words: &[String], mut at: usize, before: &[String], paths: &mut Vec<(Module, String)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match words.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    at = if words[at] == "," { at + 1 } else { tree(words, at, &path, paths) };
                }
                return at + 1;
            }
            Some("self") if !path.is_empty() => at += 1,
            Some(word) if word.starts_with(|first: char| first.is_alphanumeric() || "_*".contains(first)) => {
                path.push(word.to_owned());
                at += 1;
            }
            // What it is, this does not know; it is passed over.
            _ => return at + 1,
        }
        if words.get(at).is_some_and(|word| word == "::") {
            at += 1;
            continue;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if words.get(at).is_some_and(|word| word == "as") {
            name = words.get(at + 1).cloned().unwrap_or_default();
            at += 2;
        }
        paths.push((path, name));
        return at;
    }
}

/// What is after the block that opens at `at`.
fn after_block(words: &[String], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, word) in words.iter().enumerate().skip(at) {
        match word.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return index + 1,
            "}" => depth -= 1,
            _ => {}
        }
    }
    words.len()
}

/// The words and signs of a Rust text, without comments and what is quoted.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let plain = rest.trim_start_matches('r').trim_start_matches('#');
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if first == '"' {
            rest = after_quote(&rest[1..]);
        } else if first == 'r' && plain.starts_with('"') && rest.len() > plain.len() {
            let end = format!("\"{}", "#".repeat(rest.len() - plain.len() - 1));
            rest = plain[1..].split_once(&end).map_or("", |(_, after)| after);
        } else if first == '\'' && is_letter(rest) {
            let skip = if rest.starts_with("'\\") { 3 } else { 2 };
            rest = rest.get(skip..).and_then(|rest| rest.split_once('\'')).map_or("", |(_, after)| after);
        } else if let Some(after) = rest.strip_prefix("::") {
            found.push("::".to_owned());
            rest = after;
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Whether a quoted letter begins here, and no lifetime.
fn is_letter(text: &str) -> bool {
    let mut letters = text.chars().skip(1);
    letters.next() == Some('\\') || letters.next() == Some('\'')
}

fn after_quote(text: &str) -> &str {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of the files `texts`, each with its module's path.
    fn of(texts: &[(&str, &str)]) -> Crate {
        let split =
            |path: &str| path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Crate(
            texts
                .iter()
                .map(|(path, text)| {
                    let module: Module = split(path);
                    let (file, _) = read(text, &module);
                    (module, file)
                })
                .collect(),
        )
    }

    fn circles(texts: &[(&str, &str)]) -> Vec<String> {
        of(texts).circles().iter().map(|files| files.join(" ")).collect()
    }

    #[test]
    fn files_that_use_each_other_are_a_circle() {
        // By `use`, nested or renamed.
        assert_eq!(circles(&[("a", "use crate::{b::{C, D}, x};"), ("b", "use super::a::X as Y;")]), ["a b"]);
        // By a path in the code, and over a third.
        let three =
            [("a", "fn f() { crate::b::g() }"), ("b", "use crate::c::*;"), ("c", "fn h(a: &super::a::A) {}")];
        assert_eq!(circles(&three), ["a b c"]);
        // By what the root passes on.
        let root = ("", "mod a;\nmod b;\npub use a::Item;\npub use b::Other as Renamed;");
        assert_eq!(circles(&[root, ("a", "use crate::Renamed;"), ("b", "use crate::Item;")]), ["a b"]);
        // Between two children of one module, and between one's child and another.
        let children =
            [("a", "mod b;\nmod c;\n"), ("a::b", "use super::c::C;"), ("a::c", "use super::b::B;")];
        assert_eq!(circles(&children), ["a::b a::c"]);
        let outside = [
            ("a", "mod b;\nfn f() { self::b::g() }"),
            ("a::b", "use crate::d::D;"),
            ("d", "use crate::a::A;"),
        ];
        assert_eq!(circles(&outside), ["a a::b d"]);
    }

    #[test]
    fn what_is_no_circle_is_none() {
        // A module and its own child; one way only; what is in comments, quotes and tests.
        let none = [
            ("a", "mod b;\nuse self::b::B;\nuse crate::c::C;"),
            ("a::b", "use super::A;"),
            (
                "c",
                "// use crate::a::A;\nconst A: &str = \"use crate::a::A;\"; const B: &str = r#\"\" crate::a::A\"#;\n\
                 fn f<'a>(x: &'a char) { let q = '\"'; let n = '\\n'; }\n\
                 #[cfg(test)]\nmod tests { use crate::a::A; fn f() { {} } }\n",
            ),
            ("d", "mod inner { use super::X; }\nuse serde::c::C;"),
        ];
        assert_eq!(circles(&none), Vec::<String>::new());
    }
}
