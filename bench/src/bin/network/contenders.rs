//! The two ways to a network: as the node does it, and as QEMU does it by itself.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bench::guests::{self, Login};
use bench::process::Process;
use bench::wait_for;
use golem_types::{Resources, VmId, VmName};
use golem_vm::images::Images;
use golem_vm::qemu::{Accelerator, Qemu, QemuConfig};
use golem_vm::{Backend, MachineSpec, seed};

/// Longest that a launch may take.
const LAUNCH: Duration = Duration::from_secs(60);

/// A guest that is measured; it ends when this is dropped.
pub(crate) trait Contender {
    /// How one logs in to it.
    fn login(&self) -> &Login;
    /// Its processes.
    fn processes(&self) -> anyhow::Result<BTreeSet<u32>>;
}

fn spec(name: &str, public: &str) -> anyhow::Result<MachineSpec> {
    let name: VmName = name.parse()?;
    Ok(MachineSpec {
        id: VmId::new(&name, "2026-01-01T00:00:00Z".parse()?, [7; 10]),
        name,
        resources: Resources::new(1, 1, 10),
        image: "debian-12".parse()?,
        keys: vec![public.parse()?],
    })
}

/// QEMU with its user networking, in the host's own namespace, with nothing around it.
pub(crate) struct Plain {
    login: Login,
    launch: Duration,
    process: Process,
    _folder: tempfile::TempDir,
}

impl Plain {
    pub(crate) fn start(image: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (key, public) = guests::keypair(folder.path())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        std::fs::write(folder.path().join("seed.img"), seed::image(&spec("plain", &public)?)?)?;
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .arg(image)
            .args(["disk.qcow2", "10G"])
            .current_dir(folder.path())
            .status()?;
        ensure!(made.success(), "qemu-img failed");
        let began = Instant::now();
        let process = Process::start(
            Command::new(format!("qemu-system-{}", std::env::consts::ARCH))
                .args(["-nodefaults", "-no-user-config", "-machine", "q35", "-m", "1G", "-smp", "1"])
                .args(["-accel", "tcg,thread=multi,tb-size=128", "-cpu", "qemu64"])
                .args(["-display", "none", "-vga", "none"])
                .args(["-drive", "file=disk.qcow2,if=virtio,format=qcow2"])
                .args(["-drive", "file=seed.img,if=virtio,format=raw,readonly=on"])
                .args(["-netdev", &format!("user,id=n,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-:22")])
                .args(["-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci"])
                .args(["-qmp", "unix:qmp.sock,server=on,wait=off"])
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        let socket = folder.path().join("qmp.sock");
        wait_for("QEMU is launched", LAUNCH, || Ok(UnixStream::connect(&socket).is_ok()))?;
        let login = Login { at: (Ipv4Addr::LOCALHOST, port).into(), key, shared: None };
        Ok(Self { login, launch: began.elapsed(), process, _folder: folder })
    }

    pub(crate) fn launch_seconds(&self) -> f64 {
        self.launch.as_secs_f64()
    }
}

impl Contender for Plain {
    fn login(&self) -> &Login {
        &self.login
    }

    fn processes(&self) -> anyhow::Result<BTreeSet<u32>> {
        Ok(self.process.tree().into_iter().collect())
    }
}

/// The node's backend, with all that it puts around a guest.
pub(crate) struct NodesWay {
    login: Login,
    launch: Duration,
    machine: PathBuf,
    backend: Backend,
    spec: MachineSpec,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl NodesWay {
    pub(crate) fn start(image: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (key, public) = guests::keypair(folder.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let images = Images::open(folder.path())?;
        let spec = spec("node", &public)?;
        images.add(&spec.image, image)?;
        let config =
            QemuConfig { accelerator: Some(Accelerator::Tcg), ..QemuConfig::new(folder.path().to_owned()) };
        let backend = Backend::Qemu(Qemu::open(config, Arc::new(images)));
        let machine = folder.path().join("vms").join(spec.id.as_str());
        let mut login = Login { at: (Ipv4Addr::LOCALHOST, 0).into(), key, shared: None };
        let launch = runtime.block_on(async {
            backend.create(&spec).await?;
            let began = Instant::now();
            backend.start(&spec).await?;
            anyhow::Ok(began.elapsed())
        });
        let mut this = Self {
            launch: Duration::default(),
            machine,
            backend,
            spec,
            runtime,
            _folder: folder,
            login: login.clone(),
        };
        this.launch = launch?;
        // The port is known from the launch on.
        let launched: serde_json::Value =
            serde_json::from_slice(&std::fs::read(this.machine.join("launch.json"))?)?;
        let port =
            launched["ssh_port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        login.at.set_port(port);
        this.login = login;
        Ok(this)
    }

    pub(crate) fn launch_seconds(&self) -> f64 {
        self.launch.as_secs_f64()
    }
}

impl Contender for NodesWay {
    fn login(&self) -> &Login {
        &self.login
    }

    fn processes(&self) -> anyhow::Result<BTreeSet<u32>> {
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.machine.join("machine.json"))?)?;
        let uid = record["uid"].as_u64().and_then(|uid| u32::try_from(uid).ok());
        guests::processes_of(uid.unwrap_or_default())
    }
}

impl Drop for NodesWay {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.backend.delete(&self.spec.id));
    }
}
