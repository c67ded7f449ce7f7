//! The `golem-provider` command. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Crash tests name in FAILPOINTS where this process kills itself.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    golem_provider::cli::run()
}
