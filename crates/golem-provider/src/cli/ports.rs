//! `ports …`: whether renters can reach the node's ports.
//!
//! Owns how long a verification is waited for, and what is printed of it. Never judges: `golem_reach` does.

mod mapping;

use std::time::Duration;

use anyhow::bail;
use golem_reach::report::{LocalState, PortReport, PortsReport, ProblemReport, Reach};
use tokio::time::{Instant, sleep};

use super::arguments::Ports;
use super::layout::{age, table};
use super::printer::Printer;
use super::{Exit, Invocation};
use crate::ports::{self, Display};
use golem_api::operator::Client;

/// Longest that a verification may take.
const DEADLINE: Duration = Duration::from_secs(900);

/// How often a running node is asked how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// `ports …`.
pub(super) async fn ports(invocation: &Invocation, command: Ports) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    match command {
        Ports::Map => mapping::map(invocation).await,
        Ports::Unmap => mapping::unmap(invocation).await,
        Ports::List => {
            let report = invocation.client()?.ports().await?;
            print(printer, &report);
            Ok(Exit::Done)
        }
        Ports::Check => {
            let report = if invocation.runs()? {
                verify(&invocation.client()?, printer).await?
            } else {
                let display = shown(printer);
                let tell = |at| display.iter().for_each(|display| display.tell(at));
                ports::report(&invocation.resolved.settings.reach(), None, DEADLINE, tell).await?
            };
            print(printer, &report);
            let usable = report.ssh.iter().any(|port| port.status == Reach::Reachable);
            let fine = usable && report.provider.status == Reach::Reachable;
            Ok(if fine { Exit::Done } else { Exit::Failed })
        }
    }
}

/// Columns of the ports.
const COLUMNS: &str = "port,status,reason,local,local_detail,in_use,agreed,answered,checked_at";

fn print(printer: Printer, report: &PortsReport) {
    let ports: Vec<&PortReport> = std::iter::once(&report.provider).chain(&report.ssh).collect();
    printer.list(report, &ports, COLUMNS, || text(report));
}

/// How far it is, unless a program reads.
fn shown(printer: Printer) -> Option<Display> {
    (!printer.json).then(Display::new)
}

/// Has the running node verify its ports, and waits for that.
async fn verify(node: &Client, printer: Printer) -> anyhow::Result<PortsReport> {
    let before = node.verify_ports().await?;
    if before.address.is_none() {
        bail!("the public address is not known; fix: set GOLEM_PROVIDER_PUBLIC_IP");
    }
    // One that goes on already began before this was asked for.
    let wanted = before.rounds + if before.checking.is_some() { 2 } else { 1 };
    let display = shown(printer);
    let end = Instant::now() + DEADLINE;
    loop {
        let report = node.ports().await?;
        if report.rounds >= wanted {
            return Ok(report);
        }
        if Instant::now() >= end {
            bail!("the verification takes too long; `golem-provider ports list` tells when it is over");
        }
        if let (Some(checking), Some(display)) = (report.checking, &display) {
            display.tell(checking);
        }
        sleep(LOOK).await;
    }
}

/// What a port is, in words; ports that differ in nothing here are shown as one row.
fn words(port: &PortReport) -> [String; 4] {
    let status = match (port.status, port.unreachable_reason()) {
        (Reach::Reachable, _) => "✅ reachable".to_owned(),
        (Reach::Unreachable, Some(why)) => format!("❌ unreachable — {why}"),
        (Reach::Unreachable, None) => "❌ unreachable".to_owned(),
        (Reach::Unknown, _) => "unknown".to_owned(),
    };
    let here = match (port.in_use, port.local) {
        (true, _) => "rented out".to_owned(),
        (false, None) => "-".to_owned(),
        (false, Some(local)) => match &port.local_detail {
            Some(detail) => format!("{}: {detail}", local.as_str()),
            None => local.as_str().to_owned(),
        },
    };
    let sources =
        if port.answered == 0 { "-".to_owned() } else { format!("{} of {}", port.agreed, port.answered) };
    [status, here, sources, port.checked_at.map_or_else(|| "-".to_owned(), age)]
}

/// The report for people.
fn text(report: &PortsReport) -> String {
    let mut rows: Vec<(u16, u16, [String; 4])> = Vec::new();
    for port in std::iter::once(&report.provider).chain(&report.ssh) {
        let words = words(port);
        match rows.last_mut() {
            Some((_, last, same)) if *last + 1 == port.port && *same == words => *last = port.port,
            _ => rows.push((port.port, port.port, words)),
        }
    }
    let rows = rows.into_iter().map(|(first, last, [status, here, sources, age])| {
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        [ports, status, here, sources, age]
    });
    let address = report.address.map_or_else(|| "not known".to_owned(), |address| address.to_string());
    let mut lines = vec![format!("Public address  {address}")];
    for source in &report.sources {
        let said = match &source.problem {
            Some(why) => format!("❌ {why}"),
            None if source.inside => "answered, from this node's own network".to_owned(),
            None => "✅ answered".to_owned(),
        };
        lines.push(format!("Check server    {} {said}", source.source));
    }
    let usable = report.ssh.iter().filter(|port| port.is_usable()).count();
    let held = report.ssh.iter().filter(|port| port.local == Some(LocalState::Held)).count();
    lines.push(format!(
        "SSH ports       {usable} usable, {held} held by other programs, {} in all",
        report.ssh.len()
    ));
    if !report.verified_only {
        lines.push("Policy          ports are handed out without being seen to be reachable".to_owned());
    }
    lines.push(String::new());
    lines.push(table(["PORTS", "FROM OUTSIDE", "HERE", "AGREE", "CHECKED"], rows));
    lines.extend(report.problems.iter().map(problem));
    lines.join("\n")
}

/// A problem for people: what, what it means, what to do, where there is more.
fn problem(problem: &ProblemReport) -> String {
    let mark =
        if problem.critical { "\x1b[1;31m❌ Critical:\x1b[0m" } else { "\x1b[1;33m⚠ Issue:\x1b[0m" };
    let mut lines = vec![format!("\n{mark} {}", problem.what), format!("   Impact  {}", problem.impact)];
    for (number, fix) in problem.fixes.iter().enumerate() {
        let label = if number == 0 { "Fix" } else { "" };
        lines.push(format!("   {label:<7} {fix}"));
    }
    lines.push(format!("   Help    {}", problem.help));
    lines.join("\n")
}
