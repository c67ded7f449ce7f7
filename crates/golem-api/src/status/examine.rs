//! `doctor`'s rows about the node, its VMs, ports, markets and money.
//!
//! Owns which row each thing that `status` judged becomes, and what is said where nothing is off. Never judges those anew, and
//! never looks at anything.

use golem_host::doctor::{Check, Row, State, advice};
use golem_host::layout::age;
use golem_market::survey::MarketView;
use golem_reach::certificates::HttpsCause;
use golem_types::amount::coins;
use golem_types::wire::Exact;
use jiff::{SignedDuration, Timestamp};

use super::view::{Answer, ChecklistRow, Issue, PortCheck, Status};
use crate::views::PaymentsView;

/// How long before its end a certificate is worth a look: it is renewed long before.
const NEAR_END: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Share of others that ask less, in percent, from which a price is worth a look.
const DEAR: u8 = 50;

/// What was seen beside the status.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The status.
    pub status: &'a Status,
    /// What markets tell of this node and of others.
    pub markets: &'a [MarketView],
    /// Why guests run without hardware virtualization, as seen by this command; `None` if they have it or the backend decides.
    pub without_kvm: Option<String>,
    /// Why guests would reach nothing, as seen by this command.
    pub network_problem: Option<String>,
}

/// The rows, in the order of the checks.
#[must_use]
pub fn examine(seen: &Seen<'_>, now: Timestamp) -> Vec<Row> {
    let status = seen.status;
    let list = &status.checklist;
    let mut rows = vec![
        goal(Check::Rented, &list.rented),
        goal(Check::Found, &list.found),
        goal(Check::Reached, &list.reached),
        goal(Check::Paid, &list.paid),
    ];
    rows.extend(demand(seen));
    for check in Check::ALL {
        let before = rows.len();
        rows.extend(status.overall.issues.iter().filter(|issue| issue.about == check).map(of_issue));
        if rows.len() == before {
            rows.extend(fine(check, seen, now));
        }
    }
    rows.extend(seen.markets.iter().map(|market| shown(status, market)));
    let prices: Vec<_> = seen.markets.iter().filter_map(price).collect();
    if seen.markets.is_empty() {
        let row = Row::new(Check::Markets, State::Notice, "the settings offer the node nowhere");
        rows.push(row.fix("remove GOLEM_PROVIDER_ADVERTISERS=none (or GOLEM_PROVIDER_ADVERTISER_TYPE=none)"));
    } else if prices.is_empty() && !rows.iter().any(|row| row.check == Check::Prices) {
        let row = Row::new(Check::Prices, State::Unknown, "no market told what others ask");
        rows.push(row.fix("`golem-provider market` tells why, or that there are no others"));
    }
    rows.extend(prices);
    let is_off = |row: &&mut Row| matches!(row.state, State::Broken | State::Notice);
    for row in rows.iter_mut().filter(is_off).filter(|row| row.fixes.is_empty()) {
        row.fixes.push(what_tells_more(row.check).to_owned());
    }
    rows.sort_by_key(|row| row.check);
    rows
}

/// What to do where nothing that was seen says so.
const fn what_tells_more(check: Check) -> &'static str {
    match check {
        Check::Chain => "`golem-provider networks check` tells what each endpoint of the chain can do",
        Check::Markets => "`golem-provider market` shows what the market says",
        Check::Resources => "end what uses it, or change the setting that is named",
        Check::Payouts | Check::Wallet => "`golem-provider wallet transactions` shows what waits, and why",
        _ => "`golem-provider logs -n 100` says more",
    }
}

/// One of the four questions.
fn goal(check: Check, row: &ChecklistRow) -> Row {
    let state = match (row.answer, row.by_choice) {
        (Answer::Yes, _) => State::Ok,
        (Answer::No, true) => State::Notice,
        (Answer::No, false) => State::Broken,
        (Answer::Unknown, _) => State::Unknown,
    };
    let told = Row::new(check, state, &row.reason);
    row.fix.iter().fold(told, |row, fix| row.fix(fix))
}

