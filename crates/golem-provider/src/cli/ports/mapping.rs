//! `ports map` and `ports unmap`: the router is asked to forward the ports, and no longer to.
//!
//! Owns when that ends, and what is printed of it. Never talks to a router: [`golem_reach::mapping`] does.

use anyhow::bail;
use golem_reach::mapping::{
    AGAIN, LeftPort, Mapper, MappingChange, MappingError, MappingReport, Renewal, UnmappingReport,
};
use golem_reach::wording::ranges;
use serde_json::json;

use super::problem;
use crate::cli::layout::table;
use crate::cli::printer::Printer;
use crate::cli::{Exit, Invocation};
use crate::ports;
use crate::signals::Signals;

/// Whether a running node keeps the ports forwarded by itself.
fn node_does_it(invocation: &Invocation) -> anyhow::Result<bool> {
    Ok(invocation.resolved.settings.ports.port_mapping && invocation.runs()?)
}

/// Who asks the router; `None` if no router has to be asked, which is said.
fn mapper(invocation: &Invocation) -> anyhow::Result<Option<Mapper>> {
    let error = match ports::mapper(&invocation.resolved.settings.reach()) {
        Ok(mapper) => return Ok(Some(mapper)),
        Err(error) => error,
    };
    match error.downcast_ref() {
        Some(MappingError::Public(address)) => {
            invocation.printer.answer(&json!({ "needed": false, "public_address": address }), || {
                format!(
                    "Nothing to do: this host has the public address {address} itself, and no router has to forward. \
                     `golem-provider ports check` tells whether the ports are reachable."
                )
            });
            Ok(None)
        }
        _ => Err(error),
    }
}

/// `ports map`: holds what the router gave until it is told to end, and gives it back.
pub(super) async fn map(invocation: &Invocation) -> anyhow::Result<Exit> {
    if node_does_it(invocation)? {
        bail!(
            "the node that runs maps its ports by itself (GOLEM_PROVIDER_PORT_MAPPING); `golem-provider ports \
             check` tells whether they are reachable"
        );
    }
    let mut signals = Signals::listen()?;
    let Some(mut mapper) = mapper(invocation)? else { return Ok(Exit::Done) };
    let held = tokio::select! {
        error = hold(invocation, &mut mapper) => Err(error),
        _ = signals.next() => Ok(()),
    };
    tokio::select! {
        () = give_back(invocation.printer, &mut mapper, held.is_ok()) => {}
        _ = signals.next() => {}
    }
    let ports: Vec<u16> = mapper.held().into_iter().collect();
    held?;
    if ports.is_empty() {
        invocation.printer.note("The router forwards no port to this host any more.");
        return Ok(Exit::Done);
    }
    invocation.printer.warning(&format!(
        "the router may forward TCP {} to this host until its lease ends, within the hour; fix: golem-provider ports unmap",
        ranges(&ports, '-', ", ")
    ));
    Ok(Exit::Failed)
}

/// Tells what the router forwards, for as long as it is waited for; why it never did.
async fn hold(invocation: &Invocation, mapper: &mut Mapper) -> MappingError {
    let printer = invocation.printer;
    let mut holding = Renewal::new(mapper);
    let waiting = printer.waiting("Asking the router");
    let first =
        holding.news(|done, total| waiting.say(format!("Asking the router: {done} of {total} ports"))).await;
    drop(waiting);
    match first {
        MappingChange::Forwarded(report) | MappingChange::Problems(report) => {
            printer.answer(&report, || text(&report))
        }
        MappingChange::Failed(error) => return error,
    }
    printer.note("Forwarded until Ctrl-C.");
    verify(invocation).await;
    loop {
        match holding.news(|_, _| ()).await {
            MappingChange::Forwarded(report) => {
                printer.note(&format!(
                    "The router forwards {} ports to this host now.",
                    report.forwarded().len()
                ));
                warn(printer, &report);
                verify(invocation).await;
            }
            MappingChange::Problems(report) => warn(printer, &report),
            MappingChange::Failed(error) => printer.warning(&format!(
                "{error}; the router is asked again every {} s until Ctrl-C",
                AGAIN.as_secs()
            )),
        }
    }
}

