//! When the ports of the running node are verified.
//!
//! ```text
//!   address known ─► round ─► verdicts ─► ledger ─► wait (an hour; less when something is off)
//!        ▲             │ address changed: the round is dropped, old verdicts are forgotten
//!        └─────────────┴──────────────── or asked for, or a new address ◄──┘
//! ```
//! Owns the schedule and the log of it. What no checker answered to changes no verdict (I3).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use golem_reach::Site;
use golem_reach::certificates::WebPorts;
use golem_reach::peers::{self, peers};
use golem_reach::report::{PortReport, PortsReport, Reach};
use golem_reach::source::{CheckSource, DEADLINE};
use golem_reach::summary::{LastVerification, ReportInputs};
use golem_reach::verdict::PortVerdict;
use golem_reach::verification::{Served, SourceOutcome, Verification, VerificationOutcome};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::error::NodeError;
use crate::node::Node;
use crate::ports::PortPolicy;

/// Longest that a verification may take in all: ten thousand ports, each batch at its deadline.
const ROUND: Duration = Duration::from_secs(900);

/// Time between two verifications while all is well.
const GOOD: Duration = Duration::from_secs(3600);
/// The same while a port is not reachable or not known.
const OFF: Duration = Duration::from_secs(300);
/// The same while no check server answers.
const SILENT: Duration = Duration::from_secs(60);

/// What is verified, and who is asked for it.
#[derive(Debug, Clone)]
pub struct VerifierConfig {
    /// Where the node listens.
    pub site: Site,
    /// The check servers.
    pub sources: Vec<CheckSource>,
    /// The ports that https serves.
    pub web: WebPorts,
    /// Where other providers are found; `None` if they are not asked.
    pub market: Option<peers::PeerMarket>,
    /// Whether ports are verified only when somebody asks for it.
    pub on_request: bool,
}

/// The verification of a node's ports; clones share it.
#[derive(Clone)]
pub struct Verifier {
    node: Node,
    config: Arc<VerifierConfig>,
    address: watch::Receiver<Option<IpAddr>>,
    last: watch::Receiver<LastVerification>,
    wanted: Arc<Notify>,
}

