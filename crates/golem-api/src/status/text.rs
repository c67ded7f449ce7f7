//! The answer of `status`, for people: the documented lines, then what else there is.
//!
//! Owns the wording. Everything is in the answer already: nothing is judged here.

use golem_reach::certificates::{CertificateFacts, HttpsReport};
use golem_types::wire::Exact;

use golem_host::layout::age;

use super::{
    Answer, BackendPart, Checklist, Grade, Issue, LastKnown, PortCheck, PortsPart, ProviderPort, SshPorts,
    Status,
};
use crate::views::{AdvertView, BooksView};
use golem_types::amount::coins;

/// The answer for people.
#[must_use]
pub fn text(status: &Status) -> String {
    let overall = match status.overall.status {
        Grade::Healthy => "\x1b[32mHealthy\x1b[0m",
        Grade::Issues => "\x1b[33mIssues detected\x1b[0m",
        Grade::Error => "\x1b[31mError\x1b[0m",
    };
    let mut lines = vec![format!("Overall         {overall}")];
    lines.extend(status.overall.issues.iter().flat_map(issue));
    lines.extend([String::new(), backend(&status.vm_backend), String::new()]);
    lines.extend(provider(&status.ports.provider, &status.ports.check));
    lines.push(String::new());
    lines.extend(ssh(&status.ports.ssh, &status.ports.check));
    lines.extend(status.ports.last_known.map(last_known));
    lines.push(String::new());
    lines.extend(rest(status));
    lines.push(String::new());
    lines.push(checklist(&status.checklist));
    lines.join("\n")
}

/// Whether the node does what its operator wants of it.
#[must_use]
pub fn checklist(list: &Checklist) -> String {
    let rows = list.rows().map(|(word, row)| {
        let mark = match row.answer {
            Answer::Yes => "✅ yes",
            Answer::No => "❌ no",
            Answer::Unknown => "not known",
        };
        let fix = row.fix.as_ref().map_or_else(String::new, |fix| format!("\n      fix: {fix}"));
        format!("{:<16}{mark}: {}{fix}", format!("Can be {word}"), row.reason)
    });
    rows.join("\n")
}

/// What is off, and what to do.
fn issue(issue: &Issue) -> Vec<String> {
    let mut lines = vec![format!("  - {}", issue.text)];
    lines.extend(issue.fixes.iter().enumerate().map(|(number, fix)| {
        let label = if number == 0 { "fix: " } else { "" };
        format!("      {label:<5}{fix}")
    }));
    lines.extend(issue.help.iter().map(|help| format!("      more: {help}")));
    lines
}

/// What the node goes by while check servers are silent.
fn last_known(known: LastKnown) -> String {
    let LastKnown { at, provider, ssh_reachable } = known;
    let api = provider.as_str();
    format!("  Last known    API {api}, {ssh_reachable} SSH ports reachable, {}", age(at))
}

/// Who looked from outside, and when.
fn checked(ports: &PortsPart) -> Option<String> {
    let PortCheck::Done { at: Some(at) } = ports.check else { return None };
    let answered = ports.sources.iter().filter(|source| source.problem.is_none()).count();
    let by = match ports.sources.len() {
        0 => String::new(),
        all => format!(" by {answered} of {all} check servers"),
    };
    Some(format!("Ports checked   {}{by}", age(at)))
}

const fn mark(good: bool) -> &'static str {
    if good { "✅" } else { "❌" }
}

/// The line of the backend: as the original words it where it is Multipass.
fn backend(backend: &BackendPart) -> String {
    match (backend.name, backend.ok) {
        ("multipass", true) => "Multipass       ✅ OK".to_owned(),
        ("multipass", false) => "Multipass       ❌ Missing".to_owned(),
        (name, ok) => {
            let accelerator = backend.accelerator.as_deref().map(|name| format!(" on {name}"));
            format!("VM Backend      {} {name}{}", mark(ok), accelerator.unwrap_or_default())
        }
    }
}

fn provider(provider: &ProviderPort, check: &PortCheck) -> Vec<String> {
    let ProviderPort { host, port, local_ok, local_detail, held_by, reason, .. } = provider;
    let local = match (local_ok, held_by) {
        (true, _) => (*local_detail).to_owned(),
        (false, Some(holder)) => format!("port unavailable — held by {holder}"),
        (false, None) => format!("port unavailable — {local_detail}"),
    };
    let external = match (check, reason) {
        (PortCheck::Failed { reason }, _) => {
            format!("not known: {}", reason.strip_prefix("check failed: ").unwrap_or(reason))
        }
        (PortCheck::Skipped, _) => "not checked (GOLEM_PROVIDER_SKIP_PORT_VERIFICATION)".to_owned(),
        (_, None) => "✅ reachable".to_owned(),
        (_, Some(reason)) => format!("❌ unreachable — {reason}"),
    };
    vec![
        format!("Provider Port   {host}:{port}"),
        format!("  Local         {} {local}", mark(*local_ok)),
        format!("  External      {external}"),
    ]
}