fn warn(printer: Printer, report: &MappingReport) {
    for problem in &report.problems {
        printer.warning(&problem.line());
    }
}

/// Has the router forward nothing any more, and shows it to who waits for that.
async fn give_back(printer: Printer, mapper: &mut Mapper, shown: bool) {
    let total = mapper.held().len();
    if shown && total > 0 {
        printer.note(&format!(
            "The router is told to forward {total} ports no longer; a second Ctrl-C ends this at once, and names \
             those that stay forwarded until their lease ends, within the hour."
        ));
    }
    let waiting = printer.waiting("Asking the router");
    mapper
        .undo(|done, total| waiting.say(format!("Asking the router: {done} of {total} ports are done")))
        .await;
}

/// A node that runs looks at once whether its ports are reachable now.
async fn verify(invocation: &Invocation) {
    if let Ok(node) = invocation.client()
        && node.verify_ports().await.is_ok()
    {
        invocation.printer.note("The node that runs has its ports tried again.");
    }
}

/// `ports unmap`.
pub(super) async fn unmap(invocation: &Invocation) -> anyhow::Result<Exit> {
    if node_does_it(invocation)? {
        bail!(
            "the node that runs would map its ports again; fix: set GOLEM_PROVIDER_PORT_MAPPING=false and start \
             it anew, or `golem-provider stop`"
        );
    }
    let Some(mapper) = mapper(invocation)? else { return Ok(Exit::Done) };
    let waiting = invocation.printer.waiting("Asking the router");
    let unmapped = mapper.unmap(|protocol, done, total| {
        waiting.say(format!("Asking the router by {}: {done} of {total} ports", protocol.as_str()));
    });
    let report = unmapped.await;
    drop(waiting);
    let report = report?;
    invocation.printer.answer(&report, || unmapped_text(&report));
    Ok(if report.left.is_empty() { Exit::Done } else { Exit::Failed })
}

fn unmapped_text(report: &UnmappingReport) -> String {
    let ways: Vec<&str> = report.protocols.iter().map(|protocol| protocol.as_str()).collect();
    let ways = ways.join(", ");
    let mut lines = match report.ports.as_slice() {
        [] if report.left.is_empty() => vec![format!("Nothing was forwarded to this host ({ways}).")],
        [] => Vec::new(),
        ports => vec![format!("The router forwards TCP {} no longer ({ways}).", ranges(ports, '-', ", "))],
    };
    let same =
        |one: &LeftPort, other: &LeftPort| one.protocol == other.protocol && one.problem == other.problem;
    lines.extend(report.left.chunk_by(same).filter_map(|left| {
        let LeftPort { protocol, problem, .. } = left.first()?;
        let ports: Vec<u16> = left.iter().map(|left| left.port).collect();
        Some(format!(
            "It may still forward TCP {} until the lease ends, within the hour ({}: {problem}).",
            ranges(&ports, '-', ", "),
            protocol.as_str()
        ))
    }));
    lines.join("\n")
}

/// The report for people; ports of which the same is to say are one row.
fn text(report: &MappingReport) -> String {
    let said = |problem: &Option<String>| match problem {
        None => "✅ forwarded".to_owned(),
        Some(why) => format!("❌ {why}"),
    };
    let rows = report.ports.chunk_by(|one, other| one.problem == other.problem && one.port + 1 == other.port);
    let rows = rows.map(|same| {
        let ports: Vec<u16> = same.iter().map(|port| port.port).collect();
        [ranges(&ports, '-', ", "), same.first().map(|port| said(&port.problem)).unwrap_or_default()]
    });
    let external =
        report.external_address.map_or_else(|| "not told".to_owned(), |address| address.to_string());
    let mut lines = vec![
        format!("Router          {} ({})", report.gateway, report.protocol.as_str()),
        format!("Its address     {external}"),
        format!("Forwards to     {}", report.to),
        format!("Lease           {} min, renewed meanwhile", report.lease_seconds / 60),
        String::new(),
        table(["PORTS", "ROUTER"], rows),
    ];
    lines.extend(report.problems.iter().map(problem));
    lines.join("\n")
}
