//! A stand-in for `multipass`: its command line, its JSON, its exit codes and its words, as versions
//! 1.13 to 1.16 have them; it refuses what the real one refuses.
//!
//! Owns a folder with one file an instance. Where `mode.json` says so, an instance is a real SSH
//! server that takes the keys of its cloud-init data. Never is a virtual machine.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it does one thing at a time")]

mod arguments;
mod instance;
mod ssh_server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fake_multipass::{FOLDER, MODE, Mode};
use serde_json::{Value, json};

use arguments::Arguments;
use instance::{Instance, Instances, state};

/// Why a command fails: the exit code, and what is said on standard error.
struct Failure(u8, String);

impl Failure {
    /// A daemon that cannot do what `verb` asks.
    fn daemon(verb: &str, why: impl std::fmt::Display) -> Self {
        Self(2, format!("{verb} failed: {why}"))
    }

    fn absent(verb: &str, name: &str) -> Self {
        Self::daemon(verb, format!("The following errors occurred:\ninstance \"{name}\" does not exist"))
    }
}

type Done = Result<(), Failure>;

struct Fake {
    instances: Instances,
    mode: Mode,
}

fn print(value: &Value) {
    // Four blanks, sorted names, an empty list on two lines: as the real one prints.
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if serde::Serialize::serialize(value, &mut serializer).is_ok() {
        println!("{}", String::from_utf8_lossy(&out).replace("[]", "[\n    ]"));
    }
}

impl Fake {
    fn version(&self, arguments: &Arguments) -> Done {
        arguments.nothing_else(0)?;
        let version = self.mode.version.clone().unwrap_or_else(|| "1.16.3".to_owned());
        if arguments.json()? {
            let mut answer = json!({ "multipass": version });
            if !self.mode.down {
                answer["multipassd"] = json!(version);
            }
            print(&answer);
        } else {
            println!("multipass   {version}");
            if !self.mode.down {
                println!("multipassd  {version}");
            }
        }
        Ok(())
    }

    fn answers(&self, verb: &str) -> Done {
        if self.mode.down {
            let why = "cannot connect to the multipass socket\nPlease ensure multipassd is running and \
                       '/var/snap/multipass/common/multipass_socket' is accessible";
            return Err(Failure::daemon(verb, why));
        }
        Ok(())
    }

    fn state_of(&self, instance: &Instance) -> String {
        self.mode.state.clone().unwrap_or_else(|| instance.state.clone())
    }

    fn list(&self, arguments: &Arguments) -> Done {
        arguments.nothing_else(0)?;
        let json = arguments.json()?;
        self.answers("list")?;
        let item = |instance: &Instance| {
            let runs = instance.state == state::RUNNING;
            let addresses: Vec<&str> = runs.then_some(instance.ip.as_str()).into_iter().collect();
            json!({ "ipv4": addresses, "name": instance.name, "release": format!("Ubuntu {} LTS", instance.image),
                    "state": self.state_of(instance) })
        };
        let all = self.instances.all();
        if self.mode.half_list {
            print!("{{\n    \"list\": [\n        {{\n            \"ipv4\": [");
        } else if json {
            print(&json!({ "list": all.iter().map(item).collect::<Vec<_>>() }));
        } else {
            println!("Name                    State             IPv4             Image");
            for instance in all {
                println!(
                    "{:<24}{:<18}{:<17}Ubuntu {} LTS",
                    instance.name, instance.state, instance.ip, instance.image
                );
            }
        }
        Ok(())
    }

    fn info(&self, arguments: &Arguments) -> Done {
        arguments.json()?;
        self.answers("info")?;
        let mut all = serde_json::Map::new();
        for instance in self.instances.named("info", &arguments.names)? {
            let runs = instance.state == state::RUNNING;
            let details = if runs {
                json!({
                    "cpu_count": instance.cpus.to_string(),
                    "disks": { "sda1": {
                        "total": instance.disk.to_string(), "used": "1873223680" } },
                    "image_hash": "0123456789ab", "image_release": format!("{} LTS", instance.image),
                    "ipv4": [instance.ip], "load": [0.1, 0.2, 0.1],
                    // The guest counts less than it was given: its kernel keeps some.
                    "memory": { "total": instance.memory - instance.memory / 14, "used": 181_350_400 },
                    "mounts": {}, "release": format!("Ubuntu {}.3 LTS", instance.image),
                    "snapshot_count": "0", "state": self.state_of(&instance),
                })
            } else {
                json!({
                    "cpu_count": "", "disks": { "sda1": {} }, "image_hash": "0123456789ab",
                    "image_release": format!("{} LTS", instance.image), "ipv4": [], "load": [],
                    "memory": {}, "mounts": {}, "release": "", "snapshot_count": "0",
                    "state": self.state_of(&instance),
                })
            };
            all.insert(instance.name, details);
        }
        print(&json!({ "errors": [], "info": all }));
        Ok(())
    }

