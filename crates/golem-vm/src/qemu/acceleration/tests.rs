use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::*;

/// A group that no user of this machine is in.
const GROUP: u32 = 47_110;

/// A guest's user.
const GUEST: u32 = 1_900_000_000;

/// A host of our own: a device node like the real one, and a CPU that can virtualise.
struct Host {
    _folder: tempfile::TempDir,
    kvm: KvmHost,
}

impl Host {
    fn new() -> Self {
        let folder =
            tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        let kvm = KvmHost { device: folder.path().join("kvm"), cpu_info: folder.path().join("cpuinfo") };
        std::fs::write(&kvm.cpu_info, "processor\t: 0\nflags\t\t: fpu vmx sse\n").unwrap();
        Self { _folder: folder, kvm }
    }

    fn with_device(mode: u32, gid: u32) -> Self {
        let host = Self::new();
        // Like /dev/null to whoever opens it, so that it opens also where KVM is unusable.
        mknodat(CWD, &host.kvm.device, FileType::CharacterDevice, Mode::from_raw_mode(mode), makedev(1, 3))
            .unwrap();
        std::os::unix::fs::chown(&host.kvm.device, Some(0), Some(gid)).unwrap();
        std::fs::set_permissions(&host.kvm.device, PermissionsExt::from_mode(mode)).unwrap();
        host
    }

    async fn chosen(&self, uid: Option<u32>) -> Acceleration {
        choose(None, &self.kvm, own(), uid).await.unwrap()
    }

    /// What was said against it: as advice where nobody asked, as an error where KVM was wanted.
    async fn problem(&self) -> String {
        let advice = self.chosen(Some(GUEST)).await;
        assert_eq!(advice.accelerator, Accelerator::Tcg);
        let refusal =
            choose(Some(Accelerator::Kvm), &self.kvm, own(), Some(GUEST)).await.unwrap_err().to_string();
        assert_eq!(advice.problem.as_ref(), Some(&refusal));
        assert!(refusal.contains("; fix: "), "{refusal}");
        refusal
    }
}

/// What processors this machine has.
fn own() -> Architecture {
    Architecture::of_host().unwrap()
}

#[tokio::test]
async fn h_01_a_guests_user_keeps_the_devices_group_and_no_other() {
    if !golem_test_support::as_root() {
        return;
    }
    for (mode, gid) in [(0o660, GROUP), (0o666, GROUP), (0o606, GROUP), (0o666, 0)] {
        let host = Host::with_device(mode, gid);
        let chosen = host.chosen(Some(GUEST)).await;
        assert_eq!(chosen.accelerator, Accelerator::Kvm, "{mode:o} {gid}: {:?}", chosen.problem);
    }
    assert_eq!(device_group(&Host::with_device(0o660, GROUP).kvm.device), Some(GROUP));
    assert_eq!(device_group(&Host::with_device(0o666, GROUP).kvm.device), None, "everybody may");
    assert_eq!(device_group(&Host::with_device(0o660, 0).kvm.device), None, "root's is nobody's");
}

#[tokio::test]
async fn h_01_what_root_may_open_and_a_guests_user_may_not_is_no_kvm() {
    if !golem_test_support::as_root() {
        return;
    }
    for (mode, gid, word) in [
        (0o600, GROUP, "mode 0600, group 47110"),
        (0o600, 0, "chgrp kvm"),
        (0o660, 0, "group root"),
        (0o640, GROUP, "chmod 0660"),
    ] {
        let host = Host::with_device(mode, gid);
        // As root it opens, which is what misled the first probe.
        let as_root = opens(&host.kvm.device, None).await;
        assert!(as_root.is_ok(), "{as_root:?}");
        let problem = host.problem().await;
        assert!(problem.contains(word), "{mode:o} {gid}: {problem}");
    }
}

#[tokio::test]
async fn h_01_a_host_without_kvm_is_told_what_it_lacks() {
    if !golem_test_support::as_root() {
        return;
    }
    let absent = Host::new();
    assert!(absent.problem().await.contains("modprobe kvm_intel"));
    std::fs::write(&absent.kvm.device, "").unwrap();
    assert!(absent.problem().await.contains("no device"));
    let gone = Host::with_device(0o666, 0);
    std::fs::remove_file(&gone.kvm.device).unwrap();
    // A device number that no driver has.
    let node = FileType::CharacterDevice;
    mknodat(CWD, &gone.kvm.device, node, Mode::from_raw_mode(0o666), makedev(4000, 9)).unwrap();
    std::fs::set_permissions(&gone.kvm.device, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(gone.problem().await.contains("cannot be opened"));
    let plain = Host::with_device(0o666, 0);
    std::fs::write(&plain.kvm.cpu_info, "flags\t\t: fpu sse\n").unwrap();
    assert!(plain.problem().await.contains("firmware"));
    std::fs::write(&plain.kvm.cpu_info, "flags\t\t: fpu sse hypervisor\n").unwrap();
    assert!(plain.problem().await.contains("nested virtualization is off"));
}

#[test]
fn h_01_only_x86_shows_virtualization_among_its_flags() {
    assert!(cpu_has_it("", Architecture::Aarch64).is_ok());
    assert!(cpu_has_it("Features\t: fp asimd\n", Architecture::Aarch64).is_ok());
    assert!(cpu_has_it("flags\t: svm\n", Architecture::X86_64).is_ok());
    assert!(cpu_has_it("flags\t: vmxnet\nmodel name\t: vmx svm\n", Architecture::X86_64).is_err());
    assert!(cpu_has_it("", Architecture::X86_64).is_err());
}

#[tokio::test]
async fn who_asks_for_translation_gets_it_unasked() {
    let host = Host::new();
    let chosen = choose(Some(Accelerator::Tcg), &host.kvm, own(), None).await.unwrap();
    assert_eq!((chosen.accelerator, chosen.problem), (Accelerator::Tcg, None));
}

#[tokio::test]
async fn h_12_kvm_runs_guests_of_the_hosts_own_processors_only() {
    let host = Host::new();
    let other = match own() {
        Architecture::X86_64 => Architecture::Aarch64,
        Architecture::Aarch64 => Architecture::X86_64,
    };
    let chosen = choose(None, &host.kvm, other, None).await.unwrap();
    assert_eq!(chosen.accelerator, Accelerator::Tcg);
    // On ARM the device alone tells, and no module is missing.
    assert!(!driver_fix(Architecture::Aarch64).contains("kvm_intel"));
}
