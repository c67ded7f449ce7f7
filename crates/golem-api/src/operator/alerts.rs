//! What the operator is told of without looking.
//!
//! ```text
//!   the dashboard's look, every 15 s ─► what is off (here) ─► golem_host::alerts: when, in which words, to whom
//! ```
//! Owns the rules: what is off, how much it matters, and how long it has to last. Asks nobody but the look. VMs' own texts are cleaned where a
//! message is made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use golem_host::alerts::{Alert, AlertSettings, Delivery, Message, Severity, Trouble, Watch};
use golem_reach::report::{PortReport, Reach};
use golem_service::server::json::ok;
use golem_service::tasks::Tasks;
use golem_types::VmState;
use jiff::{SignedDuration, Zoned};

use super::dashboard::Look;
use super::{By, Operator, Shared};
use crate::error::{ApiError, ApiResult};
use crate::status::Answer;
use crate::views::{AlertView, AlertsView, NetworkProblem, ReceiverView, VmView};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(15);

const MINUTE: Duration = Duration::from_secs(60);

/// For how long a VM has to be paid for, so that nobody is told.
const RUNWAY: SignedDuration = SignedDuration::from_hours(1);

/// How long a chain may go unread: streams end meanwhile, and no VM is rented out.
const UNREAD: SignedDuration = SignedDuration::from_mins(15);

/// How long a certificate has to be good. The node renews it a month before its end.
const CERTIFICATE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How full the volume with VMs may be, in percent.
const FULL: u8 = 95;

/// Who is told, and what is known.
pub(super) struct Alerts {
    settings: AlertSettings,
    delivery: Delivery,
    watch: Mutex<Watch>,
}

