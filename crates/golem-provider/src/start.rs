//! Process start and stop order.
//!
//! ```text
//!   lock ─► key ─► backend ─► image ─► listeners ─► node ─► https ─► HTTP ─► ready ─► signal ─► reverse ─► end, or anew
//! ```
//! Owns the order of start and stop. Never decides what a part does.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use golem_api::operator::OperatorSocket;
use golem_api::status::StatusSettings;
use golem_api::{Api, ApiConfig, DashboardConfig, ProviderDetails, PublicSettings, VmAccess};
use golem_chain::identity::Identity;
use golem_chain::network::PaymentNetwork;
use golem_node::acceleration;
use golem_node::advertise::Advertising;
use golem_node::import::{self, ImportConfig};
use golem_node::payout::PayoutConfig;
use golem_node::port_verification::Verifier;
use golem_node::pricing::{PriceList, PriceWatch};
use golem_node::proxy::ProxyLimits;
use golem_node::{Node, NodeConfig, Rent};
use golem_reach::certificates::WebPorts;
use golem_reach::public_ip::{self, PublicAddress};
use golem_reach::reserved_ports::ReservedPorts;
use golem_service::descriptors;
use golem_service::service_manager;
use golem_vm::Backend;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::daemon;
use crate::identity;
use crate::market;
use crate::passphrase::{Asking, Passphrases};
use crate::payments;
use crate::ports;
use crate::pricing;
use crate::reload::{NOT_RELOADED, Reload};
use crate::signals::{NotedSignals, SignalRequest, Signals};
use crate::{backend, image, port_checker};
use golem_host::backup;
use golem_host::handover::HandedOver;
use golem_host::node;
use golem_host::pid_file::{PidFile, PidFileError};
use golem_host::settings::{
    self, AdvertSettings, Environment, NodeSettings, PriceSettings, PublicApiSettings, Settings,
    SettingsPlace,
};

/// How the process is started, beside the settings.
#[derive(Debug)]
pub(crate) struct Start {
    /// What the node runs with.
    pub settings: Settings,
    /// Where its PID file is.
    pub pid_file: PathBuf,
    /// Whether a parent waits for the report.
    pub detached: bool,
    /// How the node is started anew.
    pub reload: Reload,
    /// What the program that this process was before left open.
    pub handed_over: HandedOver,
    /// The signals since this process became this program.
    pub(crate) noted: NotedSignals,
    /// What the node is judged by.
    pub judged_by: StatusSettings,
    /// Where its settings come from.
    pub place: SettingsPlace,
}

/// Why the node ended well.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to.
    Stopped,
    /// To be started anew, with this left open.
    Reload(HandedOver),
}

/// What ends the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Reload,
}

/// How often the backend is asked what runs: a guest's death is seen within 5 seconds.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Wait before the first restart of a guest that died.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// Longest that a stop takes beside the guests' own shutting down: a slow router undoes its mappings in 45 s.
const STOP: Duration = Duration::from_secs(90);

