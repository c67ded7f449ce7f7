//! What runs the guests' CPUs, and why not KVM where it does not.
//!
//! Owns the question whether a guest's process may use `/dev/kvm`, which is asked as that process
//! would: by a child with the same user and groups. Root may open what a guest's user may not, so
//! that what the node itself can do proves nothing. Never changes the device.
//!
//! ```text
//!   CPU has vmx or svm (x86)? ─► device there? ─► a child as the guest's user opens it ─► KVM
//!          └─ no                      └─ no             └─ refused                    ─► TCG, and the reason
//! ```

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::user;
use crate::{Accelerator, Architecture};

/// Where the kernel shows hardware virtualisation. Others than the default are for tests.
#[derive(Debug, Clone)]
pub struct KvmHost {
    /// The device.
    pub device: PathBuf,
    /// What the kernel says of the CPUs.
    pub cpu_info: PathBuf,
}

impl Default for KvmHost {
    fn default() -> Self {
        Self { device: "/dev/kvm".into(), cpu_info: "/proc/cpuinfo".into() }
    }
}

/// What runs the guests' CPUs on this host.
#[derive(Debug, Clone)]
pub struct Acceleration {
    /// What does.
    pub accelerator: Accelerator,
    /// Why not KVM, and what to do; `None` if it is KVM, or if nobody asked.
    pub problem: Option<String>,
}

/// Why guests cannot use KVM; the text names the fix.
#[derive(Debug, thiserror::Error)]
pub(super) enum KvmProblem {
    #[error(
        "the CPU shows neither VT-x (vmx) nor AMD-V (svm); fix: turn it on in the firmware's settings \
         (BIOS or UEFI)"
    )]
    NoVirtualization,
    #[error(
        "this machine is a virtual machine itself, and nested virtualization is off; fix: turn it on where \
         this machine is hosted"
    )]
    NotNested,
    #[error("guests have {}, and this machine has not", .0.as_str())]
    OtherProcessors(Architecture),
    #[error("{device} is not there; fix: {fix}; in a container, hand the device to it")]
    Absent { device: String, fix: &'static str },
    #[error("{device} is no device; fix: remove that file, then {fix}")]
    NoDevice { device: String, fix: &'static str },
    #[error("{0}; fix: {1}")]
    Denied(String, String),
    #[error("{device} cannot be opened: {said}; fix: look at `sudo dmesg | grep -i kvm`")]
    Broken { device: String, said: String },
}

/// What brings the device.
const fn driver_fix(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "sudo modprobe kvm_intel (or kvm_amd)",
        Architecture::Aarch64 => {
            "start a kernel with KVM in the processors' hypervisor mode (`sudo dmesg | grep -i kvm` tells why \
             it was not)"
        }
    }
}

/// Longest that opening the device may take; a moment is usual.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// How the device is to be, where it is not; the rule makes it last.
const PERMISSION_FIX: &str = "sudo groupadd -f -r kvm; sudo chgrp kvm /dev/kvm; sudo chmod 0660 /dev/kvm; and for the next boot, in \
     /etc/udev/rules.d/65-kvm.rules: KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"";

/// Chooses for guests that run as `uid`, or as the node's own user where there is none. `wanted` is
/// the operator's choice.
///
/// # Errors
/// When KVM is wanted and guests cannot use it.
pub(super) async fn choose(
    wanted: Option<Accelerator>,
    host: &KvmHost,
    architecture: Architecture,
    uid: Option<u32>,
) -> Result<Acceleration, KvmProblem> {
    if wanted == Some(Accelerator::Tcg) {
        return Ok(Acceleration { accelerator: Accelerator::Tcg, problem: None });
    }
    match usable(host, architecture, uid).await {
        Ok(()) => Ok(Acceleration { accelerator: Accelerator::Kvm, problem: None }),
        Err(problem) if wanted == Some(Accelerator::Kvm) => Err(problem),
        Err(problem) => {
            Ok(Acceleration { accelerator: Accelerator::Tcg, problem: Some(problem.to_string()) })
        }
    }
}

