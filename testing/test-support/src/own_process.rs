//! Tests about the whole process: its log, its descriptors, its namespaces.

use std::process::Command;

/// Set in the process that runs one test alone.
const ALONE: &str = "GOLEM_TEST_ALONE";

/// Runs the test `name`, its modules included, again in a process of its own, and returns false; there, returns true.
/// Fails if it fails there.
pub fn in_own_process(name: &str) -> bool {
    in_own_process_by(Command::new(std::env::current_exe().unwrap()), name)
}

/// As [`in_own_process`], with a process that the command `runner`, which ends in this program, makes.
pub fn in_own_process_by(mut runner: Command, name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = runner.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = || format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    // None is run if no test has that name.
    assert!(output.status.success() && said.contains("1 passed"), "{name}, alone:\n{}", failed());
    false
}