/// Something that is off.
fn of_issue(issue: &Issue) -> Row {
    let state = if issue.critical { State::Broken } else { State::Notice };
    let (text, fix) = split(&issue.text);
    let mut row = Row::new(issue.about, state, text);
    row.fixes.extend(fix.map(str::to_owned));
    row.fixes.extend(issue.fixes.iter().cloned());
    if let Some(found) = advice::about(text) {
        row.help = found.help();
        if row.fixes.is_empty() {
            row.fixes.push(found.fix.to_owned());
        }
    }
    if let Some(help) = &issue.help {
        row.help.clone_from(help);
    }
    row
}

/// What is off, and what to do about it, where a sentence tells both.
fn split(text: &str) -> (&str, Option<&str>) {
    /// How what to do begins.
    const BEGINNINGS: [&str; 11] =
        ["`", "stop ", "set ", "let ", "attach ", "start ", "make ", "send ", "accept ", "run ", "wait "];
    if let Some((what, fix)) = text.split_once("; fix: ") {
        return (what, Some(fix));
    }
    let begins = |rest: &str| BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning));
    match text.match_indices(": ").find(|(at, mark)| begins(&text[at + mark.len()..])) {
        Some((at, mark)) => (&text[..at], Some(&text[at + mark.len()..])),
        None => (text, None),
    }
}

/// Whether anybody rents, where nothing is in the way.
fn demand(seen: &Seen<'_>) -> Option<Row> {
    let status = seen.status;
    if !status.running || status.checklist.is_blocked() {
        return None;
    }
    if status.vms > 0 {
        return Some(Row::ok(Check::Demand, format!("{} VM(s) are rented out", status.vms)));
    }
    let all = || status.checklist.rows().into_iter();
    if all().any(|(_, row)| row.answer != Answer::Yes) {
        return Some(Row::new(
            Check::Demand,
            State::Unknown,
            "nobody rents now; see what is not known above",
        ));
    }
    let row = Row::new(Check::Demand, State::Notice, "nothing is in the way, and nobody rents now");
    Some(row.fix("`golem-provider market` shows what others ask and offer; a lower price is seen first"))
}

/// What is said of `check` where nothing is off; `None` where this machine or a market is looked at instead.
fn fine(check: Check, seen: &Seen<'_>, now: Timestamp) -> Option<Row> {
    let status = seen.status;
    match check {
        Check::Update => return Some(update(status)),
        Check::Backend => {
            return Some(Row::ok(check, format!("{} can be used", status.vm_backend.name)));
        }
        Check::Kvm => return Some(virtualization(seen)),
        Check::Isolation => return Some(isolation(seen)),
        Check::Api => return Some(api(status)),
        Check::Ports => return Some(ports(status)),
        Check::Wallet => return Some(wallet(status)),
        _ => {}
    }
    let is_looked_at = matches!(
        check,
        Check::Process
            | Check::Resources
            | Check::Guests
            | Check::Tls
            | Check::Chain
            | Check::Payouts
            | Check::Books
    );
    if !is_looked_at {
        return None;
    }
    // A node that answers has told of its resources.
    let Some(resources) = status.resources.as_ref() else {
        return Some(Row::new(check, State::Unknown, "only a node that runs and answers tells"));
    };
    Some(match check {
        Check::Process => {
            let pid = status.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            Row::ok(check, format!("runs{pid}, version {}", status.version.installed))
        }
        Check::Resources => {
            let free = resources.free;
            Row::ok(
                check,
                format!(
                    "{} cores, {} GB of memory and {} GB of storage are left; {} of at most {} VMs",
                    free.cpu, free.memory, free.storage, status.vms, resources.max_vms
                ),
            )
        }
        Check::Guests => Row::ok(check, format!("{} VM(s), and nothing is wrong with them", status.vms)),
        Check::Tls => tls(status, now),
        Check::Chain => chain(status.payments.as_ref()),
        Check::Books => books(status.payments.as_ref()),
        _ => Row::ok(check, "nothing keeps what was earned back"),
    })
}

