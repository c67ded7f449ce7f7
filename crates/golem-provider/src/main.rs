//! The `golem-provider` command. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    golem_provider::cli::run()
}
