//! What the page asks for and no command does: sums of the money, markets, images, prices and the log.
//!
//! Owns those routes. Never decides: what they call does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use futures_util::future::join_all;
use golem_host::settings::KeepError;
use golem_market::survey::MarketView;
use golem_node::NodeError;
use golem_service::log_recent;
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body;
use golem_types::{ImageName, Resources, Size};
use golem_vm::images::{DownloadProgress, Images, canonical};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Shared;
use crate::config::DashboardConfig;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Path, Query};
use crate::operator::{By, Operator};
use crate::views::earnings::{EarningsView, Period};
use crate::views::{books, payments};

impl Operator {
    fn page(&self) -> Result<&DashboardConfig, ApiError> {
        self.config.dashboard.as_ref().ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
    }
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    by: PeriodName,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PeriodName {
    #[default]
    Day,
    Week,
    Month,
}

/// The money.
#[derive(Serialize, ToSchema)]
struct Money {
    earnings: EarningsView,
    /// Why streams are as they were last read.
    stale: Option<String>,
}

/// What was earned and received, and what is to come; `null` where rentals are free.
#[utoipa::path(
    get, path = "/earnings", tag = "Dashboard",
    params(("by" = inline(Option<PeriodName>), Query, description = "The periods to sum up by: `day` if absent")),
    responses(
        (status = 200, body = Option<Money>, description = "The money"),
    ),
)]
pub(super) async fn earnings(State(operator): Shared, Query(Wanted { by }): Query<Wanted>) -> ApiResult {
    let contracts = operator.node.contracts();
    if contracts.all().is_empty() {
        return Ok(ok(&json!(null)));
    }
    let entries = books::entries(contracts, Timestamp::UNIX_EPOCH).await.map_err(NodeError::from)?;
    let view = payments::streams(contracts, operator.config.payments.as_ref()).await;
    let by = match by {
        PeriodName::Day => Period::Day,
        PeriodName::Week => Period::Week,
        PeriodName::Month => Period::Month,
    };
    let earnings = EarningsView::of(&view, &entries, Timestamp::UNIX_EPOCH, by, Timestamp::now());
    // Not through `json!`, whose numbers are not exact.
    Ok(ok(&Money { earnings, stale: view.stale }))
}

#[derive(Deserialize)]
pub(super) struct WantedSize {
    cpu: Option<u32>,
    memory: Option<u32>,
    storage: Option<u32>,
}

/// Markets, looked at for one size.
#[derive(Serialize, ToSchema)]
struct Markets {
    markets: Vec<MarketView>,
    size: Resources,
}

/// The adverts as renters see them, and those of others that offer as much.
#[utoipa::path(
    get, path = "/markets", tag = "Dashboard",
    params(
        ("cpu" = Option<u32>, Query, description = "Virtual CPUs; 1 if absent"),
        ("memory" = Option<u32>, Query, description = "Memory in GiB; 1 if absent"),
        ("storage" = Option<u32>, Query, description = "Storage in GiB; 10 if absent"),
    ),
    responses(
        (status = 200, body = Markets, description = "The markets"),
        (status = 404, description = "This node has no page"),
    ),
)]
pub(super) async fn markets(State(operator): Shared, Query(wanted): Query<WantedSize>) -> ApiResult {
    let small = Size::Small.resources();
    let size = Resources::new(
        wanted.cpu.unwrap_or(small.cpu),
        wanted.memory.unwrap_or(small.memory),
        wanted.storage.unwrap_or(small.storage),
    );
    let survey = operator.page()?.survey.iter();
    let asked = survey.flat_map(|survey| survey.places.iter().map(move |place| survey.look(place, size)));
    let markets: Vec<MarketView> = join_all(asked).await;
    Ok(ok(&Markets { markets, size }))
}

/// How a download stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Pull {
    done: u64,
    total: Option<u64>,
    /// `running`, `new`, `same` or `failed`.
    state: &'static str,
    error: Option<String>,
}

