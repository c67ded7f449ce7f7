//! An endpoint that answers as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;

/// Serves `answer` to every request; gives the URL and how often it was asked.
pub(crate) async fn endpoint(
    answer: impl Fn(Value) -> Response + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let handler = async move |axum::Json(request): axum::Json<Value>| {
        count.fetch_add(1, Ordering::Relaxed);
        if request.is_array() {
            return answer(request);
        }
        // A call by itself: `answer` knows lists only.
        let response = answer(Value::from(vec![request]));
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        match serde_json::from_slice::<Vec<Value>>(&bytes) {
            Ok(mut list) if list.len() == 1 => axum::Json(list.remove(0)).into_response(),
            _ => Response::from_parts(parts, axum::body::Body::from(bytes)),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    // It serves until the test ends.
    tasks.detach_all();
    (url, asked)
}
