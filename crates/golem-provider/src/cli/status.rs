//! `status`: how the node is, whether or not it runs.
//!
//! Owns the judgement (`healthy`, `issues`, `error`) as a pure function over what was seen.
//! Reachability from outside is not checked here: those parts of the answer say so.

use std::collections::BTreeSet;

use golem_node::ports::is_free;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::arguments::seconds;
use super::{Exit, Invocation};
use crate::backend;
use crate::http::operator::AdvertView;
use crate::pid_file;
use crate::settings::{Environment, Settings};

/// The whole answer, as programs read it.
#[derive(Debug, Serialize)]
struct Status {
    overall: Overall,
    running: bool,
    pid: Option<u32>,
    draining: bool,
    version: Version,
    environment: EnvironmentPart,
    vm_backend: BackendPart,
    ports: Ports,
    vms: u32,
    /// One a market; none when the node does not run.
    adverts: Vec<AdvertView>,
}

#[derive(Debug, Serialize)]
struct Overall {
    status: &'static str,
    issues: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Version {
    installed: &'static str,
}

#[derive(Debug, Serialize)]
struct EnvironmentPart {
    environment: String,
    network: String,
    dev_mode: bool,
}

#[derive(Debug, Serialize)]
struct BackendPart {
    name: &'static str,
    ok: bool,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Ports {
    provider: ProviderPort,
    ssh: SshPorts,
}

#[derive(Debug, Serialize)]
struct ProviderPort {
    port: u16,
    host: String,
    local_ok: bool,
    local_detail: &'static str,
}

#[derive(Debug, Serialize)]
struct SshPorts {
    /// First port, and the first after the last.
    range: [u16; 2],
    in_use: usize,
    /// Ports known to be free and reachable from outside.
    usable_free: usize,
    ports: Vec<SshPort>,
}

#[derive(Debug, Serialize)]
struct SshPort {
    port: u16,
    /// Reachability from outside.
    status: &'static str,
    /// Whether the node serves a VM on it.
    listening: bool,
}

/// What answers at the port of the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Local {
    /// Something accepts connections.
    Listening,
    /// Nobody holds it.
    Free,
    /// Somebody holds it and does not answer.
    Held,
}

/// What the node says of itself; when it does not run, what it would say.
#[derive(Debug, Clone)]
struct Node {
    environment: String,
    network: String,
    draining: bool,
    vms: u32,
    ports: BTreeSet<u16>,
    adverts: Vec<AdvertView>,
}

impl Node {
    /// What a node that would be started with `settings` says.
    fn stopped(settings: &Settings) -> Self {
        Self {
            environment: settings.environment.as_str().to_owned(),
            network: settings.network.as_str().to_owned(),
            draining: false,
            vms: 0,
            ports: BTreeSet::new(),
            adverts: Vec::new(),
        }
    }
}

/// What was seen.
#[derive(Debug, Clone)]
struct Seen {
    /// Whether the node runs.
    running: bool,
    /// Its process.
    pid: Option<u32>,
    /// What the node says, or why it says nothing;
    node: Result<Node, String>,
    /// Why the backend cannot be used.
    backend: Result<(), String>,
    /// The public API's port.
    local: Local,
    /// Those of the node's SSH ports on which something listens.
    listening: BTreeSet<u16>,
    /// The default image, when it should be here and is not.
    image_missing: Option<String>,
}

/// Everything that is not as it should be, and whether it keeps the node from working.
fn judge(settings: &Settings, seen: &Seen) -> Overall {
    let port = settings.port;
    let mut errors = Vec::new();
    let mut issues = Vec::new();
    let running = seen.running;
    if !running {
        errors.push("The provider is not running".to_owned());
    }
    if let Err(why) = &seen.node {
        errors.push(format!("The provider does not answer: {why}"));
    }
    if let Err(why) = &seen.backend {
        errors.push(format!("The VM backend cannot be used: {why}"));
    }
    match (running, seen.local) {
        (true, Local::Listening) | (false, Local::Free) => {}
        (true, _) => errors.push(format!("Nothing answers on the provider's port {port}")),
        (false, _) => errors.push(format!("Another program holds port {port}")),
    }
    if let Some(image) = &seen.image_missing {
        issues.push(format!("The default image {image} is not here: `golem-provider images pull {image}`"));
    }
    if let Ok(node) = &seen.node {
        if node.draining {
            issues.push("The provider is draining: it takes no new rentals".to_owned());
        }
        let problems = node.adverts.iter().filter_map(|advert| advert.problem.as_ref());
        issues.extend(problems.map(|problem| format!("Being found: {problem}")));
        let silent = node.ports.difference(&seen.listening).count();
        if silent > 0 {
            issues.push(format!("{silent} SSH port(s) of VMs not listening"));
        }
    }
    let status = match (errors.is_empty(), issues.is_empty()) {
        (false, _) => "error",
        (true, false) => "issues",
        (true, true) => "healthy",
    };
    Overall { status, issues: errors.into_iter().chain(issues).collect() }
}

/// The answer for what was seen.
fn describe(settings: &Settings, seen: Seen) -> Status {
    let overall = judge(settings, &seen);
    let node = seen.node.clone().unwrap_or_else(|_| Node::stopped(settings));
    let range = settings.port_range_start.get()..settings.port_range_end.get();
    let running = seen.running;
    Status {
        overall,
        running,
        pid: seen.pid,
        draining: node.draining,
        version: Version { installed: env!("CARGO_PKG_VERSION") },
        environment: EnvironmentPart {
            dev_mode: node.environment == Environment::Development.as_str(),
            environment: node.environment,
            network: node.network,
        },
        vm_backend: BackendPart {
            name: backend::name(settings),
            ok: seen.backend.is_ok(),
            error: seen.backend.err(),
        },
        ports: Ports {
            provider: ProviderPort {
                port: settings.port.get(),
                host: settings.host.to_string(),
                local_ok: matches!((running, seen.local), (true, Local::Listening) | (false, Local::Free)),
                local_detail: match (running, seen.local) {
                    (true, Local::Listening) => "service is listening",
                    (_, Local::Free) => "port is free",
                    (false, Local::Listening) | (_, Local::Held) => "port is held by another program",
                },
            },
            ssh: SshPorts {
                range: [range.start, range.end],
                in_use: node.ports.len(),
                // None is known to be reachable until it was checked from outside.
                usable_free: 0,
                ports: range
                    .map(|port| SshPort {
                        port,
                        status: "unknown",
                        listening: seen.listening.contains(&port),
                    })
                    .collect(),
            },
        },
        vms: node.vms,
        adverts: node.adverts,
    }
}

/// `status`.
pub(super) async fn status(invocation: &Invocation) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let holder = pid_file::holder(&invocation.pid_file)?;
    let node = if holder.is_none() {
        Ok(Node::stopped(settings))
    } else {
        ask(invocation).await.map_err(|error| format!("{error:#}"))
    };
    let held = node.as_ref().map(|node| node.ports.clone()).unwrap_or_default();
    let listening = held.into_iter().filter(|port| !is_free(settings.host, *port)).collect();
    let seen = Seen {
        running: holder.is_some(),
        pid: holder.and_then(|held| held.pid),
        node,
        backend: backend::check(settings).await.map_err(|error| format!("{error:#}")),
        local: local(settings).await,
        listening,
        image_missing: backend::image_missing(settings).then(|| settings.default_vm_image.to_string()),
    };
    let status = describe(settings, seen);
    invocation.printer.answer(&status, || text(&status));
    Ok(if status.running { Exit::Done } else { Exit::NotRunning })
}

