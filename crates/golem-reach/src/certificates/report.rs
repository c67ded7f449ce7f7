//! What is known of https, as the operator reads it.
//!
//! Owns its shape, on both ends of the operator API and in `--json`. Never finds anything out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::certificate::CertificateFacts;
use super::problem::HttpsProblem;

/// What is known of https.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HttpsReport {
    /// Where renters reach this node over https; `None` while they cannot.
    pub endpoint: Option<String>,
    /// The port.
    pub port: u16,
    /// Where the certificate comes from: `files`, `acme` or `none`.
    pub source: String,
    /// The certificate that is served.
    pub certificate: Option<CertificateFacts>,
    /// When the node renews it, or tries again; `None` if it does not.
    pub next_renewal: Option<Timestamp>,
    /// Why there is no endpoint, and what else is off; the worst first.
    pub problems: Vec<HttpsProblem>,
}
