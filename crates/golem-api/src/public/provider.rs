//! What the node says of itself: whether it runs, whom and where to pay, and, where the API is open, all that it has.

use std::net::IpAddr;

use alloy_primitives::Address;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use golem_reach::public_ip;
use golem_service::server::json::ok;
use golem_types::ImageName;
use serde::Serialize;
use serde_json::json;

use super::{Public, Shared};

/// What a client needs to rent; the answer of `provider/info`.
#[derive(Debug, Serialize)]
pub(super) struct ProviderInfo<'a> {
    provider_id: &'a str,
    /// Zero when payments are off.
    stream_payment_address: String,
    /// Zero when it is the chain's own money.
    glm_token_address: String,
    ip_address: IpAddr,
    country: &'a str,
    platform: &'static str,
    /// Where this node is reached over https.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_url: Option<String>,
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

pub(super) async fn health() -> Response {
    ok(&json!({ "status": "healthy" }))
}

/// What tells a checker that it has reached this node and nobody else.
pub(super) async fn banner(State(public): Shared) -> String {
    public.node.probes().banner(public.provider.port) + "\n"
}

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

pub(super) async fn images(State(public): Shared) -> Response {
    let names = image_names(&public);
    let default = &public.node.config().default_image;
    let image = |name: &ImageName| json!({ "name": name, "default": name == default });
    ok(&json!({ "images": names.iter().map(image).collect::<Vec<_>>() }))
}

pub(super) async fn summary(State(public): Shared) -> Response {
    let capacity = public.node.capacity();
    let vms = public.node.vms();
    let vms: Vec<_> =
        vms.iter().map(|vm| json!({ "id": vm.id, "status": vm.state, "resources": vm.resources })).collect();
    ok(&json!({
        "status": "running",
        "env": { "environment": public.provider.environment, "network": public.provider.network },
        "resources": { "total": capacity.total, "available": capacity.free },
        "pricing": pricing(&public),
        "vms": vms,
    }))
}

/// What is asked for a month, as the original's desktop program reads it: numbers, 0 where none is known.
fn pricing(public: &Public) -> serde_json::Value {
    let prices = public.prices.as_ref().map(|prices| *prices.borrow());
    let (usd, glm) = prices.map_or_else(Default::default, |prices| (prices.usd, prices.glm));
    json!({
        "usd_per_core_month": usd.core.to_float(),
        "usd_per_gb_ram_month": usd.memory.to_float(),
        "usd_per_gb_storage_month": usd.storage.to_float(),
        "glm_per_core_month": glm.core.to_float(),
        "glm_per_gb_ram_month": glm.memory.to_float(),
        "glm_per_gb_storage_month": glm.storage.to_float(),
    })
}

pub(super) async fn shutdown(State(public): Shared, method: Method) -> Response {
    tracing::info!(%method, "shutdown asked for over the public API");
    public.stop.cancel();
    ok(&json!({ "ok": true }))
}
