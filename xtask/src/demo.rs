//! `cargo xtask demo`: the whole way, for real. A node in development mode on loopback, a VM rented
//! from it over HTTP as a renter's client does, a command run in it over ssh through the node's
//! port. Everything it makes is below `.cache/demo` and goes when it ends.

use std::io::{IsTerminal, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::market::Market;
use crate::run::{cargo, root, step};
use crate::setup;

/// Longest that the node may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Longest that the VM may take: without hardware virtualisation on a busy machine, minutes.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// The image's name in the demo.
const IMAGE: &str = "debian-12";

/// A node that runs for the demo, and what belongs to it.
struct Demo {
    folder: PathBuf,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    node: Child,
    port: u16,
    vm: Option<String>,
    market: Option<Market>,
}

/// Runs the demo until Ctrl-C, or once.
pub(crate) fn demo(once: bool, paid: bool) -> anyhow::Result<()> {
    let (interrupt, interrupted) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = interrupt.send(());
    })
    .context("Ctrl-C cannot be listened to")?;
    let image = setup::setup()?;
    step("build the node", cargo(&["build", "-p", "golem-provider"]))?;
    let market = if paid { Some(Market::start()?) } else { None };
    let mut demo = Demo::start(&image, market)?;
    let rented = demo.rent(&interrupted);
    let rented = rented.and_then(|login| demo.show_money(once, &interrupted).map(|()| login));
    match &rented {
        Ok(login) if !once => {
            println!("\nLog in from another terminal:\n\n  {login}\n");
            println!("API   http://127.0.0.1:{}/api/v1/vms", demo.port);
            println!("Log   {}", demo.folder.join("provider.log").display());
            println!("\nCtrl-C removes the VM and stops the node.");
            let _ = interrupted.recv();
        }
        Ok(_) => {}
        Err(_) => eprintln!("the node's log: {}", demo.folder.join("provider.log").display()),
    }
    let failed = rented.is_err();
    let stopped = demo.stop(failed);
    rented?;
    stopped?;
    println!("The VM is removed and the node has stopped.");
    Ok(())
}

/// A loopback port that is free now: `wanted`, or any.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no loopback port can be had")?;
    Ok(listener.local_addr()?.port())
}

