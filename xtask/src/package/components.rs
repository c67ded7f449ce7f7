//! What is linked into the program: its crates, as a bill of materials and as a list of licences.
//!
//! Owns both forms, made from what cargo knows (`cargo metadata`, `Cargo.lock`) and from the licence files that crates
//! bring. What only builds or tests it is in neither, nor are macros that run in the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::run::{cargo, root};

/// A crate in the program.
#[derive(Debug, Default, Clone)]
pub(super) struct Component {
    name: String,
    version: String,
    /// As an SPDX expression.
    licence: String,
    /// Sum over its archive; `None` for a crate of this workspace.
    sha256: Option<String>,
    /// Texts of its licences.
    texts: Vec<String>,
    /// References of those that it uses.
    uses: BTreeSet<String>,
}

impl Component {
    fn reference(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// The crates that are linked into the program for the rustc target `target`, the program's own first.
pub(super) fn linked(target: &str) -> anyhow::Result<Vec<Component>> {
    let mut metadata = cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let output = metadata.output().context("cargo did not start")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock cannot be read")?;
    walk(&metadata, &sums(&lock)?)
}

/// The sums of archives, by name and version.
fn sums(lock: &str) -> anyhow::Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is not understood")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock names no package")?;
    let text = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    let sum =
        |package| Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?));
    Ok(packages.iter().filter_map(sum).collect())
}

fn walk(metadata: &Value, sums: &BTreeMap<(String, String), String>) -> anyhow::Result<Vec<Component>> {
    let by_id = |list: &Value| -> BTreeMap<String, Value> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|one| Some((one["id"].as_str()?.to_owned(), one.clone()))).collect()
    };
    let (packages, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
    let is_program = |package: &Value| package["name"] == "golem-provider" && package["source"].is_null();
    let program = packages.iter().find(|(_, package)| is_program(package)).map(|(id, _)| id.clone());
    let program = program.context("cargo knows no golem-provider")?;
    let is_macro = |id: &str| {
        let targets = packages.get(id).and_then(|package| package["targets"].as_array());
        targets.into_iter().flatten().any(|target| target["kind"][0] == "proc-macro")
    };
    let (mut seen, mut next, mut found) = (BTreeSet::new(), vec![program], Vec::new());
    while let Some(id) = next.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let (package, node) = (packages.get(&id), nodes.get(&id));
        let (package, node) =
            package.zip(node).with_context(|| format!("cargo does not say what {id} is"))?;
        let mut component = component(package, sums)?;
        for used in node["deps"].as_array().into_iter().flatten() {
            let is_linked =
                used["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null());
            let Some(id) = used["pkg"].as_str().filter(|id| is_linked && !is_macro(id)) else { continue };
            let used = packages.get(id).map(component_name).unwrap_or_default();
            component.uses.insert(used);
            next.push(id.to_owned());
        }
        found.push(component);
    }
    // The program first, then by name.
    found[1..].sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(found)
}

fn text(package: &Value, key: &str) -> String {
    package[key].as_str().unwrap_or_default().to_owned()
}

fn component_name(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(package, "name"), text(package, "version"))
}

fn component(package: &Value, sums: &BTreeMap<(String, String), String>) -> anyhow::Result<Component> {
    let (name, version) = (text(package, "name"), text(package, "version"));
    // As it was written before there were expressions.
    let licence = text(package, "license").replace('/', " OR ");
    if licence.is_empty() {
        bail!("{name} {version} does not say its licence");
    }
    let manifest = text(package, "manifest_path");
    let texts = match package["source"].is_null() {
        true => Vec::new(),
        false => licence_texts(Path::new(&manifest).parent().unwrap_or(Path::new("/")))?,
    };
    let sha256 = sums.get(&(name.clone(), version.clone())).cloned();
    Ok(Component { name, version, licence, sha256, texts, uses: BTreeSet::new() })
}

