//! `ports map` and `ports unmap`: the router is asked to forward the ports, and no longer to.

use anyhow::bail;
use tokio::time::sleep;

use super::ports::problem;
use super::printer::table;
use super::{Exit, Invocation};
use crate::daemon::Signals;
use crate::pid_file;
use crate::ports::{Mapper, MappingReport, UnmappingReport, ranges};

/// Whether a running node keeps the ports forwarded by itself.
fn node_does_it(invocation: &Invocation) -> anyhow::Result<bool> {
    Ok(invocation.resolved.settings.port_mapping && pid_file::holder(&invocation.pid_file)?.is_some())
}

/// `ports map`: holds what the router gave until it is told to end, and gives it back.
pub(super) async fn map(invocation: &Invocation) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    if node_does_it(invocation)? {
        bail!(
            "the node that runs maps its ports by itself (GOLEM_PROVIDER_PORT_MAPPING); `golem-provider ports \
             check` tells whether they are reachable"
        );
    }
    let mut signals = Signals::listen()?;
    let mut mapper = Mapper::new(&invocation.resolved.settings)?;
    let mut held = None;
    let failed = loop {
        let waiting = held.is_none().then(|| printer.waiting("Asking the router"));
        let asked = tokio::select! {
            asked = mapper.map() => Some(asked),
            _ = signals.next() => None,
        };
        drop(waiting);
        let pause = match asked {
            None => break None,
            Some(Ok(report)) => {
                let pause = report.renewal();
                let now = report.forwarded();
                if held.as_ref() != Some(&now) {
                    printer.answer(&report, || text(&report));
                    if held.is_none() {
                        printer.note("Forwarded until Ctrl-C.");
                    }
                    verify(invocation).await;
                    held = Some(now);
                }
                pause
            }
            Some(Err(error)) => break Some(error),
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = signals.next() => break None,
        }
    };
    let undone = mapper.undo().await;
    if let Some(error) = failed {
        return Err(error.into());
    }
    match undone {
        Ok(()) => printer.note("The router forwards no port to this host any more."),
        Err(ports) => printer.warning(&format!(
            "the router may forward TCP {} until its lease ends, within the hour",
            ranges(&ports, '-', ", ")
        )),
    }
    Ok(Exit::Done)
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
    let waiting = invocation.printer.waiting("Asking the router");
    let report = Mapper::new(&invocation.resolved.settings)?.unmap().await?;
    drop(waiting);
    invocation.printer.answer(&report, || unmapped(&report));
    Ok(Exit::Done)
}

fn unmapped(report: &UnmappingReport) -> String {
    let ways: Vec<&str> = report.protocols.iter().map(|protocol| protocol.as_str()).collect();
    let ways = ways.join(", ");
    if report.ports.is_empty() {
        format!("Nothing was forwarded to this host ({ways}).")
    } else {
        format!("The router forwards TCP {} no longer ({ways}).", ranges(&report.ports, '-', ", "))
    }
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
