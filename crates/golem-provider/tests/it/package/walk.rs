//! The whole way on a machine with systemd: installed, rented, upgraded, removed, purged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use golem_test_support::guest::{image, keypair};
use golem_test_support::{Home, wanted};
use serde_json::Value;

use super::machine::Machine;
use super::traces::look;
use super::{package, package_as};
use crate::service::systemd;

/// What the operator sets: guests under translation, and nobody out there is asked.
const SETTINGS: &str = "GOLEM_PROVIDER_VM_BACKEND=qemu\nGOLEM_PROVIDER_VM_ACCEL=tcg\n\
    GOLEM_PROVIDER_DEFAULT_VM_IMAGE=small\nGOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS=0x0\n\
    GOLEM_PROVIDER_PRICING_UPDATE_ENABLED=false\nGOLEM_PROVIDER_ADVERTISER_TYPE=none\n\
    GOLEM_PROVIDER_SKIP_PORT_VERIFICATION=true\nGOLEM_PROVIDER_ACME=off\nGOLEM_PROVIDER_PUBLIC_IP=127.0.0.1\n\
    GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE=100000\nGOLEM_PROVIDER_STOP_GRACE_SECONDS=\"5\"\n\
    GOLEM_PROVIDER_CPU_THRESHOLD=100\nGOLEM_PROVIDER_MEMORY_THRESHOLD=100\nGOLEM_PROVIDER_STORAGE_THRESHOLD=100\n";

/// Where the VMs of the node are that is run from source.
const VOLUME: &str = r#"/srv/VMs of "100%" \ mine"#;

/// Has the node set up by whoever is root there.
const SETUP: &str = "golem-provider setup --yes --no-map-ports --image none --json 2>/tmp/said || { cat /tmp/said; exit 1; }; \
    rm /tmp/said";

/// One request to the node's API, from inside.
fn http(machine: &Machine, method: &str, path: &str, body: &str) -> Value {
    systemd::http(|words| machine.says(words), method, path, body)
}

/// The process of the only VM, inside.
fn qemu(machine: &Machine) -> String {
    machine.says(&["sh", "-c", "cat /var/lib/golem-provider/vms/*/qemu.pid"])
}

/// How often a newcomer was refused at `port` of `machine` while `work` was done, and how long one waited at most until the
/// guest's SSH server spoke.
fn newcomers(machine: &Machine, port: u16, work: impl FnOnce()) -> (usize, Duration) {
    let done = AtomicBool::new(false);
    let network = std::fs::File::open(format!("/proc/{}/ns/net", machine.leader())).unwrap();
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
            use std::os::fd::AsFd;
            // This thread alone goes there.
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let (mut refused, mut longest) = (0, Duration::ZERO);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            while !done.load(Ordering::SeqCst) {
                let began = Instant::now();
                let greeted = TcpStream::connect(address).and_then(|mut stream| {
                    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                    stream.read_exact(&mut [0; 4])
                });
                refused += usize::from(greeted.is_err());
                longest = longest.max(began.elapsed());
                std::thread::park_timeout(Duration::from_millis(20));
            }
            (refused, longest)
        });
        work();
        done.store(true, Ordering::SeqCst);
        looks.join().unwrap()
    })
}

/// What is on the machine `after` and was not `before`, and the other way around.
fn differences(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let gone = before.difference(after).map(|line| format!("gone: {line}"));
    gone.chain(after.difference(before).map(|line| format!("new: {line}"))).collect()
}

