//! The command lines of QEMU and its wrappers.
//!
//! Owns every argument that QEMU and its wrappers get, built from validated types only. Never
//! runs anything. Paths are relative to the machine's folder, which is the working directory: QEMU
//! runs as a user who may enter that folder and none above it, and socket paths stay short.
//!
//! | argument | why |
//! |---|---|
//! | `sh -c 'echo $$ > qemu.pid && exec "$@"'` | records the process id in a folder that QEMU cannot write |
//! | `sh -c '… exec "$@" 2>qemu.err'` | what QEMU says is written down, within a bound: see `logs` |
//! | `setpriv --reuid … --bounding-set=-all --no-new-privs` | a guest that breaks out is nobody, for good |
//! | `--groups …` | the group of `/dev/kvm` where only that may open it, which QEMU does by its path; else none |
//! | `prlimit --core=0` | no core file with a renter's memory |
//! | `-sandbox on,…` | system calls that QEMU does not need are refused by the kernel |
//! | `-nodefaults -no-user-config` | no device that is not listed here |
//! | `setsid --fork` | a session of its own that outlives the node; QEMU's `-daemonize` forks, which its sandbox refuses |
//! | `-no-shutdown` | a guest that powers itself off is told from a crash, also when no node sees it ([`super::run_state`]) |
//! | `werror=stop` | a write that this host fails pauses the guest, which loses nothing, and is tried again |
//! | `-cpu …,vmx=off,svm=off` | no virtual machines inside of virtual machines: a way to the host's kernel less |
//! | `-machine`, `-cpu` | by the kind of processors: [`Architecture`] |
//! | `if=pflash` | the firmware, read-only, and its variables, which are the machine's own; where QEMU brings none |
//! | `thread=multi`, `tb-size=128` | measured fastest under TCG; the translation buffer counts as memory |
//! | `throttling.…` | bounds writes before they are in the host's memory, where v1 control groups no longer know whose they are |
//! | `ringbuf` console | bounded by construction: a guest that floods it overwrites itself; exchanged for a socket while somebody has it open: see `console` |
//! | `unshare … sh -c …` | namespaces of its own: see `network` |
//! | `-incoming defer` | where memory is taken up that was kept: see `memory` |
//! | `restrict=on` | only where this host makes no namespace: no network at all but SSH in |

use std::ffi::OsString;
use std::path::Path;

use golem_types::{Resources, VmId};

use super::base_images::BASE_FILE;
use super::cgroup::{FIRST_TO_GO, operations};
use super::name::name_word;
use super::qmp::CONSOLE_BYTES;
use super::user::become_guest;
use super::{logs, network};
use crate::{Accelerator, Architecture};

/// What one launch takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch<'a> {
    pub(super) id: &'a VmId,
    pub(super) resources: Resources,
    pub(super) architecture: Architecture,
    /// The firmware's program; `None` if QEMU brings it.
    pub(super) firmware: Option<&'a Path>,
    pub(super) accelerator: Accelerator,
    /// Whether the guest may run virtual machines itself, where the CPU can.
    pub(super) nested: bool,
    /// User to become; `None` if the node is not root.
    pub(super) uid: Option<u32>,
    /// Group that the process keeps, for the device of its accelerator.
    pub(super) group: Option<u32>,
    pub(super) network: Netdev,
    /// Most bytes a second that the guest may read from its disk, and write.
    pub(super) disk_rate: Option<u64>,
    /// Words that run what follows in the guest's control group.
    pub(super) group_words: &'a [String],
    /// QEMU's full name for the machine whose memory is to be taken up, if one is.
    pub(super) memory: Option<&'a str>,
}

/// What the guest's network card leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Netdev {
    /// The namespace that QEMU is in.
    Namespace,
    /// Nothing; and this loopback port of the host leads to its SSH server.
    Restricted {
        /// The port.
        ssh_port: u16,
    },
}

