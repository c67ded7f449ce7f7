//! nftables as a program: gives it rules, and reads what it has.
//!
//! Owns the calls and what makes two listings the same. Knows no rule. Where it runs (this host, a
//! guest's namespace) is decided by the words that come before it.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use golem_types::wire::NetworkTraffic;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::qemu::programs::search_path;

/// Longest that one call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of an answer that are read. The rules of a guest are listed in about ten thousand.
const ANSWER_BYTES: u64 = 1 << 20;

/// A command of `words`, with nothing of the node's environment but where programs lie.
pub(super) fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("false", String::as_str));
    command.args(words.get(1..).unwrap_or_default()).env_clear().env("PATH", search_path());
    command
}

/// Runs `words` with `input`, and returns what it wrote.
///
/// # Errors
/// Any error of running it; `TimedOut`; `Other` with its first line of complaint when it failed.
pub(super) async fn run(words: &[String], input: &str) -> io::Result<Vec<u8>> {
    let mut child = command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut answer = Vec::new();
    let mut complaint = Vec::new();
    let exchange = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that ends early says why on its standard error.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(ANSWER_BYTES).read_to_end(&mut answer).await,
                None => Ok(0),
            }
        };
        let listen = async {
            match stderr {
                Some(stderr) => stderr.take(ANSWER_BYTES).read_to_end(&mut complaint).await,
                None => Ok(0),
            }
        };
        let ((), read, listen) = tokio::join!(write, read, listen);
        read.and(listen)?;
        child.wait().await
    };
    let status = timeout(DEADLINE, exchange).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("{} does not end", words.join(" ")))
    })??;
    if status.success() {
        return Ok(answer);
    }
    let said = String::from_utf8_lossy(&complaint);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed and said nothing");
    Err(io::Error::other(line.trim().to_owned()))
}

/// The words that run nftables with `arguments`, after those that lead to where it should run.
fn words(before: &[String], arguments: &[&str]) -> Vec<String> {
    before
        .iter()
        .cloned()
        .chain(std::iter::once("nft".to_owned()))
        .chain(arguments.iter().map(ToString::to_string))
        .collect()
}

/// Puts `rules` in place, all of them or none.
///
/// # Errors
/// As [`run`]; `NotFound` without nftables.
pub(super) async fn load(before: &[String], rules: &str) -> io::Result<()> {
    run(&words(before, &["-f", "-"]), rules).await.map(drop)
}

/// What nftables has.
#[derive(Debug)]
pub(super) struct Listing {
    /// Stands for every table, chain, rule and set, in order; not for counts.
    pub(super) digest: [u8; 32],
    /// What the counters `in`, `out` and `blocked` say.
    pub(super) traffic: NetworkTraffic,
}

/// Lists everything, or the table `of`, whose absence is an error.
///
/// # Errors
/// As [`run`], and `InvalidData` when the answer is not understood.
pub(super) async fn list(before: &[String], of: Option<&str>) -> io::Result<Listing> {
    let mut arguments = vec!["-j", "list"];
    match of {
        Some(table) => arguments.extend(std::iter::once("table").chain(table.split(' '))),
        None => arguments.push("ruleset"),
    }
    read(&run(&words(before, &arguments), "").await?)
}

fn read(answer: &[u8]) -> io::Result<Listing> {
    let not_understood = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut answer: Value = serde_json::from_slice(answer).map_err(not_understood)?;
    let parts = answer.get_mut("nftables").and_then(Value::as_array_mut).ok_or(io::ErrorKind::InvalidData)?;
    let mut traffic = NetworkTraffic::default();
    let mut hash = Sha256::new();
    for part in parts {
        if part.get("metainfo").is_some() {
            continue;
        }
        if let Some(counter) = part.get("counter").filter(|counter| counter["table"] == "golem_vm") {
            let of = |name: &str| counter[name].as_u64().unwrap_or_default();
            match counter["name"].as_str() {
                Some("in") => (traffic.bytes_in, traffic.packets_in) = (of("bytes"), of("packets")),
                Some("out") => (traffic.bytes_out, traffic.packets_out) = (of("bytes"), of("packets")),
                Some("blocked") => traffic.packets_blocked = of("packets"),
                _ => {}
            }
        }
        for kind in ["table", "chain", "rule", "set", "counter"] {
            if let Some(fields) = part.get_mut(kind).and_then(Value::as_object_mut) {
                // What differs between two loads of the same rules, and what counts up.
                for changing in ["handle", "packets", "bytes"] {
                    fields.remove(changing);
                }
            }
        }
        hash.update(part.to_string());
        hash.update(b"\n");
    }
    Ok(Listing { digest: hash.finalize().into(), traffic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_01_counts_and_handles_make_no_difference_and_everything_else_does() {
        let listing = |packets: u64, handle: u64, verdict: &str| {
            let text = format!(
                r#"{{"nftables": [{{"metainfo": {{"version": "{packets}"}}}},
                {{"counter": {{"name": "out", "table": "golem_vm", "handle": {handle}, "packets": {packets}, "bytes": 5}}}},
                {{"rule": {{"chain": "output", "handle": {handle}, "expr": [{{"{verdict}": null}}]}}}}]}}"#
            );
            read(text.as_bytes()).unwrap()
        };
        let first = listing(1, 2, "drop");
        assert_eq!(first.digest, listing(7, 9, "drop").digest);
        assert_ne!(first.digest, listing(1, 2, "accept").digest);
        assert_eq!((listing(7, 9, "drop").traffic.packets_out, first.traffic.bytes_out), (7, 5));
        for nonsense in ["", "{}", "[]", r#"{"nftables": {}}"#] {
            assert!(read(nonsense.as_bytes()).is_err(), "{nonsense:?}");
        }
    }

    #[tokio::test]
    async fn what_a_program_says_and_why_it_failed_are_told() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(run(&words("cat"), "some text").await.unwrap(), b"some text");
        let failed =
            run(&["sh", "-c", "echo; echo why >&2; exit 3"].map(str::to_owned), "").await.unwrap_err();
        assert_eq!(failed.to_string(), "why");
        let missing = run(&words("no-such-program-of-golem"), "").await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
