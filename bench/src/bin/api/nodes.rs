//! The contenders, each a process of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::node::free_port;
use bench::process::Process;
use golem_api::{ApiConfig, ProviderDetails, PublicSettings, VmAccess};
use golem_node::ports::PortPolicy;
use golem_node::proxy::ProxyLimits;
use golem_node::{AdmissionLimits, Node, NodeConfig};
use golem_service::server::TrustedProxies;
use golem_types::Resources;
use golem_vm::Backend;
use golem_vm::sim::{Sim, SimConfig};

/// Longest that a contender may take to answer.
const START: Duration = Duration::from_secs(60);

/// A contender that runs.
pub(crate) struct Contender {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// From its launch to its first answer.
    pub(crate) start: Duration,
    _folder: tempfile::TempDir,
}

fn run(mut command: Command, port: u16, folder: tempfile::TempDir) -> anyhow::Result<Contender> {
    let began = Instant::now();
    let log = std::fs::File::create(folder.path().join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut process = Process::start(&mut command)?;
    let answered = bench::wait_for("the first answer", START, || {
        anyhow::ensure!(process.child().try_wait()?.is_none(), "it ended");
        Ok(answers(port))
    });
    let said = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    answered.with_context(said)?;
    Ok(Contender { process, port, start: began.elapsed(), _folder: folder })
}

/// Whether `provider/info` is answered on `port`.
fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let request = "GET /api/v1/provider/info HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// The true program, as built for release, with the simulated backend.
pub(crate) fn program() -> anyhow::Result<Contender> {
    let folder = tempfile::tempdir()?;
    let own = std::env::current_exe()?;
    let (port, operator, ssh) = (free_port()?, free_port()?, free_port()?.min(60_000));
    let mut command = Command::new(own.with_file_name("golem-provider"));
    command
        .arg("start")
        .env("HOME", folder.path())
        .env("GOLEM_PROVIDER_HOST", "127.0.0.1")
        .env("GOLEM_PROVIDER_VM_BACKEND", "sim")
        .env("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x0")
        .env("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false")
        .env("GOLEM_PROVIDER_ADVERTISER_TYPE", "none")
        .env("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true")
        .env("GOLEM_PROVIDER_ACME", "off")
        .env("GOLEM_PROVIDER_PORT", port.to_string())
        .env("GOLEM_PROVIDER_OPERATOR_PORT", operator.to_string())
        .env("GOLEM_PROVIDER_PORT_RANGE_START", ssh.to_string())
        .env("GOLEM_PROVIDER_PORT_RANGE_END", (ssh + 100).to_string());
    run(command, port, folder)
}

/// The same node and API on a host of plenty: this program, run again as a server.
pub(crate) fn ours() -> anyhow::Result<Contender> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").arg(folder.path()).arg(port.to_string());
    run(command, port, folder)
}

/// The original, with a multipass that costs nothing.
pub(crate) fn original(python: &Path) -> anyhow::Result<Contender> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/bin/api/original.py");
    let machines = folder.path().join("machines");
    std::fs::create_dir(&machines)?;
    let ssh = free_port()?.min(60_000);
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(port.to_string())
        .env("HOME", folder.path())
        .env("FAKE_MULTIPASS_DIR", machines)
        .env(
            "GOLEM_PROVIDER_MULTIPASS_BINARY_PATH",
            std::env::current_exe()?.with_file_name("fake_multipass"),
        )
        .env("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .env("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x0000000000000000000000000000000000000000")
        .env("GOLEM_PROVIDER_STREAM_MONITOR_ENABLED", "false")
        .env("GOLEM_PROVIDER_PORT_RANGE_START", ssh.to_string())
        .env("GOLEM_PROVIDER_PORT_RANGE_END", (ssh + 100).to_string())
        .env("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1");
    run(command, port, folder)
}

/// Serves the node on `port` until it is ended.
pub(crate) async fn serve(folder: PathBuf, port: u16) -> anyhow::Result<()> {
    let images = BTreeSet::from(["24.04".parse()?]);
    let sim = Sim::open(SimConfig { data_dir: folder.clone(), images, boot: Duration::ZERO })?;
    let config = NodeConfig {
        history: None,
        data_dir: folder.clone(),
        ports: 10_000..12_000,
        ssh_bind: Ipv4Addr::LOCALHOST.into(),
        port_policy: PortPolicy::Free,
        limits: AdmissionLimits {
            max_vms: 2000,
            cpu_threshold: 100,
            memory_threshold: 100,
            storage_threshold: 100,
            ..AdmissionLimits::default()
        },
        closed: None,
        default_image: "24.04".parse()?,
        boot_deadline: Duration::from_secs(60),
        stop_grace: Duration::from_secs(5),
        watch_interval: Duration::from_secs(2),
        restart_delay: Duration::from_secs(5),
        restart_policy: golem_node::RestartPolicy::OnFailure,
        proxy: ProxyLimits {
            per_port: 256,
            total: 4096,
            greeting: 48,
            speak: Duration::from_secs(30),
            idle: Duration::from_secs(3600),
            drain: Duration::from_secs(1),
            connect: Duration::from_secs(10),
        },
        rent: golem_node::Rent::default(),
        totals: Some(Resources::new(4096, 16_384, 1 << 20)),
        payments: None,
        more_payments: Vec::new(),
        known_contracts: Vec::new(),
        payout: golem_node::payout::PayoutConfig::default(),
    };
    let node = Node::start(config, Backend::Sim(sim)).await?;
    let config = ApiConfig {
        data_dir: folder,
        public: PublicSettings {
            access: VmAccess::Open,
            rate_limit_per_minute: 0,
            trusted_proxies: TrustedProxies::default(),
            checker: None,
        },
        provider: ProviderDetails {
            provider_id: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned(),
            name: "bench".to_owned(),
            public_ip: tokio::sync::watch::channel(Some(Ipv4Addr::LOCALHOST.into())).1,
            host: Ipv4Addr::LOCALHOST.into(),
            port,
            country: "SE".to_owned(),
            environment: "development",
            network: "development",
        },
        advertising: Vec::new(),
        prices: None,
        payments: None,
        ports: None,
        https: None,
        alerts: Default::default(),
        dashboard: None,
    };
    let public = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let operator = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let api = golem_api::start(config, node, public, operator)?;
    api.stop_requested().await;
    Ok(())
}
