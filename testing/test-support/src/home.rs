//! A home of its own for each test: the true binary, its own ports, its own directories.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::Value;

use crate::{DEADLINE, HeldPorts, ports};

/// Ports of the SSH range of a test.
const SSH_PORTS: u16 = 8;

/// A home directory with ports.
pub struct Home {
    pub folder: tempfile::TempDir,
    /// Where the public API is reached.
    pub host: Ipv4Addr,
    pub api: u16,
    pub operator: u16,
    pub ssh: u16,
    /// How many SSH ports it has.
    ssh_count: u16,
    /// Keeps them from other homes while this one is there.
    _ports: [HeldPorts; 3],
    /// Variables of every command, beside HOME and PATH.
    pub environment: BTreeMap<String, String>,
}

/// The program that is tested. Cargo builds it before the tests of the crate that has it, and names it to them.
pub fn program() -> PathBuf {
    let named = std::env::var_os("CARGO_BIN_EXE_golem-provider");
    named.expect("run by cargo, as a test of the crate golem-provider").into()
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty home; the simulated backend; ports of its own.
    pub fn new() -> Self {
        Self::wide(SSH_PORTS)
    }

    /// As [`Home::new`], with `count` SSH ports.
    pub fn wide(count: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let held = [1, 1, count].map(HeldPorts::take);
        let [api, operator, ssh] = [0, 1, 2].map(|index: usize| held[index].first());
        let environment = [
            ("GOLEM_PROVIDER_VM_BACKEND", "sim".to_owned()),
            ("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "0x0".to_owned()),
            // A test asks no feed of the world.
            ("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false".to_owned()),
            ("GOLEM_PROVIDER_ALLOW_UNPRICED", "true".to_owned()),
            ("GOLEM_PROVIDER_ADVERTISER_TYPE", "none".to_owned()),
            // Nor any server of the world for providers.
            ("GOLEM_PROVIDER_DISCOVERY_WS_URL", "ws://127.0.0.1:1/api/v1/discovery/providers".to_owned()),
            ("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true".to_owned()),
            // Nor any authority for a certificate.
            ("GOLEM_PROVIDER_ACME", "off".to_owned()),
            ("GOLEM_PROVIDER_HOST", "127.0.0.1".to_owned()),
            // Nor anybody for its address.
            ("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1".to_owned()),
            ("GOLEM_PROVIDER_PORT", api.to_string()),
            ("GOLEM_PROVIDER_OPERATOR_PORT", operator.to_string()),
            ("GOLEM_PROVIDER_PORT_RANGE_START", ssh.to_string()),
            ("GOLEM_PROVIDER_PORT_RANGE_END", (ssh + count).to_string()),
            ("GOLEM_PROVIDER_CPU_THRESHOLD", "100".to_owned()),
            ("GOLEM_PROVIDER_MEMORY_THRESHOLD", "100".to_owned()),
            ("GOLEM_PROVIDER_STORAGE_THRESHOLD", "100".to_owned()),
        ];
        let environment = environment.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        Self {
            folder,
            host: Ipv4Addr::LOCALHOST,
            api,
            operator,
            ssh,
            ssh_count: count,
            _ports: held,
            environment,
        }
    }

    /// A home in which no setting is set.
    pub fn bare() -> Self {
        Self { environment: BTreeMap::new(), ..Self::new() }
    }

    pub fn set(mut self, name: &str, text: &str) -> Self {
        self.environment.insert(name.to_owned(), text.to_owned());
        self
    }

    pub fn ssh_ports(&self) -> std::ops::Range<u16> {
        self.ssh..self.ssh + self.ssh_count
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            // Whose tests these are may have a service on this machine: never speak to that.
            .env("GOLEM_PROVIDER_DATA_DIR", self.data())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(&self.environment)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the binary, which must succeed, and reads the JSON that it prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", Self::show(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {}", Self::show(&output)))
    }

    /// Exit code, standard output and standard error in one text.
    pub fn show(output: &Output) -> String {
        format!(
            "exit: {:?}\n--- stdout\n{}--- stderr\n{}",
            output.status.code(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        )
    }

    /// What [`Home::show`] says, without what differs from run to run.
    pub fn snapshot(&self, output: &Output) -> String {
        let text = Self::show(output).replace(&self.folder.path().display().to_string(), "[HOME]");
        let mut names: Vec<(u16, &str)> = vec![(self.api, "[API]"), (self.operator, "[OPERATOR]")];
        names.extend([
            (self.ssh, "[SSH]"),
            (self.ssh + self.ssh_count, "[SSH END]"),
            (self.ssh + self.ssh_count - 1, "[SSH LAST]"),
        ]);
        names.iter().fold(text, |text, (port, name)| text.replace(&port.to_string(), name))
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join(".golem/provider")
    }

    /// Gives the node a key before its first start; its address.
    pub fn make_key(&self) -> String {
        let mut bytes = [0; 32];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = self.folder.path().join("first-key");
        std::fs::write(&file, digits).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let made = self.json(&["wallet", "import", "first-key", "--json"]);
        std::fs::remove_file(file).unwrap();
        made["address"].as_str().unwrap().to_owned()
    }

    pub fn pid_file(&self) -> PathBuf {
        self.folder.path().join(".local/state/golem-provider/provider.pid")
    }

    /// Starts the node in the foreground and waits until it says that it listens.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    /// As [`Home::start`], with more variables.
    pub fn start_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Running {
        let mut command = self.command(&["start"]);
        command.args(arguments).envs(more.iter().copied());
        Running::of(command, "listening on")
    }

    /// Starts a discovery service in the foreground, and gives its address.
    pub fn discovery_service(&self, arguments: &[&str]) -> (Running, String) {
        let port = ports(1);
        let mut command = self.command(&["discovery", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string()]).args(arguments);
        (Running::of(command, "discovery service on"), format!("http://127.0.0.1:{port}"))
    }

    /// Starts a check server in the foreground that dials this host, and gives its address.
    pub fn check_server(&self) -> (Running, String) {
        let port = ports(1);
        let mut command = self.command(&["port-checker", "--host", "127.0.0.1", "--allow-private-targets"]);
        command.args(["--port", &port.to_string()]);
        (Running::of(command, "checking ports on"), format!("http://127.0.0.1:{port}"))
    }

    /// One HTTP request to the public API: status and body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect((self.host, self.api)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Adds the payments network `name`, of a contract on a chain; `more` is typed after that.
    pub fn add_network(&self, name: &str, chain_id: u64, url: &str, contract: &str, more: &[&str]) {
        let id = chain_id.to_string();
        let add = ["networks", "add", name, "--chain-id", &id, "--rpc-url", url, "--contract", contract];
        self.json(&[&add[..], more, &["--json"]].concat());
    }

    /// Rents a VM, waits until it runs, and gives its id.
    pub fn rent(&self, name: &str) -> String {
        self.rent_paid(name, None)
    }

    /// As [`Home::rent`], paid by a stream.
    pub fn rent_paid(&self, name: &str, stream: Option<u64>) -> String {
        let (status, vm) = self.http("POST", "/api/v1/vms", &wanted(name, stream).to_string());
        assert_eq!(status, 200, "{vm}");
        assert_eq!(vm["status"], "running", "{vm}");
        vm["id"].as_str().unwrap().to_owned()
    }

    pub fn reaches(&self, port: u16) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&address, DEADLINE).is_ok()
    }
}

