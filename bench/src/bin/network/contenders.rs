//! The two ways to a network: as the node does it, and as QEMU does it by itself.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::guests::{self, Login};
use bench::plain::{Plain, spec};
use golem_vm::Accelerator;
use golem_vm::images::Images;
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::{Backend, MachineSpec};

/// A guest that is measured; it ends when this is dropped.
pub(crate) trait Contender {
    /// How one logs in to it.
    fn login(&self) -> &Login;
    /// Seconds that its launch took.
    fn launch_seconds(&self) -> f64;
    /// Its processes.
    fn processes(&self) -> anyhow::Result<BTreeSet<u32>>;
}

impl Contender for Plain {
    fn login(&self) -> &Login {
        &self.login
    }

    fn launch_seconds(&self) -> f64 {
        self.launch.as_secs_f64()
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
}

impl Contender for NodesWay {
    fn login(&self) -> &Login {
        &self.login
    }

    fn launch_seconds(&self) -> f64 {
        self.launch.as_secs_f64()
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
