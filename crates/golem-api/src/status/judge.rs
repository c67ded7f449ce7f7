//! The verdict.
//!
//! Owns the verdict as a pure function: text and JSON both come from what it gives. `error` is what keeps
//! renters out, `issues` is anything else that is off. A check from outside that nobody answered is an
//! error, as documented; one that the settings turn off is not.

mod checklist;
mod payments;
mod ports;

use golem_host::doctor::Check;
use golem_reach::certificates::HttpsCause;
use golem_reach::report::{Cause, ProblemReport, Reach};
use golem_service::release_index::is_newer;
use golem_types::{ImageName, VmStatus};
use golem_vm::images::{ENTRIES, canonical};

pub use checklist::judge_ports;
use ports::{check, last_known, provider, ssh};

use super::facts::{Local, NodeFacts, StatusFacts, StatusSettings};
use super::view::{
    BackendPart, EnvironmentPart, Grade, Issue, Overall, PortCheck, PortsPart, ProviderPort, ResourcesPart,
    SshPorts, Status, VersionPart, WalletPart,
};
use crate::views::{NetworkProblem, VmView};

/// The answer for what was seen by a program whose settings are `settings`.
#[must_use]
pub fn judge(settings: &StatusSettings, facts: StatusFacts) -> Status {
    let node = facts.node.as_ref().and_then(|node| node.as_ref().ok());
    let check = check(settings, facts.ports.as_ref());
    let provider = provider(settings, &facts, &check);
    let ssh = ssh(settings, &facts, node, &check);
    let overall = Verdict::of(settings, &facts, node, &check, &provider, &ssh);
    let summary = node.map(|node| &node.summary);
    let environment =
        summary.map_or_else(|| settings.environment.to_owned(), |summary| summary.environment.clone());
    let checklist = checklist::checklist(settings, &facts, &check);
    Status {
        overall,
        checklist,
        running: facts.running,
        pid: facts.pid,
        draining: summary.is_some_and(|summary| summary.draining),
        version: VersionPart {
            installed: settings.installed,
            update_available: facts
                .latest
                .as_deref()
                .is_some_and(|latest| is_newer(latest, settings.installed)),
            latest: facts.latest,
        },
        environment: EnvironmentPart {
            dev_mode: environment == "development",
            environment,
            network: summary.map_or_else(|| settings.network.to_owned(), |summary| summary.network.clone()),
        },
        ports: PortsPart {
            provider,
            ssh,
            last_known: facts.ports.as_ref().ok().and_then(|report| last_known(report, &check)),
            check,
            problems: facts.ports.as_ref().map(|report| report.problems.clone()).unwrap_or_default(),
            sources: facts.ports.as_ref().map(|report| report.sources.clone()).unwrap_or_default(),
        },
        vm_backend: BackendPart {
            name: facts.backend_name,
            ok: facts.backend.is_ok(),
            error: facts.backend.err(),
            accelerator: summary.and_then(|summary| summary.backend.accelerator.clone()),
        },
        https: summary.and_then(|summary| summary.https.clone()),
        vms: summary.map_or(0, |summary| summary.vms),
        resources: summary.map(|summary| ResourcesPart {
            total: summary.total,
            free: summary.free,
            max_vms: summary.max_vms,
            host: summary.host,
        }),
        wallet: facts.wallet.map(|wallet| WalletPart {
            address: wallet.address,
            symbol: wallet.symbol,
            balance_wei: wallet.balance.as_ref().ok().copied(),
            error: wallet.balance.err(),
        }),
        payments: summary.and_then(|summary| summary.payments.clone()),
        adverts: summary.map(|summary| summary.adverts.clone()).unwrap_or_default(),
        unmanaged: summary
            .map(|summary| summary.unmanaged.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
    }
}

/// Everything that is not as it should be, and whether it keeps renters out.
#[derive(Default)]
struct Verdict {
    errors: Vec<Issue>,
    issues: Vec<Issue>,
}

impl Issue {
    fn new(about: Check, text: impl Into<String>) -> Self {
        Self { about, critical: false, text: text.into(), fixes: Vec::new(), help: None }
    }

    /// With the fixes of `problem`, if there is one.
    fn with(self, problem: Option<&ProblemReport>) -> Self {
        let fixes = problem.map_or(self.fixes, |problem| problem.fixes.clone());
        Self { fixes, help: problem.map(|problem| problem.help.clone()), ..self }
    }
}

impl Verdict {
    fn of(
        settings: &StatusSettings,
        facts: &StatusFacts,
        node: Option<&NodeFacts>,
        check: &PortCheck,
        provider: &ProviderPort,
        ssh: &SshPorts,
    ) -> Overall {
        let mut verdict = Self::default();
        verdict.host(settings, facts, provider);
        let problems = facts.ports.as_ref().map_or(&[][..], |report| &report.problems);
        verdict.outside(check, provider, ssh, problems);
        verdict.problems(check, provider, problems);
        if let Some(node) = node {
            verdict.node(settings, node, ssh);
            verdict.resources(settings, node);
        }
        verdict.wallet(settings, facts);
        let grade = match (verdict.errors.is_empty(), verdict.issues.is_empty()) {
            (false, _) => Grade::Error,
            (true, false) => Grade::Issues,
            (true, true) => Grade::Healthy,
        };
        Overall { status: grade, issues: verdict.errors.into_iter().chain(verdict.issues).collect() }
    }

    fn error(&mut self, about: Check, text: impl Into<String>) {
        self.add(true, Issue::new(about, text));
    }

    fn issue(&mut self, about: Check, text: impl Into<String>) {
        self.add(false, Issue::new(about, text));
    }

    fn add(&mut self, critical: bool, issue: Issue) {
        let list = if critical { &mut self.errors } else { &mut self.issues };
        list.push(Issue { critical, ..issue });
    }

    /// What is wrong on this machine.
    fn host(&mut self, settings: &StatusSettings, facts: &StatusFacts, provider: &ProviderPort) {
        let port = settings.port;
        if !facts.running {
            self.error(Check::Process, format!("The provider is not running: `{}`", settings.how_to_start));
            if !facts.held.is_empty() {
                let count = facts.held.len();
                self.error(
                    Check::Process,
                    format!("{count} VM(s) are rented out, and their renters cannot log in meanwhile"),
                );
            }
        }
        if let Some(Err(why)) = &facts.node {
            self.error(Check::Process, format!("The provider does not answer: {why}"));
        }
        if let Err(why) = &facts.backend {
            self.error(Check::Backend, format!("The VM backend cannot be used: {why}"));
        }
        let holder = provider.held_by.as_deref().unwrap_or("another program");
        match (facts.running, facts.local) {
            (true, Local::Listening) | (false, Local::Free) => {}
            (true, Local::Held) if provider.held_by.is_some() => self.error(Check::Api, format!(
                "Nothing answers on the provider's port {port}, which {holder} holds: if that is the provider, this \
                 host's firewall drops what goes to `lo`; accept it there"
            )),
            (true, _) => self.error(Check::Api, format!("Nothing answers on the provider's port {port}")),
            (false, _) => self.error(Check::Api, format!(
                "TCP port {port} is held by {holder}: stop that, or set GOLEM_PROVIDER_PORT to another port"
            )),
        }
        if let Some(image) = &facts.image_missing {
            let name: Option<ImageName> = image.parse().ok();
            let fix = match name.map(|name| canonical(&name)) {
                Some(name) if ENTRIES.iter().any(|entry| entry.name == name.as_str()) => "pull",
                _ => "add",
            };
            let file = if fix == "add" { " FILE" } else { "" };
            self.issue(
                Check::Backend,
                format!("The default image {image} is not here: `golem-provider images {fix} {image}{file}`"),
            );
        }
    }

    /// What keeps renters out between them and this machine.
    fn outside(
        &mut self,
        check: &PortCheck,
        provider: &ProviderPort,
        ssh: &SshPorts,
        problems: &[ProblemReport],
    ) {
        let (first, last) = (ssh.range[0], ssh.range[1].saturating_sub(1));
        match check {
            PortCheck::Skipped => {}
            PortCheck::Failed { reason } => {
                let text = format!("It is not known whether renters can reach this node: {reason}");
                let cause = problems.iter().find(|problem| is_of_check(problem));
                let mut issue = Issue::new(Check::Api, text).with(cause);
                // A look is brief, and a check server may be slow.
                if !problems.iter().any(|problem| problem.cause == Cause::AddressUnknown) {
                    issue
                        .fixes
                        .push("`golem-provider ports check` waits longer for check servers".to_owned());
                }
                self.add(true, issue);
            }
            PortCheck::Done { .. } => {
                if let Some(reason) = &provider.reason {
                    self.error(
                        Check::Api,
                        format!("TCP port {} is not reachable from outside: {reason}", provider.port),
                    );
                }
                if ssh.status == "blocked" {
                    self.error(
                        Check::Ports,
                        format!("None of the SSH ports {first}-{last} is reachable from outside"),
                    );
                }
            }
        }
        let is_told = ssh.status == "blocked";
        if ssh.issues.count() > 0 && !is_told {
            self.issue(Check::Ports, format!("SSH ports {first}-{last}: {}", ssh.issues.words()));
        }
    }

    /// The causes, by name, of what was told already.
    fn problems(&mut self, check: &PortCheck, provider: &ProviderPort, problems: &[ProblemReport]) {
        for problem in problems.iter().filter(|problem| !is_of_check(problem)) {
            let is_here = matches!(problem.cause, Cause::PortHeld | Cause::CannotListen);
            let is_told = is_here && problem.ports == provider.port.to_string() && !provider.local_ok;
            // Where nobody is to be asked, an answer of long ago is no cause of anything.
            if is_told || (*check == PortCheck::Skipped && !is_here) {
                continue;
            }
            let about = if problem.ports == provider.port.to_string() { Check::Api } else { Check::Ports };
            self.add(problem.critical, Issue::new(about, capital(&problem.what)).with(Some(problem)));
        }
    }

    /// What the node says of itself.
    fn node(&mut self, settings: &StatusSettings, node: &NodeFacts, ssh: &SshPorts) {
        let summary = &node.summary;
        if let Some(trouble) = &summary.disk_trouble {
            self.error(Check::Disk, format!(
                "No VM can be rented out or changed: {trouble}: make room or mend it in {0} and {0}/vms (`df -h`, `df -i`, quota)",
                settings.data_dir.display()
            ));
        }
        if summary.draining {
            self.issue(
                Check::Process,
                "The provider is draining, it takes no new rentals: `golem-provider drain off`",
            );
        }
        if let Some(closed) = &summary.closed {
            let why = summary.backend.accelerator_problem.as_deref().unwrap_or("GOLEM_PROVIDER_VM_ACCEL=tcg");
            self.error(
                Check::Kvm,
                format!("{}: {why}; or set GOLEM_PROVIDER_ALLOW_TCG=true", capital(closed)),
            );
        } else if let Some(problem) = &summary.backend.accelerator_problem {
            self.issue(Check::Kvm, format!(
                "Guests run without hardware virtualization (TCG), slow and not a security boundary: {problem}"
            ));
        }
        if let Some(problem) = &summary.backend.bounds_problem {
            self.issue(Check::Isolation, capital(problem));
        }
        if !summary.backend.answers {
            self.issue(Check::Backend, "The VM backend did not answer when the node last asked");
        }
        for vm in &node.vms {
            let port = ssh.ports.iter().find(|port| port.port == vm.ssh_port);
            if port.is_some_and(|port| port.status == Reach::Unreachable) {
                self.issue(
                    Check::Ports,
                    format!(
                        "The renter of {} cannot log in: TCP port {} is not reachable from outside",
                        vm.name, vm.ssh_port
                    ),
                );
            }
        }
        self.networks(node);
        for vm in node.vms.iter().filter(|vm| vm.status == VmStatus::Error) {
            let why = vm.error.as_deref().unwrap_or("the log says why");
            self.issue(
                Check::Guests,
                format!("The VM {0} cannot run: {why}: `golem-provider vms logs {0}`", vm.name),
            );
        }
        if summary.version != settings.installed {
            self.issue(
                Check::Process,
                format!(
                    "The provider runs version {}, and {} is installed: start it again",
                    summary.version, settings.installed
                ),
            );
        }
        let https = summary.https.iter().flat_map(|https| &https.problems);
        // What the operator turned off, and what is on its way, is not off.
        for problem in https.filter(|problem| !matches!(problem.cause, HttpsCause::Off | HttpsCause::Pending))
        {
            let (fixes, help) = (problem.fixes.clone(), Some(problem.help.clone()));
            let issue = Issue::new(Check::Tls, format!("https: {}", problem.what));
            self.add(false, Issue { fixes, help, ..issue });
        }
        for advert in &summary.adverts {
            if let Some(problem) = &advert.problem {
                self.issue(Check::Markets, format!("Being found: {problem}"));
            }
        }
        self.payments(node);
        if !summary.unmanaged.is_empty() {
            let count = summary.unmanaged.len();
            self.issue(Check::Guests, format!(
                "{count} machine(s) on the backend are not in the ledger, and are left alone: stop the provider, then \
                 `golem-provider recover`"
            ));
        }
    }

    /// How guests are connected, where that is not as it should be.
    fn networks(&mut self, node: &NodeFacts) {
        if let Some(problem) = &node.summary.backend.network_problem {
            self.issue(Check::Isolation, capital(problem));
        }
        let shared = |vm: &&VmView| vm.network_problem == Some(NetworkProblem::Shared);
        let shared = names(node.vms.iter().filter(shared));
        if !shared.is_empty() {
            self.issue(
                Check::Isolation,
                format!(
                    "An older version launched {shared}, whose isolation hangs on this host's firewall; \
                 give it a network namespace of its own: `golem-provider vms restart`"
                ),
            );
        }
        for vm in &node.vms {
            match &vm.network_problem {
                Some(NetworkProblem::Cut(reason)) => self.error(Check::Isolation, format!(
                    "The network of {0} is cut, because it could not be secured: {reason}; it is tried again \
                     every few seconds, and `golem-provider vms restart {0}` makes it anew",
                    vm.name
                )),
                Some(NetworkProblem::Restricted(reason)) => self.issue(Check::Isolation, format!(
                    "{0} has no network but SSH in: {reason}; then `golem-provider vms restart {0}`",
                    vm.name
                )),
                Some(NetworkProblem::Shared) | None => {}
            }
        }
    }

    /// What there is too little of.
    fn resources(&mut self, settings: &StatusSettings, node: &NodeFacts) {
        let (total, host) = (node.summary.total, node.summary.host);
        let least = settings.limits.minimum;
        for (what, has, needs, variable) in [
            ("cores", total.cpu, least.cpu, "CPU_CORES"),
            ("GB of memory", total.memory, least.memory, "MEMORY_GB"),
            ("GB of storage", total.storage, least.storage, "STORAGE_GB"),
        ] {
            if has < needs {
                self.issue(Check::Resources, format!(
                    "Nothing can be rented out: {has} {what}, {} less than GOLEM_PROVIDER_MIN_{variable}={needs}",
                    needs - has
                ));
            }
        }
        for (what, used, threshold, variable) in [
            ("CPU", host.cpu_percent, settings.limits.cpu_threshold, "CPU"),
            ("memory", host.memory_percent, settings.limits.memory_threshold, "MEMORY"),
            ("storage", host.storage_percent, settings.limits.storage_threshold, "STORAGE"),
        ] {
            if used > threshold {
                self.issue(
                    Check::Resources,
                    format!(
                        "No new VM is granted: {used} % of the host's {what} is in use, {} more than \
                     GOLEM_PROVIDER_{variable}_THRESHOLD={threshold}",
                        used - threshold
                    ),
                );
            }
        }
    }
}

/// `text` as a sentence begins.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Whether `problem` is that nothing can be found out.
const fn is_of_check(problem: &ProblemReport) -> bool {
    matches!(problem.cause, Cause::NoAnswer | Cause::AddressUnknown)
}

/// The names of `vms`, the first few of them.
fn names<'a>(vms: impl Iterator<Item = &'a VmView>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = vms.map(|vm| vm.name.to_string()).collect();
    match names.get(..SHOWN) {
        Some(first) if names.len() > SHOWN => {
            format!("{} and {} more", first.join(", "), names.len() - SHOWN)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
pub(super) mod tests;
