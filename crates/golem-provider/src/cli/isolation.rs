//! `isolation check`: has a guest try everything, and prints what it reached.
//!
//! Owns what is told meanwhile and the end of the guest: whatever happens, it is removed before the command ends.

use golem_vm::isolation::{AttemptResult, AttemptRow, CheckStage, CheckedNode, GuestCheck, IsolationReport};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::IsolationCheck;
use super::layout::table;
use super::printer::{Printer, Spinner};
use super::{Exit, Invocation};
use crate::backend;

/// Tells people how far it is: on a terminal in one line, elsewhere a line for each step.
struct IsolationProgress {
    printer: Printer,
    spinner: Option<Spinner>,
}

impl IsolationProgress {
    fn of(printer: Printer) -> Self {
        let spinner = crate::logs::can_redraw().then(|| printer.waiting("preparing"));
        Self { printer, spinner }
    }

    fn tell(&self, stage: CheckStage<'_>) {
        match (&self.spinner, stage) {
            (Some(spinner), CheckStage::Step(what)) => spinner.say(what.to_owned()),
            (Some(spinner), CheckStage::Tried(done, all)) => {
                spinner.say(format!("the guest tries: {done} of {all}"))
            }
            (None, CheckStage::Step(what)) => self.printer.note(what),
            (None, CheckStage::Tried(..)) => {}
        }
    }
}

/// `isolation check`.
pub(super) async fn check(invocation: &Invocation, typed: IsolationCheck) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let image = match &typed.image {
        Some(name) => super::images::parse(name)?,
        None => settings.vms.default_vm_image.clone(),
    };
    // From here on these end the check and not the process: the guest has to be removed.
    let [mut interrupt, mut terminate, mut hangup] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    let node = CheckedNode {
        folder: settings.node.data_dir.join(golem_vm::qemu::ISOLATION_FOLDER),
        boot_timeout: settings.vms.boot_timeout,
        api: settings.api.port.get(),
        operator_api: settings.operator.operator_port.get(),
        ssh: settings.ports.port_range_start.get()..settings.ports.port_range_end.get(),
        allows_smtp: settings.vms.allow_smtp,
    };
    let backend = backend::for_isolation_check(&settings.backend())?;
    let check = GuestCheck::prepare(node, backend, image, typed.internet).await?;
    let ended = tokio::select! {
        ended = rounds(&check, printer, typed.again) => ended,
        never = check.guard() => match never {},
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        _ = hangup.recv() => Err(anyhow::anyhow!("the terminal was closed")),
    };
    check.end().await;
    ended
}

/// Boots the guest and has it try everything, once or until nobody asks for more.
async fn rounds(check: &GuestCheck, printer: Printer, again: bool) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let progress = IsolationProgress::of(printer);
    check.boot(&|stage| progress.tell(stage)).await?;
    drop(progress);
    loop {
        let progress = IsolationProgress::of(printer);
        let report = check.round(&|stage| progress.tell(stage)).await?;
        drop(progress);
        printer.answer(&report, || text(&report));
        if !report.isolated {
            exit = Exit::Failed;
        }
        if !again {
            return Ok(exit);
        }
        printer.note("Enter: the same guest tries again; Ctrl-D: the end");
        let line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        if !matches!(line.await, Ok(Ok(1..))) {
            return Ok(exit);
        }
    }
}

const fn word(verdict: AttemptResult) -> &'static str {
    match verdict {
        AttemptResult::Reached => "❌ REACHED",
        AttemptResult::Fails => "⚠️ does not work",
        AttemptResult::NotTried => "not tried",
        AttemptResult::Refused => "✅ refused",
        AttemptResult::Works => "✅ works",
    }
}

/// The report for people: what went wrong row by row, all else summed up by kind.
fn text(report: &IsolationReport) -> String {
    let mut groups: Vec<(&AttemptRow, Vec<&str>)> = Vec::new();
    for row in &report.attempts {
        let alike = |(first, _): &&mut (&AttemptRow, Vec<&str>)| {
            (first.what, first.verdict, &first.detail) == (row.what, row.verdict, &row.detail)
        };
        match groups.iter_mut().find(alike) {
            Some((_, targets)) => targets.push(&row.target),
            None => groups.push((row, vec![&row.target])),
        }
    }
    let rows = groups.iter().flat_map(|(row, targets)| {
        let all = matches!(row.verdict, AttemptResult::Reached | AttemptResult::Fails | AttemptResult::Works);
        let shown: Vec<String> = match targets.as_slice() {
            targets if all || targets.len() <= 2 => {
                targets.iter().map(|target| (*target).to_owned()).collect()
            }
            [first, rest @ ..] => vec![format!("{first} and {} more", rest.len())],
            [] => Vec::new(),
        };
        shown
            .into_iter()
            .map(|target| [row.what.to_owned(), target, word(row.verdict).to_owned(), row.detail.clone()])
    });
    let mut text = table(["WHAT", "TARGET", "RESULT", "BECAUSE"], rows);
    text += &format!("\n\n{}", summary(report));
    text
}

fn summary(report: &IsolationReport) -> String {
    let IsolationReport { reached, refused, not_tried, fails, .. } = report;
    let mut text = match (reached, refused) {
        (0, 0) => "Nothing could be tried, so nothing was shown.".to_owned(),
        (0, _) => format!("Guests are kept in: {refused} attempts were refused, none came through."),
        _ => format!(
            "Guests are NOT kept in: {reached} attempts came through that must not. Rent nothing out."
        ),
    };
    if *not_tried > 0 {
        text += &format!(" {not_tried} were not tried");
        text += if report.wire_watched { "." } else { "; as root, more can be." };
    }
    if *fails > 0 {
        text += &format!(" {fails} that should work do not.");
    }
    if let Some(network) = &report.network {
        text += &format!("\nThe guest's network: {network}.");
    }
    text
}
