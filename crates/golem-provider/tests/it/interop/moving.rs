//! The original provider, really run, and taken over by the node while a renter is logged in.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use golem_test_support::peers::ORIGINAL;
use golem_test_support::{Home, wait_until};
use serde_json::{Value, json};

use super::table::Table;

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// ssh to a machine, whose host key is learned once and has to stay the same.
fn ssh(folder: &Path, host: &str, port: u16) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-o", "BatchMode=yes", "-o", "HostKeyAlias=machine", "-o", "LogLevel=ERROR"]);
    command.args(["-o", "StrictHostKeyChecking=accept-new", "-o"]);
    command.arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()));
    command.arg("-i").arg(folder.join("key")).args(["-p", &port.to_string(), &format!("root@{host}")]);
    command
}

/// Its files and its machine are taken over; a session goes on, and the same ssh command
/// works as before.
#[test]
fn s_217_the_original_is_taken_over_under_a_renters_session() {
    let folder = tempfile::tempdir().unwrap();
    let multipass = fake_multipass::install(folder.path()).unwrap();
    fake_multipass::Mode { ssh_servers: true, ..Default::default() }.set(folder.path()).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(folder.path().join("key"))
        .status();
    assert!(made.unwrap().success());
    let key = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
    let home = Home::new()
        .set("GOLEM_PROVIDER_VM_BACKEND", "auto")
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_STREAM_MONITOR_ENABLED", "false")
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x0000000000000000000000000000000000000000")
        .set("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1")
        .set("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", multipass.to_str().unwrap());
    // The script that benchmarks use: the original's API, without what needs the internet.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/src/bin/api/original.py");
    let log = std::fs::File::create(folder.path().join("original.log")).unwrap();
    let mut original = ORIGINAL.python();
    original
        .arg(script)
        .arg(home.api.to_string())
        .env_clear()
        .env("HOME", home.folder.path())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(&home.environment)
        .current_dir(home.folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let original = Ends(original.spawn().unwrap());
    wait_until("the original listens", || home.reaches(home.api));
    let body = json!({
        "name": "customer", "resources": { "cpu": 1, "memory": 1, "storage": 10 }, "ssh_key": key.trim(),
    });
    let told = || std::fs::read_to_string(folder.path().join("original.log")).unwrap();
    let mut table = Table::new("golem-vm-provider 0.1.63, whose VMs are taken over (Multipass, emulated)");
    let (port, address): (u16, String) = table.step("a VM is rented from it", || {
        let (status, vm) = home.http("POST", "/api/v1/vms", &body.to_string());
        assert_eq!(status, 200, "{vm} {}", told());
        let port = u16::try_from(vm["ssh_port"].as_u64().unwrap()).unwrap();
        ((port, vm["ip_address"].as_str().unwrap().to_owned()), format!("port {port}"))
    });
    let through_node = || ssh(folder.path(), "127.0.0.1", port).arg("echo here").output().unwrap();
    table.step("ssh through its port", || {
        assert!(String::from_utf8_lossy(&through_node().stdout).contains("here"), "{}", told());
        ((), String::new())
    });

    // A session with the machine itself, which has to outlive both providers.
    let mut session = ssh(folder.path(), &address, 22);
    let session = session.arg("while read line; do echo got $line; done");
    let mut session = Ends(session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut input = session.0.stdin.take().unwrap();
    let mut output = BufReader::new(session.0.stdout.take().unwrap());
    let mut say = |word: &str| {
        writeln!(input, "{word}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("got {word}"));
    };
    say("before");
    let key_file = home.data().join("keys/provider_key.json");
    let identity: Value = serde_json::from_str(&std::fs::read_to_string(&key_file).unwrap()).unwrap();
    drop(original);
    wait_until("the original is gone", || std::net::TcpListener::bind(("0.0.0.0", home.api)).is_ok());

    let home = home.set("GOLEM_PROVIDER_ADVERTISER_TYPE", "none");
    table.step("import --dry-run", || {
        let tried = home.json(&["import", "--dry-run", "--json"]);
        assert_eq!(tried["vms"][0]["ssh_port"], port, "{tried}");
        ((), "the VM, with its port".to_owned())
    });
    let _node = home.start(&[]);
    table.step("the node takes over", || {
        say("after");
        let list = home.json(&["vms", "list", "--json"]);
        assert_eq!((&list[0]["name"], &list[0]["status"]), (&json!("customer"), &json!("running")), "{list}");
        assert_eq!(list[0]["ssh_port"], port);
        let again = through_node();
        assert!(String::from_utf8_lossy(&again.stdout).contains("here"), "{}", Home::show(&again));
        let (_, info) = home.http("GET", "/api/v1/provider/info", "");
        assert_eq!(info["provider_id"], identity["address"], "the identity is the same");
        ((), "a session goes on; the ssh command and the identity are the same".to_owned())
    });
    home.json(&["vms", "delete", "customer", "--yes", "--json"]);
    table.end();
}
