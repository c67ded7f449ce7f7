//! A node with the sim backend behind both APIs, in one process, on ports of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use golem_api::operator::{Client, Token};
use golem_api::{Api, ApiConfig, ProviderDetails, PublicSettings, VmAccess};
use golem_node::ports::PortPolicy;
use golem_node::proxy::ProxyLimits;
use golem_node::{AdmissionLimits, Node, NodeConfig};
use golem_service::server::TrustedProxies;
use golem_types::Resources;
use golem_vm::Backend;
use golem_vm::sim::{Call, Fault, Sim, SimConfig, SimControl};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
/// A name that would be code, if it were not escaped.
pub(crate) const HOSTILE_NAME: &str = "<script>alert('a')</script>";

pub(crate) const PROVIDER_ID: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

/// How many SSH ports a node has.
const PORTS: u16 = 20;

/// Longest that a test waits for a level.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    folder: tempfile::TempDir,
    node: Node,
    sim: SimControl,
    api: Api,
    client: reqwest::Client,
    base: String,
    operator_port: u16,
    /// Keeps the SSH ports from other worlds while this one is there.
    _ports: golem_test_support::HeldPorts,
}

impl World {
    pub(crate) async fn start(access: VmAccess) -> Self {
        Self::start_limited(access, 0).await
    }

    /// A world whose guests boot only when told.
    pub(crate) async fn start_slow(access: VmAccess) -> Self {
        let world = Self::start(access).await;
        world.sim.hold_boots();
        world
    }

    pub(crate) async fn start_limited(access: VmAccess, rate_limit_per_minute: u32) -> Self {
        Self::start_with(
            tempfile::tempdir().unwrap(),
            access,
            rate_limit_per_minute,
            TrustedProxies::default(),
        )
        .await
    }

    /// A world behind reverse proxies.
    pub(crate) async fn start_behind(trusted_proxies: TrustedProxies, rate_limit_per_minute: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_with(folder, VmAccess::Capability, rate_limit_per_minute, trusted_proxies).await
    }

    /// A world whose data directory is `folder`.
    pub(crate) async fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_with(folder, VmAccess::Capability, 0, TrustedProxies::default()).await
    }

    async fn start_with(
        folder: tempfile::TempDir,
        access: VmAccess,
        rate_limit_per_minute: u32,
        trusted_proxies: TrustedProxies,
    ) -> Self {
        let images = BTreeSet::from(["24.04".parse().unwrap()]);
        let data_dir = folder.path().to_owned();
        let sim = Sim::open(SimConfig { data_dir: data_dir.clone(), images, boot: Duration::ZERO }).unwrap();
        let control = sim.control();
        let held = golem_test_support::HeldPorts::take(PORTS);
        let first_port = held.first();
        let config = NodeConfig {
            history: None,
            data_dir: data_dir.clone(),
            ports: first_port..first_port + PORTS,
            ssh_bind: Ipv4Addr::LOCALHOST.into(),
            port_policy: PortPolicy::Free,
            limits: AdmissionLimits {
                max_vms: 50,
                cpu_threshold: 100,
                memory_threshold: 100,
                storage_threshold: 100,
                ..AdmissionLimits::default()
            },
            closed: None,
            default_image: "24.04".parse().unwrap(),
            boot_deadline: DEADLINE,
            stop_grace: Duration::from_secs(5),
            watch_interval: Duration::from_millis(50),
            restart_delay: Duration::from_millis(20),
            restart_policy: golem_node::RestartPolicy::OnFailure,
            proxy: ProxyLimits {
                per_port: 20,
                total: 1000,
                greeting: 48,
                speak: Duration::from_secs(30),
                idle: Duration::from_secs(3600),
                drain: Duration::from_millis(200),
                connect: Duration::from_secs(5),
            },
            rent: golem_node::Rent::default(),
            totals: Some(Resources::new(100, 100, 1000)),
            payments: None,
            more_payments: Vec::new(),
            known_contracts: Vec::new(),
            payout: golem_node::payout::PayoutConfig::default(),
        };
        let node = Node::start(config, Backend::Sim(sim)).await.unwrap();
        let config = ApiConfig {
            data_dir,
            public: PublicSettings { access, rate_limit_per_minute, trusted_proxies, checker: None },
            provider: ProviderDetails {
                name: HOSTILE_NAME.to_owned(),
                provider_id: PROVIDER_ID.to_owned(),
                public_ip: watch::channel(Some("203.0.113.7".parse().unwrap())).1,
                host: Ipv4Addr::LOCALHOST.into(),
                port: 7466,
                country: "SE".to_owned(),
                environment: "production",
                network: "testnet",
            },
            payments: None,
            prices: None,
            advertising: Vec::new(),
            ports: None,
            https: None,
            alerts: Default::default(),
            dashboard: None,
        };
        let public = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let operator = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("http://{}", public.local_addr().unwrap());
        let operator_port = operator.local_addr().unwrap().port();
        let api = golem_api::start(config, node.clone(), public, operator).unwrap();
        golem_service::http::install_cryptography();
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build().unwrap();
        Self { folder, node, sim: control, api, client, base, operator_port, _ports: held }
    }

    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) fn raw(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = self.raw(method, &format!("/api/v1{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
        (answer.status(), answer.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Waits until the VM `id` is in `state`, as a client would.
    pub(crate) async fn reaches(&self, id: &str, state: &str) {
        let is_there = async || self.get(&format!("/vms/{id}")).await.1["status"] == state;
        golem_test_support::until(state, is_there).await;
    }

    pub(crate) fn let_boot(&self) {
        self.sim.release_boots();
    }

    pub(crate) fn fail_next_create(&self) {
        self.sim.fail(Call::Create, Fault::Failed, 1);
    }

    pub(crate) fn fail_next_snapshot(&self) {
        self.sim.fail(Call::Snapshot, Fault::Failed, 1);
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) fn ports(&self) -> Range<u16> {
        self.node.config().ports.clone()
    }

    pub(crate) fn operator_base(&self) -> String {
        format!("http://127.0.0.1:{}", self.operator_port)
    }

    pub(crate) fn bearer(&self) -> String {
        Token::read(self.folder.path()).unwrap().bearer()
    }

    pub(crate) fn operator(&self) -> Client {
        let node = golem_host::node::Node::named(self.folder.path().to_owned(), &Default::default());
        Client::open(node, self.operator_port).unwrap()
    }

    /// The same after a restart of the node.
    pub(crate) async fn restart(self) -> Self {
        self.api.stop().await;
        self.node.shutdown(false).await;
        drop((self.node, self.api, self.sim));
        Self::start_in(self.folder).await
    }

    pub(crate) async fn stop(self) {
        self.api.stop().await;
        self.node.shutdown(false).await;
    }
}

/// The body of a create of a VM called `name`.
pub(crate) fn create_body(name: &str) -> Value {
    json!({ "name": name, "ssh_key": KEY, "resources": { "cpu": 1, "memory": 1, "storage": 10 } })
}