/// The program and arguments that launch a guest.
pub(super) fn launch(qemu: &Path, launch: &Launch<'_>) -> (OsString, Vec<OsString>) {
    let mut words: Vec<OsString> =
        ["setsid", "--fork", "sh", "-c", &record_pid(), "sh"].map(OsString::from).to_vec();
    words.extend(launch.group_words.iter().map(OsString::from));
    words.extend(["sh", "-c", &logs::write_down(), "sh"].map(OsString::from));
    let user = match launch.network {
        Netdev::Namespace => network::around_qemu(launch.uid, launch.group),
        Netdev::Restricted { .. } => {
            launch.uid.map(|uid| become_guest(uid, launch.group)).unwrap_or_default()
        }
    };
    words.extend(user.into_iter().map(OsString::from));
    words.extend(["prlimit", "--core=0", "--nofile=4096"].map(OsString::from));
    words.push(qemu.into());
    words.extend(guest(launch));
    let program = words.remove(0);
    (program, words)
}

fn guest(launch: &Launch<'_>) -> Vec<OsString> {
    let Launch { id, resources, architecture, firmware, accelerator, nested, network, .. } = *launch;
    let accel = match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg,thread=multi,tb-size=128",
    };
    let (address, port, restrict) = match network {
        Netdev::Namespace => (network::ADDRESS, network::SSH_PORT, ""),
        Netdev::Restricted { ssh_port } => ("127.0.0.1", ssh_port, ",restrict=on"),
    };
    let network = format!("user,id=net0,ipv6=off,hostfwd=tcp:{address}:{port}-:22{restrict}");
    let name = format!("{},debug-threads=on", name_word(id));
    let smp = format!("cpus={}", resources.cpu);
    let memory = format!("size={}G", resources.memory);
    let mut disk =
        "file=disk.qcow2,if=none,id=disk,format=qcow2,discard=unmap,detect-zeroes=unmap,werror=stop"
            .to_owned();
    if let Some(rate) = launch.disk_rate {
        let operations = operations(rate);
        for (bound, most) in
            [("bps-read", rate), ("bps-write", rate), ("iops-read", operations), ("iops-write", operations)]
        {
            disk.push_str(&format!(",throttling.{bound}={most}"));
        }
    }
    let named = architecture.machine(accelerator);
    let machine = launch
        .memory
        .map_or_else(|| named.to_owned(), |full| named.replacen(architecture.machine_name(), full, 1));
    let incoming: &[&str] = if launch.memory.is_some() { &["-incoming", "defer"] } else { &[] };
    let console = format!("ringbuf,id=console,size={CONSOLE_BYTES}");
    [
        "-name",
        &name,
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-nodefaults",
        "-no-user-config",
        "-machine",
        &machine,
        "-accel",
        accel,
        "-cpu",
        architecture.cpu(accelerator, nested),
        "-smp",
        &smp,
        "-m",
        &memory,
        "-no-shutdown",
        "-display",
        "none",
        "-vga",
        "none",
        "-rtc",
        "base=utc,clock=host",
        "-drive",
        &disk,
        "-device",
        "virtio-blk-pci,drive=disk,bootindex=1",
        "-drive",
        "file=seed.img,if=none,id=seed,format=raw,readonly=on",
        "-device",
        "virtio-blk-pci,drive=seed",
        "-netdev",
        &network,
        "-device",
        "virtio-net-pci,netdev=net0",
        "-object",
        "rng-random,id=rng0,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng0",
        "-chardev",
        &console,
        "-serial",
        "chardev:console",
        "-chardev",
        "socket,id=agent,path=run/agent.sock,server=on,wait=off",
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-qmp",
        "unix:run/qmp.sock,server=on,wait=off",
    ]
    .into_iter()
    .chain(incoming.iter().copied())
    .map(OsString::from)
    .chain(firmware.into_iter().flat_map(flash))
    .collect()
}

/// The two chips of a machine whose firmware is `code`.
fn flash(code: &Path) -> [OsString; 4] {
    let mut program = OsString::from("if=pflash,unit=0,format=raw,readonly=on,file=");
    program.push(code);
    let variables = format!("if=pflash,unit=1,format=raw,file={VARIABLES_FILE}");
    ["-drive".into(), program, "-drive".into(), variables.into()]
}

/// Writes the process id that QEMU will have, as the node's user, so that QEMU cannot change it;
/// then becomes the rest of the words.
fn record_pid() -> String {
    format!("echo $$ > qemu.pid && {{ {FIRST_TO_GO} || :; }} && exec \"$@\"")
}

/// Arguments of `qemu-img` that make the overlay `disk.new` of `gib` GiB on the image `base.img`.
pub(super) fn overlay(base_format: &str, gib: u32) -> Vec<String> {
    let size = format!("{gib}G");
    ["create", "-q", "-f", "qcow2", "-F", base_format, "-b", BASE_FILE, "disk.new", &size]
        .map(str::to_owned)
        .to_vec()
}