    fn get(&self, arguments: &Arguments) -> Done {
        self.answers("get")?;
        let key = arguments.names.first().map_or("", String::as_str);
        let unknown = || Failure(2, format!("Unrecognized settings key: '{key}'"));
        let (name, what) =
            key.strip_prefix("local.").and_then(|rest| rest.rsplit_once('.')).ok_or_else(unknown)?;
        let instance = self.instances.get(name).ok_or_else(unknown)?;
        match what {
            "cpus" => println!("{}", instance.cpus),
            "memory" => println!("{}.0GiB", instance.memory >> 30),
            "disk" => println!("{}.0GiB", instance.disk >> 30),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn launch(&self, arguments: &Arguments) -> Done {
        let wanted = Instance::wanted(arguments)?;
        self.answers("launch")?;
        if let Some(words) = &self.mode.launch_fails {
            return Err(Failure::daemon("launch", words));
        }
        if self.instances.get(&wanted.name).is_some() {
            return Err(Failure::daemon("launch", format!("instance \"{}\" already exists", wanted.name)));
        }
        print!("Creating {}\u{1b}[2K\u{1b}[0A\u{1b}[0E", wanted.name);
        let mut instance = self.instances.add(wanted)?;
        if self.mode.launch_times_out {
            instance.state = state::STARTING.to_owned();
            self.instances.put(&instance)?;
            let why = "The following errors occurred:\ntimed out waiting for initialization to complete";
            return Err(Failure::daemon("launch", why));
        }
        self.boot(&mut instance)?;
        println!("Launched: {}", instance.name);
        Ok(())
    }

    fn boot(&self, instance: &mut Instance) -> Done {
        if self.mode.ssh_servers {
            instance.server =
                Some(ssh_server::start(&self.instances.folder_of(&instance.name), &instance.ip)?);
        }
        instance.state = state::RUNNING.to_owned();
        self.instances.put(instance)
    }

    fn start(&self, arguments: &Arguments) -> Done {
        self.answers("start")?;
        for mut instance in self.instances.named("start", &arguments.names)? {
            match instance.state.as_str() {
                state::DELETED => {
                    return Err(Failure::daemon(
                        "start",
                        format!("The following errors occurred:\ninstance \"{}\" is deleted", instance.name),
                    ));
                }
                state::RUNNING => {}
                _ => self.boot(&mut instance)?,
            }
        }
        Ok(())
    }

    fn stop(&self, arguments: &Arguments) -> Done {
        self.answers("stop")?;
        for mut instance in self.instances.named("stop", &arguments.names)? {
            ssh_server::stop(instance.server.take());
            if instance.state != state::DELETED {
                instance.state = state::STOPPED.to_owned();
            }
            self.instances.put(&instance)?;
        }
        Ok(())
    }

    fn delete(&self, arguments: &Arguments) -> Done {
        self.answers("delete")?;
        if arguments.names.is_empty() && !arguments.flag("--all") {
            return Err(Failure(1, "Name argument or --all is required".to_owned()));
        }
        let purge = arguments.flag("--purge") || arguments.flag("-p");
        for mut instance in self.instances.named("delete", &arguments.names)? {
            ssh_server::stop(instance.server.take());
            if purge {
                self.instances.remove(&instance.name)?;
            } else {
                instance.state = state::DELETED.to_owned();
                self.instances.put(&instance)?;
            }
        }
        Ok(())
    }

    fn run(&self, arguments: &Arguments) -> Done {
        match arguments.verb.as_str() {
            "version" => self.version(arguments),
            "list" | "ls" => self.list(arguments),
            "info" => self.info(arguments),
            "get" => self.get(arguments),
            "launch" => self.launch(arguments),
            "start" => self.start(arguments),
            "stop" => self.stop(arguments),
            "delete" => self.delete(arguments),
            other => {
                Err(Failure(1, format!("Error: Unknown command or alias '{other}' (try \"multipass help\")")))
            }
        }
    }
}

fn main() -> ExitCode {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        eprintln!("{FOLDER} is not set");
        return ExitCode::from(255);
    };
    let mode = match std::fs::read(folder.join(MODE)) {
        Ok(text) => match serde_json::from_slice::<Mode>(&text) {
            Ok(mode) => mode,
            Err(error) => {
                eprintln!("{MODE}: {error}");
                return ExitCode::from(255);
            }
        },
        Err(_) => Mode::default(),
    };
    if mode.hangs {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    let done = Arguments::read(std::env::args().skip(1))
        .and_then(|arguments| Fake { instances: Instances::of(folder), mode }.run(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, words)) => {
            eprintln!("{words}");
            ExitCode::from(code)
        }
    }
}
