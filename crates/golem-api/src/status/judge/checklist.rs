//! Whether the node does what its operator wants of it: can it be rented, found, reached, and is it paid?
//!
//! Owns these four answers, as a pure function of what was seen. A "no" has a fix, always; what was not seen is "not known", and
//! claims nothing. Never tells everything that is off: the issues do.

use golem_reach::certificates::HttpsCause;
use golem_reach::report::{PortsReport, ProblemReport, Reach};

use super::super::facts::{Local, NodeFacts, StatusFacts, StatusSettings};
use super::super::view::{Answer, Checklist, ChecklistRow, PortCheck};
use super::ports::check;
use super::{capital, is_of_check};
use crate::views::{AdvertView, PaymentsClosed, Summary};
use golem_types::wire::Exact;
use ruint::aliases::U256;

/// How a node is started that does not run.
const START: &str =
    "`golem-provider start --daemon`, or `sudo systemctl start golem-provider` where it is a service";

/// What tells more of a node that does not answer.
const LOOK_AT_LOG: &str = "its log says why; `golem-provider stop`, then start it again";

/// The four answers for what was seen by a program whose settings are `settings`; `check` is what is known from outside.
pub(super) fn checklist(settings: &StatusSettings, facts: &StatusFacts, check: &PortCheck) -> Checklist {
    Checklist {
        rented: rented(settings, facts),
        found: found(facts),
        reached: reached(settings, facts, check),
        paid: paid(settings, facts),
    }
}

impl ChecklistRow {
    fn yes(reason: impl Into<String>) -> Self {
        Self { answer: Answer::Yes, reason: reason.into(), fix: None, by_choice: false }
    }

    fn no(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { answer: Answer::No, reason: reason.into(), fix: Some(fix.into()), by_choice: false }
    }

    fn unknown(reason: impl Into<String>, fix: Option<&str>) -> Self {
        let fix = fix.map(str::to_owned);
        Self { answer: Answer::Unknown, reason: reason.into(), fix, by_choice: false }
    }

    /// A "no" that the settings ask for, or that is what the node is for: it is full.
    fn chosen(reason: &str, fix: &str) -> Self {
        Self { by_choice: true, ..Self::no(reason, fix) }
    }

    /// A "no" for `told`, which most often brings its fix along.
    fn told(told: &str, otherwise: &str) -> Self {
        for mark in ["; fix: ", "; install with: "] {
            if let Some((reason, fix)) = told.split_once(mark) {
                return Self::no(capital(reason), fix);
            }
        }
        Self::no(capital(told), otherwise)
    }
}

/// What the node says of itself, or the row that there is without it.
fn node(facts: &StatusFacts) -> Result<&NodeFacts, ChecklistRow> {
    match &facts.node {
        Some(Ok(node)) => Ok(node),
        Some(Err(why)) => {
            Err(ChecklistRow::unknown(format!("The provider does not answer: {why}"), Some(LOOK_AT_LOG)))
        }
        None => Err(ChecklistRow::unknown("The provider is not running", Some(START))),
    }
}