/// Runs the node until it is told to stop.
///
/// # Errors
/// When it cannot start, or when one of its tasks dies.
pub(crate) async fn run(start: Start) -> anyhow::Result<Ended> {
    let Start { settings, pid_file, detached, mut reload, handed_over, noted, judged_by, place } = start;
    settings.chain().check_money()?;
    let mut signals = Signals::listen().context("signals cannot be listened to")?;
    let HandedOver { lock, public: handed, left, is_stop } = handed_over;
    let is_stop = || is_stop || noted.is_stop();
    let lock = PidFile::take_over(&pid_file, lock).await?;
    // One that was started with another environment has its PID file elsewhere.
    if let Some(running) = node::listening(settings.node.data_dir.join(node::SOCKET)) {
        return Err(PidFileError::Running(running.pid).into());
    }
    // Nobody else can read them, but they are the ledger in the clear.
    backup::remove_copies(&settings.node.data_dir);
    descriptors::raise_limit();
    service_manager::lower_oom_score();
    let asking = if detached { Asking::Parent } else { Asking::Terminal };
    let identity = identity::of_node(&settings.node, &Passphrases::of_node(&settings.node, asking))?;
    warn_of_another_id(&settings.node, &identity);
    let (vms, chain, reach) = (settings.backend(), settings.chain(), settings.reach());
    let backend = backend::open(&vms)?;
    backend.check().await.context("the VM backend cannot be used")?;
    tracing::info!(backend = backend.name(), "VM backend is usable");
    // Found out now, so that the log says at the start what does not bound VMs.
    backend.bounds_problem().await;
    let profiles = payments::profiles(&chain)?;
    let payout = payments::payout(&chain, &identity, profiles.first())?;
    let real_money = profiles.iter().any(|profile| !profile.network.testnet);
    let closed = acceleration::judge(&backend, real_money, settings.vms.allow_tcg).await?;
    image::ensure(&vms).await?;
    import_vms(&settings, &backend).await?;
    let public_address = SocketAddr::new(settings.api.host, settings.api.port.get());
    // One of another place is closed before anything is listened on: it may be in the way.
    let handed =
        handed.filter(|listener| listener.local_addr().is_ok_and(|address| address == public_address));
    let public = match handed {
        Some(listener) => TcpListener::from_std(listener).context("the handed listener cannot be used")?,
        None => ports::listen(public_address, "GOLEM_PROVIDER_PORT").await?,
    };
    // Whoever connects between this program and the next waits there, instead of being refused.
    let kept_open = public.as_fd().try_clone_to_owned().context("no descriptor is left")?;
    let kept_open = std::net::TcpListener::from(kept_open);
    let operator_address = ([127, 0, 0, 1], settings.operator.operator_port.get()).into();
    let operator = ports::listen(operator_address, "GOLEM_PROVIDER_OPERATOR_PORT").await?;
    let mut reserved_ports = ReservedPorts::new(&settings.node.data_dir, settings.ports.ssh_ports()).begin();
    ports::tell_held(&reach.site, &left);

    payments::tell(&profiles, settings.node.network);
    let told = payments::told(&chain, &profiles);
    let config = NodeConfig { closed, ..node_config(&settings, &identity, &profiles, payout) };
    let node = Node::take_over(config, backend, left).await?;
    reserved_ports.keep(node.tasks());
    image::keep_fresh(&vms, node.tasks());
    let pricing = follow_prices(&settings.prices, &node, &profiles).await?;
    let address = public_ip::follow(&reach.site, node.tasks());
    keep_guests_from(address.clone(), &node);
    let web = WebPorts::default();
    let verifier_config = ports::verifier_config(&reach, web.clone())?;
    let verifier = Verifier::start(verifier_config, &node, address.clone()).await?;
    let (https, served) =
        golem_node::https::start(settings.https_config(), web, &node, address.clone(), &verifier).await;
    let (environment, port) = (settings.node.environment, settings.api.port.get());
    let endpoint = market::endpoint(environment, port, address.clone(), https.endpoint(), node.tasks());
    let advert = adverts(&settings, told.as_ref());
    let advertised = pricing.advertised.clone();
    let advertising = market::start(&advert, &identity, &node, address.clone(), advertised, endpoint).await?;
    let dashboard = DashboardConfig {
        judged_by,
        update_check_url: settings.node.update_check_url.as_ref().map(|url| url.0.clone()),
        survey: market::survey(&settings, identity.wallet().address())
            .inspect_err(|error| tracing::warn!("the dashboard shows no market: {error:#}"))
            .ok(),
        settings: place,
    };
    let api_config = ApiConfig {
        https: Some(https),
        dashboard: Some(dashboard),
        ..api_config(&settings, &identity, address, told, advertising, pricing.prices, verifier.clone())
    };
    let api = golem_api::start(api_config, node.clone(), public, operator)
        .context("the operator's token cannot be kept")?;
    if let Some((listener, keys)) = served {
        api.serve_https(listener, keys);
    }
    for socket in OperatorSocket::all(&settings.node.data_dir).await {
        api.serve_operator(socket);
    }

    let address = format!("http://{}", SocketAddr::new(settings.api.host, settings.api.port.get()));
    tracing::info!(
        provider_id = identity.address(),
        name = settings.node.advertised_name(),
        network = settings.node.network.as_str(),
        "listening on {address}"
    );
    if settings.node.environment == Environment::Development && node.payments().is_none() {
        tracing::info!("{}", how_to_rent(&settings.api));
    }
    let mapped = match reach.map_ports {
        true => ports::keep_mapped(&reach, node.tasks(), verifier.clone()),
        false => None,
    };
    if !settings.ports.skip_port_verification {
        // Only now does the API answer a check server.
        verifier.verify();
        if crate::logs::can_redraw() {
            let stop = node.tasks().stopping().clone();
            node.tasks().spawn("port display", async move {
                stop.run_until_cancelled(ports::show(verifier)).await;
            });
        }
    }
    service_manager::ready();
    service_manager::keep_watchdog(node.tasks());
    if detached {
        daemon::report_ready(&address)?;
    }

    let ports = [public_address, operator_address];
    let is_reload = noted.is_reload();
    let why = tokio::select! {
        biased;
        () = std::future::ready(()), if is_stop() => Ok((End::Stop, "a signal while the node started anew")),
        ended = until_stop_or_reload(&mut signals, &mut reload, is_reload, ports, &api, mapped.as_ref()) => Ok(ended),
        () = api.stop_requested() => Ok((End::Stop, "the operator")),
        () = node.failed() => Err(anyhow::anyhow!("a task of the node died; the log names it")),
        () = api.failed() => Err(anyhow::anyhow!("a task of the API died; the log names it")),
    };
    tracing::info!(by = why.as_ref().map_or("a failure", |(_, by)| by), "stopping");
    let kept_open = matches!(why, Ok((End::Reload, _))).then_some(kept_open);
    let stop_vms = if kept_open.is_some() {
        service_manager::reloading();
        reserved_ports.leave();
        false
    } else {
        // Guests that the host takes down with it are shut down, and booted again when it is back.
        let stop_vms = settings.vms.stop_vms_on_exit || service_manager::host_goes_down().await;
        service_manager::stopping(if stop_vms { STOP + settings.vms.stop_grace } else { STOP });
        stop_vms
    };
    let is_reload = kept_open.is_some();
    let stop = async {
        api.stop().await;
        match kept_open {
            Some(public) => Some((public, node.leave().await)),
            None => {
                node.shutdown(stop_vms).await;
                None
            }
        }
    };
    let left = tokio::select! {
        biased;
        left = stop => {
            tracing::info!("stopped");
            left
        }
        by = until_hurried(&mut signals, is_reload) => {
            tracing::warn!(by, "stopped at once, because it was asked for twice");
            None
        }
    };
    why?;
    let Some((public, left)) = left else { return Ok(Ended::Stopped) };
    let lock = lock.hand_over().context("no descriptor is left")?;
    Ok(Ended::Reload(HandedOver { lock: Some(lock), public: Some(public), left, is_stop: false }))
}

