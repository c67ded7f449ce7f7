//! What https is told when it starts.
//!
//! Owns the structs. Never reads a setting: `golem-provider` does.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;

use super::challenge::WebPorts;
use crate::probe::Probes;

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// The operator gives one, as PEM.
    Files {
        /// It, and its issuers' behind it.
        certificate: PathBuf,
        /// Its key, which only the node's user may read.
        key: PathBuf,
    },
    /// An authority that speaks ACME.
    Acme {
        /// Its directory, as a URL.
        directory: String,
    },
    /// Nowhere: there is no https.
    None,
}

impl CertificateSource {
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Files { .. } => "files",
            Self::Acme { .. } => "acme",
            Self::None => "none",
        }
    }
}

/// How https is served.
#[derive(Debug, Clone)]
pub struct HttpsConfig {
    /// Where to listen.
    pub host: IpAddr,
    /// The port.
    pub port: u16,
    /// The port on which an authority is answered over HTTP: 80 in the world.
    pub http_port: u16,
    /// Where the certificate comes from.
    pub source: CertificateSource,
    /// Where what an authority gave is kept.
    pub folder: PathBuf,
    /// Whether private addresses are as good as public ones.
    pub development: bool,
    /// This machine's time.
    pub clock: fn() -> Timestamp,
}

/// The ports of this program that a verification of ports shares with it.
#[derive(Debug, Clone, Default)]
pub struct SharedPorts {
    /// Listeners that are up while ports are verified; one on the port for an authority makes way.
    pub probes: Probes,
    /// The ports that https serves.
    pub web: WebPorts,
}