/// What a create of the VM `name`, paid by `stream`, asks for.
pub fn wanted(name: &str, stream: Option<u64>) -> Value {
    serde_json::json!({
        "name": name,
        "resources": { "cpu": 1, "memory": 1, "storage": 10 },
        "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X",
        "stream_id": stream,
    })
}

/// Whether the process `pid` is there and no zombie.
pub fn alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Stops a node in the background at the end of a test, whatever its outcome.
pub struct StopAtEnd<'a>(pub &'a Home);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        let _ = self.0.command(&["stop"]).output();
    }
}

/// A node in the foreground; killed when dropped.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
    /// What it logged so far.
    pub seen: Vec<String>,
}

impl Running {
    /// Runs `command` and waits until it says `text`.
    pub fn of(mut command: Command, text: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || pipe.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut running = Self { child, lines, seen: Vec::new() };
        running.wait_for(text);
        running
    }

    /// Waits until a new log line contains `text`.
    pub fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line);
                    if self.seen.last().is_some_and(|line| line.contains(text)) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} in {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {text:?}: {:#?}", self.seen),
            }
        }
    }

    /// Waits until it said `text`, before or from now on.
    pub fn says(&mut self, text: &str) {
        if !self.seen.iter().any(|line| line.contains(text)) {
            self.wait_for(text);
        }
    }

    /// Whether there is another log line now.
    pub fn another_line(&mut self) -> bool {
        let line = self.lines.try_recv();
        self.seen.extend(line.iter().cloned());
        line.is_ok()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; its exit code.
    pub fn end(&mut self) -> Option<i32> {
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.seen.push(line);
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