fn ssh(ssh: &SshPorts, check: &PortCheck) -> Vec<String> {
    let count = ssh.issues.count();
    let verdict = match ssh.status {
        "ok" if *check == PortCheck::Skipped => "not checked".to_owned(),
        "ok" => "OK".to_owned(),
        "limited" => format!("limited — {count} issue(s)"),
        other => other.to_owned(),
    };
    let usable = match check {
        PortCheck::Skipped => {
            let all = usize::from(ssh.range[1].saturating_sub(ssh.range[0]));
            format!("{} free, not verified", all.saturating_sub(ssh.in_use + ssh.issues.held))
        }
        _ => ssh.usable_free.to_string(),
    };
    let mut lines = vec![
        format!("SSH Ports       {}-{} — {verdict}", ssh.range[0], ssh.range[1].saturating_sub(1)),
        format!("  Usable free   {usable}"),
        format!("  In use        {}", ssh.in_use),
    ];
    if count > 0 {
        lines.push(format!("  Issues        {}", ssh.issues.words()));
    }
    lines
}

/// What the documented lines do not say.
fn rest(status: &Status) -> Vec<String> {
    let pid = status.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let running = if status.running { format!("running{pid}") } else { "not running".to_owned() };
    let draining = if status.draining { ", draining" } else { "" };
    let version = &status.version;
    let update = match (version.update_available, &version.latest) {
        (true, Some(latest)) => format!(" (version {latest} is available)"),
        _ => String::new(),
    };
    let mut lines = vec![
        format!("Provider        {running}{draining}, version {}{update}", version.installed),
        format!("  Environment   {} on {}", status.environment.environment, status.environment.network),
    ];
    lines.extend(checked(&status.ports));
    if let Some(resources) = &status.resources {
        let (free, total, host) = (resources.free, resources.total, resources.host);
        lines.extend([
            format!("VMs             {} of at most {}", status.vms, resources.max_vms),
            format!(
                "  Room          {} of {} cores, {} of {} GB memory, {} of {} GB storage",
                free.cpu, total.cpu, free.memory, total.memory, free.storage, total.storage
            ),
            format!(
                "  Host          CPU {} %, memory {} %, storage {} % in use",
                host.cpu_percent, host.memory_percent, host.storage_percent
            ),
        ]);
    }
    lines.extend(status.https.iter().flat_map(https));
    if let Some(wallet) = &status.wallet {
        let balance: Option<Exact> = wallet.balance_wei;
        let has = balance.map_or_else(
            || "balance not known".to_owned(),
            |balance| format!("{} {}", coins(balance), wallet.symbol),
        );
        lines.push(format!("Wallet          {}, {has}", wallet.address));
    }
    if let Some(payments) = &status.payments {
        let block = payments.block.map_or_else(String::new, |block| format!(", block {block}"));
        let good = payments.error.is_none();
        lines.push(format!("Payments        {} {}{block}", mark(good), payments.network));
        let unwell: Vec<_> = payments.endpoints.iter().filter(|endpoint| !endpoint.is_well).collect();
        if !unwell.is_empty() && payments.endpoints.len() > 1 {
            let (all, well) = (payments.endpoints.len(), payments.endpoints.len() - unwell.len());
            lines.push(format!("                {well} of {all} endpoints are well"));
        }
        for endpoint in unwell {
            let problem = endpoint.problem.as_deref().unwrap_or("it did not answer");
            lines.push(format!("                {}: {problem}", endpoint.host));
        }
        lines.extend(payments.books.as_ref().map(books));
    }
    lines.extend(status.adverts.iter().map(|advert| format!("Market          {}", found(advert))));
    lines
}

/// What the last comparison of the books with the chain came to.
fn books(books: &BooksView) -> String {
    let Some(at) = books.checked_at else {
        return "Books           not compared with the chain yet".to_owned();
    };
    let found = match books.differences {
        0 => "✅ equal the chain".to_owned(),
        count => format!("❌ differ from the chain in {count} place(s)"),
    };
    format!("Books           {found}, compared {}", age(at))
}

/// Where browsers reach the node, and with which certificate; or why they do not.
fn https(https: &HttpsReport) -> Vec<String> {
    let why = https.problems.first().map_or("nothing is known yet", |problem| &problem.what);
    let mut lines = vec![match &https.endpoint {
        Some(endpoint) => format!("https           ✅ {endpoint}"),
        None => format!("https           none: {why}"),
    }];
    if let Some(certificate) = &https.certificate {
        let CertificateFacts { issuer, names, until, .. } = certificate;
        let time = "%F %R UTC";
        let renewal = https.next_renewal.map(|at| format!(", renewed on {}", at.strftime(time)));
        lines.push(format!(
            "  Certificate   for {} by {issuer}, until {}{}",
            names.join(", "),
            until.strftime(time),
            renewal.unwrap_or_default()
        ));
    } else if let Some(next) = https.next_renewal {
        lines.push(format!("  Certificate   tried again on {}", next.strftime("%F %R UTC")));
    }
    lines
}

/// Whether renters find the node.
fn found(advert: &AdvertView) -> String {
    let lapses = advert.lapses_at.map(|at| format!(", until {} unless renewed", at.strftime("%F %R UTC")));
    let place = &advert.place;
    match advert.standing.as_str() {
        "current" if advert.is_behind => {
            format!("renters find the node on {place} with an earlier offer, until the new one is told")
        }
        "hidden" if advert.is_behind => format!("the node is about to be offered on {place}"),
        "current" => format!("✅ renters find the node on {place}{}", lapses.unwrap_or_default()),
        "hidden" => format!("the node is not offered on {place}"),
        "problem" if advert.connected == Some(false) => format!("❌ not connected to {place}: see above"),
        "problem" => format!("❌ {place}: see above"),
        _ => format!("nothing is known of {place} yet"),
    }
}

#[cfg(test)]
mod tests;
