//! What handlers read of a request's path and query.
//!
//! Owns that what cannot be read is refused as everything is, with `{"detail": …}`. Never knows what it means.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The parts of the path that are the client's.
pub(crate) struct Path<T>(pub(crate) T);

/// The query.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let refused =
            |why: axum::extract::rejection::PathRejection| ApiError::new(why.status(), why.body_text());
        read.map(|axum::extract::Path(value)| Self(value)).map_err(refused)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        let refused =
            |why: axum::extract::rejection::QueryRejection| ApiError::new(why.status(), why.body_text());
        read.map(|axum::extract::Query(value)| Self(value)).map_err(refused)
    }
}
