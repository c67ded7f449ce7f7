//! The unit that ships, under a real systemd: the first process of a container on this machine's own files,
//! which see none of what it writes.
//!
//! The guest is a true QEMU with an empty disk. It never greets, and needs no time: that its process outlives
//! the node is the point. The container has no controllers of its own, so what bounds a guest is what systemd was
//! told; that such bounds hold is shown where groups are made.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use golem_test_support::{DEADLINE, Home, wanted};
use golem_vm::cgroup::CgroupPlaces;
use serde_json::Value;

/// Between two looks.
pub(crate) const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

const UNIT: &str = "golem-provider";

/// A container with the unit, its settings and its data. Ended, with all that runs in it, when dropped.
struct Host {
    folder: tempfile::TempDir,
    groups: Vec<PathBuf>,
    /// Has the mounts, and ends with this test whatever becomes of it.
    holder: Child,
    container: Child,
}

/// The first process in the container.
pub(crate) fn leader(container: &Child) -> Option<u32> {
    let pid = container.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let leader = children.split_whitespace().next()?.parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{leader}/comm")).ok()?;
    (name.trim() == "systemd").then_some(leader)
}

/// Mounts this machine's files at `folder/root`, and a volume with room for a VM at `folder/data`, where nobody else
/// sees it.
fn holder(folder: &Path) -> Child {
    let script = "mount --bind / \"$1/root\" && mount -t tmpfs -o size=20g,mode=700 tmpfs \"$1/data\" && \
        echo up && exec cat >/dev/null";
    let mut holder = Command::new("unshare");
    holder.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]).arg(folder);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).expect("mounts");
    holder
}

/// Boots the container whose files are in `folder`, as `holder` sees it, with its groups below `groups`.
fn container(folder: &Path, holder: &Child, groups: &[PathBuf]) -> Child {
    let script = "set -e; n=$1; shift; \
        while [ $n -gt 0 ]; do mkdir -p \"$1\"; echo 0 >\"$1/cgroup.procs\"; shift; n=$((n - 1)); done; \
        folder=$1; shift; \
        exec systemd-nspawn --quiet --directory=\"$folder/root\" --volatile=overlay \"$@\"";
    let mut container = Command::new("nsenter");
    container.args(["--mount", "--target", &holder.id().to_string()]);
    container.args(["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh"]);
    container.arg(groups.len().to_string()).args(groups).arg(folder);
    container.args(["--register=no", "--keep-unit", "--private-network", "--capability=all"]);
    container.args(["--system-call-filter=@mount", "--link-journal=no"]);
    container.arg(format!("--machine=golem-test-{}", std::process::id()));
    if Path::new("/dev/net/tun").exists() {
        container.arg("--bind=/dev/net/tun");
    }
    let bind = |option: &str, from: &Path, to: &str| format!("--{option}={}:{to}", from.display());
    let binary = Path::new(env!("CARGO_BIN_EXE_golem-provider"));
    container.arg(bind("bind-ro", binary, "/usr/local/bin/golem-provider"));
    let unit = format!("/etc/systemd/system/{UNIT}.service");
    container.arg(bind("bind-ro", &folder.join("unit"), &unit));
    container.arg(bind("bind-ro", &folder.join("etc"), "/etc/golem-provider"));
    container.arg(bind("bind-ro", &folder.join("group"), "/etc/group"));
    container.arg(bind("bind", &folder.join("data"), "/var/lib/golem-provider"));
    // The unit is enabled by the last word: links of `systemctl enable` do not outlive a reboot here.
    container.args(["--boot", "--", "systemd.unit=sysinit.target"]);
    container.arg(format!("systemd.wants={UNIT}.service"));
    let console = std::fs::File::options().create(true).append(true).open(folder.join("console")).unwrap();
    let errors = console.try_clone().unwrap();
    container.stdin(Stdio::null()).stdout(console).stderr(errors).spawn().unwrap()
}

