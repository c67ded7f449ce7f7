//! Developer commands. Never ships.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a developer's command line talks to its terminal, and waits on its thread"
)]

mod chain;
mod circles;
mod demo;
mod gates;
mod log_lines;
mod monitoring;
mod mutants;
mod package;
mod policy;
mod programs;
mod promises;
mod run;
mod setup;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test [--quick]     every gate, with all that they need installed first, and their seconds; with --quick
                     those only that need nothing installed: no guests, no chains, no root
  demo [--once] [--paid]
                     a node on this machine, a VM rented from it, a command run in it over ssh;
                     with --once everything is removed again and the command ends;
                     with --paid it is paid for by a stream on a chain of its own
  bench NAME         one of the benchmarks: advertise, api, boot, discovery, hostile, monitor, network,
                     ports, proxy
  package [--profile dev|release] [--target TRIPLE]
                     the Debian package and the archive for other distributions, in target/package; with
                     dev they have the program that was built last for tests; for
                     aarch64-unknown-linux-gnu on another machine it needs gcc-aarch64-linux-gnu and
                     `rustup target add aarch64-unknown-linux-gnu`
  interop            the published clients with the true node: each step, passed or failed
  promises [--check] writes docs/promises.md from the tests, or checks that it is current
  mutants [CRATE]    changes what decides on money, machines and ports in every way that cargo-mutants knows,
                     and writes into docs/mutants.md which changes no test noticed (about 40 min)
  circles            names the files of a crate that use each other
  generate           rewrites the files that are generated from the settings and the APIs
  setup              installs what the tests need and builds the guest images; the others do so by themselves
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => gates::test(),
        ["test", "--quick"] => gates::quick(),
        ["demo", flags @ ..] if flags.iter().all(|flag| matches!(*flag, "--once" | "--paid")) => {
            demo::demo(flags.contains(&"--once"), flags.contains(&"--paid"))
        }
        ["package", words @ ..] if package::Package::from_words(words).is_some() => {
            package::Package::from_words(words).map_or(Ok(()), |wanted| package::package(&wanted))
        }
        ["interop"] => gates::interop(),
        ["bench", name] => run::bench(name),
        ["mutants"] => mutants::run(None),
        ["mutants", name] => mutants::run(Some(name)),
        ["circles"] => circles::check(),
        ["promises"] => promises::write(),
        ["promises", "--check"] => promises::check(),
        ["generate"] => run::generate(),
        ["setup"] => {
            setup::setup().and_then(|_| setup::arm64_image()).and_then(|_| setup::package_root()).map(drop)
        }
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