impl Alerts {
    pub(super) fn new(settings: AlertSettings, tasks: &Tasks) -> Self {
        let watch = Mutex::new(Watch::new(settings.repeat, settings.quiet));
        Self { delivery: Delivery::start(settings.clone(), tasks), settings, watch }
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks, and tells, until the API ends. What is off is followed even if nobody is told: `alerts list` shows it.
pub(super) async fn run(operator: Arc<Operator>) {
    let stop = operator.stopping.clone();
    stop.run_until_cancelled(async {
        loop {
            let look = operator.look().await;
            let troubles = operator.troubles(&look);
            let news = operator.alerts.watch().look(troubles, look.at, Zoned::now().time());
            if !news.is_none() {
                for (what, alerts) in
                    [("begun", &news.begun), ("still so", &news.still), ("over", &news.over)]
                {
                    for Alert { key, text, .. } in alerts {
                        tracing::info!(target: "audit", alert = key, what, "{text}");
                    }
                }
                let provider = &operator.config.provider;
                operator.alerts.delivery.tell(&Message::new(&provider.name, &provider.provider_id, news));
            }
            tokio::time::sleep(EVERY).await;
        }
    })
    .await;
}

/// What is off, by a name that stays the same while it lasts.
#[derive(Default)]
struct Troubles(BTreeMap<String, Trouble>);

impl Troubles {
    fn add(
        &mut self,
        key: impl Into<String>,
        severity: Severity,
        minutes: u32,
        text: String,
        fix: impl Into<Option<&'static str>>,
    ) {
        let fix = fix.into().map(str::to_owned);
        self.0.insert(key.into(), Trouble { severity, text, fix, hold: MINUTE * minutes });
    }
}

impl Operator {
    fn troubles(&self, look: &Look) -> BTreeMap<String, Trouble> {
        let mut all = Troubles::default();
        self.of_vms_off(look, &mut all);
        of_the_host(look, &mut all);
        of_money(look, &mut all);
        let ssh = self.config.ports.as_ref().map(|ports| ports.report());
        let ports = ssh.map(|report| (report.provider, report.ssh));
        of_reach(look, ports.as_ref().map(|(provider, ssh)| (provider, ssh.as_slice())), &mut all);
        all.0
    }

    fn of_vms_off(&self, look: &Look, all: &mut Troubles) {
        for vm in self.node.vms().iter().map(|vm| VmView::of(&self.node, vm)) {
            let (id, name) = (&vm.id, &vm.name);
            if let Some(problem) = &vm.error
                && vm.status != VmState::Stopped
            {
                let text = format!("the VM {name} ({id}) is not as it should be: {problem}");
                all.add(format!("vm:{id}"), Severity::Critical, 5, text, "golem-provider vms show");
            }
            let isolation = match &vm.network_problem {
                None => None,
                Some(NetworkProblem::Shared) => Some("is not in a network of its own".to_owned()),
                Some(NetworkProblem::Restricted(reason)) => Some(format!("has nothing but SSH: {reason}")),
                Some(NetworkProblem::Cut(reason)) => Some(format!("was cut off: {reason}")),
            };
            if let Some(isolation) = isolation {
                let text = format!("the guest of the VM {name} ({id}) {isolation}");
                all.add(
                    format!("isolation:{id}"),
                    Severity::Critical,
                    2,
                    text,
                    "golem-provider isolation check",
                );
            }
            let runs = matches!(vm.status, VmState::Running | VmState::Creating);
            if let Some(until) = look.paid_until.get(id.as_str())
                && runs
                && until.duration_since(look.at) < RUNWAY
            {
                let text = format!("the VM {name} ({id}) is paid for less than an hour");
                all.add(format!("runway:{id}"), Severity::Info, 5, text, None);
            }
        }
    }
}

fn of_the_host(look: &Look, all: &mut Troubles) {
    let summary = &look.node.summary;
    if !summary.backend.answers {
        let text = format!("the VM backend {} does not answer", summary.backend.name);
        all.add("backend", Severity::Critical, 5, text, "golem-provider doctor");
    }
    if let Some(trouble) = &summary.disk_trouble {
        let text = format!("the disk under the data directory: {trouble}");
        all.add("disk", Severity::Critical, 1, text, "make room, or move the data directory");
    }
    if summary.host.storage_percent >= FULL {
        let text = format!("the volume with VMs is {} % full", summary.host.storage_percent);
        all.add("storage", Severity::Warning, 15, text, "make room, or rent out less");
    }
    let Some(health) = &look.node.health else { return };
    for row in health.checklist.iter().filter(|row| row.row.answer == Answer::No) {
        let text = format!("this node cannot be {}", row.word);
        all.add(format!("checklist:{}", row.word), Severity::Warning, 15, text, "golem-provider status");
    }
    if health.update_available {
        all.add("update", Severity::Info, 60, "a newer version is published".to_owned(), None);
    }
}

fn of_money(look: &Look, all: &mut Troubles) {
    let summary = &look.node.summary;
    for network in summary.payments.iter().chain(&summary.other_payments) {
        let name = &network.network;
        for endpoint in network.endpoints.iter().filter(|endpoint| !endpoint.is_well) {
            let text = format!("the endpoint {} of {name} does not answer well", endpoint.host);
            all.add(
                format!("endpoint:{name}:{}", endpoint.host),
                Severity::Warning,
                10,
                text,
                "golem-provider networks check",
            );
        }
        if network.read_at.is_some_and(|read| look.at.duration_since(read) > UNREAD) {
            let text = format!("{name} was not read for a quarter of an hour: no VM is rented out for it");
            all.add(format!("chain:{name}"), Severity::Critical, 1, text, "golem-provider networks check");
        }
    }
    for waiting in &summary.transactions {
        let text = format!("a transaction waits for longer than usual: {waiting}");
        all.add(format!("transaction:{waiting}"), Severity::Warning, 30, text, "golem-provider status");
    }
}

fn of_reach(look: &Look, ports: Option<(&PortReport, &[PortReport])>, all: &mut Troubles) {
    let summary = &look.node.summary;
    for advert in &summary.adverts {
        if let Some(problem) = &advert.problem {
            let text =
                format!("renters do not find this node on {} ({}): {problem}", advert.market, advert.place);
            let key = format!("advert:{}:{}", advert.market, advert.place);
            all.add(key, Severity::Warning, 30, text, "golem-provider status");
        }
    }
    let certificate = summary.https.as_ref().and_then(|https| https.certificate.as_ref());
    if let Some(certificate) = certificate
        && certificate.until.duration_since(look.at) < CERTIFICATE
    {
        let text = format!("the certificate for https ends at {}", certificate.until);
        all.add("certificate", Severity::Warning, 60, text, "golem-provider status");
    }
    let Some((provider, ssh)) = ports else { return };
    if provider.status == Reach::Unreachable {
        let text = format!("renters do not reach the API on port {}", provider.port);
        all.add("port:api", Severity::Critical, 15, text, "golem-provider ports list");
    }
    let lost: Vec<u16> =
        ssh.iter().filter(|port| port.status == Reach::Unreachable).map(|port| port.port).collect();
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        let text = format!("{} SSH ports are not reached from outside, from {first} to {last}", lost.len());
        all.add("port:ssh", Severity::Warning, 30, text, "golem-provider ports list");
    }
}

pub(super) async fn list(State(operator): Shared) -> ApiResult {
    let alerts = &operator.alerts;
    let view = |(alert, told): (Alert, bool)| {
        let Alert { key, severity, text, fix, since } = alert;
        AlertView { key, severity: severity.as_str().to_owned(), text, fix, since, told }
    };
    Ok(ok(&AlertsView {
        is_anybody_told: alerts.settings.is_anybody(),
        alerts: alerts.watch().known().into_iter().map(view).collect(),
        receivers: alerts.delivery.outcomes().into_iter().map(ReceiverView::from).collect(),
    }))
}

pub(super) async fn test(State(operator): Shared, by: By) -> ApiResult {
    let (alerts, provider) = (&operator.alerts, &operator.config.provider);
    if !alerts.settings.is_anybody() {
        let text = "nobody is told of anything; fix: set GOLEM_PROVIDER_ALERT_WEBHOOK, or GOLEM_PROVIDER_ALERT_SMTP and \
                    GOLEM_PROVIDER_ALERT_EMAIL_TO, then golem-provider reload";
        return Err(ApiError::new(axum::http::StatusCode::CONFLICT, text));
    }
    tracing::info!(target: "audit", %by, "a test of alerts is sent");
    let outcomes = alerts.delivery.try_now(&Message::test(&provider.name, &provider.provider_id)).await;
    Ok(ok(&outcomes.into_iter().map(ReceiverView::from).collect::<Vec<_>>()))
}