fn update(status: &Status) -> Row {
    let version = &status.version;
    match &version.latest {
        Some(latest) if version.update_available => {
            let seen = format!("version {latest} is there, and {} is installed", version.installed);
            let row = Row::new(Check::Update, State::Notice, seen);
            row.fix("install it as this one was; VMs run on, and `golem-provider reload` takes it over")
        }
        Some(_) => Row::ok(Check::Update, format!("version {} is the newest", version.installed)),
        None => Row::ok(
            Check::Update,
            format!(
                "version {}; no release index answered, or GOLEM_PROVIDER_UPDATE_CHECK_URL names none",
                version.installed
            ),
        ),
    }
}

fn virtualization(seen: &Seen<'_>) -> Row {
    let check = Check::Kvm;
    match (&seen.status.vm_backend.accelerator, &seen.without_kvm) {
        (Some(accelerator), _) if accelerator != "tcg" => {
            Row::ok(check, format!("guests run on {accelerator}"))
        }
        (_, Some(why)) => Row::told(
            check,
            State::Notice,
            &format!("guests run without hardware virtualization (TCG): {why}"),
        ),
        _ if seen.status.vm_backend.name == "qemu" => Row::ok(check, "guests have hardware virtualization"),
        _ => Row::ok(check, format!("{} decides", seen.status.vm_backend.name)),
    }
}

fn isolation(seen: &Seen<'_>) -> Row {
    let check = Check::Isolation;
    match &seen.network_problem {
        Some(problem) => Row::told(check, State::Notice, problem),
        None if seen.status.vm_backend.name == "qemu" => Row::ok(
            check,
            "each guest gets a network namespace of its own; `golem-provider isolation check` tries it from inside",
        ),
        None => Row::ok(check, format!("{} keeps its guests in", seen.status.vm_backend.name)),
    }
}

fn api(status: &Status) -> Row {
    let port = status.ports.provider.port;
    match &status.ports.check {
        PortCheck::Skipped => skipped(Check::Api),
        PortCheck::Done { at: Some(at) } => {
            Row::ok(Check::Api, format!("TCP {port} was reached from outside, {}", age(*at)))
        }
        _ => Row::ok(Check::Api, format!("TCP {port} was reached from outside")),
    }
}

fn ports(status: &Status) -> Row {
    let ssh = &status.ports.ssh;
    match &status.ports.check {
        PortCheck::Skipped => skipped(Check::Ports),
        PortCheck::Failed { .. } => Row::new(Check::Ports, State::Unknown, "nobody looked from outside")
            .fix("`golem-provider ports check`"),
        PortCheck::Done { .. } => Row::ok(
            Check::Ports,
            format!("{} are free and reachable, {} in use", ssh.usable_free, ssh.in_use),
        ),
    }
}

fn skipped(check: Check) -> Row {
    Row::new(check, State::Notice, "nobody outside is asked, as the settings say").fix(
        "remove GOLEM_PROVIDER_SKIP_PORT_VERIFICATION, or have them tried once: `golem-provider ports check`",
    )
}

fn tls(status: &Status, now: Timestamp) -> Row {
    let check = Check::Tls;
    let Some(https) = &status.https else { return Row::ok(check, "not served, as the settings say") };
    let is = |cause: HttpsCause| https.problems.iter().any(|problem| problem.cause == cause);
    match (&https.endpoint, &https.certificate) {
        (Some(endpoint), Some(certificate)) => {
            let until = certificate.until;
            let seen = format!("{endpoint}, certificate until {}", until.strftime("%F %R UTC"));
            if until.duration_since(now) > NEAR_END {
                return Row::ok(check, seen);
            }
            Row::new(check, State::Notice, seen)
                .fix("see that the authority reaches this node: `golem-provider logs -n 100`; files of yours: renew them")
        }
        (Some(endpoint), None) => Row::ok(check, endpoint),
        (None, _) if is(HttpsCause::Pending) => {
            Row::new(check, State::Unknown, "the first certificate is on its way")
                .fix("`golem-provider doctor` in a minute")
        }
        (None, _) => Row::ok(check, "not served, as the settings say"),
    }
}

