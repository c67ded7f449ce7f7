//! How the node is, judged by itself: as `golem-provider status` judges it.
//!
//! Owns what is looked at from inside, how often others are asked, and the verdict's JSON with its fixes. Never judges:
//! [`crate::status`] does.

use std::sync::Arc;
use std::time::Duration;

use golem_reach::report::PortsReport;
use golem_service::release_index;
use golem_types::wire::Exact;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::operator::Operator;
use crate::status::{
    ChecklistRow, Grade, Issue, Local, NodeFacts, StatusFacts, WalletFacts, WalletPart, judge,
};
use crate::views::{Summary, VmView};

/// Longest that a chain is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// Longest that this node's own port may take to accept.
const LOCAL: Duration = Duration::from_millis(400);

/// How long what others said stands: neither a chain nor the release index is asked every second.
const STANDS: Duration = Duration::from_secs(60);

/// What others said last.
#[derive(Default)]
pub(in crate::operator) struct Health {
    asked: Mutex<Option<(Instant, Others)>>,
}

#[derive(Clone)]
struct Others {
    wallet: Option<WalletFacts>,
    latest: Option<String>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::operator) struct HealthView {
    grade: &'static str,
    pub(in crate::operator) issues: Vec<IssueView>,
    /// Whether the node is rented, found, reached and paid.
    pub(in crate::operator) checklist: Vec<RowView>,
    pub(in crate::operator) latest: Option<String>,
    pub(in crate::operator) update_available: bool,
    wallet: Option<WalletView>,
    https: Option<String>,
}

/// Something that is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::operator) struct IssueView {
    text: String,
    fixes: Vec<String>,
    help: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::operator) struct RowView {
    pub(in crate::operator) word: &'static str,
    #[serde(flatten)]
    pub(in crate::operator) row: ChecklistRow,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct WalletView {
    address: String,
    symbol: String,
    balance_wei: Option<Exact>,
    error: Option<String>,
}

impl Operator {
    /// How the node is, with these of its own words.
    pub(super) async fn judged(self: &Arc<Self>, summary: &Summary, vms: Vec<VmView>) -> Option<HealthView> {
        let page = self.config.dashboard.as_ref()?;
        let Others { wallet, latest } = self.others().await;
        let node = &self.node;
        // While the proxy listens for a VM, it counts.
        let listening = vms.iter().filter(|vm| vm.traffic.is_some()).map(|vm| vm.ssh_port).collect();
        let backend = if node.backend_answers() { Ok(()) } else { Err("it does not answer".to_owned()) };
        let image = &node.config().default_image;
        let ports = self.config.ports.as_ref().map_or_else(
            || Err("it is not checked".to_owned()),
            |ports| {
                let report: PortsReport = ports.report();
                Ok(report)
            },
        );
        let facts = StatusFacts {
            running: true,
            pid: Some(std::process::id()),
            backend_name: node.backend().name(),
            backend,
            local: self.local(page.judged_by.host, page.judged_by.port).await,
            ports,
            image_missing: (node.backend().has_images() && !node.backend().has_image(image))
                .then(|| image.to_string()),
            wallet,
            latest,
            held: std::collections::BTreeSet::new(),
            node: Some(Ok(NodeFacts { summary: summary.clone(), vms, listening })),
        };
        let status = judge(&page.judged_by, facts);
        let issue = |Issue { text, fixes, help, .. }| IssueView { text, fixes, help };
        let rows = status.checklist.rows().map(|(word, row)| RowView { word, row: row.clone() });
        let grade: Grade = status.overall.status;
        Some(HealthView {
            grade: grade.as_str(),
            issues: status.overall.issues.into_iter().map(issue).collect(),
            checklist: rows.into(),
            update_available: status.version.update_available,
            latest: status.version.latest,
            wallet: status.wallet.map(|WalletPart { address, symbol, balance_wei, error }| WalletView {
                address,
                symbol,
                balance_wei,
                error,
            }),
            https: status.https.and_then(|https| https.endpoint),
        })
    }

    /// What answers at the public API's port.
    async fn local(&self, host: std::net::IpAddr, port: u16) -> Local {
        let host = match host {
            std::net::IpAddr::V4(any) if any.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(any) if any.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        match timeout(LOCAL, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Local::Listening,
            _ => Local::Held,
        }
    }

    /// What others say, asked at most once a minute. Only who asks first waits for them: they may be gone.
    async fn others(self: &Arc<Self>) -> Others {
        let mut asked = self.health.asked.lock().await;
        let ask = async |operator: &Self| {
            let (wallet, latest) = tokio::join!(operator.wallet(), operator.latest());
            Others { wallet, latest }
        };
        match &mut *asked {
            Some((at, others)) => {
                let known = others.clone();
                if at.elapsed() >= STANDS {
                    *at = Instant::now();
                    let operator = Arc::clone(self);
                    let stop = self.node.tasks().stopping().clone();
                    self.node.tasks().spawn("wallet and latest version", async move {
                        if let Some(others) = stop.run_until_cancelled(ask(&operator)).await {
                            *operator.health.asked.lock().await = Some((Instant::now(), others));
                        }
                    });
                }
                known
            }
            none => {
                let others = ask(self).await;
                *none = Some((Instant::now(), others.clone()));
                others
            }
        }
    }

    async fn latest(&self) -> Option<String> {
        let url = self.config.dashboard.as_ref()?.update_check_url.as_ref()?;
        release_index::latest(url, &self.config.data_dir).await
    }

    /// What the wallet has for gas.
    async fn wallet(&self) -> Option<WalletFacts> {
        let (payments, profile) = (self.node.payments()?, self.config.payments.as_ref()?);
        let balance = match timeout(ANSWER, payments.balance()).await {
            Ok(Ok(balance)) => Ok(Exact(balance)),
            Ok(Err(error)) => Err(golem_service::log::with_causes(&error)),
            Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
        };
        Some(WalletFacts {
            address: self.config.provider.provider_id.clone(),
            symbol: profile.network.symbol.clone(),
            balance,
            has_faucet: profile.network.testnet,
        })
    }
}