/// The firmware's variables, in the machine's folder.
pub(super) const VARIABLES_FILE: &str = "variables.fd";

#[cfg(test)]
mod tests {
    use golem_types::VmName;
    use proptest::prelude::*;

    use super::*;

    fn words(name: &str, resources: Resources, uid: Option<u32>, restricted: bool) -> Vec<String> {
        let name: VmName = name.parse().unwrap();
        let id = VmId::new(&name, "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        let network = if restricted { Netdev::Restricted { ssh_port: 40001 } } else { Netdev::Namespace };
        let launch_ = Launch { uid, network, ..plain(&id, resources) };
        words_of(&launch_)
    }

    fn plain(id: &VmId, resources: Resources) -> Launch<'_> {
        Launch {
            id,
            resources,
            architecture: Architecture::X86_64,
            firmware: None,
            accelerator: Accelerator::Tcg,
            disk_rate: None,
            group_words: &[],
            memory: None,
            nested: false,
            uid: None,
            group: None,
            network: Netdev::Restricted { ssh_port: 40001 },
        }
    }

    fn words_of(launch_: &Launch<'_>) -> Vec<String> {
        let (program, arguments) = launch(Path::new(launch_.architecture.program()), launch_);
        std::iter::once(program).chain(arguments).map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn s_245_what_was_sold_is_what_the_guest_gets() {
        let words = words("abc", Resources::new(4, 8, 40), None, false).join(" ");
        assert!(words.contains("-smp cpus=4") && words.contains("-m size=8G"), "{words}");
        assert_eq!(overlay("qcow2", 40).last().unwrap(), "40G");
    }

    #[test]
    fn i8_the_secret_part_of_the_id_is_not_on_the_command_line() {
        let name: VmName = "abc".parse().unwrap();
        let [one, two] =
            [7, 8].map(|byte| VmId::new(&name, "2025-02-19T13:04:24Z".parse().unwrap(), [byte; 10]));
        let secret = &one.as_str()[one.redacted().len() + 1..];
        let words = words("abc", Resources::new(1, 1, 10), None, false).join(" ");
        assert!(words.contains(&format!("{},", name_word(&one))) && !words.contains(secret), "{words}");
        assert_ne!(name_word(&one), name_word(&two));
    }

    #[test]
    fn i5_guests_run_as_nobody_in_a_sandbox_and_only_ssh_comes_in() {
        let root = words("abc", Resources::new(1, 1, 10), Some(1_900_000_001), false).join(" ");
        for part in ["setpriv --reuid 1900000001", "--no-new-privs", "--bounding-set=-all", "-sandbox on"] {
            assert!(root.contains(part), "{root}");
        }
        assert!(root.contains("hostfwd=tcp:10.0.3.100:2222-:22 "), "{root}");
        let plain = words("abc", Resources::new(1, 1, 10), None, true).join(" ");
        assert!(!plain.contains("setpriv"), "{plain}");
        assert!(plain.contains("hostfwd=tcp:127.0.0.1:40001-:22,restrict=on "), "{plain}");
    }

    #[test]
    fn h_01_the_guests_process_keeps_the_group_of_the_kvm_device_and_no_other() {
        let id = VmId::new(&"abc".parse().unwrap(), "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        let root = Launch { uid: Some(1_900_000_001), ..plain(&id, Resources::new(1, 1, 10)) };
        assert!(words_of(&root).contains(&"--clear-groups".to_owned()));
        let kvm = words_of(&Launch { group: Some(108), ..root });
        assert!(kvm.contains(&"--groups=108".to_owned()) && !kvm.contains(&"--clear-groups".to_owned()));
    }

    #[test]
    fn i_17_guests_run_no_virtual_machines_unless_the_operator_says_so() {
        let id = VmId::new(&"abc".parse().unwrap(), "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        let kvm = Launch { accelerator: Accelerator::Kvm, ..plain(&id, Resources::new(1, 1, 10)) };
        assert!(words_of(&kvm).contains(&"host,vmx=off,svm=off".to_owned()));
        assert!(words_of(&Launch { nested: true, ..kvm }).contains(&"host".to_owned()));
    }

    /// H-12: what differs between the kinds of processors, word by word, and that nothing else does.
    #[test]
    fn h_12_each_kind_of_processors_has_its_machine_and_no_words_of_the_other() {
        let id = VmId::new(&"abc".parse().unwrap(), "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        let x86 = plain(&id, Resources::new(2, 1, 10));
        let code = Path::new("/usr/share/AAVMF/AAVMF_CODE.fd");
        let arm = Launch { architecture: Architecture::Aarch64, firmware: Some(code), ..x86 };
        let x86_words =
            "qemu-system-x86_64 -machine q35 -accel tcg,thread=multi,tb-size=128 -cpu qemu64,vmx=off,svm=off";
        let arm_words = "qemu-system-aarch64 -machine virt,gic-version=3 -accel tcg,thread=multi,tb-size=128 -cpu cortex-a72";
        let flash = " -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd \
                     -drive if=pflash,unit=1,format=raw,file=variables.fd";
        let guest = "-smp cpus=2 -m size=1G -no-shutdown -display none -vga none -rtc base=utc,clock=host \
                     -drive file=disk.qcow2,if=none,id=disk,format=qcow2,discard=unmap,detect-zeroes=unmap,werror=stop \
                     -device virtio-blk-pci,drive=disk,bootindex=1 \
                     -drive file=seed.img,if=none,id=seed,format=raw,readonly=on -device virtio-blk-pci,drive=seed \
                     -netdev user,id=net0,ipv6=off,hostfwd=tcp:127.0.0.1:40001-:22,restrict=on \
                     -device virtio-net-pci,netdev=net0 -object rng-random,id=rng0,filename=/dev/urandom \
                     -device virtio-rng-pci,rng=rng0 -chardev ringbuf,id=console,size=65536 -serial chardev:console \
                     -chardev socket,id=agent,path=run/agent.sock,server=on,wait=off -device virtio-serial-pci \
                     -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
                     -qmp unix:run/qmp.sock,server=on,wait=off";
        for (launch, own, end) in [(&x86, x86_words, ""), (&arm, arm_words, flash)] {
            let said = words_of(launch).join(" ");
            let (program, rest) = own.split_once(' ').unwrap();
            assert!(said.contains(&format!(" {program} -name ")), "{said}");
            assert!(said.ends_with(&format!(" -no-user-config {rest} {guest}{end}")), "{said}");
        }
        // With KVM, and whatever the operator says of nested virtualisation, which ARM guests never have.
        for nested in [false, true] {
            let kvm = words_of(&Launch { accelerator: Accelerator::Kvm, nested, ..arm }).join(" ");
            assert!(kvm.contains(" -machine virt,gic-version=host -accel kvm -cpu host -smp "), "{kvm}");
        }
        let kvm = words_of(&Launch { accelerator: Accelerator::Kvm, ..x86 }).join(" ");
        assert!(kvm.contains(" -machine q35 -accel kvm -cpu host,vmx=off,svm=off -smp "), "{kvm}");
    }

    #[test]
    fn memory_is_taken_up_by_the_machine_that_it_is_of() {
        let id = VmId::new(&"abc".parse().unwrap(), "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        let x86 = plain(&id, Resources::new(1, 1, 10));
        let words = words_of(&Launch { memory: Some("pc-q35-7.2"), ..x86 }).join(" ");
        assert!(words.contains(" -machine pc-q35-7.2 ") && words.ends_with(" -incoming defer"), "{words}");
        let arm = Launch { architecture: Architecture::Aarch64, memory: Some("virt-7.2"), ..x86 };
        assert!(words_of(&arm).contains(&"virt-7.2,gic-version=3".to_owned()));
    }

    proptest! {
        /// A renter's name is seen by QEMU only inside the machine's name, which is one argument and holds
        /// nothing that QEMU's option syntax knows.
        #[test]
        fn a_renters_name_is_never_an_option(name in "[a-z0-9]([a-z0-9]|-[a-z0-9]){2,20}") {
            let words = words(&name, Resources::new(1, 1, 10), None, true);
            let holding: Vec<_> = words.iter().filter(|word| word.contains(&format!("golem-{name}-"))).collect();
            prop_assert_eq!(holding.len(), 1);
            prop_assert!(holding[0].starts_with("guest=golem-") && holding[0].matches(',').count() == 1);
        }
    }
}