/// Whether the next renter gets a VM.
fn rented(settings: &StatusSettings, facts: &StatusFacts) -> ChecklistRow {
    if let Err(why) = &facts.backend {
        return ChecklistRow::told(why, "`golem-provider status` tells more of the VM backend");
    }
    if let Some(image) = &facts.image_missing {
        let fix =
            format!("`golem-provider images pull {image}`, or `golem-provider images add {image} FILE`");
        return ChecklistRow::no(format!("The default image {image} is not here"), fix);
    }
    if !facts.running {
        return ChecklistRow::no("The provider is not running", START);
    }
    let node = match node(facts) {
        Ok(node) => node,
        Err(row) => return row,
    };
    let summary = &node.summary;
    if let Some(trouble) = &summary.disk_trouble {
        let place = settings.data_dir.display();
        return ChecklistRow::no(
            capital(trouble),
            format!("make room or mend it in {place} (`df -h`, `df -i`)"),
        );
    }
    if let Some(closed) = &summary.closed {
        let why = summary.backend.accelerator_problem.as_deref().unwrap_or("GOLEM_PROVIDER_VM_ACCEL=tcg");
        let fix = format!("{why}; or set GOLEM_PROVIDER_ALLOW_TCG=true");
        return ChecklistRow::no(capital(closed), fix);
    }
    if summary.draining {
        return ChecklistRow::no("It is draining and takes no new rentals", "`golem-provider drain off`");
    }
    if let Some(closed) = summary.payments.as_ref().and_then(|payments| payments.closed) {
        return unpriced(closed);
    }
    let (free, total, least) = (summary.free, summary.total, settings.limits.minimum);
    for (what, has, left, needs, rent) in [
        ("cores", total.cpu, free.cpu, least.cpu, "CPU"),
        ("GB of memory", total.memory, free.memory, least.memory, "MEMORY_GB"),
        ("GB of storage", total.storage, free.storage, least.storage, "STORAGE_GB"),
    ] {
        if has < needs {
            let fix = format!("rent out more (GOLEM_PROVIDER_RENT_{rent}), where the machine has it");
            return ChecklistRow::no(format!("{has} {what} are less than the {needs} of the least VM"), fix);
        }
        if left < needs {
            return ChecklistRow::chosen(
                &format!("{left} of {has} {what} are left: everything is rented out"),
                &format!(
                    "nothing is wrong; `golem-provider vms list` shows who has it, GOLEM_PROVIDER_RENT_{rent} how much there is"
                ),
            );
        }
    }
    if summary.vms >= summary.max_vms {
        return ChecklistRow::chosen(
            &format!("{} of at most {} VMs are rented out", summary.vms, summary.max_vms),
            "nothing is wrong; GOLEM_PROVIDER_MAX_VMS says how many there may be",
        );
    }
    let limits = &settings.limits;
    for (what, used, most, variable) in [
        ("CPU", summary.host.cpu_percent, limits.cpu_threshold, "CPU"),
        ("memory", summary.host.memory_percent, limits.memory_threshold, "MEMORY"),
        ("storage", summary.host.storage_percent, limits.storage_threshold, "STORAGE"),
    ] {
        if used > most {
            return ChecklistRow::no(
                format!(
                    "{used} % of the host's {what} is in use, more than the {most} % above which nothing is rented out"
                ),
                format!("end what uses it, or set GOLEM_PROVIDER_{variable}_THRESHOLD higher"),
            );
        }
    }
    if !summary.backend.answers {
        let reason = "The VM backend did not answer when the node last asked";
        return ChecklistRow::unknown(reason, Some("`golem-provider status` again in a moment"));
    }
    ChecklistRow::yes(format!(
        "{} cores, {} GB of memory and {} GB of storage are free",
        free.cpu, free.memory, free.storage
    ))
}

/// Why nothing is rented out for want of a price.
fn unpriced(closed: PaymentsClosed) -> ChecklistRow {
    match closed {
        PaymentsClosed::NoPrice => ChecklistRow::no(
            "No price in the money of the streams is known",
            "let the node reach its price feed (GOLEM_PROVIDER_COINGECKO_API_URL), or set prices in GLM \
             (GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH and so on)",
        ),
        PaymentsClosed::TokenDigits { found, expected } => ChecklistRow::no(
            format!("The token has {found} digits after the point, and its profile says {expected}"),
            format!("`golem-provider networks add NAME --token-decimals {found} …`"),
        ),
    }
}

