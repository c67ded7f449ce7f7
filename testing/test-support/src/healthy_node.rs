//! A node with which nothing is wrong, as its operator API tells of it.
//!
//! Owns the JSON that tests of the verdict, and of whoever shows it, begin with. Never asks a node.

use std::ops::Range;

use serde_json::{Value, json};

/// The ports of its VMs, end exclusive.
pub const SSH_PORTS: Range<u16> = 50_800..50_900;

/// What is known of `port`, which is `status` from outside and `local` on this machine.
#[must_use]
pub fn port(port: u16, status: &Value, local: &Value) -> Value {
    json!({
        "port": port, "status": status, "local": local, "in_use": false, "agreed": 1, "answered": 1,
        "reason": (status == "unreachable").then_some("timed_out"),
        "local_detail": (local == "held").then_some("nginx (pid 42)"),
        "disputed": false,
    })
}

/// What a verification found, of which every port is reachable.
#[must_use]
pub fn ports_report() -> Value {
    let reachable = |one, local: &str| port(one, &json!("reachable"), &json!(local));
    let ssh: Vec<_> = SSH_PORTS.map(|one| reachable(one, "free")).collect();
    json!({
        "address": "203.0.113.7", "verified_only": true, "rounds": 1, "checked_at": "1970-01-01T00:00:00Z",
        "sources": [{ "source": "https://one", "problem": null }, { "source": "https://two", "problem": null }],
        "provider": reachable(7466, "served"), "ssh": ssh, "problems": [],
    })
}

/// A VM that runs.
#[must_use]
pub fn vm(name: &str, ssh_port: u16) -> Value {
    json!({
        "id": format!("golem-{name}-20260102-030405-aaaaaaaaaaaaaaaa"), "name": name, "status": "running",
        "resources": { "cpu": 1, "memory": 1, "storage": 10 }, "image": "24.04", "ssh_port": ssh_port,
        "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z", "stream_id": "7",
    })
}

/// The node as a whole, with VMs on `ports`.
#[must_use]
pub fn summary(ports: &[u16]) -> Value {
    let range = json!({ "start": SSH_PORTS.start, "end": SSH_PORTS.end, "in_use": ports });
    json!({
        "version": "0.1.0", "provider_id": "0x0", "environment": "production", "network": "testnet",
        "backend": { "name": "qemu", "answers": true }, "draining": false,
        "total": { "cpu": 8, "memory": 16, "storage": 200 }, "free": { "cpu": 7, "memory": 15, "storage": 190 },
        "host": { "cpu_percent": 10, "memory_percent": 10, "storage_percent": 10 },
        "vms": ports.len(), "max_vms": 10, "ports": range,
        "payments": { "network": "l2.holesky", "symbol": "ETH", "contract": "0x1", "block": 5 },
        "adverts": [], "unmanaged": [],
    })
}
