//! Certificates for tests, and Pebble: the certificate authority that Let's Encrypt makes for tests of ACME clients.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;

use crate::{Home, in_own_process_by, not_tried, ports, wait_until};

/// Names the file of authorities that a process trusts.
const TRUST: &str = "SSL_CERT_FILE";

/// A certificate and its key, as PEM.
pub struct Pem {
    pub certificate: String,
    pub key: String,
}

/// A certificate for `names`, signed by itself, good from a day of the year `from` until one of the year `until`.
pub fn certificate(names: &[&str], from: i32, until: i32) -> Pem {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().unwrap();
    Pem { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Runs the test `name` in a process of its own, which trusts the authority that gives [`Pebble`] its own certificate,
/// and returns `None`; there, returns the folder with that. Also `None` where there is no Pebble.
pub fn trusting_pebble(name: &str) -> Option<PathBuf> {
    if let Some(file) = std::env::var_os(TRUST).map(PathBuf::from)
        && let Some(folder) = file.parent()
        && folder.join("pebble.pem").is_file()
    {
        return Some(folder.to_owned());
    }
    let folder = pebble_folder()?;
    let mut runner = Command::new("env");
    runner.arg(format!("{TRUST}={}", trust(folder.path()).display())).arg(std::env::current_exe().unwrap());
    in_own_process_by(runner, name);
    None
}

/// A folder with a certificate for Pebble's own server, by an authority of its own; `None` where there is no Pebble.
pub fn pebble_folder() -> Option<tempfile::TempDir> {
    if Command::new("pebble").arg("-help").stderr(Stdio::null()).status().is_err() {
        not_tried("the package pebble is not installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    make_authority(folder.path());
    Some(folder)
}

/// The file in such a `folder` to have a process trust Pebble's server, by the variable `SSL_CERT_FILE`.
pub fn trust(folder: &Path) -> PathBuf {
    folder.join("trust.pem")
}

fn make_authority(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(trust(folder), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("pebble.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(folder.join("pebble.key"), key.serialize_pem()).unwrap();
}

/// How a Pebble validates, and what it gives.
#[derive(Debug, Clone, Copy)]
pub struct PebbleConfig {
    /// Its own port.
    pub port: u16,
    /// Where it goes to validate over HTTP, and over TLS.
    pub http: u16,
    pub tls: u16,
    /// How long its certificates are good, in seconds.
    pub life: u32,
}

/// A Pebble; killed when dropped.
pub struct Pebble {
    child: Child,
    /// Its directory, as a URL.
    pub directory: String,
    /// The port on which it tells of itself.
    management: u16,
}

impl Home {
    /// Has its node obtain a certificate from a [`Pebble`] at `port`, whose files are in `folder`, and serve https on `tls`.
    #[must_use]
    pub fn obtains_from_pebble(self, folder: &Path, port: u16, tls: u16) -> Self {
        self.set("SSL_CERT_FILE", &trust(folder).display().to_string())
            .set("GOLEM_ENVIRONMENT", "development")
            .set("GOLEM_PROVIDER_ACME", "auto")
            .set("GOLEM_PROVIDER_ACME_DIRECTORY", &Pebble::directory_at(port))
            .set("GOLEM_PROVIDER_TLS_PORT", &tls.to_string())
    }
}

impl Pebble {
    /// Starts one with the certificate in `folder`, which [`trusting_pebble`] gave.
    pub fn start(folder: &Path, config: PebbleConfig) -> Self {
        let PebbleConfig { port, http, tls, life } = config;
        let management = ports(1);
        let settings = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.join("pebble.pem"),
            "privateKey": folder.join("pebble.key"),
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": life,
        }});
        let file = folder.join(format!("pebble-{port}.json"));
        std::fs::write(&file, settings.to_string()).unwrap();
        let child = Command::new("pebble")
            .arg("-config")
            .arg(&file)
            .args(["-strict", "true"])
            // It waits before it looks, takes old validations for new ones and refuses what is right, unless told not to.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0"), ("PEBBLE_WFE_NONCEREJECT", "0")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pebble = Self { child, directory: Self::directory_at(port), management };
        wait_until("Pebble listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        pebble
    }

    /// Has it be silent (`STOP`), and go on (`CONT`).
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The root that its certificates go back to, as PEM.
    pub fn root(&self) -> String {
        golem_service::http::install_cryptography();
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        // It is this test's own, and its certificate's authority is nobody's.
        let client =
            reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { client.get(url).send().await.unwrap().text().await.unwrap() })
    }

    /// The directory of one at `port`.
    pub fn directory_at(port: u16) -> String {
        format!("https://127.0.0.1:{port}/dir")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
