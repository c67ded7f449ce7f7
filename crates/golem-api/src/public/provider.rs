//! What the node says of itself: whether it runs, whom and where to pay, and, where the API is open, all that it has.

use std::net::IpAddr;

use alloy_primitives::Address;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use golem_reach::public_ip;
use golem_service::server::json::ok;
use golem_types::{ImageName, Resources, VmId, VmStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Public, Shared};

/// What a client needs to rent; the answer of `provider/info`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProviderInfo<'a> {
    /// The node's Ethereum address, which signs and is paid.
    provider_id: &'a str,
    /// The payment contract; zero when payments are off.
    stream_payment_address: String,
    /// The token that streams are in; zero when it is the chain's own money.
    glm_token_address: String,
    /// Where SSH ports are reached.
    #[schema(value_type = String)]
    ip_address: IpAddr,
    /// Two letters (ISO 3166).
    country: &'a str,
    /// `x86_64` or `arm64`.
    platform: &'static str,
    /// Where this node is reached over https.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_url: Option<String>,
}

/// That the node answers.
#[derive(Serialize, ToSchema)]
struct HealthInfo {
    /// `healthy`.
    status: &'static str,
}

/// That what was asked for was done.
#[derive(Serialize, ToSchema)]
struct Done {
    ok: bool,
}

/// The images, the default one first.
#[derive(Serialize, ToSchema)]
struct ImagesInfo {
    images: Vec<ImageInfo>,
}

// Members stand in the order of the alphabet in all that follows, as they always have.

/// An image.
#[derive(Serialize, ToSchema)]
struct ImageInfo {
    /// Whether a create that names none has this one.
    default: bool,
    name: ImageName,
}

/// The node as a whole.
#[derive(Serialize, ToSchema)]
struct SummaryInfo<'a> {
    env: SummaryMarket,
    pricing: SummaryPricing,
    resources: SummaryResources,
    /// `running`.
    status: &'static str,
    vms: Vec<SummaryVm<'a>>,
}

/// Where the node offers itself.
#[derive(Serialize, ToSchema)]
struct SummaryMarket {
    /// `production` or `development`.
    environment: &'static str,
    /// `mainnet` or `testnet`.
    network: &'static str,
}

/// What there is to rent out.
#[derive(Serialize, ToSchema)]
struct SummaryResources {
    /// What is left of it.
    available: Resources,
    total: Resources,
}

/// What is asked for a month, per virtual CPU and per GiB; zero where no price is known.
#[derive(Serialize, ToSchema)]
struct SummaryPricing {
    glm_per_core_month: f64,
    glm_per_gb_ram_month: f64,
    glm_per_gb_storage_month: f64,
    usd_per_core_month: f64,
    usd_per_gb_ram_month: f64,
    usd_per_gb_storage_month: f64,
}

/// A VM.
#[derive(Serialize, ToSchema)]
struct SummaryVm<'a> {
    id: &'a VmId,
    resources: Resources,
    status: VmStatus,
}

impl<'a> ProviderInfo<'a> {
    pub(super) fn of(Public { provider, payments, https, .. }: &'a Public) -> Self {
        let payments = payments.as_ref();
        let shown = |address: Option<Address>| address.unwrap_or_default().to_string();
        Self {
            provider_id: &provider.provider_id,
            stream_payment_address: shown(payments.map(|profile| profile.contract)),
            glm_token_address: shown(payments.map(|profile| profile.token)),
            ip_address: public_ip::advertised_address(&provider.public_ip, provider.host),
            country: &provider.country,
            platform: match std::env::consts::ARCH {
                "aarch64" => "arm64",
                arch => arch,
            },
            endpoint_url: https.as_ref().and_then(|https| https.endpoint().borrow().clone()),
        }
    }
}

/// Whether the node answers.
///
#[utoipa::path(
    get, path = "/health", tag = "Provider",
    responses(
        (status = 200, body = HealthInfo, description = "It does"),
    ),
)]
pub(super) async fn health() -> Response {
    ok(&HealthInfo { status: "healthy" })
}