/// Downloads that were asked for since the process began, by image.
#[derive(Debug, Default)]
pub(in crate::operator) struct Pulls(Mutex<BTreeMap<ImageName, Pull>>);

impl Pulls {
    fn set(&self, name: &ImageName, pull: Pull) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), pull);
    }

    /// Whether `name` was not being downloaded; it is now.
    fn begin(&self, name: &ImageName) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(name).is_some_and(|pull| pull.state == "running") {
            return false;
        }
        all.insert(name.clone(), Pull { done: 0, total: None, state: "running", error: None });
        true
    }
}

/// An image.
#[derive(Serialize, ToSchema)]
struct ImageLine {
    /// Its other names.
    aliases: Vec<String>,
    /// What it takes of the disk; `None` while it is not here.
    bytes: Option<u64>,
    can_be_pulled: bool,
    /// Whether a create that names none has this one.
    default: bool,
    name: ImageName,
    /// How its download stands, if one was asked for since the process began.
    pull: Option<Pull>,
}

/// The images of the catalogue and of the operator; none where the backend keeps no images on this machine.
#[utoipa::path(
    get, path = "/images", tag = "Dashboard",
    responses(
        (status = 200, body = Vec<ImageLine>, description = "The images"),
    ),
)]
pub(super) async fn images(State(operator): Shared) -> ApiResult {
    if !operator.node.backend().has_images() {
        return Ok(ok(&json!([])));
    }
    let data_dir = operator.config.data_dir.clone();
    let list = tokio::task::spawn_blocking(move || Images::open(&data_dir).map(|images| images.list()));
    let list = list.await.map_err(|_| unreadable())?.map_err(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "the images cannot be listed");
        unreadable()
    })?;
    let default = canonical(&operator.node.config().default_image);
    let pulls = operator.pulls.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let document = |info: &golem_vm::images::ImageInfo| ImageLine {
        aliases: info.aliases.iter().map(ToString::to_string).collect(),
        bytes: info.bytes,
        can_be_pulled: info.url.is_some(),
        default: info.name == default,
        name: info.name.clone(),
        pull: pulls.get(&info.name).cloned(),
    };
    Ok(ok(&list.iter().map(document).collect::<Vec<_>>()))
}

fn unreadable() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the images cannot be listed; the log says why")
}

/// Begins to download an image; `images` tells how far it is.
#[utoipa::path(
    post, path = "/images/{name}", tag = "Dashboard",
    params(("name" = String, Path, description = "The image")),
    responses(
        (status = 202, body = (), description = "It has begun"),
        (status = 404, description = "No such image is published"),
        (status = 409, description = "It is being downloaded already"),
    ),
)]
pub(super) async fn pull(State(operator): Shared, by: By, Path(name): Path<String>) -> ApiResult {
    let wrong =
        || ApiError::new(StatusCode::NOT_FOUND, "no such image is published; fix: choose one of the list");
    let name: ImageName = name.parse().map_err(|_| wrong())?;
    let name = canonical(&name);
    let is_published = golem_vm::images::ENTRIES.iter().any(|entry| entry.name == name.as_str());
    if !operator.node.backend().has_images() || !is_published {
        return Err(wrong());
    }
    if !operator.pulls.begin(&name) {
        return Err(ApiError::new(StatusCode::CONFLICT, "this image is being downloaded already"));
    }
    tracing::info!(target: "audit", %by, image = %name, "an image is downloaded");
    let tasks = operator.node.tasks();
    let (stop, operator) = (tasks.stopping().clone(), Arc::clone(&operator));
    tasks.spawn("image pull", async move {
        stop.run_until_cancelled(download(&operator, &name)).await;
    });
    Ok(json_response(StatusCode::ACCEPTED, &json!(null)))
}

