//! The adverts that the node keeps.
//!
//! Owns the routes. Never decides: the node does.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use golem_service::server::json::ok;

use super::{By, Shared};
use crate::error::{ApiError, ApiResult};
use crate::views::AdvertView;

/// How long taking an advert off its market may take: some blocks of two seconds. An operator who
/// stops the node waits for it.
const REMOVAL: Duration = Duration::from_secs(20);

/// Takes the adverts off their markets. Waits for that up to 20 seconds.
#[utoipa::path(
    delete, path = "/adverts", tag = "Node",
    responses(
        (status = 200, body = Vec<AdvertView>, description = "The adverts, which are gone"),
        (status = 409, description = "No advert is kept on any market"),
        (status = 503, description = "An advert was not removed; `detail` says why"),
    ),
)]
pub(super) async fn remove(State(operator): Shared, by: By) -> ApiResult {
    let adverts = &operator.config.advertising;
    if adverts.is_empty() {
        return Err(ApiError::new(StatusCode::CONFLICT, "no advert is kept on any market"));
    }
    tracing::info!(target: "audit", %by, "the adverts are removed from their markets");
    let removed = join_all(adverts.iter().map(|advertising| advertising.remove(REMOVAL))).await;
    let left = adverts.iter().zip(removed).filter(|(_, removed)| !removed);
    let left: Vec<String> = left
        .map(|(advertising, _)| {
            let why = AdvertView::of(advertising).problem.unwrap_or_else(|| "it took too long".to_owned());
            format!("{}: {why}", advertising.place())
        })
        .collect();
    if !left.is_empty() {
        let text = format!("an advert was not removed: {}", left.join("; "));
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    Ok(ok(&adverts.iter().map(AdvertView::of).collect::<Vec<_>>()))
}
