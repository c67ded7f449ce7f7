//! What is said of the program, this machine and its VMs.
//!
//! Owns the texts of these headings of the troubleshooting page.

use super::Part::{Table, Text};
use super::Topic;

/// The node does not start.
pub(super) const THE_NODE_DOES_NOT_START: Topic = Topic {
    heading: "The node does not start",
    parts: &[Table(
        ["message", "cause and fix"],
        &[
            ("`a provider runs already`", "stop it: `golem-provider stop`"),
            (
                "`cannot listen on …:7466`",
                "another program has the port (`ss -ltnp`); stop it, or set `GOLEM_PROVIDER_PORT`",
            ),
            (
                "`… not found; install with: apt-get install …`",
                "the VM backend's programs are missing; run the command it names",
            ),
            (
                "`KVM is wanted and guests cannot use it: …`",
                "`GOLEM_PROVIDER_VM_ACCEL=kvm` is set, and the reason is named with its fix: [KVM](#kvm)",
            ),
            (
                "`the default image … is not here`",
                "`golem-provider images pull 24.04`, or `images add 24.04 FILE` where there is no internet",
            ),
            (
                "`… belongs to user …, and this process runs as user …`",
                "run the node as that user, or hand it over: `chown` as the message says. Root is no exception: it would follow whatever links that user makes",
            ),
            (
                "`… holds files of others; fix: name a folder of its own`",
                "the data directory has to be the node's alone; set `GOLEM_PROVIDER_DATA_DIR` to a folder of its own",
            ),
            (
                "`the node of this machine's service … is root's and the group …`",
                "use `sudo`, or join the group (`sudo adduser $USER golem-provider`) and log in again",
            ),
            ("`there is no key yet in …`", "looking makes none: start the node once, or `wallet import`"),
            (
                "`… is set in …, which wins over …; nothing was changed`",
                "change it where the message says: what is written to the data directory's `.env` would have no effect",
            ),
            (
                "`… can be written by other users`",
                "a `.env` decides what runs: read it, then `chmod go-w` it",
            ),
            (
                "`the ledger has version …, and this program knows …`",
                "a newer program wrote it: install that again, or restore a backup from before the update; nothing was changed",
            ),
            (
                "`warning: not used: …`",
                "a setting is wrong; the command went on without it, and `start` will not. The fix is named",
            ),
            (
                "`not reloaded, the provider goes on as it is: …`",
                "its new settings are wrong: mend what is named, and `golem-provider reload` again",
            ),
            (
                "`the provider runs in a terminal, where this would end it`",
                "a hangup ends a node on a terminal: end it there with Ctrl-C, and start it again",
            ),
            (
                "`a restore of … was cut short`",
                "run `golem-provider restore` with the same file again: [backup.md](backup.md)",
            ),
            ("`moving … to the service's place was cut short`", "run `golem-provider setup` again"),
        ],
    )],
};

