//! Whom the operator has told when something is wrong.
//!
//! ```text
//!   look of the dashboard ─► conditions ─► golem_alerts (when, how, to whom)
//! ```
//! Owns which conditions hold, from the look that the dashboard and the metrics have as well, and the routes. Never decides when
//! one is told: [`golem_alerts::Engine`] does. Looks at nothing while nobody is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use golem_alerts::{Condition, Config, Courier, Engine, Message, Rule, Seen};
use golem_service::server::json::ok;
use golem_service::tasks::Tasks;
use golem_types::VmStatus;
use jiff::{SignedDuration, Timestamp, Zoned};
use tokio::time::{Instant, sleep};

use super::dashboard::{Look, RowView};
use super::{By, Operator, Shared};
use crate::config::ApiConfig;
use crate::error::{ApiError, ApiResult};
use crate::status::Answer;
use crate::views::{AlertsView, Summary, VmView};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);

/// What a stream has paid for beyond this is nothing to be told of.
const RUNWAY: SignedDuration = SignedDuration::from_mins(30);

/// A certificate that ends within this should have been renewed; one of an authority for addresses lives six days.
const CERTIFICATE: SignedDuration = SignedDuration::from_hours(36);

/// Percent of the volume in use from which it is nearly full.
const DISK: u8 = 95;

/// Who is told, and what.
pub(super) struct Alerts {
    node: String,
    engine: Mutex<Engine>,
    courier: Courier,
    tells: bool,
}

impl Alerts {
    /// As `config` says, with `tasks` of their own.
    pub(super) fn new(config: &ApiConfig, tasks: &Tasks) -> Self {
        let Config { node, repeat_hours, quiet, .. } = config.alerts.clone();
        Self {
            engine: Mutex::new(Engine::new(node.clone(), repeat_hours, quiet)),
            node,
            courier: Courier::start(&config.alerts, tasks),
            tells: config.alerts.tells(),
        }
    }

    /// Takes what is seen after `passed`, and sends what is to be told.
    fn look(&self, passed: Duration, seen: Seen) {
        let now = Zoned::now();
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let message = engine.look(passed, (now.timestamp(), now.time()), seen);
        drop(engine);
        if let Some(message) = message {
            tracing::info!(entries = message.entries.len() + message.more, "alerts are told");
            self.courier.send(&message);
        }
    }
}

/// Looks until the API ends, if anybody is told.
pub(super) fn watch(operator: &Arc<Operator>) {
    if !operator.alerts.tells {
        return;
    }
    let (operator, begun) = (Arc::clone(operator), Instant::now());
    let stop = operator.stopping.clone();
    operator.node.tasks().clone().spawn("alerts", async move {
        let looking = async {
            loop {
                let look = operator.look().await;
                operator.alerts.look(begun.elapsed(), seen(&look));
                sleep(EVERY).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(looking).await;
    });
}

/// What is wrong, and who is told.
#[utoipa::path(
    get, path = "/alerts", tag = "Node",
    responses((status = 200, body = AlertsView, description = "What is wrong, the worst first, and who is told")),
)]
pub(super) async fn list(State(operator): Shared) -> ApiResult {
    let alerts = operator.alerts.engine.lock().unwrap_or_else(PoisonError::into_inner).list();
    Ok(ok(&AlertsView { alerts, destinations: operator.alerts.courier.deliveries() }))
}

/// Tells everybody that this is a test.
#[utoipa::path(
    post, path = "/alerts/test", tag = "Node",
    responses(
        (status = 200, body = Vec<golem_alerts::Delivery>, description = "How it went with each destination"),
        (status = 409, description = "Nobody is told when something is wrong"),
    ),
)]
pub(super) async fn test(State(operator): Shared, by: By) -> ApiResult {
    let alerts = &operator.alerts;
    if !alerts.tells {
        let text = "nobody is told when something is wrong; fix: set GOLEM_PROVIDER_ALERT_WEBHOOK, or \
                    GOLEM_PROVIDER_ALERT_SMTP for mail, then `golem-provider reload`";
        return Err(ApiError::new(StatusCode::CONFLICT, text));
    }
    tracing::info!(target: "audit", %by, "a test is sent to everybody who is told of trouble");
    Ok(ok(&alerts.courier.try_all(&Message::test(&alerts.node, Timestamp::now())).await))
}

/// What is wrong in `look`, at the VMs `views`.
fn seen(look: &Look) -> Seen {
    let mut seen = of_node(&look.node.summary, look.at);
    seen.conditions.extend(of_vms(&look.views, &look.paid_until, look.at));
    if let Some(health) = &look.node.health {
        let newer = health.update_available.then(|| health.latest.as_deref().unwrap_or("that is newer"));
        of_health(&health.checklist, newer, &mut seen);
    }
    seen
}

