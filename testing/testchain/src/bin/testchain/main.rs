//! `testchain`: a chain as a process of its own, for the demo.
//!
//! Owns what `cargo xtask` needs of a chain, so that `cargo xtask` itself compiles in seconds. Never ships.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command line talks to its terminal"
)]

mod serve;

use std::process::ExitCode;

const HELP: &str = "\
testchain serve                  a chain with the payment contract; one line of JSON says where, then each
                                 line `warp SECONDS` on standard input moves its clock, until that ends
testchain profile DIR URL CONTRACT
                                 writes the profile `demo` of such a chain for the node in DIR
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve"] => serve::serve(),
        ["profile", folder, url, contract] => serve::profile(folder.as_ref(), url, contract),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