impl Host {
    fn boot() -> Self {
        for program in ["systemd-nspawn", "systemctl", "qemu-system-x86_64", "qemu-img", "unshare"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
            assert!(found.status.success(), "{program} is missing; `cargo xtask test` installs it");
        }
        let folder = tempfile::tempdir().unwrap();
        for part in ["root", "etc", "data"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/golem-provider.service");
        std::fs::copy(unit, folder.path().join("unit")).unwrap();
        // The unit's, which a package brings.
        let mut groups = std::fs::read_to_string("/etc/group").unwrap();
        if !groups.contains("golem-provider:") {
            groups.push_str("golem-provider:x:61998:\n");
        }
        std::fs::write(folder.path().join("group"), groups).unwrap();
        let settings = "GOLEM_PROVIDER_VM_BACKEND=qemu\nGOLEM_PROVIDER_VM_ACCEL=tcg\n\
            GOLEM_PROVIDER_DEFAULT_VM_IMAGE=empty\nGOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS=0x0\n\
            GOLEM_PROVIDER_PRICING_UPDATE_ENABLED=false\nGOLEM_PROVIDER_ADVERTISER_TYPE=none\n\
            GOLEM_PROVIDER_SKIP_PORT_VERIFICATION=true\nGOLEM_PROVIDER_ACME=off\nGOLEM_PROVIDER_PUBLIC_IP=127.0.0.1\n\
            GOLEM_PROVIDER_STOP_GRACE_SECONDS=1\nGOLEM_PROVIDER_CPU_THRESHOLD=100\n\
            GOLEM_PROVIDER_MEMORY_THRESHOLD=100\nGOLEM_PROVIDER_STORAGE_THRESHOLD=100\n";
        std::fs::write(folder.path().join("etc/env"), settings).unwrap();
        let disk = folder.path().join("etc/empty.qcow2");
        let made =
            Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("1G").output();
        assert!(made.unwrap().status.success());
        let holder = holder(folder.path());
        let added = Command::new("nsenter")
            .args(["--mount", "--target", &holder.id().to_string()])
            .args([env!("CARGO_BIN_EXE_golem-provider"), "images", "add", "empty"])
            .arg(&disk)
            .env("GOLEM_PROVIDER_DATA_DIR", folder.path().join("data"))
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", Home::show(&added));

        // Below groups of its own, so that two containers at a time are not in each other's.
        let places = CgroupPlaces::of_this_process().unwrap();
        let place = |place: &golem_vm::cgroup::CgroupPlace| {
            place.own.join(format!("golem-test-{}", std::process::id()))
        };
        let groups: Vec<_> = places.v1.get("name=systemd").into_iter().chain(&places.v2).map(place).collect();
        let container = container(folder.path(), &holder, &groups);
        let mut host = Self { folder, groups, holder, container };
        host.up();
        host
    }

    /// Starts the host anew, as its operator does.
    fn reboot(&mut self) {
        self.run(&["systemctl", "--no-block", "reboot"]);
        let end = std::time::Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.container.try_wait().unwrap() {
                break status;
            }
            assert!(std::time::Instant::now() < end, "the host does not go down: {}", self.story());
            std::thread::park_timeout(PAUSE);
        };
        assert_eq!(status.code(), Some(133), "nspawn's word for a reboot: {}", self.story());
        self.container = container(self.folder.path(), &self.holder, &self.groups);
        self.up();
    }