/// Adds what the node's own verdict and the version that is `newer` make wrong.
fn of_health(checklist: &[RowView], newer: Option<&str>, seen: &mut Seen) {
    for row in checklist.iter().filter(|row| row.word == "reached") {
        match row.row.answer {
            Answer::No if !row.row.by_choice => {
                let text = format!("Renters do not reach this node: {}", row.row.reason);
                seen.conditions.push(wrong(Rule::PortLost, "", text, row.row.fix.clone()));
            }
            Answer::Unknown => {
                seen.unknown.insert(Rule::PortLost);
            }
            Answer::No | Answer::Yes => {}
        }
    }
    if let Some(newer) = newer {
        let text = format!("Version {newer} is published");
        let fix = Some("update golem-provider".to_owned());
        seen.conditions.push(wrong(Rule::UpdateThere, "", text, fix));
    }
}

fn wrong(rule: Rule, subject: &str, text: String, fix: Option<String>) -> Condition {
    Condition { rule, subject: subject.to_owned(), text, fix }
}

fn of_vms(views: &[VmView], paid_until: &BTreeMap<String, Timestamp>, at: Timestamp) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for vm in views {
        // All of an id is the right to use the VM, and messages go to others' servers.
        let (id, name) = (vm.id.redacted(), &vm.name);
        let mut add = |rule, text, fix| conditions.push(wrong(rule, id, text, Some(fix)));
        let logs = || format!("`golem-provider vms logs {id}`");
        if vm.unpaid_since.is_some() {
            let text = format!("VM {name} is paused: it is not paid for");
            add(
                Rule::VmPaused,
                text,
                "its renter pays, or `golem-provider vms delete` frees its place".to_owned(),
            );
        } else if vm.status == VmStatus::Error || (vm.status == VmStatus::Running && vm.error.is_some()) {
            let why = vm.error.as_deref().unwrap_or("it failed");
            add(Rule::VmDown, format!("VM {name}: {why}"), format!("look at {}", logs()));
        } else if vm.status == VmStatus::Running
            && let Some(until) = paid_until.get(vm.id.as_str())
            && until.duration_since(at) < RUNWAY
        {
            let text = format!("What was paid for VM {name} lasts until {until:.0}");
            add(Rule::RunwayLow, text, "its renter adds to the stream; else it is paused".to_owned());
        }
        if vm.network_problem.is_some() {
            let text = format!("VM {name} is not in a network of its own, or was cut off");
            add(Rule::IsolationOff, text, "`golem-provider status` tells why and what to do".to_owned());
        }
    }
    conditions
}

fn of_node(summary: &Summary, at: Timestamp) -> Seen {
    let mut seen = Seen::default();
    let mut add = |rule, subject: &str, text, fix: Option<&str>| {
        seen.conditions.push(wrong(rule, subject, text, fix.map(str::to_owned)));
    };
    let status = Some("`golem-provider status` tells more");
    if !summary.backend.answers {
        let text = format!("{}, which makes the VMs, does not answer", summary.backend.name);
        add(Rule::BackendDown, "", text, status);
    }
    if let Some(problem) = &summary.backend.bounds_problem {
        add(Rule::IsolationOff, "", format!("Guests are not bounded: {problem}"), None);
    }
    if let Some(trouble) = &summary.disk_trouble {
        add(Rule::DiskFull, "data", format!("The disk under the data directory: {trouble}"), status);
    }
    let percent = summary.host.storage_percent;
    if percent >= DISK {
        let fix = Some("make room, e.g. `golem-provider images remove`");
        add(Rule::DiskFull, "", format!("{percent} % of the volume where VMs live is in use"), fix);
    }
    for network in summary.payments.iter().chain(&summary.other_payments) {
        if let Some(error) = &network.error {
            let text = format!("The chain {} cannot be asked: {error}", network.network);
            add(Rule::EndpointDown, &network.network, text, status);
        }
        for endpoint in network.endpoints.iter().filter(|endpoint| !endpoint.is_well) {
            let text = format!("{} does not answer well for {}", endpoint.host, network.network);
            add(Rule::EndpointDown, &format!("{} {}", network.network, endpoint.host), text, status);
        }
    }
    // Its sentences count, so that none of them can be told from what it was a while ago.
    if !summary.transactions.is_empty() {
        let fix = Some("`golem-provider wallet transactions` shows them");
        add(Rule::WithdrawalStuck, "", summary.transactions.join("; "), fix);
    }
    for advert in &summary.adverts {
        let is_lapsed = advert.lapses_at.is_some_and(|lapses| lapses < at);
        if let Some(problem) = &advert.problem {
            let text = format!("Renters may not find this node at {}: {problem}", advert.place);
            add(Rule::AdvertGone, &advert.place, text, status);
        } else if is_lapsed {
            let text = format!("The advert at {} has lapsed", advert.place);
            add(Rule::AdvertGone, &advert.place, text, status);
        }
    }
    let certificate = summary.https.as_ref().and_then(|https| https.certificate.as_ref());
    if let Some(until) = certificate.map(|certificate| certificate.until)
        && until.duration_since(at) < CERTIFICATE
    {
        add(Rule::CertificateEnding, "", format!("The certificate for https ends at {until:.0}"), status);
    }
    seen
}

#[cfg(test)]
mod tests;