/// Waits for a signal to stop, and says which. The first during a reload is the next program's: it does all that a stop owes.
async fn until_hurried(signals: &mut Signals, is_reload: bool) -> &'static str {
    let mut is_first = is_reload;
    loop {
        if let SignalRequest::Stop(by) = signals.next().await
            && !std::mem::replace(&mut is_first, false)
        {
            return by;
        }
    }
}

/// Waits until the node is to stop, or to be started anew with settings that are good; and by what. `is_asked` for that already.
async fn until_stop_or_reload(
    signals: &mut Signals,
    reload: &mut Reload,
    mut is_asked: bool,
    ports: [SocketAddr; 2],
    api: &Api,
    mapped: Option<&ports::Kept>,
) -> (End, &'static str) {
    loop {
        let by = tokio::select! {
            () = std::future::ready(()), if std::mem::take(&mut is_asked) => "a signal while the node started anew",
            request = signals.next() => match request {
                SignalRequest::Stop(by) => return (End::Stop, by),
                SignalRequest::Reload(by) => by,
            },
            () = reload.changed() => "a file that changed",
            () = api.reload_requested() => "the operator",
        };
        match reload.possible(ports).await {
            Ok(settings) => {
                if let Some(mapped) = mapped {
                    mapped.hand_over(&settings.reach());
                }
                tracing::info!(by, "reloading: the node starts anew, VMs run on");
                return (End::Reload, by);
            }
            Err(error) => tracing::error!("{NOT_RELOADED}{error:#}"),
        }
    }
}

/// Takes over what a Python provider left on this machine, once.
async fn import_vms(settings: &Settings, backend: &Backend) -> anyhow::Result<()> {
    if !import::is_needed(&settings.node.data_dir) {
        return Ok(());
    }
    let Backend::Multipass(multipass) = backend else {
        tracing::warn!(
            "a Python provider's VMs are left alone: they run on Multipass, and this node does not; fix: set \
             GOLEM_PROVIDER_VM_BACKEND=multipass"
        );
        return Ok(());
    };
    let report = import::run(&import_config(settings)?, multipass, false).await?;
    report.log();
    Ok(())
}

/// How a Python provider's VMs are taken over.
///
/// # Errors
/// When the payment network is not known, or lacks an endpoint or a contract.
pub(crate) fn import_config(settings: &Settings) -> anyhow::Result<ImportConfig> {
    let payments = payments::profile(&settings.chain())?;
    Ok(ImportConfig {
        data_dir: settings.node.data_dir.clone(),
        ports: settings.ports.ssh_ports(),
        contract: payments.map(|profile| payments::key(&profile).into()),
        default_image: settings.vms.default_vm_image.clone(),
    })
}

/// Follows the prices in the money of each of `profiles`; adverts and whoever asks are told those of the first.
async fn follow_prices(
    settings: &PriceSettings,
    node: &Node,
    profiles: &[PaymentNetwork],
) -> anyhow::Result<PriceWatch> {
    let of = |profile| pricing::config(settings, profile);
    let first = golem_node::pricing::start(of(profiles.first()), node, node.payments()).await?;
    for profile in profiles.iter().skip(1) {
        let payments = node.contracts().called(&payments::key(profile));
        golem_node::pricing::start(of(Some(profile)), node, payments).await?;
    }
    Ok(first)
}

