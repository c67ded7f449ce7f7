//! What `status` looks at.
//!
//! Owns the questions: all at once, and none longer than its deadline, whatever does not answer. Never judges.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use golem_chain::Rpc;
use golem_chain::balance::{At, balance};
use golem_node::LEDGER_FILE;
use golem_node::ledger::Ledger;
use golem_reach::probe::is_free;
use golem_reach::report::PortsReport;
use golem_types::wire::Exact;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::backend;
use crate::cli::{Invocation, reachable};
use crate::identity;
use crate::payments;
use crate::ports;
use golem_api::operator::Client;
use golem_api::status::{Local, NodeFacts, StatusFacts, WalletFacts};
use golem_host::node::Running;
use golem_host::settings::{ChainSettings, NodeSettings, PublicApiSettings, ReachSettings};

/// Longest that anything is waited for: the whole command ends within three seconds.
const DEADLINE: Duration = Duration::from_millis(2500);

/// Longest that one chain or the node is waited for.
const ANSWER: Duration = Duration::from_millis(2000);

/// Longest that a port of this host may take to accept.
const LOCAL: Duration = Duration::from_millis(400);

/// How long `--watch` goes by what others said: check servers, the chain and the release index are not
/// there to be asked every two seconds.
const STANDS: Duration = Duration::from_secs(60);

/// How often a node that has just started is asked whether its ports are verified.
const LOOK: Duration = Duration::from_millis(100);

/// Everything that was found.
pub(super) struct Gathered {
    pub(super) facts: StatusFacts,
    /// When others were asked.
    asked: Instant,
}

/// Looks at everything. What others said at the `last` look stands for a while.
pub(super) async fn gather(
    invocation: &Invocation,
    held: Option<Running>,
    last: Option<&Gathered>,
) -> Gathered {
    let settings = &invocation.resolved.settings;
    let (vms, reach) = (settings.backend(), settings.reach());
    let running = held.is_some();
    let last = last.filter(|last| last.facts.running == running && last.asked.elapsed() < STANDS);
    let client = running.then(|| invocation.client().map_err(|error| format!("{error:#}")));
    let answering = client.as_ref().and_then(|client| client.as_ref().ok());
    // One that is just starting is given its time, before the look that takes no longer than its deadline.
    if let Some(client) = answering {
        client.listens().await;
    }
    let node = async {
        match &client {
            None => None,
            Some(Err(why)) => Some(Err(why.clone())),
            Some(Ok(client)) => Some(within(ANSWER, ask(client, &settings.api)).await),
        }
    };
    // Of the service's settings this user sees none: what is told of it is what the node says.
    let is_blind = !invocation.node.is_readable();
    let knows = is_blind && answering.is_some();
    // Before the ports are tried, which listens on them.
    let local = if knows { Local::Listening } else { local(&settings.api).await };
    let (node, backend, ports, wallet, latest) = tokio::join!(
        node,
        async { if knows { Ok(()) } else { within(DEADLINE, backend::check(&vms)).await } },
        async {
            match last {
                Some(last) if !running => last.facts.ports.clone(),
                _ => within(DEADLINE, known_ports(&reach, answering)).await,
            }
        },
        async {
            match last {
                Some(last) => last.facts.wallet.clone(),
                None => wallet(&settings.node, &settings.chain(), running).await,
            }
        },
        async {
            match last {
                Some(last) => last.facts.latest.clone(),
                None => latest(&settings.node).await,
            }
        },
    );
    let facts = StatusFacts {
        running,
        pid: held.and_then(|held| held.pid),
        node,
        backend,
        backend_name: backend::name(&vms),
        local,
        ports,
        image_missing: (!knows && backend::image_missing(&vms))
            .then(|| settings.vms.default_vm_image.to_string()),
        wallet,
        latest,
        held: if running { BTreeSet::new() } else { ports_held(&settings.node) },
    };
    Gathered { facts, asked: last.map_or_else(Instant::now, |last| last.asked) }
}

/// The ports that rentals hold, as the ledger of a node that does not run tells.
fn ports_held(settings: &NodeSettings) -> BTreeSet<u16> {
    let file = settings.data_dir.join(LEDGER_FILE);
    if !file.exists() {
        return BTreeSet::new();
    }
    Ledger::ports_held(&file).unwrap_or_else(|error| {
        tracing::debug!(%error, "the ledger cannot be looked into");
        BTreeSet::new()
    })
}

/// What `work` comes to within `deadline`, or why it does not.
async fn within<T>(deadline: Duration, work: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match timeout(deadline, work).await {
        Ok(done) => done.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", deadline.as_secs_f32())),
    }
}

async fn ask(client: &Client, settings: &PublicApiSettings) -> anyhow::Result<NodeFacts> {
    let (summary, vms) = (client.summary().await?, client.vms().await?);
    let listening = vms.iter().map(|vm| vm.ssh_port).filter(|port| !is_free(settings.host, *port)).collect();
    Ok(NodeFacts { summary, vms, listening })
}

/// What is known of the ports. A node that has just started is given the time to find out.
async fn known_ports(settings: &ReachSettings, node: Option<&Client>) -> anyhow::Result<PortsReport> {
    if node.is_none() && settings.skip_verification {
        return ports::report_here(settings).await;
    }
    let end = Instant::now() + ANSWER;
    loop {
        let report = ports::report(settings, node, ANSWER, |_| {}).await?;
        let is_coming = node.is_some() && report.rounds == 0 && !settings.skip_verification;
        if !is_coming || Instant::now() >= end {
            return Ok(report);
        }
        sleep(LOOK).await;
    }
}

async fn local(settings: &PublicApiSettings) -> Local {
    let address = (reachable(settings.host), settings.port.get());
    if matches!(timeout(LOCAL, TcpStream::connect(address)).await, Ok(Ok(_))) {
        Local::Listening
    } else if is_free(settings.host, settings.port.get()) {
        Local::Free
    } else {
        Local::Held
    }
}

/// The latest version, where the settings name who knows it.
async fn latest(settings: &NodeSettings) -> Option<String> {
    golem_service::release_index::latest(&settings.update_check_url.as_ref()?.0, &settings.data_dir).await
}

/// The wallet; a look makes no key.
async fn wallet(settings: &NodeSettings, chain: &ChainSettings, running: bool) -> Option<WalletFacts> {
    let profile = payments::profile(chain).ok().flatten()?;
    let has_key = settings.private_key.is_some() || settings.data_dir.join("keys/provider_key.json").exists();
    if !running && !has_key {
        return None;
    }
    let address = identity::address_of_node(settings).ok()??;
    let has = async {
        let rpc = Rpc::new(&profile.rpc_url)?;
        Ok(balance(&rpc, Default::default(), address, At::Latest).await?)
    };
    Some(WalletFacts {
        address: address.to_string(),
        symbol: profile.network.symbol.clone(),
        balance: within(ANSWER, has).await.map(Exact),
        has_faucet: profile.network.testnet,
    })
}
