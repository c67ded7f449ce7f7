//! `cargo xtask demo`: the whole way, for real. A node in development mode on loopback, a VM rented
//! from it with `golem-provider rent`, a command run in it over ssh through the node's port. Everything it makes is below `.cache/demo` and goes when it ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::chain::DemoChain;
use crate::run::{built, cargo, root, step};
use crate::setup;

/// Longest that the node may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Longest that the VM may take: without hardware virtualisation on a busy machine, minutes.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// What the renter calls the VM.
const VM: &str = "demo-vm";

/// The image's name in the demo.
const IMAGE: &str = "debian-12";

/// A node that runs for the demo, and what belongs to it.
struct Demo {
    folder: PathBuf,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    node: Child,
    port: u16,
    chain: Option<DemoChain>,
}

/// Runs the demo until Ctrl-C, or once.
pub(crate) fn demo(once: bool, paid: bool) -> anyhow::Result<()> {
    let (interrupt, interrupted) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = interrupt.send(());
    })
    .context("Ctrl-C cannot be listened to")?;
    let image = setup::setup_beside("build the node", cargo(&["build", "-p", "golem-provider"]))?;
    let chain = if paid { Some(DemoChain::start()?) } else { None };
    let mut demo = Demo::start(&image, chain)?;
    let rented = demo.rent_a_vm();
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
    fn start(image: &Path, chain: Option<DemoChain>) -> anyhow::Result<Self> {
        let folder = root().join(format!(".cache/demo/{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let program = built("golem-provider");
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
            ("GOLEM_PROVIDER_ACME", "off".to_owned()),
            ("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false".to_owned()),
            ("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", IMAGE.to_owned()),
            // This machine has just compiled, and is busy without being rented out.
            ("GOLEM_PROVIDER_CPU_THRESHOLD", "100".to_owned()),
            ("GOLEM_PROVIDER_MEMORY_THRESHOLD", "100".to_owned()),
            ("GOLEM_PROVIDER_STORAGE_THRESHOLD", "100".to_owned()),
            ("GOLEM_RENTER_DIR", folder.join("renter").display().to_string()),
        ];
        match &chain {
            Some(chain) => {
                environment.extend(chain.environment());
                chain.profile(&folder)?;
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
        let mut demo = Self { folder, program, environment, node, port, chain };
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
            if self.answers() {
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

    /// Whether the node says that it is healthy.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(START_DEADLINE))?;
            write!(stream, "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// `golem-provider rent …`, as the renter types it.
    fn rent(&self, arguments: &[&str]) -> Command {
        self.provider(&[&["rent"], arguments].concat())
    }

    /// What `golem-provider rent show` says of the VM.
    fn shown(&self) -> anyhow::Result<Value> {
        let output = self.rent(&["show", VM, "--json"]).output()?;
        serde_json::from_slice(&output.stdout).context("rent show gives no JSON")
    }

    /// Rents a VM, runs a command in it, and returns the line that logs in to it.
    fn rent_a_vm(&self) -> anyhow::Result<String> {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut create = vec!["create", VM, "--provider", &url];
        match &self.chain {
            Some(_) => {
                step("rent quote", self.rent(&["quote", "--provider", &url]))?;
                create.extend(["--hours", "2", "--yes", "--most", "1000"]);
            }
            None => create.push("--free"),
        }
        step("rent create", self.rent(&create))?;
        let script = "echo \"$(whoami)@$(hostname): $(uname -sr), $(nproc) CPU, $(free -m | awk '/Mem/ {print $2}') MiB\"";
        step("rent ssh: run a command in the VM", self.rent(&["ssh", VM, "--", script]))?;
        let shown = self.shown()?;
        Ok(shown["ssh"]["command"].as_str().context("rent show names no ssh command")?.to_owned())
    }

    /// Shows how the VM is paid for, until its stream has run out.
    fn show_money(&mut self, once: bool, interrupted: &mpsc::Receiver<()>) -> anyhow::Result<()> {
        if self.chain.is_none() {
            return Ok(());
        }
        let show = |demo: &Self| -> anyhow::Result<()> {
            let stream = &demo.shown()?["payment"]["stream"];
            println!(
                "    {:>6} s left, {:>20} wei are the provider's, {:>20} wei would come back",
                stream["remaining_seconds"], stream["vested_wei"], stream["refundable_wei"]
            );
            Ok(())
        };
        println!("==> money vests by the second: rent show");
        for _ in 0..4 {
            self.pass(900)?;
            show(self)?;
        }
        step("rent topup", self.rent(&["topup", VM, "--hours", "2"]))?;
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
        self.pass(1_000_000)?;
        self.wait_for("stopped")?;
        println!("==> the renter keeps it paid: it goes on where it was");
        step("rent keep", self.rent(&["keep", VM, "--most", "1", "--once"]))?;
        self.wait_for("running")
    }

    fn pass(&mut self, seconds: u64) -> anyhow::Result<()> {
        self.chain.as_mut().map_or(Ok(()), |chain| chain.pass(seconds))
    }

    fn wait_for(&self, status: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < BOOT_DEADLINE {
            let shown = self.shown()?;
            if shown["status"] == status {
                println!("    {status} after {} s: {}", began.elapsed().as_secs(), shown["problem"]);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        bail!("the VM is not {status}")
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
        let rented = self.folder.join("renter/rentals").join(format!("{VM}.json"));
        if rented.exists() {
            step("rent destroy", self.rent(&["destroy", VM]))?;
        }
        step("stop the node", self.provider(&["stop"]))?;
        self.node.wait()?;
        if !keep {
            std::fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }
}