async fn ask(invocation: &Invocation) -> anyhow::Result<Node> {
    let summary = invocation.client()?.summary().await?;
    Ok(Node {
        environment: summary.environment,
        network: summary.network,
        draining: summary.draining,
        vms: summary.vms,
        ports: summary.ports.in_use,
        adverts: summary.adverts,
    })
}

async fn local(settings: &Settings) -> Local {
    let address = (super::reachable(settings.host), settings.port.get());
    if matches!(timeout(seconds(2), TcpStream::connect(address)).await, Ok(Ok(_))) {
        Local::Listening
    } else if is_free(settings.host, settings.port.get()) {
        Local::Free
    } else {
        Local::Held
    }
}

/// The answer for people.
fn text(status: &Status) -> String {
    let overall = match status.overall.status {
        "healthy" => "\x1b[32mHealthy\x1b[0m",
        "issues" => "\x1b[33mIssues\x1b[0m",
        _ => "\x1b[31mError\x1b[0m",
    };
    let mark = |good: bool| if good { "✅" } else { "❌" };
    let mut lines = vec![format!("Overall         {overall}")];
    lines.extend(status.overall.issues.iter().map(|issue| format!("  - {issue}")));
    let pid = status.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let running = if status.running { format!("running{pid}") } else { "not running".to_owned() };
    let draining = if status.draining { ", draining" } else { "" };
    let provider = &status.ports.provider;
    let ssh = &status.ports.ssh;
    lines.extend([
        String::new(),
        format!("Provider        {running}{draining}, version {}", status.version.installed),
        format!("  Environment   {} on {}", status.environment.environment, status.environment.network),
        backend_line(&status.vm_backend),
        format!("Provider Port   {}:{}", provider.host, provider.port),
        format!("  Local         {} {}", mark(provider.local_ok), provider.local_detail),
        format!("SSH Ports       {}-{}", ssh.range[0], ssh.range[1] - 1),
        format!("  In use        {}", ssh.in_use),
        format!("VMs             {}", status.vms),
    ]);
    lines.extend(status.adverts.iter().map(|advert| format!("Market          {}", found(advert))));
    lines.join("\n")
}

