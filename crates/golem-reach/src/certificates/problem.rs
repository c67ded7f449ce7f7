//! Why there is no https, or soon will be none, and what to do.
//!
//! Owns the causes and their wording. Never finds anything out.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where there is more about all of it.
const HELP: &str = "docs/https.md";

/// What is in the way of https, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HttpsCause {
    /// The operator wants none.
    Off,
    /// The first certificate is being obtained.
    Pending,
    /// A file of the operator's cannot be used.
    File,
    /// The key can be read by others.
    KeyNotPrivate,
    /// The certificate is over.
    Expired,
    /// The certificate is not good yet.
    NotYetValid,
    /// The certificate is for another address.
    OtherAddress,
    /// The public address is not known, or is not globally routable.
    Address,
    /// The port cannot be listened on.
    Port,
    /// The port is not reachable from outside.
    Unreachable,
    /// The certificate authority does not answer.
    Directory,
    /// The certificate authority refuses.
    Refused,
    /// The clock of this machine is wrong.
    Clock,
    /// The data directory cannot be written.
    Storage,
}

/// Why there is no https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    Off,
    Pending,
    Unreadable { path: PathBuf, why: String },
    Unusable { certificate: PathBuf, key: PathBuf, why: String },
    NotPrivate { path: PathBuf, mode: u32 },
    Expired { until: Timestamp },
    NotYetValid { from: Timestamp },
    OtherAddress { names: Vec<String>, address: IpAddr },
    AddressUnknown,
    AddressNotPublic { address: IpAddr },
    PortHeld { port: u16, holder: Option<String> },
    PortRefused { port: u16, why: String },
    Unreachable { port: u16 },
    Directory { directory: String, why: String },
    Refused { why: String },
    Clock { seconds: i64 },
    Storage { why: String },
}

/// Why there is no https, as the operator reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HttpsProblem {
    /// What it is.
    pub cause: HttpsCause,
    /// What is wrong, as the beginning of a sentence.
    pub what: String,
    /// What to do: the first that fits.
    pub fixes: Vec<String>,
    /// Where there is more.
    pub help: String,
}

impl HttpsProblem {
    /// What is wrong and every fix, in one line of a log.
    #[must_use]
    pub fn line(&self) -> String {
        match self.fixes.as_slice() {
            [] => self.what.clone(),
            fixes => format!("{}; fix: {}", self.what, fixes.join("; or ")),
        }
    }
}

/// What to do where a port below 1024 is refused.
pub(crate) fn privileged_port_fixes() -> Vec<String> {
    vec![
        "where systemd starts the node, AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit".to_owned(),
        "else `setcap cap_net_bind_service=+ep` on the program's file, after each update".to_owned(),
    ]
}

impl From<&Problem> for HttpsProblem {
    fn from(problem: &Problem) -> Self {
        let (cause, what, fixes) = words(problem);
        Self { cause, what, fixes, help: HELP.to_owned() }
    }
}

/// The cause of `problem`, what is wrong, and what to do.
fn words(problem: &Problem) -> (HttpsCause, String, Vec<String>) {
    match problem {
        Problem::Off => (
            HttpsCause::Off,
            "https is off: GOLEM_PROVIDER_ACME=off, and no certificate is given".to_owned(),
            vec![
                "set GOLEM_PROVIDER_ACME=auto, which obtains a certificate".to_owned(),
                "give one with GOLEM_PROVIDER_TLS_CERT and GOLEM_PROVIDER_TLS_KEY".to_owned(),
            ],
        ),
        Problem::Pending => (HttpsCause::Pending, "a certificate is being obtained".to_owned(), Vec::new()),
        Problem::Unreadable { path, why } => (
            HttpsCause::File,
            format!("{} cannot be read: {why}", path.display()),
            vec!["name a file that the node's user can read".to_owned()],
        ),
        Problem::Unusable { certificate, key, why } => (
            HttpsCause::File,
            format!("{} and {} cannot be used: {why}", certificate.display(), key.display()),
            vec!["put the certificate, with its issuers' behind it, and its own key there as PEM".to_owned()],
        ),
        Problem::NotPrivate { path, mode } => (
            HttpsCause::KeyNotPrivate,
            format!("the key {} is not used: other users can read it ({mode:03o})", path.display()),
            vec![format!("chmod 600 {}", path.display())],
        ),
        Problem::Expired { until } => (
            HttpsCause::Expired,
            format!("the certificate ended on {until}"),
            vec![
                "put a new one in its place; the node takes it by itself".to_owned(),
                "if it did not, this machine's clock is wrong: `timedatectl set-ntp true`".to_owned(),
            ],
        ),
        Problem::NotYetValid { from } => (
            HttpsCause::NotYetValid,
            format!("the certificate is good from {from} on, and not yet by this machine's clock"),
            vec!["if that is past, set the clock: `timedatectl set-ntp true`".to_owned()],
        ),
        Problem::OtherAddress { names, address } => {
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            (
                HttpsCause::OtherAddress,
                format!("the certificate is for {names}, and renters come to {address}"),
                vec![
                    format!("get one for {address}, or for a host name that leads there"),
                    format!("have one of its host names lead to {address}"),
                ],
            )
        }
        Problem::AddressUnknown => (
            HttpsCause::Address,
            "the public address is not known yet".to_owned(),
            vec![
                "set GOLEM_PROVIDER_PUBLIC_IP to the address at which the internet sees this node".to_owned(),
            ],
        ),
        Problem::AddressNotPublic { address } => (
            HttpsCause::Address,
            format!("no authority gives a certificate for {address}, which is no address of the internet"),
            vec!["set GOLEM_PROVIDER_PUBLIC_IP to the router's address, or to auto".to_owned()],
        ),
        Problem::PortHeld { port, holder } => {
            let holder = holder.as_deref().unwrap_or("another program");
            (
                HttpsCause::Port,
                format!("TCP {port} is in use by {holder}"),
                vec![format!("stop {holder}, then start the node again")],
            )
        }
        Problem::PortRefused { port, why } => {
            (HttpsCause::Port, format!("TCP {port} cannot be listened on: {why}"), privileged_port_fixes())
        }
        Problem::Unreachable { port } => (
            HttpsCause::Unreachable,
            format!("TCP {port} is not reachable from outside"),
            vec![format!(
                "have TCP {port} forwarded and let in; `golem-provider ports check` says what is in the way"
            )],
        ),
        Problem::Directory { directory, why } => (
            HttpsCause::Directory,
            format!("the certificate authority at {directory} does not answer: {why}"),
            vec![
                "check this host's way to the internet and its DNS, and GOLEM_PROVIDER_ACME_DIRECTORY"
                    .to_owned(),
            ],
        ),
        Problem::Refused { why } => (
            HttpsCause::Refused,
            format!("the certificate authority gives none: {why}"),
            vec![
                "have TCP 443 or TCP 80 forwarded to this host and let in, so that it can see this node"
                    .to_owned(),
                "give a certificate with GOLEM_PROVIDER_TLS_CERT and GOLEM_PROVIDER_TLS_KEY".to_owned(),
            ],
        ),
        Problem::Clock { seconds } => {
            let (minutes, which) = (seconds.abs() / 60, if *seconds > 0 { "behind" } else { "ahead" });
            (
                HttpsCause::Clock,
                format!("this machine's clock is {minutes} minutes {which}, by the certificate authority's"),
                vec!["timedatectl set-ntp true".to_owned()],
            )
        }
        Problem::Storage { why } => (
            HttpsCause::Storage,
            format!("the certificate cannot be kept in the data directory: {why}"),
            vec!["make room there, or mend it".to_owned()],
        ),
    }
}