impl Demo {
    fn start(image: &Path, market: Option<Market>) -> anyhow::Result<Self> {
        let folder = root().join(format!(".cache/demo/{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let program = root().join("target/debug/golem-provider");
        let port = free_port(7466)?;
        let first = free_port(50_800)?.min(60_000);
        let mut environment = vec![
            ("GOLEM_ENVIRONMENT", "development".to_owned()),
            ("GOLEM_PROVIDER_DATA_DIR", folder.display().to_string()),
            ("GOLEM_PROVIDER_HOST", "127.0.0.1".to_owned()),
            ("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1".to_owned()),
            ("GOLEM_PROVIDER_PORT", port.to_string()),
            ("GOLEM_PROVIDER_OPERATOR_PORT", free_port(7467)?.to_string()),
            ("GOLEM_PROVIDER_PORT_RANGE_START", first.to_string()),
            ("GOLEM_PROVIDER_PORT_RANGE_END", (first + 100).to_string()),
            ("GOLEM_PROVIDER_VM_BACKEND", "qemu".to_owned()),
            // Nothing outside this machine is asked or told.
            ("GOLEM_PROVIDER_ADVERTISER_TYPE", "none".to_owned()),
            ("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true".to_owned()),
            ("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false".to_owned()),
            ("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", IMAGE.to_owned()),
            // This machine has just compiled, and is busy without being rented out.
            ("GOLEM_PROVIDER_CPU_THRESHOLD", "100".to_owned()),
            ("GOLEM_PROVIDER_MEMORY_THRESHOLD", "100".to_owned()),
            ("GOLEM_PROVIDER_STORAGE_THRESHOLD", "100".to_owned()),
        ];
        match &market {
            Some(market) => {
                environment.extend(market.environment());
                market.profile(&folder)?;
            }
            None => environment.push(("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x0".to_owned())),
        }
        let provider = |arguments: &[&str]| {
            let mut command = Command::new(&program);
            command.args(arguments).envs(environment.iter().map(|(name, text)| (*name, text.as_str())));
            command.current_dir(&folder);
            command
        };
        let mut add = provider(&["images", "add", IMAGE]);
        add.arg(image);
        step("add the image to the node", add)?;
        let log = std::fs::File::create(folder.join("provider.log"))?;
        // In a process group of its own: Ctrl-C is for this program, which then stops the node.
        let node = provider(&["start"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("the node did not start")?;
        let mut demo = Self { folder, program, environment, node, port, vm: None, market };
        let answered = demo.wait_for_answer();
        if answered.is_err() {
            let log = std::fs::read_to_string(demo.folder.join("provider.log")).unwrap_or_default();
            eprintln!("{log}");
            let _ = demo.node.kill();
        }
        answered.map(|()| demo)
    }

    fn wait_for_answer(&mut self) -> anyhow::Result<()> {
        println!("==> start the node");
        let began = Instant::now();
        while began.elapsed() < START_DEADLINE {
            if let Some(status) = self.node.try_wait()? {
                bail!("the node ended: {status}");
            }
            if self.call("GET", "/health", None).is_ok() {
                println!(
                    "    the node answers on port {} after {:.1} s",
                    self.port,
                    began.elapsed().as_secs_f32()
                );
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the node did not answer within {} s", START_DEADLINE.as_secs())
    }

    /// One request, as any HTTP client sends it; the answer's status and JSON.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Value)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        Ok((status, serde_json::from_str(body).context("no JSON in the answer")?))
    }

    /// Rents a VM, runs a command in it, and returns the line that logs in to it.
    fn rent(&mut self, interrupted: &mpsc::Receiver<()>) -> anyhow::Result<String> {
        let key = self.folder.join("renter_key");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"]).arg(&key);
        step("make the renter's ssh key", keygen)?;
        let public = std::fs::read_to_string(key.with_extension("pub"))?;
        let wanted = json!({
            "name": "demo-vm",
            "resources": { "cpu": 1, "memory": 1, "storage": 10 },
            "ssh_key": public.trim(),
            "stream_id": self.market.as_mut().map(Market::open).transpose()?,
        });
        println!("==> rent a VM: POST /api/v1/vms?async=true");
        let (status, accepted) = self.call("POST", "/api/v1/vms?async=true", Some(&wanted))?;
        let id = accepted["vm_id"]
            .as_str()
            .with_context(|| format!("refused with {status}: {accepted}"))?
            .to_owned();
        println!("    {id}");
        self.vm = Some(id.clone());
        self.wait_until_running(&id, interrupted)?;
        let (_, access) = self.call("GET", &format!("/api/v1/vms/{id}/access"), None)?;
        let port = access["ssh_port"].as_u64().with_context(|| format!("no port: {access}"))?;
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "-i"])
        .arg(&key)
        .args(["-p", &port.to_string(), "ubuntu@127.0.0.1"]);
        let login = std::iter::once(ssh.get_program())
            .chain(ssh.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        ssh.arg("echo \"$(whoami)@$(hostname): $(uname -sr), $(nproc) CPU, $(free -m | awk '/Mem/ {print $2}') MiB\"");
        step("run a command in the VM over ssh", ssh)?;
        Ok(login)
    }

    fn wait_until_running(&self, id: &str, interrupted: &mpsc::Receiver<()>) -> anyhow::Result<()> {
        let began = Instant::now();
        let terminal = std::io::stdout().is_terminal();
        let mut said = 0;
        while began.elapsed() < BOOT_DEADLINE {
            let (_, vm) = self.call("GET", &format!("/api/v1/vms/{id}"), None)?;
            let seconds = began.elapsed().as_secs();
            match vm["status"].as_str() {
                Some("running") => {
                    println!("{}    running after {seconds} s", if terminal { "\r" } else { "" });
                    return Ok(());
                }
                Some("creating") if terminal => print!("\r    booting … {seconds} s"),
                // A log gets a line now and then.
                Some("creating") if seconds >= said => {
                    println!("    booting … {seconds} s");
                    said = seconds + 10;
                }
                Some("creating") => {}
                _ => bail!("the VM does not run: {vm}"),
            }
            std::io::stdout().flush()?;
            if interrupted.recv_timeout(Duration::from_millis(500)).is_ok() {
                bail!("interrupted");
            }
        }
        bail!("the VM did not run within {} s", BOOT_DEADLINE.as_secs())
    }

    /// Shows how the VM is paid for, until its stream has run out.
    fn show_money(&mut self, once: bool, interrupted: &mpsc::Receiver<()>) -> anyhow::Result<()> {
        let (Some(market), Some(id)) = (&self.market, &self.vm) else { return Ok(()) };
        let stream = || -> anyhow::Result<Value> {
            Ok(self.call("GET", &format!("/api/v1/vms/{id}/stream"), None)?.1)
        };
        let show = |stream: &Value| {
            let computed = &stream["computed"];
            println!(
                "    {:>6} s left, {:>20} wei earned, {:>20} wei to withdraw",
                computed["remaining_seconds"], computed["vested_wei"], computed["withdrawable_wei"]
            );
        };
        println!("==> money vests by the second: GET /api/v1/vms/{id}/stream");
        for _ in 0..4 {
            market.pass(900)?;
            show(&stream()?);
        }
        println!("==> the renter tops up");
        market.top_up()?;
        show(&stream()?);
        println!("==> the operator withdraws: golem-provider streams withdraw --all");
        for arguments in
            [&["streams", "withdraw", "--all"][..], &["streams", "list"], &["streams", "earnings"]]
        {
            step(&arguments.join(" "), self.provider(arguments))?;
        }
        if !once {
            println!("    the money goes on vesting; press Ctrl-C to let it run out");
            let _ = interrupted.recv();
        }
        println!("==> nobody tops up any more: the stream runs out, the VM is stopped, its disk is held");
        market.pass(1_000_000)?;
        let began = Instant::now();
        while began.elapsed() < BOOT_DEADLINE {
            let (_, vm) = self.call("GET", &format!("/api/v1/vms/{id}"), None)?;
            if vm["status"] == "stopped" {
                println!("    stopped after {} s: {}", began.elapsed().as_secs(), vm["error_message"]);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        bail!("the VM was not stopped")
    }

    /// The node's program, with the demo's settings.
    fn provider(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.environment.iter().map(|(name, text)| (*name, text.as_str())));
        command.current_dir(&self.folder);
        command
    }

    /// Removes the VM, stops the node and, unless it is to be looked at, removes its folder.
    fn stop(&mut self, keep: bool) -> anyhow::Result<()> {
        if let Some(id) = self.vm.take() {
            println!("==> remove the VM: DELETE /api/v1/vms/{id}");
            let (status, answer) = self.call("DELETE", &format!("/api/v1/vms/{id}"), None)?;
            if status != 200 {
                bail!("the VM was not removed: {answer}");
            }
        }
        step("stop the node", self.provider(&["stop"]))?;
        self.node.wait()?;
        if !keep {
            std::fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }
}