fn chain(payments: Option<&PaymentsView>) -> Row {
    let check = Check::Chain;
    let Some(payments) = payments else { return Row::ok(check, "payments are off, as the settings say") };
    let (all, network) = (payments.endpoints.len(), &payments.network);
    let block = payments.block.map_or_else(String::new, |block| format!(", block {block}"));
    let Some(unwell) = payments.endpoints.iter().find(|endpoint| !endpoint.is_well) else {
        return Row::ok(check, format!("{network}{block}, {all} endpoint(s), all well"));
    };
    let well = payments.endpoints.iter().filter(|endpoint| endpoint.is_well).count();
    let problem = unwell.problem.as_deref().unwrap_or("it did not answer");
    let seen = format!("{network}{block}, {well} of {all} endpoints are well; {}: {problem}", unwell.host);
    Row::new(check, State::Notice, seen).fix("`golem-provider networks check` tells what each can do")
}

fn books(payments: Option<&PaymentsView>) -> Row {
    let compared = payments.and_then(|payments| payments.books.as_ref()?.checked_at);
    Row::ok(
        Check::Books,
        match compared {
            Some(at) => format!("equal the chain, compared {}", age(at)),
            None => "nothing was compared with the chain yet".to_owned(),
        },
    )
}

fn wallet(status: &Status) -> Row {
    let check = Check::Wallet;
    let Some(wallet) = &status.wallet else {
        return Row::new(check, State::Unknown, "there is no key yet, or payments are off");
    };
    let balance: Option<Exact> = wallet.balance_wei;
    match (balance, &wallet.error) {
        (Some(balance), _) => {
            Row::ok(check, format!("{} has {} {}", wallet.address, coins(balance), wallet.symbol))
        }
        (None, why) => {
            let why = why.as_deref().unwrap_or("the chain did not answer");
            Row::new(check, State::Unknown, format!("the balance of {} is not known: {why}", wallet.address))
                .fix("`golem-provider networks check`")
        }
    }
}

/// How this node stands in `market`, as renters see it.
fn shown(status: &Status, market: &MarketView) -> Row {
    let (check, place) = (Check::Markets, &market.place);
    if let Some(error) = &market.error {
        let seen = format!("{place} cannot be asked: {error}");
        return match advice::about(&seen) {
            Some(found) => Row::new(check, State::Unknown, seen).fix(found.fix),
            None => Row::new(check, State::Unknown, seen).fix("`golem-provider market` in a while"),
        };
    }
    let told = status
        .adverts
        .iter()
        .any(|advert| advert.place == *place && advert.standing == "current" && !advert.is_behind);
    match (&market.own, status.running) {
        (Some(_), true) => Row::ok(check, format!("renters find the node on {place}")),
        (Some(_), false) => {
            Row::new(check, State::Notice, format!("renters find the node on {place}, and it does not run"))
                .fix("start it; or take it off at the next stop: `golem-provider stop --withdraw-advert`")
        }
        (None, true) if told => Row::new(
            check,
            State::Broken,
            format!("the node told {place} its offer, and renters do not see it there"),
        )
        .fix("`golem-provider market` in a minute; if it stays so, another endpoint of that market"),
        (None, _) => Row::new(check, State::Notice, format!("renters do not find the node on {place}"))
            .fix("see Can be found, above"),
    }
}

/// How this node's price stands among those of others.
fn price(market: &MarketView) -> Option<Row> {
    let rank = &market.usd_month;
    let (lowest, median, cheaper) = (rank.lowest?, rank.median?, rank.cheaper_percent?);
    let seen = format!(
        "{:.2} USD a month for a small VM on {}; lowest {lowest:.2}, median {median:.2}; {cheaper} % of {} ask less",
        rank.own, market.place, rank.others
    );
    Some(if cheaper > DEAR {
        Row::new(Check::Prices, State::Notice, seen)
            .fix("`golem-provider pricing set` lowers it; `golem-provider market` shows who asks what")
    } else {
        Row::ok(Check::Prices, seen)
    })
}

#[cfg(test)]
mod tests;
