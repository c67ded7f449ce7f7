//! A node of its own for a benchmark: true binary, ports and home of its own, free of charge.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process::Process;
use crate::wait_for;

/// Longest that a start may take.
const START: Duration = Duration::from_secs(60);

/// A node that runs; it ends when this is dropped, and its VMs when they are deleted.
#[derive(Debug)]
pub struct Node {
    folder: tempfile::TempDir,
    port: u16,
    ssh: u16,
    _process: Process,
}

/// A port that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The text of `field` in a JSON answer.
#[must_use]
pub fn text<'a>(answer: &'a str, field: &str) -> Option<&'a str> {
    answer.split(&format!("\"{field}\":\"")).nth(1)?.split('"').next()
}

impl Node {
    /// Starts a node whose VMs start from `image`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(image: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (port, operator, ssh) = (free_port()?, free_port()?, free_port()?.min(60_000));
        let provider = |arguments: &[&str]| -> anyhow::Result<Command> {
            let mut command = Command::new(std::env::current_exe()?.with_file_name("golem-provider"));
            command
                .args(arguments)
                .env("HOME", folder.path())
                .env("GOLEM_PROVIDER_HOST", "127.0.0.1")
                .env("GOLEM_PROVIDER_VM_BACKEND", "qemu")
                .env("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x0")
                .env("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false")
                .env("GOLEM_PROVIDER_ADVERTISER_TYPE", "none")
                .env("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true")
                .env("GOLEM_PROVIDER_ACME", "off")
                .env("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1")
                .env("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "debian-12")
                .env("GOLEM_PROVIDER_PORT", port.to_string())
                .env("GOLEM_PROVIDER_OPERATOR_PORT", operator.to_string())
                .env("GOLEM_PROVIDER_PORT_RANGE_START", ssh.to_string())
                .env("GOLEM_PROVIDER_PORT_RANGE_END", (ssh + 100).to_string())
                .env("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0")
                .env("GOLEM_PROVIDER_CPU_THRESHOLD", "100")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Ok(command)
        };
        let added = provider(&["images", "add", "debian-12"])?.arg(image).status()?;
        ensure!(added.success(), "the image was not taken");
        let process = Process::start(&mut provider(&["start"])?)?;
        let node = Self { folder, port, ssh, _process: process };
        wait_for("the node answers", START, || Ok(node.ask("GET", "/health", "").is_ok()))?;
        Ok(node)
    }

    /// Its home, which holds what the benchmark makes, too.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    /// The first of its SSH ports.
    #[must_use]
    pub const fn ssh(&self) -> u16 {
        self.ssh
    }

    /// Where it keeps the machine `id`.
    #[must_use]
    pub fn machine(&self, id: &str) -> PathBuf {
        self.home().join(".golem/provider/vms").join(id)
    }

    /// One request; the answer as text.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Asks for the VM `name` with the key `public`, and gives its id; it boots meanwhile.
    ///
    /// # Errors
    /// When the node refuses.
    pub fn create(&self, name: &str, public: &str) -> anyhow::Result<String> {
        let body = format!(
            r#"{{"name":"{name}","ssh_key":"{public}","resources":{{"cpu":1,"memory":1,"storage":10}}}}"#
        );
        let accepted = self.ask("POST", "/api/v1/vms?async=true", &body)?;
        Ok(text(&accepted, "vm_id").with_context(|| accepted.clone())?.to_owned())
    }

    /// Waits until the VM `id` runs, for `limit` at most.
    ///
    /// # Errors
    /// When it does not.
    pub fn runs(&self, id: &str, limit: Duration) -> anyhow::Result<()> {
        wait_for("the VM runs", limit, || {
            let answer = self.ask("GET", &format!("/api/v1/vms/{id}"), "")?;
            ensure!(text(&answer, "status") != Some("error"), "{answer}");
            Ok(text(&answer, "status") == Some("running"))
        })
    }

    /// The SSH port of the VM `id`.
    ///
    /// # Errors
    /// When it has none.
    pub fn port_of(&self, id: &str) -> anyhow::Result<u16> {
        let answer = self.ask("GET", &format!("/api/v1/vms/{id}/access"), "")?;
        let port = answer.split("\"ssh_port\":").nth(1).context("no port")?;
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    }

    /// Removes the VM `id`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn delete(&self, id: &str) -> anyhow::Result<()> {
        self.ask("DELETE", &format!("/api/v1/vms/{id}"), "").map(drop)
    }
}