/// KVM.
pub(super) const KVM: Topic = Topic {
    heading: "KVM",
    parts: &[
        Text("Guests' processes have users of their own, so that what counts is whether *they* may open `/dev/kvm`, not whether root
may. `status` says `VM Backend ✅ qemu on kvm` or names what is in the way:"),
        Table(
            ["what it says", "cause and fix"],
            &[
                ("`the CPU shows neither VT-x (vmx) nor AMD-V (svm)`", "turn it on in the firmware's settings"),
                ("`this machine is a virtual machine itself, and nested virtualization is off`", "turn it on in the hypervisor that hosts this machine"),
                ("`/dev/kvm is not there`", "`modprobe kvm_intel` or `kvm_amd`; hand the device to a container. On ARM: a kernel that starts in the processors' hypervisor mode"),
                ("`guests' users may not open /dev/kvm (mode …, group …)`", "give it a group of its own, as Debian does: `chgrp kvm /dev/kvm; chmod 0660 /dev/kvm`, and a udev rule. A guest's process gets that group and no other"),
                ("`this user may not open /dev/kvm`", "a node without root: `usermod -aG kvm USER`, and log in again"),
            ],
        ),
        Text("Without KVM guests run on TCG, QEMU's translation: some ten times slower, and no security boundary by its makers' own
word. Where rentals are paid with real money no new ones are taken then (503), unless `GOLEM_PROVIDER_ALLOW_TCG=true`;
VMs that are rented already run on. On test networks `status` warns."),
    ],
};

/// Isolation.
pub(super) const ISOLATION: Topic = Topic {
    heading: "Isolation",
    parts: &[
        Text("`sudo golem-provider isolation check` boots a throw-away VM on this host, which tries to reach what it must not: this host's
loopback and addresses, the operator API, other VMs, neighbours in its networks and their resolvers, special addresses
(metadata services among them), by forged packets, multicast, IPv6 and mail. Exit code 1 means that something came
through. Run it as whoever runs the node. `--again` tries once more with the same VM at each Enter, for instance after
a change of the firewall; `--json` is for programs."),
        Table(
            ["what it says", "what it means"],
            &[
                ("`❌ REACHED`", "it came through. Stop renting out (`golem-provider drain on`), and report it with the output"),
                ("`not tried: nothing answers there …`", "a refusal would show nothing, because this host itself gets no answer either"),
                ("`not tried: only root can see whether it leaves this host`", "run the check as root as well, if the node may be"),
                ("`⚠️ does not work`", "names or the internet: VMs are kept in and of no use; `status` names the cause"),
                ("`no network but SSH in: …`", "this host makes no namespaces for VMs; the fix is named"),
                ("`another isolation check of this node goes on`", "one at a time"),
            ],
        ),
        Text("An address or a network that this host gets while VMs run is open to them until the next look, four seconds at most."),
    ],
};

/// The ledger is lost or damaged.
pub(super) const THE_LEDGER_IS_LOST_OR_DAMAGED: Topic = Topic {
    heading: "The ledger is lost or damaged",
    parts: &[
        Text("VMs run on without it, and nobody is served by the node. `golem-provider stop`, then `golem-provider recover --dry-run` to see what
can be taken back, and `golem-provider recover`. Ids, ports, keys and streams are as they were; VMs of an older version of the
node get a free port, which it names. A damaged `provider.db` is put aside, not deleted.

To keep a copy: `golem-provider stop`, then copy `provider.db` and `keys/`."),
    ],
};

/// The disk is full.
pub(super) const THE_DISK_IS_FULL: Topic = Topic {
    heading: "The disk is full",
    parts: &[
        Text("Creates answer 503 and `status` says *No VM can be rented out or changed: the provider's disk is full*. VMs that run go on as
long as they need no more room. Make room in the data directory (`golem-provider images remove`, other files of the
volume); nothing has to be started again. A quota (`quota -s`), used-up inodes (`df -i`) and a volume that the kernel made
read-only after an error (`dmesg`) look the same to renters."),
    ],
};

/// Resources.
pub(super) const RESOURCES: Topic = Topic {
    heading: "Resources",
    parts: &[
        Table(
            ["what `status` says", "cause and fix"],
            &[
                ("`Nothing can be rented out: … less than GOLEM_PROVIDER_MIN_…`", "the host has less than the smallest VM that you rent out: make room, or lower that setting"),
                ("`No new VM is granted: … % of the host's … is in use`", "the host itself is busy: end what uses it, or raise the `…_THRESHOLD` that is named. VMs that run are left alone"),
                ("`No control groups: nothing bounds …`", "a VM could take this machine's memory from the node and from other VMs. In a container, mount `/sys/fs/cgroup` writable; without root, run the node in a systemd of your own"),
                ("the log says `… was ended by the host for want of memory`", "a guest wanted more than was sold, or the machine had none left; it is booted again. If it happens to guests that do nothing unusual: fewer VMs (`GOLEM_PROVIDER_RENT_MEMORY_GB`)"),
                ("the log says `GOLEM_PROVIDER_RENT_… is more than can be rented out here`", "the machine, the node's control group or the disk has less: what there is is offered"),
                ("`Room`", "what is left to rent out. Live VMs hold the rest, also stopped ones: `golem-provider vms list`"),
            ],
        ),
        Text("The log has a line for each VM that gets resources (`VM reserved, resources allocated`) and for each that gives them
back (`VM deleted, resources freed`)."),
    ],
};

/// A VM.
pub(super) const A_VM: Topic = Topic {
    heading: "A VM",
    parts: &[Table(
        ["what is seen", "cause and fix"],
        &[
            ("`The renter of … cannot log in`", "its SSH port stopped being reachable: see [Ports](#ports)"),
            (
                "`No stream pays for …`",
                "it was rented while payments were off: its renter attaches a stream, or you delete it",
            ),
            (
                "`creating` for minutes",
                "without KVM a boot takes a minute or more; `vms logs NAME` shows its console, and its job the stage",
            ),
            (
                "`the guest did not answer on its SSH port within … s`",
                "a slow machine: raise `GOLEM_PROVIDER_BOOT_TIMEOUT_SECONDS`; else look at `vms logs`",
            ),
            (
                "a VM that failed and is gone",
                "`vms logs` with its name, id or job's id shows for a day how far it came, its console, and what QEMU said",
            ),
            (
                "`error: the guest is paused: the provider's disk is full`",
                "make room (a fiftieth of the volume, 256 MB at most): the guest goes on by itself within seconds, with all that was in its memory",
            ),
            (
                "`error: the guest is paused: the provider's disk fails`",
                "the kernel's log of this host says more (`dmesg`); the guest is told to go on every minute",
            ),
            (
                "`error: the guest is paused`, `… frozen by the host`",
                "somebody paused it from outside (QMP `stop`, `kill -STOP`), and it is theirs to let it go on; `vms restart` ends it",
            ),
            (
                "`stopped`, and nobody stopped it",
                "its user shut it down from inside: it stays off, and goes on being paid for, until it is started; `GOLEM_PROVIDER_RESTART_POLICY=always` boots it again",
            ),
            (
                "`error: the SSH port could not be opened`",
                "another program took the port while the VM was off; stop it, the node tries again",
            ),
            (
                "`the provider's disk has no room for a copy of the image`",
                "`vms` lies on another volume than `images`, and holds one copy of each image: make room there for it, and for a GiB beside it",
            ),
            (
                "`the provider's disk is not mounted`",
                "`vms` is a link that leads nowhere: mount its volume; VMs are taken back by themselves",
            ),
            (
                "`error: the machine's disk is missing on this host`",
                "its folder below `vms/` is gone; the node never replaces a renter's disk by an empty one",
            ),
            (
                "`unmanaged` in `status`",
                "a machine that the ledger does not know; the node leaves it alone. Remove its folder below `vms/` yourself if you are sure",
            ),
        ],
    )],
};

/// Creates are refused.
pub(super) const CREATES_ARE_REFUSED: Topic = Topic {
    heading: "Creates are refused",
    parts: &[Table(
        ["message", "what it means"],
        &[
            ("`Insufficient resources available on provider …`", "live VMs hold the rest; see `status`"),
            ("`provider is at capacity: …`", "`GOLEM_PROVIDER_MAX_VMS`"),
            (
                "`at least … must be requested`",
                "`GOLEM_PROVIDER_MIN_CPU_CORES`, `_MIN_MEMORY_GB`, `_MIN_STORAGE_GB`",
            ),
            (
                "`provider is over its … threshold`",
                "the host itself is busy: `GOLEM_PROVIDER_CPU_THRESHOLD` and the like",
            ),
            ("`provider is draining …`", "`golem-provider drain off`"),
            ("`no SSH port of this provider has been seen to be reachable …`", "see [Ports](#ports)"),
            ("`no SSH port is free …`", "widen `GOLEM_PROVIDER_PORT_RANGE_START` to `_END`"),
            ("`image … is not available on this provider`", "`golem-provider images list`"),
        ],
    )],
};

/// Guests are slow.
pub(super) const GUESTS_ARE_SLOW: Topic = Topic {
    heading: "Guests are slow",
    parts: &[
        Text("`status` and the log say when guests run without hardware virtualisation. Turn on VT-x or AMD-V in the
firmware, `modprobe kvm_intel` or `kvm_amd`, and see that `/dev/kvm` exists. In a cloud VM, choose a kind that
allows nested virtualisation."),
    ],
};

/// Guests have no network.
pub(super) const GUESTS_HAVE_NO_NETWORK: Topic = Topic {
    heading: "Guests have no network",
    parts: &[
        Text("`status` and `vms show` say how a guest is connected, and what is in the way. A guest that cannot be kept in gets SSH in
and nothing else, because an open network would reach this machine."),
        Table(
            ["message", "what to do"],
            &[
                ("`… is not installed`", "`sudo apt-get install nftables slirp4netns`, then `vms restart`"),
                ("`the kernel makes no user namespace`", "the message names the setting: `user.max_user_namespaces`, `kernel.unprivileged_userns_clone` or Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`; the latter two do not matter to a node that is root"),
                ("`there is no /dev/net/tun`", "`sudo modprobe tun`; in a container, allow the device"),
                ("`/dev/net/tun is not for this user`", "`sudo chmod 0666 /dev/net/tun`, which is udev's default; a node that is root does not need it"),
                ("`The network of … is cut`", "somebody changed what keeps the guest in, and the node could not put it right; the reason is in the message"),
                ("`An older version launched …`", "`vms restart` gives it a network namespace of its own; until then a firewall reload is mended within seconds, and not before"),
                ("`this host has no IPv4 route to the internet`", "guests have IPv4 only"),
                ("`/etc/resolv.conf names no IPv4 resolver`", "name one, or use a stub such as systemd-resolved"),
            ],
        ),
        Text("Mail to other servers (TCP 25) is closed; `GOLEM_PROVIDER_ALLOW_SMTP=true` opens it for guests that are launched or looked at
from then on. A guest that opens more than `GOLEM_PROVIDER_VM_MAX_CONNECTIONS` connections has further ones refused."),
    ],
};

/// What is left of a node that died.
pub(super) const LEFT_BEHIND: Topic = Topic {
    heading: "Left behind by a node that died",
    parts: &[Text(
        "A node that was killed, or whose machine lost its power, leaves its PID file and its socket. Nobody holds them, which is how every\n\
         command knows that no node runs, and the next start takes them over. `golem-provider doctor --fix` puts them aside.",
    )],
};

/// The clock is wrong.
pub(super) const CLOCK: Topic = Topic {
    heading: "The clock is wrong",
    parts: &[Text(
        "Leases, certificates and signatures go by the clock. `golem-provider doctor` holds it against the dates that those say whom the\n\
         node asks anyway: endpoints of the chain, check servers, the price feed, the market. Most of them decide, so that one with a wrong\n\
         clock is outvoted. `sudo timedatectl set-ntp true` sets this machine's, and keeps it right; in a VM, its host's clock is the one to mend.",
    )],
};

/// Updates.
pub(super) const UPDATES: Topic = Topic {
    heading: "Updates",
    parts: &[Text(
        "`golem-provider status` and `doctor` tell of a newer version where `GOLEM_PROVIDER_UPDATE_CHECK_URL` names who knows it. Install it as this\n\
         one was. VMs run on, ssh sessions too; a service takes the new program over by itself, another node with `golem-provider reload`.",
    )],
};