async fn download(operator: &Operator, name: &ImageName) {
    let pulls = &operator.pulls;
    let progress = |DownloadProgress { done, total }| {
        pulls.set(name, Pull { done, total, state: "running", error: None });
    };
    let pulled = async {
        let images = Images::open(&operator.config.data_dir)
            .map_err(|error| golem_service::log::with_causes(&error))?;
        images.pull(name, progress).await.map_err(|error| golem_service::log::with_causes(&error))
    };
    let (state, error) = match pulled.await {
        Ok(pulled) if pulled.is_new => ("new", None),
        Ok(_) => ("same", None),
        Err(why) => {
            tracing::warn!(image = %name, why, "an image was not downloaded");
            ("failed", Some(why))
        }
    };
    pulls.set(name, Pull { done: 0, total: None, state, error });
}

/// Dollars a month, as decimal text.
#[derive(Deserialize, ToSchema)]
struct Prices {
    per_core: String,
    per_gb_ram: String,
    per_gb_storage: String,
}

/// Keeps other prices, and starts the node anew with them; VMs run on, at the prices that they were rented for.
#[utoipa::path(
    put, path = "/prices", tag = "Dashboard",
    request_body = Prices,
    responses(
        (status = 202, body = (), description = "The node starts anew"),
        (status = 400, description = "The body or a price is wrong"),
        (status = 404, description = "This node has no page"),
        (status = 409, description = "The prices are set elsewhere, where this cannot change them"),
    ),
)]
pub(super) async fn prices(State(operator): Shared, by: By, request: Request) -> ApiResult {
    let place = operator.page()?.settings.clone();
    let Prices { per_core, per_gb_ram, per_gb_storage } = serde_json::from_slice(&body(request).await?)
        .map_err(|_| {
            let text = "the body should be {\"per_core\": …, \"per_gb_ram\": …, \"per_gb_storage\": …}, US dollars as text";
            ApiError::new(StatusCode::BAD_REQUEST, text)
        })?;
    let told = format!("{per_core} a core, {per_gb_ram} a GiB of memory, {per_gb_storage} a GiB of storage");
    let changes = BTreeMap::from([
        ("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH", per_core),
        ("GOLEM_PROVIDER_PRICE_USD_PER_GB_RAM_MONTH", per_gb_ram),
        ("GOLEM_PROVIDER_PRICE_USD_PER_GB_STORAGE_MONTH", per_gb_storage),
    ]);
    // It waits for the disk.
    let kept = tokio::task::spawn_blocking(move || place.keep(&changes)).await;
    match kept {
        Ok(Ok(_)) => {
            tracing::info!(target: "audit", %by, prices = told, "prices are changed, in US dollars a month")
        }
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "prices were not changed");
            let status = match error {
                KeepError::Wrong(_) => StatusCode::BAD_REQUEST,
                KeepError::SetElsewhere { .. } => StatusCode::CONFLICT,
                KeepError::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            };
            return Err(ApiError::new(status, golem_service::log::with_causes(&error)));
        }
        Err(_) => {
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the settings were not written"));
        }
    }
    operator.asked.reload.notify_one();
    Ok(json_response(StatusCode::ACCEPTED, &json!(null)))
}

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
}

/// Log lines.
#[derive(Serialize, ToSchema)]
struct LogLines {
    /// How many there were so far.
    count: u64,
    /// Each an object.
    #[schema(value_type = Vec<Object>)]
    lines: Vec<Box<RawValue>>,
}

/// The node's last log lines, after those that were told.
#[utoipa::path(
    get, path = "/log", tag = "Dashboard",
    params(("after" = Option<u64>, Query, description = "The `count` of the last answer; 0 if absent")),
    responses(
        (status = 200, body = LogLines, description = "The lines, as JSON"),
    ),
)]
pub(super) async fn log(Query(After { after }): Query<After>) -> ApiResult {
    let (count, lines) = log_recent::after(after);
    let lines: Vec<Box<RawValue>> =
        lines.into_iter().filter_map(|line| RawValue::from_string(line).ok()).collect();
    Ok(ok(&LogLines { count, lines }))
}
