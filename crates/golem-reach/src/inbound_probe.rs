//! Detects inbound SYNs with nftables: whether connections from outside reach this host.
//!
//! Owns one nftables table, for as long as it records: a set of the ports that connections were begun to,
//! before any rule of the host's firewall has judged them. It accepts everything. Where a checker
//! found a port closed, that tells the host's own firewall from a router that forwards nothing. Only
//! for root, and where there is nftables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest that nftables may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// A table that collects the ports to which connections are begun.
#[derive(Debug)]
pub(super) struct InboundProbe {
    table: String,
}

async fn nft(arguments: &[&str], input: &str) -> Option<Vec<u8>> {
    let run = async {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input.as_bytes()).await.ok()?;
        let output = child.wait_with_output().await.ok()?;
        output.status.success().then_some(output.stdout)
    };
    timeout(DEADLINE, run).await.ok().flatten()
}

/// The table that looks at `ports`, in place of one that a killed node may have left.
fn rules(table: &str, ports: &[u16]) -> String {
    let mut text = format!("table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    text += "  set seen { type inet_service; flags dynamic; size 65535; }\n";
    text += "  chain look {\n    type filter hook prerouting priority -301; policy accept;\n    tcp dport { ";
    for port in ports {
        let _ = write!(text, "{port}, ");
    }
    text += "} tcp flags & (syn | ack) == syn add @seen { tcp dport }\n  }\n}\n";
    text
}

impl InboundProbe {
    /// Begins to record connection attempts to `ports`; `None` if that cannot be seen. No other node on this
    /// host has `own`.
    pub(super) async fn begin(own: u16, ports: &[u16]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let table = format!("golem_provider_ports_{}", own);
        nft(&["-f", "-"], &rules(&table, ports)).await?;
        Some(Self { table })
    }

    /// The ports to which connections were begun; `None` if that cannot be seen. Ends the recording.
    pub(super) async fn end(mut self) -> Option<BTreeSet<u16>> {
        let table = std::mem::take(&mut self.table);
        let said = nft(&["-j", "list", "set", "inet", &table, "seen"], "").await;
        nft(&["-f", "-"], &format!("delete table inet {table}\n")).await;
        parse_ports(&said?)
    }
}

impl Drop for InboundProbe {
    /// Takes the table away when the recording was cut short; nobody waits for that.
    fn drop(&mut self) {
        if !self.table.is_empty() {
            let _ = std::process::Command::new("nft")
                .args(["delete", "table", "inet", &self.table])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
        }
    }
}

/// The elements of the set, from what nftables says of it.
fn parse_ports(said: &[u8]) -> Option<BTreeSet<u16>> {
    let said: Value = serde_json::from_slice(said).ok()?;
    let set = said["nftables"].as_array()?.iter().find_map(|part| part.get("set"))?;
    let port = |element: &Value| {
        let value = element.get("elem").map_or(element, |element| &element["val"]);
        u16::try_from(value.as_u64()?).ok()
    };
    let elements = set.get("elem").and_then(Value::as_array);
    Some(elements.into_iter().flatten().filter_map(port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nftables_says_is_read() {
        let read = |set: &str| {
            parse_ports(format!(r#"{{"nftables": [{{"metainfo": {{}}}}, {{"set": {set}}}]}}"#).as_bytes())
        };
        assert_eq!(
            read(r#"{"name": "seen", "elem": [7466, {"elem": {"val": 50801}}]}"#),
            Some(BTreeSet::from([7466, 50801]))
        );
        assert_eq!(read(r#"{"name": "seen"}"#), Some(BTreeSet::new()));
        for bad in ["", "{}", "[]", r#"{"nftables": []}"#] {
            assert_eq!(parse_ports(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read(r#"{"elem": [99999999, "x", null]}"#), Some(BTreeSet::new()));
    }
}