/// The texts of licences in the folder of a crate.
fn licence_texts(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT"]
            .iter()
            .any(|word| name.starts_with(word));
        if is_licence && entry.file_type()?.is_file() {
            texts.push(String::from_utf8_lossy(&std::fs::read(entry.path())?).trim().to_owned());
        }
    }
    texts.sort();
    Ok(texts)
}

/// A bill of materials in CycloneDX's form. The same sources make the same bytes.
pub(super) fn bill(linked: &[Component]) -> anyhow::Result<String> {
    let shown = |component: &Component, kind: &str| {
        let reference = component.reference();
        let mut shown = json!({
            "type": kind, "bom-ref": reference, "name": component.name, "version": component.version,
            "purl": reference, "licenses": [{ "expression": component.licence }],
        });
        if let Some(sum) = &component.sha256 {
            shown["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        shown
    };
    let (program, rest) = linked.split_first().context("nothing is linked")?;
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": shown(program, "application") },
        "components": rest.iter().map(|component| shown(component, "library")).collect::<Vec<_>>(),
        "dependencies": linked.iter().map(|component| {
            json!({ "ref": component.reference(), "dependsOn": component.uses })
        }).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// Debian's file about copyright: whose the program is and what it contains, with the text of each licence once.
pub(super) fn copyright(linked: &[Component]) -> anyhow::Result<String> {
    let (program, rest) = linked.split_first().context("nothing is linked")?;
    let mut text = format!(
        "golem-provider {}, and the crates of this project in it, are licensed under {}.\n\nIt contains these \
         crates of others, from crates.io:\n\n",
        program.version, program.licence
    );
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for component in rest.iter().filter(|component| component.sha256.is_some()) {
        text += &format!("  {} {}: {}\n", component.name, component.version, component.licence);
        for licence in &component.texts {
            texts.entry(licence).or_default().push(&component.name);
        }
    }
    for (licence, mut names) in texts {
        names.dedup();
        text += &format!("\n{}\n{}:\n\n{licence}\n", "-".repeat(80), names.join(", "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake() -> Value {
        let package = |name: &str, source: Option<&str>, kind: &str, licence: &str| {
            json!({ "id": name, "name": name, "version": "1.0.0", "source": source, "license": licence,
                "manifest_path": "/dev/fd/../fd/Cargo.toml", "targets": [{ "kind": [kind] }] })
        };
        let uses = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        json!({
            "packages": [
                package("golem-provider", None, "lib", "MIT"), package("used", None, "lib", "MIT/Apache-2.0"),
                package("macro", None, "proc-macro", "MIT"), package("tests", None, "lib", "MIT"),
                package("builds", None, "lib", "MIT"), package("deep", None, "lib", "ISC"),
            ],
            "resolve": { "nodes": [
                { "id": "golem-provider", "deps": [uses("used", None), uses("macro", None),
                    uses("tests", Some("dev")), uses("builds", Some("build"))] },
                { "id": "used", "deps": [uses("deep", None)] },
                { "id": "deep", "deps": [uses("used", None)] },
            ] },
        })
    }

    #[test]
    fn only_what_is_linked_is_listed() {
        let sums = sums("[[package]]\nname = \"deep\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n").unwrap();
        let linked = walk(&fake(), &sums).unwrap();
        let names: Vec<_> = linked.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["golem-provider", "deep", "used"]);
        let bill: Value = serde_json::from_str(&bill(&linked).unwrap()).unwrap();
        assert_eq!(bill["metadata"]["component"]["name"], "golem-provider");
        assert_eq!(bill["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["components"][0]["hashes"][0]["content"], "ab");
        assert_eq!(bill["dependencies"][0]["dependsOn"], json!(["pkg:cargo/used@1.0.0"]));
        assert!(copyright(&linked).unwrap().contains("  deep 1.0.0: ISC\n"));
    }

    #[test]
    fn a_crate_without_a_licence_is_refused() {
        let mut fake = fake();
        fake["packages"][1]["license"] = Value::Null;
        assert!(walk(&fake, &BTreeMap::new()).unwrap_err().to_string().contains("used 1.0.0"));
    }
}
