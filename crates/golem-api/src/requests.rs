//! How many requests were answered, how, and in what time.
//!
//! Owns these counts, of one process, by route and never by what a client made up: a path that is no route's counts as
//! `none`, a method that nobody has heard of as `OTHER`. Never looks into a request.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the histogram, in seconds: from an answer out of memory to one that waits for a chain or a guest.
const SECONDS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

type Labels = Vec<(&'static str, String)>;

/// Makes the histogram of a route.
#[derive(Clone)]
struct Times;

impl MetricConstructor<Histogram> for Times {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// The counts.
pub(crate) struct Requests {
    answered: Family<Labels, Counter>,
    times: Family<Labels, Histogram, Times>,
    registry: Registry,
}

impl Requests {
    pub(crate) fn new() -> Arc<Self> {
        let (answered, times) = (Family::default(), Family::new_with_constructor(Times));
        let mut registry = Registry::default();
        let help = "Requests that were answered, by listener, method, route and class of the status";
        registry.register("golem_provider_http_requests", help, Family::clone(&answered));
        let help = "Time from a request's head to the head of its answer, in seconds";
        registry.register("golem_provider_http_request_duration_seconds", help, Family::clone(&times));
        Arc::new(Self { answered, times, registry })
    }

    /// What is counted.
    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// Counts requests to the listener of this name.
pub(crate) async fn count(
    State((requests, listener)): State<(Arc<Requests>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    };
    let begin = Instant::now();
    let response = next.run(request).await;
    let listener = ("listener", listener.to_owned());
    let class = format!("{}xx", response.status().as_u16() / 100);
    let labels =
        vec![listener.clone(), ("method", method.to_owned()), ("route", route.clone()), ("status", class)];
    requests.answered.get_or_create(&labels).inc();
    requests.times.get_or_create(&vec![listener, ("route", route)]).observe(begin.elapsed().as_secs_f64());
    response
}