/// H-04, I4: a package is installed, rented and upgraded under a VM, and purged; the machine is as it was, but for the key.
#[test]
fn h_04_i4_from_the_package_to_a_rental_and_out_again_without_a_trace() {
    let began = Instant::now();
    let machine = Machine::boot(|files| {
        std::fs::copy(package(), files.join("golem-provider.deb")).unwrap();
        package_as("9.9.9", files);
        std::fs::copy(image(), files.join("small.qcow2")).unwrap();
    });
    let before = look(&machine);
    let booted = began.elapsed();

    let said = machine.must("apt-get install -y /opt/golem-provider.deb");
    assert!(said.contains("sudo golem-provider setup"), "{said}");
    // U-10: completions and man pages.
    for file in ["man/man1/golem-provider-vms-list.1.gz", "bash-completion/completions/golem-provider"] {
        machine.must(&format!("test -s /usr/share/{file}"));
    }
    // Nobody has set it up, so it does not rent out, now or after a reboot.
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.property("UnitFileState"), "disabled");
    assert_eq!(machine.says(&["stat", "-c", "%a %U", "/etc/golem-provider/env"]), "600 root");
    assert_eq!(
        machine.says(&["stat", "-c", "%a %U %G", "/var/lib/golem-provider"]),
        "700 root golem-provider"
    );

    machine.must(&format!("printf '%s' '{SETTINGS}' >> /etc/golem-provider/env"));
    let setup = SETUP.replace("--image none", "--image /opt/small.qcow2");
    let done: Value = serde_json::from_str(&machine.must(&setup)).unwrap();
    assert_eq!(
        (&done["service"], &done["running"], &done["move_in"]),
        (&true.into(), &true.into(), &Value::Null)
    );
    assert_eq!(done["checklist"]["rented"]["answer"], "yes", "{done}");
    assert_eq!(
        (machine.property("ActiveState"), machine.property("UnitFileState")),
        ("active".into(), "enabled".into())
    );
    // U-01: whoever is root speaks to the service's node, and makes no second wallet.
    let whose = machine.must("golem-provider wallet show --json 2>/dev/null");
    let key = machine.must("cat /var/lib/golem-provider/keys/provider_key.json");
    let address = serde_json::from_str::<Value>(&whose).unwrap()["address"].as_str().unwrap().to_lowercase();
    assert!(key.to_lowercase().contains(address.trim_start_matches("0x")), "{whose}: {address}");
    // Where there is a journal there is no log file.
    machine.must("test ! -e /root/.golem && test ! -e /var/lib/golem-provider/logs");
    let installed = began.elapsed();
    machine.must("apt-get purge -y golem-provider && rm /root/golem-provider-key-*.json");
    assert_eq!(differences(&before, &look(&machine)), [] as [String; 0]);

    // The same node, run from source by root, and rented.
    machine.must("dpkg-deb -x /opt/golem-provider.deb /srv/source && mkdir -p -m 700 /root/.golem/provider");
    machine.must(&format!("printf '%s' '{SETTINGS}' > /root/.golem/provider/.env"));
    // Its VMs are on a volume outside of the unit's reach, whose name a unit has to quote.
    machine.must(&format!("mkdir -m 700 '{VOLUME}' && ln -s '{VOLUME}' /root/.golem/provider/vms"));
    machine.must("/srv/source/usr/bin/golem-provider images add small /opt/small.qcow2");
    machine.must("/srv/source/usr/bin/golem-provider start --daemon");
    let key = keypair(machine.folder.path(), "key", &["-t", "ed25519"]);
    let mut body = wanted("web", None);
    body["ssh_key"] = std::fs::read_to_string(key.with_extension("pub")).unwrap().trim().into();
    let vm = http(&machine, "POST", "/api/v1/vms?async=true", &body.to_string())["vm_id"].clone();
    let vm = vm.as_str().unwrap_or_else(|| panic!("no VM\n{}", machine.story())).to_owned();
    machine.until("a VM that runs", |machine| {
        http(machine, "GET", &format!("/api/v1/vms/{vm}"), "")["status"] == "running"
    });
    let access = http(&machine, "GET", &format!("/api/v1/vms/{vm}/access"), "");
    let port = access["ssh_port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.unwrap_or_else(|| panic!("{access}\n{}", machine.story()));
    let said = machine.ssh(port, &key, "echo from the guest");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "from the guest\n", "{}", Home::show(&said));
    let rented = began.elapsed();

    // Issue 17, part 4: the package comes, and setup takes the node over while its VM runs.
    let guest = machine.says(&["sh", "-c", "cat /root/.golem/provider/vms/*/qemu.pid"]);
    let whose = machine.must("cat /root/.golem/provider/keys/provider_key.json");
    machine.must("apt-get install -y /opt/golem-provider.deb");
    let done: Value = serde_json::from_str(&machine.must(SETUP)).unwrap();
    assert_eq!(done["move_in"]["to"], "/var/lib/golem-provider", "{done}");
    assert_eq!(machine.must("cat /var/lib/golem-provider/keys/provider_key.json"), whose);
    machine.must(
        "test ! -e /root/.golem/provider && test -s /root/.golem/provider-before-service-*/provider.db",
    );
    machine.until("the VM at its new place", |machine| {
        http(machine, "GET", &format!("/api/v1/vms/{vm}"), "")["status"] == "running"
    });
    assert_eq!(qemu(&machine), guest);
    // H-11: systemd reads the name as it is, and lets the service in there alone.
    let bound = VOLUME.replace('\\', r"\134").replace(' ', r"\040");
    machine.must(&format!("grep -F '{bound}' /proc/{}/mountinfo", machine.property("MainPID")));
    let said = machine.ssh(port, &key, "echo from the guest");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "from the guest\n", "{}", Home::show(&said));
    machine.must("rm -r /srv/source /root/.golem /root/.local");
    let moved = began.elapsed();

    // Lines in the journal say how urgent they are, in the journal's own way.
    let journal = machine.says(&["journalctl", "-u", "golem-provider", "-o", "json"]);
    let lines: Vec<Value> = journal.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ours = lines.iter().filter(|line| line["_COMM"] == "golem-provider");
    let urgency: BTreeSet<_> = ours.clone().map(|line| line["PRIORITY"].as_str().unwrap()).collect();
    assert!(urgency.contains("6") && urgency.len() > 1, "{urgency:?}");
    let told = port.to_string();
    assert!(ours.clone().any(|line| line["GOLEM_PORT"].as_str() == Some(told.as_str())), "fields of ours");
    assert!(ours.clone().all(|line| !line["MESSAGE"].as_str().is_some_and(|text| text.starts_with('<'))));

    let (guest, node) = (qemu(&machine), machine.property("MainPID"));
    let mut session = machine.ssh_command(port, &key, "cat");
    let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (session.stdin.take().unwrap(), BufReader::new(session.stdout.take().unwrap()));
    let mut echoes = |line: &str| {
        writeln!(to, "{line}").unwrap();
        let mut heard = String::new();
        from.read_line(&mut heard).unwrap();
        assert_eq!(heard.trim_end(), line);
    };
    echoes("before");
    let (refused, longest) = newcomers(&machine, port, || {
        machine.must("apt-get install -y /opt/next.deb");
        // It is the new file that runs, and no other process.
        machine.until("the new program", |machine| {
            machine.says(&["readlink", &format!("/proc/{node}/exe")]) == "/usr/bin/golem-provider"
        });
        machine.until("the node again", |machine| {
            http(machine, "GET", &format!("/api/v1/vms/{vm}"), "")["status"] == "running"
        });
    });
    assert_eq!(machine.says(&["dpkg-query", "-W", "-f", "${Version}", "golem-provider"]), "9.9.9");
    assert_eq!((qemu(&machine), machine.property("MainPID")), (guest.clone(), node.clone()));
    // Part 6: whoever was logged in is, and nobody was turned away.
    echoes("after");
    assert_eq!(refused, 0, "{longest:?}");
    drop(to);
    assert!(session.wait().unwrap().success());
    let said = machine.ssh(port, &key, "cat /proc/sys/kernel/random/boot_id");
    assert!(said.status.success(), "{}", Home::show(&said));
    let upgraded = began.elapsed();

    machine.must("umask 077; echo 'a long passphrase' >/root/word");
    machine.must("golem-provider backup /root/node.backup --passphrase-file /root/word && rm /root/word");

    // Removed, it leaves what a new installation goes on with, and nothing that runs.
    let said = machine.must("apt-get remove -y golem-provider");
    assert!(!said.contains("not all was taken away"), "{said}");
    let running = look(&machine);
    let golem = |line: &&String| {
        let runs = ["unit ", "nft ", "process ", "cgroup "].iter().any(|kind| line.starts_with(kind));
        // It is still enabled, for when it is installed again.
        runs && !line.contains(" not-found ")
    };
    assert_eq!(running.iter().filter(golem).collect::<Vec<_>>(), [] as [&String; 0], "{said}");
    machine.must(&format!("test -s /var/lib/golem-provider/vms/{vm}/disk.qcow2"));
    machine.must("apt-get install -y /opt/next.deb && systemctl start golem-provider");
    machine.until("the VM again", |machine| ![String::new(), guest.clone()].contains(&qemu(machine)));

    let address = machine.must("cat /var/lib/golem-provider/keys/provider_key.json");
    // The VM boots and hears nothing: it is ended after as long as the settings say.
    let purge = Instant::now();
    let said = machine.must("apt-get purge -y golem-provider");
    assert!(purge.elapsed() < Duration::from_secs(40), "{:?}: {said}", purge.elapsed());
    machine.must("test -s /root/node.backup && rm /root/node.backup");
    let copy = machine.says(&["sh", "-c", "ls /root/golem-provider-key-*.json"]);
    assert!(said.contains(&copy), "{said}");
    assert_eq!(machine.must(&format!("cat {copy}")), address);
    // What was in it is gone.
    machine.must(&format!("rmdir '{VOLUME}'"));
    let after = look(&machine);
    assert_eq!(differences(&before, &after), [format!("new: file {copy} f 600 root:root")], "{said}");
    println!(
        "booted {booted:.0?}, installed and set up {installed:.0?}, a command in the VM {rented:.0?}, moved {moved:.0?}, upgraded {upgraded:.0?} (the \
         longest wait for the VM's SSH server meanwhile {longest:.1?}), purged {:.0?}",
        began.elapsed()
    );
}
