//! The test programs that cargo has compiled.
//!
//! Owns how they are found and started: by themselves, in their crate's folder, so that cargo, which lets one command
//! at a time into a workspace, is asked once.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::run::root;

/// What a test program tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A library's own unit tests.
    Library,
    /// A program's own unit tests.
    Binary,
    /// The target `it` of a crate: all that is in its folder `tests`.
    Test,
}

/// A compiled test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    path: PathBuf,
    /// Its crate's folder.
    folder: PathBuf,
    /// The programs of its crate, which it may run.
    beside: Vec<(String, PathBuf)>,
}

impl Program {
    /// Runs it as cargo does.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO", env!("CARGO"));
        command.env("GOLEM_TEST_NOT_TRIED", not_tried());
        command.envs(self.beside.iter().map(|(name, path)| (format!("CARGO_BIN_EXE_{name}"), path)));
        command
    }
}

/// Where tests write what they did not try, for want of root or of something that the machine lacks.
pub(crate) fn not_tried() -> PathBuf {
    root().join("target/gates/not-tried.txt")
}

/// Compiles what the `cargo test` of `tests` would run, with what the compiler says in `log`.
pub(crate) fn compile(mut tests: Command, mut log: &File) -> anyhow::Result<Vec<Program>> {
    tests.args(["--no-run", "--quiet", "--message-format", "json-render-diagnostics"]);
    let output =
        tests.stdin(Stdio::null()).stderr(log.try_clone()?).output().context("cargo did not start")?;
    if !output.status.success() {
        bail!("{}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("cargo printed no text")?;
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let programs: Vec<Program> = messages.iter().filter_map(|message| program(message, &messages)).collect();
    for program in &programs {
        writeln!(log, "{}", program.path.display())?;
    }
    if programs.is_empty() { bail!("cargo named no test program") } else { Ok(programs) }
}

/// The test program that the line `message` of cargo's names, if it names one; `all` names those beside it.
fn program(message: &Value, all: &[Value]) -> Option<Program> {
    let is_test = |message: &Value| message["profile"]["test"] == true;
    let executable = |message: &Value| message["executable"].as_str().map(PathBuf::from);
    let path = executable(message).filter(|_| is_test(message))?;
    let kind = match message["target"]["kind"][0].as_str()? {
        "test" => Kind::Test,
        "bin" => Kind::Binary,
        _ => Kind::Library,
    };
    let beside =
        all.iter().filter(|other| !is_test(other) && other["manifest_path"] == message["manifest_path"]);
    let beside =
        beside.filter_map(|other| Some((other["target"]["name"].as_str()?.to_owned(), executable(other)?)));
    let folder = Path::new(message["manifest_path"].as_str()?).parent().map(Path::to_owned)?;
    Some(Program { kind, path, folder, beside: beside.collect() })
}
