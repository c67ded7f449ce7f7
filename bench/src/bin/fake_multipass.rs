//! A stand-in for `multipass`, for the original provider in benchmarks: one small file a VM in the
//! folder that `FAKE_MULTIPASS_DIR` names, no delay. A real one costs far more for each call.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::path::PathBuf;
use std::process::ExitCode;

/// The value of the option `name` in `arguments`.
fn option<'a>(arguments: &'a [String], name: &str) -> &'a str {
    let at = arguments.iter().position(|word| word == name);
    at.and_then(|at| arguments.get(at + 1)).map_or("", String::as_str)
}

/// Bytes of a size like `4G`.
fn bytes(size: &str) -> u64 {
    size.trim_end_matches('G').parse::<u64>().unwrap_or(1) << 30
}

fn run(arguments: &[String]) -> Option<()> {
    let folder = PathBuf::from(std::env::var_os("FAKE_MULTIPASS_DIR")?);
    let name = arguments.get(1).map_or("", String::as_str);
    match arguments.first()?.as_str() {
        "version" => println!("multipass 1.16.3"),
        "launch" => {
            let words =
                [option(arguments, "--cpus"), option(arguments, "--memory"), option(arguments, "--disk")];
            std::fs::write(folder.join(option(arguments, "--name")), words.join(" ")).ok()?;
        }
        "info" => {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            let words: Vec<&str> = text.split(' ').collect();
            let [cpus, memory, disk] = words.as_slice() else { return None };
            println!(
                "{{\"errors\":[],\"info\":{{\"{name}\":{{\"cpu_count\":\"{cpus}\",\"disks\":{{\"sda1\":{{\"total\":\
                 \"{}\",\"used\":\"1000000000\"}}}},\"ipv4\":[\"127.0.0.1\"],\"memory\":{{\"total\":{},\"used\":\
                 100000000}},\"release\":\"Ubuntu 24.04 LTS\",\"state\":\"Running\"}}}}}}",
                bytes(disk),
                bytes(memory)
            );
        }
        "delete" => std::fs::remove_file(folder.join(name)).ok()?,
        "start" | "stop" => {}
        _ => return None,
    }
    Some(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if run(&arguments).is_some() {
        return ExitCode::SUCCESS;
    }
    eprintln!("instance \"{}\" does not exist", arguments.get(1).map_or("", String::as_str));
    ExitCode::from(2)
}
