//! What `status` says of the ports.
//!
//! Owns how the port of the API and those of VMs are summed up. Never asks anybody.

use std::collections::{BTreeMap, BTreeSet};

use golem_reach::report::{LocalState, PortReport, PortsReport, Reach};
use golem_types::VmStatus;

use super::super::facts::{Local, NodeFacts, StatusFacts, StatusSettings};
use super::super::view::{LastKnown, PortCheck, ProviderPort, SshIssues, SshPort, SshPorts};
use crate::views::VmView;

/// Whether anything is known of reachability.
pub(super) fn check(settings: &StatusSettings, ports: Result<&PortsReport, &String>) -> PortCheck {
    let report = match ports {
        _ if settings.skip_port_verification => return PortCheck::Skipped,
        Err(reason) => return PortCheck::Failed { reason: reason.clone() },
        Ok(report) => report,
    };
    let failed = |reason: String| PortCheck::Failed { reason };
    if report.address.is_none() {
        return failed("the public address is not known".to_owned());
    }
    if report.rounds == 0 {
        let known = std::iter::once(&report.provider).chain(&report.ssh).find_map(|port| port.checked_at);
        // What an earlier run of the node found out.
        return known
            .map_or_else(|| failed("not checked yet".to_owned()), |at| PortCheck::Done { at: Some(at) });
    }
    let mut problems = report.sources.iter().map(|source| &source.problem);
    match report.sources.first() {
        None => failed("no check server is named".to_owned()),
        Some(first) if problems.all(Option::is_some) => {
            let why = first.problem.as_deref().unwrap_or_default();
            let (name, count) = (&first.source, report.sources.len());
            failed(format!("check failed: no check server answered ({count} asked; {name} {why})"))
        }
        Some(_) => PortCheck::Done { at: report.checked_at },
    }
}

/// What was found out before the check that fails.
pub(super) fn last_known(report: &PortsReport, check: &PortCheck) -> Option<LastKnown> {
    let all = std::iter::once(&report.provider).chain(&report.ssh);
    let at =
        all.filter_map(|port| port.checked_at).max().filter(|_| matches!(check, PortCheck::Failed { .. }))?;
    let ssh_reachable = report.ssh.iter().filter(|port| port.status == Reach::Reachable).count();
    Some(LastKnown { at, provider: report.provider.status, ssh_reachable })
}

pub(super) fn provider(settings: &StatusSettings, facts: &StatusFacts, check: &PortCheck) -> ProviderPort {
    let port = facts.ports.as_ref().ok().map(|report| &report.provider);
    let reason = match check {
        PortCheck::Skipped => Some("not checked".to_owned()),
        PortCheck::Failed { reason } => Some(reason.clone()),
        PortCheck::Done { .. } => match port {
            Some(PortReport { status: Reach::Reachable, .. }) => None,
            Some(port) if port.reason.is_some() => port.unreachable_reason().map(|reason| reason.to_string()),
            Some(PortReport { local: Some(LocalState::Held), .. }) => {
                Some("another program holds the port".to_owned())
            }
            _ => Some("check servers contradict each other".to_owned()),
        },
    };
    let held_by = port.and_then(|port| port.local_detail.clone());
    ProviderPort {
        port: settings.port,
        host: settings.host.to_string(),
        status: if reason.is_none() { "reachable" } else { "unreachable" },
        reason,
        local_ok: local_ok(facts),
        local_detail: match (facts.running, facts.local) {
            (true, Local::Listening) => "service is listening",
            (_, Local::Free) => "port is free",
            (false, Local::Listening) | (_, Local::Held) => "port is held by another program",
        },
        held_by: held_by.filter(|_| !local_ok(facts)),
    }
}

fn local_ok(facts: &StatusFacts) -> bool {
    matches!((facts.running, facts.local), (true, Local::Listening) | (false, Local::Free))
}

pub(super) fn ssh(
    settings: &StatusSettings,
    facts: &StatusFacts,
    node: Option<&NodeFacts>,
    check: &PortCheck,
) -> SshPorts {
    let in_use = match node {
        Some(node) => node.summary.ports.in_use.clone(),
        None => facts.held.clone(),
    };
    let listening = node.map(|node| node.listening.clone()).unwrap_or_default();
    // Only then is the port open.
    let serving = |vm: &&VmView| vm.status == VmStatus::Running;
    let served: BTreeSet<u16> =
        node.iter().flat_map(|node| node.vms.iter().filter(serving)).map(|vm| vm.ssh_port).collect();
    let range = settings.ssh_ports.clone();
    let report = facts.ports.as_ref().ok();
    let reported: BTreeMap<u16, &PortReport> =
        report.iter().flat_map(|report| &report.ssh).map(|port| (port.port, port)).collect();
    let known = |port: u16| reported.get(&port).copied();
    let (mut issues, mut usable_free, mut reachable) = (SshIssues::default(), 0, 0);
    let mut ports = Vec::new();
    for port in range.clone() {
        let seen_outside = known(port);
        let status = match (check, seen_outside) {
            (PortCheck::Done { .. }, Some(port)) => port.status,
            _ => Reach::Unknown,
        };
        let is_held = seen_outside
            .is_some_and(|port| matches!(port.local, Some(LocalState::Held | LocalState::Failed)));
        let is_listening = listening.contains(&port);
        reachable += usize::from(status == Reach::Reachable);
        issues.unreachable += usize::from(status == Reach::Unreachable);
        issues.unknown += usize::from(status == Reach::Unknown && *check != PortCheck::Skipped && !is_held);
        issues.held += usize::from(is_held);
        issues.not_listening += usize::from(served.contains(&port) && !is_listening);
        usable_free += usize::from(status == Reach::Reachable && !is_held && !in_use.contains(&port));
        ports.push(SshPort { port, status, listening: is_listening });
    }
    let is_off = issues != SshIssues::default();
    SshPorts {
        range: [range.start, range.end],
        status: match check {
            PortCheck::Skipped if !is_off => "ok",
            PortCheck::Skipped => "limited",
            _ if reachable == 0 => "blocked",
            _ if is_off => "limited",
            _ => "ok",
        },
        usable_free,
        in_use: in_use.len(),
        issues,
        ports,
    }
}

impl SshIssues {
    /// How many there are.
    pub const fn count(self) -> usize {
        self.unreachable + self.not_listening + self.held + self.unknown
    }

    /// In words: `100 not reachable externally`, or `3 unreachable, 1 not listening`.
    pub fn words(self) -> String {
        let Self { unreachable, not_listening, held, unknown } = self;
        if self.count() == unreachable {
            return format!("{unreachable} not reachable externally");
        }
        [
            (unreachable, "unreachable"),
            (not_listening, "not listening"),
            (held, "held by another program"),
            (unknown, "not checked"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
    }
}