impl Verifier {
    /// Verifies the ports of `node` at `address` from when it is first asked to until the node stops;
    /// only when asked, if `config` says so. What is known of another address is forgotten before
    /// this returns.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn start(
        config: VerifierConfig,
        node: &Node,
        address: watch::Receiver<Option<IpAddr>>,
    ) -> Result<Self, NodeError> {
        let known = *address.borrow();
        if let Some(address) = known {
            node.forget_port_verdicts_but_of(address).await?;
        }
        let (sender, last) = watch::channel(LastVerification::default());
        let wanted = Arc::new(Notify::new());
        let verifier = Self { node: node.clone(), config: Arc::new(config), address, last, wanted };
        let task = verifier.clone().run(sender);
        let stop = node.tasks().stopping().clone();
        node.tasks().spawn("port verification", async move {
            stop.run_until_cancelled(task).await;
        });
        Ok(verifier)
    }

    /// Asks for a verification; one that goes on is followed by another.
    pub fn verify(&self) {
        self.wanted.notify_one();
    }

    /// What came of the verifications so far, and how far one is that goes on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<LastVerification> {
        self.last.clone()
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> PortsReport {
        let config = self.node.config();
        ReportInputs {
            address: *self.address.borrow(),
            verified_only: config.port_policy == PortPolicy::Verified,
            api: self.config.site.api.get(),
            ssh: config.ports.clone(),
            web: &self.config.site.web,
            verdicts: &self.node.port_verdicts(),
            last: &self.last.borrow(),
            in_use: &self.node.ports_in_use(),
        }
        .report()
    }

    async fn run(self, last: watch::Sender<LastVerification>) {
        let mut addresses = self.address.clone();
        let mut pause = None;
        loop {
            let asked = tokio::select! {
                () = self.wanted.notified() => true,
                Some(()) = OptionFuture::from(pause.map(sleep)) => false,
                Ok(()) = addresses.changed() => false,
            };
            // Who follows the address tells when it cannot be known.
            let Some(address) = *addresses.borrow_and_update() else { continue };
            match self.node.forget_port_verdicts_but_of(address).await {
                Ok(0) => {}
                Ok(_) => {
                    tracing::info!(%address, "the public address is another: what was known of ports is forgotten")
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "what was known of ports cannot be forgotten"
                ),
            }
            if self.config.on_request && !asked {
                continue;
            }
            let mut sources = self.config.sources.clone();
            let known = answered(&last.borrow().asked);
            if let Some(market) = &self.config.market {
                sources.extend(peers(market, address, &known).await);
            }
            let outcome = tokio::select! {
                outcome = self.round(address, &sources, &last) => Some(outcome),
                Ok(()) = addresses.changed() => None,
            };
            self.node.probes().close_all().await;
            last.send_modify(|last| last.progress = None);
            let Some(outcome) = outcome else {
                addresses.mark_changed();
                continue;
            };
            pause = Some(match outcome {
                Ok(outcome) => self.take(address, outcome, &last).await,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the ports could not be verified"
                    );
                    SILENT
                }
            });
        }
    }

    async fn round(
        &self,
        address: IpAddr,
        sources: &[CheckSource],
        last: &watch::Sender<LastVerification>,
    ) -> std::io::Result<VerificationOutcome> {
        let (node, api) = (&self.node, self.config.site.api.get());
        let servers = sources.len();
        tracing::info!(%address, servers, "trying {} ports from outside", self.config.site.all_ports().len());
        let served = |port| match port {
            _ if port == api => Some(Served::Api),
            _ if self.config.web.serves(port) => Some(Served::Web),
            _ => node.traffic(port).map(|_| Served::Ssh),
        };
        let round = Verification {
            address,
            bind: node.config().ssh_bind,
            ports: self.config.site.all_ports(),
            sources,
            end: Instant::now() + ROUND,
            deadline: DEADLINE,
            probes: node.probes().clone(),
            tasks: node.tasks(),
            served: &served,
        };
        round.find(|progress| last.send_modify(|last| last.progress = Some(progress))).await
    }

    /// Keeps what was found out, tells the log, and gives the pause until the next time.
    async fn take(
        &self,
        address: IpAddr,
        outcome: VerificationOutcome,
        last: &watch::Sender<LastVerification>,
    ) -> Duration {
        let before = self.node.port_verdicts();
        let silent = outcome.asked.iter().all(|asked| asked.problem.is_some());
        let now: BTreeMap<u16, PortVerdict> =
            outcome.verdicts.iter().map(|verdict| (verdict.port, verdict.clone())).collect();
        if let Err(error) = self.node.keep_port_verdicts(outcome.verdicts.clone()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what was found out about ports cannot be kept"
            );
        }
        let host = self.config.site.host_facts(address);
        last.send_modify(|last| last.take(outcome, host));
        let report = self.report();
        log(address, &report, silent);
        self.note(&before, &now).await;
        let good = |port: &PortReport| port.status == Reach::Reachable;
        match (silent, good(&report.provider) && report.ssh.iter().all(good)) {
            (true, _) => SILENT,
            (false, true) => GOOD,
            (false, false) => OFF,
        }
    }

    /// Tells rentals' histories that their port stopped being reachable, or is again.
    async fn note(&self, before: &BTreeMap<u16, PortVerdict>, now: &BTreeMap<u16, PortVerdict>) {
        for vm in self.node.vms() {
            let is =
                |verdicts: &BTreeMap<u16, PortVerdict>| verdicts.get(&vm.ssh_port).map(|v| v.problem.clone());
            let (kind, detail) = match (is(before), is(now)) {
                (None | Some(None), Some(Some(why))) => ("port.unreachable", why.to_string()),
                (Some(Some(_)), Some(None)) => ("port.reachable", String::new()),
                _ => continue,
            };
            tracing::warn!(
                vm = vm.id.redacted(),
                port = vm.ssh_port,
                kind,
                detail,
                "a rental's port changed"
            );
            if let Err(error) = self.node.note(&vm.id, kind, detail).await {
                tracing::error!(
                    vm = vm.id.redacted(),
                    error = &error as &dyn std::error::Error,
                    "the change of its port cannot be recorded"
                );
            }
        }
    }
}

/// The names of those that answered.
fn answered(asked: &[SourceOutcome]) -> BTreeSet<String> {
    asked.iter().filter(|asked| asked.problem.is_none()).map(|asked| asked.source.clone()).collect()
}

fn log(address: IpAddr, report: &PortsReport, silent: bool) {
    let reachable = report.ssh.iter().filter(|port| port.status == Reach::Reachable).count();
    let all = report.ssh.len();
    for source in &report.sources {
        if let Some(problem) = &source.problem {
            tracing::warn!(source = source.source, problem, "a port check server did not answer");
        }
    }
    if silent {
        tracing::warn!(
            known_reachable = reachable,
            "no port check server answered: what is known of ports stays as it is; fix: set \
             GOLEM_PROVIDER_PORT_CHECK_SERVERS to others, or run one with `golem-provider port-checker`"
        );
        return;
    }
    for problem in &report.problems {
        let fix = problem.fixes.first().map_or("", String::as_str);
        tracing::warn!(help = problem.help, "{}: {}; fix: {fix}", problem.what, problem.impact);
    }
    if reachable == all {
        tracing::info!(%address, "ports verified: all {all} SSH ports are reachable");
    } else {
        tracing::warn!(%address, "ports verified: {reachable} of {all} SSH ports are reachable; see golem-provider ports list");
    }
}