/// The same at its older place.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "Provider",
    responses(
        (status = 200, body = HealthInfo, description = "It does"),
    ),
)]
pub(super) async fn health_v1() -> Response {
    health().await
}

/// What tells a checker that it has reached this node and nobody else.
#[utoipa::path(
    get, path = "/port-check", tag = "Ports",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "A line that this node alone knows"),
    ),
)]
pub(super) async fn banner(State(public): Shared) -> String {
    public.node.probes().banner(public.provider.port) + "\n"
}

/// Whom and where to pay, and where the node is.
#[utoipa::path(
    get, path = "/api/v1/provider/info", tag = "Provider",
    responses(
        (status = 200, body = ProviderInfo, description = "What a client needs to rent"),
    ),
)]
pub(super) async fn info(State(public): Shared) -> Response {
    ok(&ProviderInfo::of(&public))
}

/// The images that a create may name, the one that is taken where it names none first.
pub(super) fn image_names(public: &Public) -> Vec<ImageName> {
    let default = &public.node.config().default_image;
    let mut names: Vec<_> =
        public.node.backend().images().into_iter().filter(|name| name != default).collect();
    names.insert(0, default.clone());
    names
}

/// The images that a create may name; the one that is taken where it names none comes first.
#[utoipa::path(
    get, path = "/api/v1/images", tag = "Provider",
    responses(
        (status = 200, body = ImagesInfo, description = "The images"),
    ),
)]
pub(super) async fn images(State(public): Shared) -> Response {
    let names = image_names(&public);
    let default = &public.node.config().default_image;
    let image = |name: &ImageName| ImageInfo { default: name == default, name: name.clone() };
    ok(&ImagesInfo { images: names.iter().map(image).collect() })
}

/// What the node has, asks and runs.
///
/// Only where the API is open (`GOLEM_PROVIDER_API_AUTH=open`), and never over https.
#[utoipa::path(
    get, path = "/api/v1/summary", tag = "Open API",
    responses(
        (status = 200, body = SummaryInfo, description = "The node as a whole"),
        (status = 404, description = "The API is not open"),
    ),
)]
pub(super) async fn summary(State(public): Shared) -> Response {
    let capacity = public.node.capacity();
    let vms = public.node.vms();
    let vms: Vec<_> = vms
        .iter()
        .map(|vm| SummaryVm { id: &vm.id, resources: vm.resources, status: crate::views::renter::status(vm) })
        .collect();
    let Public { provider, .. } = &*public;
    ok(&SummaryInfo {
        env: SummaryMarket { environment: provider.environment, network: provider.network },
        pricing: pricing(&public),
        resources: SummaryResources { available: capacity.free, total: capacity.total },
        status: "running",
        vms,
    })
}

/// What is asked for a month, as the original's desktop program reads it: numbers, 0 where none is known.
fn pricing(public: &Public) -> SummaryPricing {
    let prices = public.prices.as_ref().map(|prices| *prices.borrow());
    let (usd, glm) = prices.map_or_else(Default::default, |prices| (prices.usd, prices.glm));
    SummaryPricing {
        glm_per_core_month: glm.core.to_float(),
        glm_per_gb_ram_month: glm.memory.to_float(),
        glm_per_gb_storage_month: glm.storage.to_float(),
        usd_per_core_month: usd.core.to_float(),
        usd_per_gb_ram_month: usd.memory.to_float(),
        usd_per_gb_storage_month: usd.storage.to_float(),
    }
}

/// Stops the node.
///
/// Only where the API is open (`GOLEM_PROVIDER_API_AUTH=open`), and never over https.
#[utoipa::path(
    post, path = "/api/v1/admin/shutdown", tag = "Open API",
    responses(
        (status = 200, body = Done, description = "It stops"),
        (status = 403, description = "A page of another host asks"),
        (status = 404, description = "The API is not open"),
    ),
)]
pub(super) async fn shutdown(State(public): Shared, method: Method) -> Response {
    tracing::info!(%method, "shutdown asked for over the public API");
    public.stop.cancel();
    ok(&Done { ok: true })
}