/// What the node's adverts are made of; they name the network of clients that pay without a lease.
fn adverts(settings: &Settings, told: Option<&PaymentNetwork>) -> AdvertSettings {
    let advert = settings.advert();
    match told {
        Some(told) => AdvertSettings { payments_network: told.name.clone(), ..advert },
        None => advert,
    }
}

/// What a developer types to see the node work.
fn how_to_rent(settings: &PublicApiSettings) -> String {
    format!(
        "rent a VM: curl -X POST http://127.0.0.1:{}/api/v1/vms -H 'content-type: application/json' \
         -d '{{\"name\": \"my-vm\", \"ssh_key\": \"'\"$(cat ~/.ssh/id_ed25519.pub)\"'\"}}'; \
         then log in: golem-provider vms ssh my-vm",
        settings.port
    )
}

/// Keeps guests from the node's public `address`, whatever it becomes.
fn keep_guests_from(mut address: PublicAddress, node: &Node) {
    let (followed, stop) = (node.clone(), node.tasks().stopping().clone());
    let follow = async move {
        loop {
            if let Some(address) = *address.borrow_and_update() {
                followed.backend().is_seen_at(address);
            }
            if address.changed().await.is_err() {
                return;
            }
        }
    };
    node.tasks().spawn("guests and the public address", async move {
        stop.run_until_cancelled(follow).await;
    });
}

fn warn_of_another_id(settings: &NodeSettings, identity: &Identity) {
    if let Some(id) = &settings.id
        && id.0 != identity.wallet().address()
    {
        tracing::warn!(
            given = %id.0,
            provider_id = identity.address(),
            "GOLEM_PROVIDER_ID is not the address of the provider's key; the key wins"
        );
    }
}

fn api_config(
    settings: &Settings,
    identity: &Identity,
    public_ip: PublicAddress,
    payments: Option<PaymentNetwork>,
    advertising: Vec<Advertising>,
    prices: watch::Receiver<PriceList>,
    verifier: Verifier,
) -> ApiConfig {
    ApiConfig {
        data_dir: settings.node.data_dir.clone(),
        public: PublicSettings {
            access: match settings.api.api_auth {
                settings::ApiAuth::Capability => VmAccess::Capability,
                settings::ApiAuth::Open => VmAccess::Open,
            },
            rate_limit_per_minute: settings.api.rate_limit_per_minute,
            trusted_proxies: settings.api.trusted_proxies.clone(),
            checker: settings
                .ports
                .verify_peers
                .then(|| Arc::new(port_checker::of_node(&settings.node, identity))),
        },
        provider: ProviderDetails {
            name: settings.node.name.0.clone(),
            provider_id: identity.address().to_owned(),
            public_ip,
            host: settings.api.host,
            port: settings.api.port.get(),
            country: settings.node.country.0.clone(),
            environment: settings.node.environment.as_str(),
            network: settings.node.network.as_str(),
        },
        payments,
        prices: Some(prices),
        advertising,
        ports: Some(verifier),
        https: None,
        alerts: settings.alerts_config(),
        dashboard: None,
    }
}

fn node_config(
    settings: &Settings,
    identity: &Identity,
    profiles: &[PaymentNetwork],
    payout: PayoutConfig,
) -> NodeConfig {
    let config = |profile| payments::config(profile, &settings.chain(), identity);
    NodeConfig {
        history: settings.node.history(),
        data_dir: settings.node.data_dir.clone(),
        ports: settings.ports.ssh_ports(),
        ssh_bind: settings.api.host,
        port_policy: settings.reach().policy,
        limits: settings.vms.limits(),
        closed: None,
        default_image: settings.vms.default_vm_image.clone(),
        boot_deadline: settings.vms.boot_timeout,
        stop_grace: settings.vms.stop_grace,
        watch_interval: WATCH_INTERVAL,
        restart_delay: RESTART_DELAY,
        restart_policy: match settings.vms.restart_policy {
            settings::RestartPolicy::OnFailure => golem_node::RestartPolicy::OnFailure,
            settings::RestartPolicy::Always => golem_node::RestartPolicy::Always,
        },
        proxy: ProxyLimits::of_this_host(),
        rent: Rent {
            cpu: settings.vms.rent_cpu.map(|number| number.0),
            memory_gib: settings.vms.rent_memory_gb.map(|number| number.0),
            storage_gib: settings.vms.rent_storage_gb.map(|number| number.0),
            cpu_overcommit_percent: settings.vms.cpu_overcommit.0,
        },
        totals: backend::totals_of_tests(),
        payments: profiles.first().map(config),
        more_payments: profiles.iter().skip(1).map(config).collect(),
        known_contracts: payments::known(&settings.chain(), identity),
        payout,
    }
}