    /// Waits until systemd is done and the node serves.
    fn up(&mut self) {
        let end = std::time::Instant::now() + DEADLINE;
        while !self.is(&["is-active", UNIT]) {
            let ended = self.container.try_wait().unwrap();
            let late = std::time::Instant::now() > end;
            assert!(ended.is_none() && !late, "no systemd, or no node: {ended:?}\n{}", self.story());
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Waits until `level` holds.
    fn until(&self, what: &str, level: impl Fn() -> bool) {
        let end = std::time::Instant::now() + DEADLINE;
        while !level() {
            assert!(std::time::Instant::now() < end, "never: {what}\n{}", self.story());
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Runs `words` in the container.
    fn run(&self, words: &[&str]) -> Output {
        let leader = leader(&self.container).unwrap_or(0).to_string();
        Command::new("nsenter").args(["--target", &leader, "--all"]).args(words).output().unwrap()
    }

    fn says(&self, words: &[&str]) -> String {
        String::from_utf8(self.run(words).stdout).unwrap().trim().to_owned()
    }

    /// Whether `systemctl` agrees.
    fn is(&self, words: &[&str]) -> bool {
        self.run(&[&["systemctl"], words].concat()).status.success()
    }

    fn systemctl(&self, words: &[&str]) {
        let output = self.run(&[&["systemctl"], words].concat());
        assert!(output.status.success(), "{words:?}: {}\n{}", Home::show(&output), self.story());
    }

    /// A property of the unit `unit`.
    fn property(&self, unit: &str, name: &str) -> String {
        self.says(&["systemctl", "show", "--value", "--property", name, unit])
    }

    /// What the node logged, and what the container showed.
    fn story(&self) -> String {
        let mut console = String::new();
        let file = std::fs::File::open(self.folder.path().join("console"));
        let _ = file.and_then(|mut file| file.read_to_string(&mut console));
        format!("{console}\n{}", self.says(&["journalctl", "--no-pager", "--unit", UNIT, "--lines=100"]))
    }

    fn http(&self, method: &str, path: &str, body: &str) -> Value {
        http(|words| self.says(words), method, path, body)
    }

    /// The process of the only guest, as this machine calls it; `None` if it is not there.
    fn guest(&self) -> Option<u32> {
        let data = format!("/proc/{}/root{}/data/vms", self.holder.id(), self.folder.path().display());
        let machine = std::fs::read_dir(data).ok()?.flatten().next()?;
        let inside = std::fs::read_to_string(machine.path().join("qemu.pid")).ok()?;
        let inside = self.says(&["cat", &format!("/proc/{}/stat", inside.trim())]);
        // Process ids differ in the container; when a process began does not.
        let began = inside.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned();
        began.parse::<u32>().ok()
    }

    /// The guest's scope.
    fn scope(&self) -> String {
        let units = self.says(&["systemctl", "list-units", "--plain", "--no-legend", "golem-vm-*.scope"]);
        units.split(' ').next().unwrap_or_default().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        end(Some(&mut self.container), &mut self.holder, &self.groups);
    }
}

/// Ends a container with all that runs in it, the `holder` of its mounts, and its groups.
pub(crate) fn end(container: Option<&mut Child>, holder: &mut Child, groups: &[PathBuf]) {
    if let Some(container) = container {
        if let Some(pid) = leader(container).and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
        {
            // With the first process goes every other of its namespace.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = container.kill();
        let _ = container.wait();
    }
    let _ = holder.kill();
    let _ = holder.wait();
    let end = std::time::Instant::now() + DEADLINE;
    for group in groups {
        while !removed(group) && std::time::Instant::now() < end {
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// One request to the node's API, from inside the container, where `says` runs words and gives what they print.
pub(crate) fn http(says: impl Fn(&[&str]) -> String, method: &str, path: &str, body: &str) -> Value {
    let script = "exec 3<>/dev/tcp/127.0.0.1/7466; printf '%s' \"$1\" >&3; cat <&3";
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = says(&["bash", "-c", script, "bash", &request]);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

/// Removes a group and those below it.
fn removed(group: &Path) -> bool {
    for inside in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if inside.file_type().is_ok_and(|kind| kind.is_dir()) {
            removed(&inside.path());
        }
    }
    std::fs::remove_dir(group).is_ok() || !group.exists()
}

/// H-04, I4: restart, update, crash, freeze and stop of the node leave its VMs alone; the host's own end shuts
/// them down, and its start boots them.
#[test]
fn h_04_i4_vms_outlive_the_service_and_come_back_with_the_host() {
    let mut host = Host::boot();
    let verified = host.run(&["systemd-analyze", "verify", &format!("{UNIT}.service")]);
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", Home::show(&verified));

    let job = host.http("POST", "/api/v1/vms?async=true", &wanted("web", None).to_string())["job_id"].clone();
    let job = format!("/api/v1/vms/jobs/{}", job.as_str().unwrap_or_default());
    // One that is still being launched when the node ends is launched again.
    host.until("a guest that was launched", || host.http("GET", &job, "")["stage"] == "boot");
    assert!(host.guest().is_some() && host.is(&["is-active", &host.scope()]), "{}", host.story());
    let (guest, scope) = (host.guest(), host.scope());
    // I-04: in a scope of its own, with bounds, and not in the service.
    assert_eq!(host.property(&scope, "Slice"), "golem-vms.slice");
    assert!(host.property(&scope, "Before").contains(&format!("{UNIT}.service")));
    // Its memory, what runs it, and its disk, which is in memory here.
    let memory: u64 = host.property(&scope, "MemoryMax").parse().unwrap();
    assert!((11 << 30..12 << 30).contains(&memory), "{memory}");
    assert_eq!(host.property(&scope, "CPUQuotaPerSecUSec"), "1.500000s");
    assert_eq!(host.property(&scope, "TasksMax"), "257");

    let main = || host.property(UNIT, "MainPID");
    let mut before = main();
    let mut other_node = |what: &str| {
        host.until(what, || {
            host.is(&["is-active", UNIT]) && ![before.as_str(), "0"].contains(&main().as_str())
        });
        assert_eq!((host.guest(), host.scope()), (guest, scope.clone()), "{what}");
        before = main();
    };
    host.systemctl(&["restart", UNIT]);
    other_node("a node after a restart");
    host.systemctl(&["kill", "--signal=KILL", UNIT]);
    other_node("a node after a crash");
    host.systemctl(&["stop", UNIT]);
    assert_eq!((host.guest(), host.scope()), (guest, scope.clone()), "after a stop");
    host.systemctl(&["start", UNIT]);
    other_node("a node after a stop");

    // An update: the same process becomes the program anew, and says so.
    let stamp = || host.property(UNIT, "StateChangeTimestampMonotonic");
    let changed = stamp();
    host.systemctl(&["reload", UNIT]);
    host.until("a node after a reload", || host.is(&["is-active", UNIT]) && stamp() != changed);
    assert_eq!((main(), host.guest()), (before.clone(), guest));

    // A node that hangs is ended by the watchdog, and started again.
    std::fs::write(host.folder.path().join("etc/watchdog.conf"), "[Service]\nWatchdogSec=2\n").unwrap();
    let drop_in = format!("/run/systemd/system/{UNIT}.service.d");
    host.run(&["mkdir", &drop_in]);
    host.run(&["cp", "/etc/golem-provider/watchdog.conf", &drop_in]);
    host.systemctl(&["daemon-reload"]);
    host.systemctl(&["restart", UNIT]);
    let pid = host.property(UNIT, "MainPID");
    // Its words reach the watchdog: it lives longer than without them.
    let heard = host.property(UNIT, "WatchdogTimestampMonotonic");
    host.until("a word for the watchdog", || host.property(UNIT, "WatchdogTimestampMonotonic") != heard);
    host.systemctl(&["kill", "--signal=STOP", UNIT]);
    host.until("a node after it hung", || {
        host.is(&["is-active", UNIT])
            && ![pid.as_str(), "0"].contains(&host.property(UNIT, "MainPID").as_str())
    });
    assert_eq!(host.guest(), guest);

    host.reboot();
    host.until("a guest after the boot", || host.guest().is_some_and(|began| Some(began) != guest));
    host.until("its scope", || host.is(&["is-active", &host.scope()]));
}

/// The service is set up where it is installed: started, and the next time told of what changed, below its VMs.
#[test]
fn a_setup_starts_the_service_and_another_has_it_take_what_changed() {
    let host = Host::boot();
    host.systemctl(&["stop", UNIT]);
    let setup = |name: &str| -> Value {
        let output = host.run(&["golem-provider", "setup", "--yes", "--json", "--name", name]);
        assert_eq!(output.status.code(), Some(0), "{}\n{}", Home::show(&output), host.story());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let done = setup("first");
    assert_eq!(
        (&done["service"], &done["running"], &done["written"]),
        (&true.into(), &true.into(), &true.into())
    );
    assert_eq!(done["checklist"]["rented"]["answer"], "yes", "{done}");
    assert!(host.is(&["is-active", UNIT]) && host.is(&["is-enabled", UNIT]), "{}", host.story());
    let written = host.says(&["cat", "/var/lib/golem-provider/.env"]);
    assert!(
        written.contains("GOLEM_PROVIDER_NAME=first") && host.story().contains("name=first"),
        "{written}"
    );
    let main = host.property(UNIT, "MainPID");
    let done = setup("second");
    assert_eq!((&done["running"], host.property(UNIT, "MainPID")), (&true.into(), main));
    assert!(host.story().contains("name=second"), "{}", host.story());
    assert_eq!(setup("second")["written"], false);
    // The package's file wins, and is not written: so says who would be overruled.
    let overruled = host.run(&["golem-provider", "setup", "--yes", "--image", "24.04"]);
    let said = Home::show(&overruled);
    assert!(overruled.status.code() == Some(2) && said.contains("wins (/etc/golem-provider/env:"), "{said}");
}