/// Whether renters find the node in a market.
fn found(facts: &StatusFacts) -> ChecklistRow {
    if !facts.running {
        return ChecklistRow::no("The provider is not running", START);
    }
    let adverts = match node(facts) {
        Ok(node) => &node.summary.adverts,
        Err(row) => return row,
    };
    if adverts.is_empty() {
        return ChecklistRow::chosen(
            "The settings offer the node nowhere: renters have to be told where it is",
            "remove GOLEM_PROVIDER_ADVERTISERS=none (or GOLEM_PROVIDER_ADVERTISER_TYPE=none)",
        );
    }
    let stands = |standing: &str| adverts.iter().find(|advert: &&AdvertView| advert.standing == standing);
    if let Some(advert) = stands("current") {
        return ChecklistRow::yes(format!("Renters find it on {}", advert.place));
    }
    if let Some(advert) = stands("problem") {
        let problem = advert.problem.as_deref().unwrap_or("the market does not take the advert");
        let told = format!("on {}: {problem}", advert.place);
        return ChecklistRow::told(&told, "`golem-provider market` shows what the market says");
    }
    match stands("hidden") {
        Some(advert) => ChecklistRow::no(
            format!("The node does not offer itself on {} now", advert.place),
            "it does so once it can be rented and reached",
        ),
        None => ChecklistRow::unknown(
            "Nothing was heard of a market yet",
            Some("`golem-provider status` in a moment"),
        ),
    }
}

/// Whether renters reach the API, and a port for a VM.
fn reached(settings: &StatusSettings, facts: &StatusFacts, check: &PortCheck) -> ChecklistRow {
    let report = facts.ports.as_ref().ok();
    let holder = report.and_then(|report| report.provider.local_detail.as_deref());
    match (facts.running, facts.local) {
        (true, Local::Listening) | (false, Local::Free) => {}
        (true, _) => {
            let reason = format!("Nothing answers on the provider's TCP port {}", settings.port);
            return ChecklistRow::no(
                reason,
                "accept what goes to `lo` in this host's firewall, or start the provider again",
            );
        }
        (false, _) => {
            let holder = holder.unwrap_or("another program");
            return ChecklistRow::no(
                format!("TCP port {} is held by {holder}", settings.port),
                "stop that, or set GOLEM_PROVIDER_PORT to another port",
            );
        }
    }
    let mut row = outside(settings, report, check);
    if let (Answer::Yes, Some(Ok(node))) = (row.answer, &facts.node) {
        row.reason += &https(&node.summary);
    }
    row
}

/// How renters come over https, where that is wished: beside the plain port, so a "yes" without it is one.
fn https(summary: &Summary) -> String {
    let Some(https) = &summary.https else { return String::new() };
    match (&https.endpoint, https.problems.first()) {
        (Some(endpoint), _) => format!(", and over https at {endpoint}"),
        (None, Some(problem)) if problem.cause != HttpsCause::Off => {
            format!(", and not over https: {}", problem.what)
        }
        _ => String::new(),
    }
}

/// Whether renters reach the ports, as `ports` tells: whether or not the node runs.
#[must_use]
pub fn judge_ports(settings: &StatusSettings, ports: &Result<PortsReport, String>) -> ChecklistRow {
    outside(settings, ports.as_ref().ok(), &check(settings, ports.as_ref()))
}

/// What was found out from outside.
fn outside(settings: &StatusSettings, report: Option<&PortsReport>, check: &PortCheck) -> ChecklistRow {
    let problems = report.map_or(&[][..], |report| &report.problems);
    match check {
        PortCheck::Skipped => ChecklistRow::unknown(
            "The settings say that nobody outside is asked",
            Some("remove GOLEM_PROVIDER_SKIP_PORT_VERIFICATION"),
        ),
        PortCheck::Failed { reason } => {
            let fix = problems.iter().find(|problem| is_of_check(problem)).and_then(first_fix);
            let longer = "`golem-provider ports check` waits longer for check servers";
            ChecklistRow::unknown(capital(reason), Some(fix.unwrap_or(longer)))
        }
        PortCheck::Done { .. } => report.map_or_else(
            || ChecklistRow::unknown("Nothing is known of the ports", Some("`golem-provider ports check`")),
            |report| from_outside(settings, report),
        ),
    }
}

