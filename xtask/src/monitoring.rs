//! What the package has for Prometheus and Grafana, read by Prometheus' own checker.
//!
//! Owns where the checker is from: Debian's package, unpacked and not installed, since installing it starts a server. That the
//! names in these files are told by a node, a test of the program knows.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::gates::run;
use crate::run::root;
use crate::setup::as_root;

/// Checks the rules, runs their tests, and checks what the dashboard asks for.
pub(crate) fn check(log: &File) -> anyhow::Result<()> {
    let promtool = promtool(log)?;
    let folder = root().join("packaging/prometheus");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let mut command = Command::new(&promtool);
        command.args(arguments).current_dir(&folder);
        run(command, log)?;
    }
    // Rules that record are expressions that it reads; JSON is YAML.
    let dashboard = std::fs::read(root().join("packaging/grafana/dashboard.json"))?;
    let dashboard: Value = serde_json::from_slice(&dashboard)?;
    let panels = dashboard["panels"].as_array().context("the dashboard has no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let rules: Vec<Value> = targets
        .filter_map(|target| target["expr"].as_str())
        .enumerate()
        .map(|(number, text)| json!({ "record": format!("panel_{number}"), "expr": text.replace("$__rate_interval", "5m") }))
        .collect();
    if rules.len() < panels.len() {
        bail!("{} panels of the dashboard ask {} questions", panels.len(), rules.len());
    }
    let place = root().join("target/tmp/grafana-rules.yml");
    std::fs::create_dir_all(root().join("target/tmp"))?;
    std::fs::write(&place, json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string())?;
    let mut command = Command::new(&promtool);
    command.args(["check", "rules"]).arg(place);
    run(command, log)
}

/// The checker: one that is installed, or Debian's.
fn promtool(log: &File) -> anyhow::Result<PathBuf> {
    let installed = PathBuf::from("promtool");
    if Command::new(&installed).arg("--version").output().is_ok() {
        return Ok(installed);
    }
    let folder = root().join(".cache/tools/prometheus");
    let own = folder.join("usr/bin/promtool");
    if !own.exists() {
        std::fs::create_dir_all(&folder)?;
        let download = || {
            let mut get = Command::new("apt-get");
            get.args(["-qq", "download", "prometheus"]).current_dir(&folder);
            run(get, log)
        };
        // What apt knows may be older than what the servers have.
        download().or_else(|_| {
            let mut update = as_root("apt-get");
            update.args(["-qq", "update"]);
            run(update, log).and_then(|()| download())
        })?;
        let package = std::fs::read_dir(&folder)?.filter_map(|file| Some(file.ok()?.path()));
        let package = package.filter(|path| path.extension().is_some_and(|end| end == "deb")).last();
        let package = package.context("no package of Prometheus was downloaded")?;
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(&package).arg(&folder);
        run(unpack, log)?;
        std::fs::remove_file(package)?;
    }
    Ok(own)
}
