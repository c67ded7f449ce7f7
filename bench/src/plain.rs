//! A guest in plain QEMU, with nothing around it: the floor beside which the node is measured.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use golem_types::{Resources, VmId, VmName};
use golem_vm::{MachineSpec, seed};

use crate::guests::{Login, keypair};
use crate::node::free_port;
use crate::process::Process;
use crate::wait_for;

/// Longest that a launch may take.
const LAUNCH: Duration = Duration::from_secs(60);

/// The machine of one CPU and 1 GiB that benchmarks measure, called `name`, into which the key `public` logs in.
///
/// # Errors
/// When `name` or `public` is none.
pub fn spec(name: &str, public: &str) -> anyhow::Result<MachineSpec> {
    let name: VmName = name.parse()?;
    Ok(MachineSpec {
        id: VmId::new(&name, "2026-01-01T00:00:00Z".parse()?, [7; 10]),
        name,
        resources: Resources::new(1, 1, 10),
        image: "debian-12".parse()?,
        keys: vec![public.parse()?],
        first_boot: golem_types::FirstBoot::default(),
        rebuild_at: 0,
    })
}

/// QEMU with its user networking, in the host's own namespace; it ends when this is dropped.
#[derive(Debug)]
pub struct Plain {
    /// How one logs in to its guest.
    pub login: Login,
    /// When its disk and its seed were begun with.
    pub began: Instant,
    /// How long QEMU took until it answered.
    pub launch: Duration,
    /// QEMU.
    pub process: Process,
    _folder: tempfile::TempDir,
}

impl Plain {
    /// Starts a guest from `image`; it boots meanwhile.
    ///
    /// # Errors
    /// When its parts cannot be made, or QEMU does not answer.
    pub fn start(image: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (key, public): (PathBuf, String) = keypair(folder.path())?;
        let port = free_port()?;
        let spec = spec("plain", &public)?;
        let began = Instant::now();
        std::fs::write(folder.path().join("seed.img"), seed::image(&spec)?)?;
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .arg(image)
            .args(["disk.qcow2", "10G"])
            .current_dir(folder.path())
            .status()?;
        ensure!(made.success(), "qemu-img failed");
        let launched = Instant::now();
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
        let launch = launched.elapsed();
        let login = Login { at: (Ipv4Addr::LOCALHOST, port).into(), key, shared: None };
        Ok(Self { login, began, launch, process, _folder: folder })
    }
}