/// What check servers said.
fn from_outside(settings: &StatusSettings, report: &PortsReport) -> ChecklistRow {
    let (first, last) = (settings.ssh_ports.start, settings.ssh_ports.end.saturating_sub(1));
    let with = |reach: Reach| report.ssh.iter().filter(|port| port.status == reach).count();
    let (open, shut) = (with(Reach::Reachable), with(Reach::Unreachable));
    let api = report.provider.status;
    let shut = match (api, open, shut) {
        (Reach::Reachable, 1.., _) => {
            let all = report.ssh.len();
            return ChecklistRow::yes(format!(
                "TCP {} and {open} of {all} SSH ports were reached from outside",
                settings.port
            ));
        }
        (Reach::Unreachable, ..) => format!("TCP port {} is not reachable from outside", settings.port),
        (_, 0, 1..) => format!("None of the SSH ports {first}-{last} is reachable from outside"),
        _ => {
            let reason = "Check servers could not tell, or contradict each other";
            return ChecklistRow::unknown(reason, Some("`golem-provider ports check`"));
        }
    };
    let told = report
        .problems
        .iter()
        .filter(|problem| problem.critical && !is_of_check(problem))
        .find_map(first_fix);
    let forward = format!(
        "forward TCP {} and {first}-{last} to this host in the router, and open them in the firewall; or set \
         GOLEM_PROVIDER_PORT_MAPPING=true",
        settings.port
    );
    ChecklistRow::no(shut, told.map_or(forward, str::to_owned))
}

fn first_fix(problem: &ProblemReport) -> Option<&str> {
    problem.fixes.first().map(String::as_str)
}

/// Whether what is rented out is paid for, and the money gets to the operator.
fn paid(settings: &StatusSettings, facts: &StatusFacts) -> ChecklistRow {
    if let Some(network) = &settings.test_money_on_mainnet {
        return ChecklistRow::no(
            format!("Rentals are paid in the test money of {network}, and the market is that of real money"),
            "set GOLEM_PROVIDER_PAYMENTS_NETWORK to a network of real money (`golem-provider networks list`), or \
             GOLEM_PROVIDER_NETWORK=testnet",
        );
    }
    let summary = match node(facts) {
        Ok(node) => &node.summary,
        Err(row) => return row,
    };
    if let Some(contract) = summary.unknown_contracts.first() {
        return ChecklistRow::no(
            format!("Rentals are paid in a contract that no profile names ({contract})"),
            "`golem-provider networks add`, as `golem-provider status` words it, then start the node again",
        );
    }
    let Some(payments) = &summary.payments else {
        return ChecklistRow::chosen(
            "The settings turn payments off: VMs are free for everybody who asks",
            "remove GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS=0x0",
        );
    };
    if let Some(closed) = payments.closed {
        return unpriced(closed);
    }
    let check = Some("`golem-provider networks check` tells what each endpoint of the chain can do");
    if let Some(error) = &payments.error {
        return ChecklistRow::unknown(
            format!("The chain of {} cannot be asked: {error}", payments.network),
            check,
        );
    }
    if payments.block.is_none() {
        return ChecklistRow::unknown(
            format!("Nothing was heard of the chain of {} yet", payments.network),
            check,
        );
    }
    if let Some((payout, problem)) =
        summary.payouts.iter().find_map(|payout| Some((payout, payout.problem.as_ref()?)))
    {
        let told = format!("What was earned does not reach {}: {problem}", payout.to);
        return ChecklistRow::told(&told, "`golem-provider wallet transactions` shows what waits, and why");
    }
    if let Some(wallet) = facts.wallet.as_ref().filter(|_| settings.withdraws)
        && wallet.balance == Ok(Exact(U256::ZERO))
    {
        let fix = match wallet.has_faucet {
            true => "`golem-provider wallet faucet-l2`".to_owned(),
            false => format!("send some to {}", wallet.address),
        };
        return ChecklistRow::no(
            format!("The wallet has no {} for gas, so nothing is withdrawn", wallet.symbol),
            fix,
        );
    }
    ChecklistRow::yes(format!("By streams in {} on {}", payments.symbol, payments.network))
}

#[cfg(test)]
mod tests;