/// Whether guests can use KVM.
async fn usable(host: &KvmHost, architecture: Architecture, uid: Option<u32>) -> Result<(), KvmProblem> {
    if Architecture::of_host() != Some(architecture) {
        return Err(KvmProblem::OtherProcessors(architecture));
    }
    // A machine that shows the device without the CPU's support hangs in it.
    let text = std::fs::read_to_string(&host.cpu_info).unwrap_or_default();
    cpu_has_it(&text, architecture)?;
    let device = host.device.display().to_string();
    let fix = driver_fix(architecture);
    let found = match std::fs::metadata(&host.device) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KvmProblem::Absent { device, fix });
        }
        Err(error) => return Err(KvmProblem::Broken { device, said: error.to_string() }),
    };
    if !found.file_type().is_char_device() {
        return Err(KvmProblem::NoDevice { device, fix });
    }
    match opens(&host.device, uid).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(denied(&device, &found, uid)),
        Err(error) => Err(KvmProblem::Broken { device, said: error.to_string() }),
    }
}

/// Whether the CPUs of an `architecture` that the kernel describes in `cpu_info` can virtualise.
/// Others than x86 say so by the device alone.
fn cpu_has_it(cpu_info: &str, architecture: Architecture) -> Result<(), KvmProblem> {
    if architecture != Architecture::X86_64 {
        return Ok(());
    }
    let has = |flag: &str| {
        let flags = cpu_info.lines().filter(|line| line.starts_with("flags"));
        flags.flat_map(str::split_whitespace).any(|word| word == flag)
    };
    match (has("vmx") || has("svm"), has("hypervisor")) {
        (true, _) => Ok(()),
        (false, true) => Err(KvmProblem::NotNested),
        (false, false) => Err(KvmProblem::NoVirtualization),
    }
}

/// Opens `device` in a child that becomes the guest's user as its launch does.
async fn opens(device: &Path, uid: Option<u32>) -> io::Result<()> {
    let user = uid.map(|uid| user::become_guest(uid, device_group(device))).unwrap_or_default();
    let mut words: Vec<OsString> = user.into_iter().map(OsString::from).collect();
    words.extend(["sh", "-c", "exec 3<>\"$0\""].map(Into::into));
    words.push(device.into());
    let program = words.remove(0);
    let child = Command::new(program)
        .args(words)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(OPEN_DEADLINE, child)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it hangs"))??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // "sh: 1: cannot create /dev/kvm: Permission denied"
    let why = said.trim().rsplit(": ").next().unwrap_or_default().to_owned();
    let kind =
        if why == "Permission denied" { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
    Err(io::Error::new(kind, why))
}

/// The group that a guest's process must be in to use the device; `None` if everybody may, and
/// where it would have to be root's.
pub(super) fn device_group(device: &Path) -> Option<u32> {
    let found = std::fs::metadata(device).ok()?;
    let everybody = found.mode() & 0o006 == 0o006;
    let group = found.mode() & 0o060 == 0o060;
    (group && !everybody && found.gid() != 0).then(|| found.gid())
}

fn denied(device: &str, found: &std::fs::Metadata, uid: Option<u32>) -> KvmProblem {
    let group = group_name(found.gid());
    let mode = found.mode() & 0o777;
    let open_to_group = mode & 0o060 == 0o060 && found.gid() != 0;
    let who = if uid.is_some() { "guests' users" } else { "this user" };
    let what = format!("{who} may not open {device} (mode {mode:04o}, group {group})");
    let fix = match (uid, open_to_group) {
        (_, false) => PERMISSION_FIX.replace("/dev/kvm;", &format!("{device};")),
        (None, true) => format!("sudo usermod -aG {group} $(id -un), and log in again"),
        (Some(_), true) => {
            format!("look for an access list (getfacl {device}) or a security module that forbids it")
        }
    };
    KvmProblem::Denied(what, fix)
}

/// What the host calls the group `gid`; its number where it has no name.
fn group_name(gid: u32) -> String {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(gid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| gid.to_string())
}

#[cfg(test)]
mod tests;
