//! Commands find the service's node, as root, as one of its group, and as neither.
//!
//! In a namespace of mounts, where the package's places are empty folders that this machine does not see.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use golem_test_support::{Home, Running, wait_until};

/// The group's number, and that of a user who is root in nothing.
const GROUP: &str = "4242";
const USER: &str = "4343";

const DATA: &str = "/var/lib/golem-provider";

struct Machine {
    home: Home,
    /// Has the mounts, and ends with this test whatever becomes of it.
    holder: Child,
}

impl Machine {
    fn new() -> Self {
        let home = Home::new();
        let script = "set -e; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib; cp -a /etc /run/etc; \
            mount --bind /run/etc /etc; echo golem-provider:x:$2: >>/etc/group; mkdir -p /etc/golem-provider; \
            rm -f /etc/golem-provider/env; \
            mkdir -p -m 755 /run/golem-provider; chgrp $2 /run/golem-provider; mkdir -m 700 /var/lib/golem-provider; \
            touch /run/program; mount --bind \"$1\" /run/program; mkdir -m 700 /run/home; chown $3 /run/home; \
            echo up; exec cat >/dev/null";
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]);
        holder.arg(env!("CARGO_BIN_EXE_golem-provider")).args([GROUP, USER]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).expect("mounts");
        Self { home, holder }
    }

    /// `words`, run there with the rights that `rights` give `setpriv`, in a home that is nobody else's.
    fn command(&self, rights: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &self.holder.id().to_string(), "--wdns=/run/home", "setpriv"])
            .args(rights)
            .arg("/run/program")
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", "/run/home")
            .stdin(Stdio::null());
        command
    }

    /// As [`Machine::command`], to its end.
    fn run(&self, rights: &[&str], words: &[&str]) -> Output {
        self.command(rights, words).output().unwrap()
    }

    /// Starts the node as its unit does.
    fn start(&self) -> Running {
        let mut service = self.command(&["--regid", GROUP, "--clear-groups"], &["start"]);
        service.envs(&self.home.environment).env("HOME", DATA).env("GOLEM_PROVIDER_DATA_DIR", DATA);
        service.env("RUNTIME_DIRECTORY", "/run/golem-provider");
        Running::of(service, "listening on")
    }

    /// A path of there, as this machine sees it.
    fn path(&self, path: &str) -> std::path::PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.trim_start_matches('/'))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn text_of(output: &Output, code: i32) -> String {
    let text = Home::show(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// U-01, U-05: the one node of this machine is spoken to by whoever may, and nobody gets a second wallet.
#[test]
fn the_services_node_is_found_by_who_may_use_it() {
    let machine = Machine::new();
    let root: &[&str] = &[];
    let member: &[&str] = &["--reuid", USER, "--regid", USER, "--groups", GROUP];
    let stranger: &[&str] = &["--reuid", USER, "--regid", USER, "--clear-groups"];

    // Installed, and not started.
    text_of(&machine.run(root, &["vms", "list"]), 3);
    let service = machine.start();
    wait_until("the socket is there", || machine.path("/run/golem-provider/operator.sock").exists());
    for (rights, words) in [(root, ["vms", "list"]), (member, ["vms", "list"]), (member, ["drain", "off"])] {
        let text = text_of(&machine.run(rights, &words), 0);
        assert!(text.contains(&format!("speaking to the node of {DATA}")), "{text}");
    }
    for rights in [root, member] {
        let output = machine.run(rights, &["status", "--json"]);
        text_of(&output, 0);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&status["running"], &status["pid"]),
            (&true.into(), &service.child.id().into()),
            "{status}"
        );
    }
    let text = text_of(&machine.run(member, &["wallet", "show"]), 1);
    assert!(text.contains("fix: use sudo"), "{text}");
    for words in [["wallet", "show"], ["vms", "list"], ["config", "show"]] {
        let text = text_of(&machine.run(stranger, &words), 1);
        assert!(
            text.contains("fix: `sudo golem-provider …`, or `sudo adduser $USER golem-provider`"),
            "{text}"
        );
    }
    let text = text_of(&machine.run(stranger, &["start"]), 1);
    assert!(text.contains("fix: "), "{text}");
    assert!(!machine.path("/run/home/.golem").exists(), "no second wallet");

    // Settings are the service's: its file of environment, then its data directory's.
    let change = ["config", "monitor", "--min-remaining", "3600", "--json"];
    let text = text_of(&machine.run(root, &change), 0);
    assert!(text.contains(&format!("\"{DATA}/.env\"")), "{text}");
    let environment = machine.path("/etc/golem-provider/env");
    std::fs::write(environment, "GOLEM_PROVIDER_STREAM_MIN_REMAINING_SECONDS=60\n").unwrap();
    let text = text_of(&machine.run(root, &change), 1);
    assert!(text.contains("is set in /etc/golem-provider/env:1, which wins"), "{text}");
    let text = text_of(&machine.run(root, &["config", "show"]), 0);
    assert!(text.contains("/etc/golem-provider/env:1"), "{text}");

    drop(service);
    // One that was killed leaves its socket, which is taken over.
    let mut service = machine.start();
    text_of(&machine.run(member, &["vms", "list"]), 0);
    text_of(&machine.run(member, &["stop"]), 0);
    assert_eq!(service.end(), Some(0));
    assert!(!machine.path("/run/golem-provider/operator.sock").exists());
}