/// The line of the backend: as the original words it where it is Multipass.
fn backend_line(backend: &BackendPart) -> String {
    match (backend.name, backend.ok) {
        ("multipass", true) => "Multipass       ✅ OK".to_owned(),
        ("multipass", false) => "Multipass       ❌ Missing".to_owned(),
        (name, ok) => format!("VM Backend      {} {name}", if ok { "✅" } else { "❌" }),
    }
}

/// Whether renters find the node.
fn found(advert: &AdvertView) -> String {
    let lapses = advert.lapses_at.map(|at| format!(", until {} unless renewed", at.strftime("%F %R UTC")));
    let place = &advert.place;
    match advert.standing.as_str() {
        "current" => format!("✅ renters find the node on {place}{}", lapses.unwrap_or_default()),
        "hidden" => format!("the node is not offered on {place}"),
        "problem" => format!("❌ {place}: see above"),
        _ => format!("nothing is known of {place} yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn settings() -> Settings {
        let environment = BTreeMap::from([("HOME".to_owned(), "/nowhere".to_owned())]);
        crate::settings::load(BTreeMap::new(), environment, Path::new("/nowhere")).unwrap().settings
    }

    fn good() -> Seen {
        Seen {
            running: true,
            pid: Some(7),
            node: Ok(Node { vms: 1, ports: BTreeSet::from([50800]), ..Node::stopped(&settings()) }),
            backend: Ok(()),
            local: Local::Listening,
            listening: BTreeSet::from([50800]),
            image_missing: None,
        }
    }

    #[test]
    fn s_039_s_040_every_fault_is_named_and_graded() {
        let settings = settings();
        let grade = |seen: Seen| {
            let overall = judge(&settings, &seen);
            (overall.status, overall.issues.len())
        };
        assert_eq!(grade(good()), ("healthy", 0));
        let node = Node { draining: true, ..good().node.unwrap() };
        assert_eq!(grade(Seen { node: Ok(node), ..good() }), ("issues", 1));
        assert_eq!(grade(Seen { listening: BTreeSet::new(), ..good() }), ("issues", 1));
        assert_eq!(grade(Seen { image_missing: Some("24.04".to_owned()), ..good() }), ("issues", 1));
        assert_eq!(grade(Seen { backend: Err("no QEMU".to_owned()), ..good() }), ("error", 1));
        assert_eq!(grade(Seen { node: Err("timeout".to_owned()), ..good() }), ("error", 1));
        assert_eq!(grade(Seen { local: Local::Free, ..good() }), ("error", 1));
        let stopped =
            Seen { running: false, node: Ok(Node::stopped(&settings)), listening: BTreeSet::new(), ..good() };
        assert_eq!(grade(Seen { local: Local::Free, ..stopped.clone() }), ("error", 1));
        assert_eq!(grade(stopped), ("error", 2));
    }

    #[test]
    fn s_044_s_047_s_049_s_051_s_052_unchecked_ports_are_unknown_and_listening_is_local() {
        let status = serde_json::to_value(describe(&settings(), good())).unwrap();
        let ssh = &status["ports"]["ssh"];
        assert_eq!(ssh["range"], serde_json::json!([50800, 50900]));
        assert_eq!(ssh["in_use"], 1);
        assert_eq!(ssh["usable_free"], 0);
        assert!(ssh.get("free").is_none());
        let ports = ssh["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 100);
        assert_eq!(ports[0], serde_json::json!({ "port": 50800, "status": "unknown", "listening": true }));
        assert_eq!(ports[1], serde_json::json!({ "port": 50801, "status": "unknown", "listening": false }));
    }

    #[test]
    fn s_053_people_and_programs_read_the_same_verdict() {
        let settings = settings();
        for seen in [good(), Seen { backend: Err("no QEMU".to_owned()), ..good() }] {
            let status = describe(&settings, seen);
            let text = text(&status).to_lowercase();
            assert!(text.contains(status.overall.status), "{text}");
            assert!(status.overall.issues.iter().all(|issue| text.contains(&issue.to_lowercase())), "{text}");
        }
    }
}
