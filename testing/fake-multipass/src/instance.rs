//! Instances, each a folder with a file.
//!
//! Owns what is kept of them and what a launch may ask for. Never starts anything.

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::arguments::Arguments;

/// What instances can be, in the words of the real one.
pub(crate) mod state {
    pub(crate) const RUNNING: &str = "Running";
    pub(crate) const STARTING: &str = "Starting";
    pub(crate) const STOPPED: &str = "Stopped";
    pub(crate) const DELETED: &str = "Deleted";
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) cpus: u32,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bytes.
    pub(crate) disk: u64,
    pub(crate) state: String,
    pub(crate) ip: String,
    /// Process id of its SSH server.
    pub(crate) server: Option<i32>,
    /// Its cloud-init data.
    pub(crate) user_data: String,
}

/// Bytes of a size as the real one takes it: digits, perhaps a fraction, and K, M or G.
fn bytes(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn invalid(why: String) -> Failure {
    Failure::daemon("launch", format!("Invalid arguments supplied\n{why}"))
}

impl Instance {
    /// What a launch asks for, if the real one would take it.
    pub(crate) fn wanted(arguments: &Arguments) -> Result<Self, Failure> {
        if arguments.names.len() > 1 {
            return Err(Failure(1, "Too many arguments supplied".to_owned()));
        }
        let image = arguments.names.first().map_or("24.04", String::as_str);
        let cpus = arguments.option("--cpus").unwrap_or("1");
        let cpus = cpus.parse().ok().filter(|cpus| *cpus > 0).ok_or_else(|| {
            Failure(1, format!("Error: invalid CPU count '{cpus}', need a positive integer value."))
        })?;
        let size = |option: &str, what: &str, default: &str, least: u64| {
            let text = arguments.option(option).unwrap_or(default);
            bytes(text)
                .filter(|size| *size >= least)
                .ok_or_else(|| invalid(format!("Invalid {what} size value supplied: {text}.")))
        };
        let name = arguments.option("--name").unwrap_or("primary");
        if !is_name(name) {
            return Err(invalid(format!("Invalid instance name supplied: {name}")));
        }
        let known = ["24.04", "22.04", "20.04", "noble", "jammy", "lts"];
        if !known.contains(&image) {
            return Err(Failure::daemon(
                "launch",
                format!("Unable to find an image matching \"{image}\" in remote \"\"."),
            ));
        }
        let user_data = match arguments.option("--cloud-init") {
            None => String::new(),
            Some("-") => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|error| Failure(1, format!("error: {error}")))?;
                text
            }
            Some(path) => std::fs::read_to_string(path).map_err(|_| {
                Failure(1, format!("Could not load cloud-init configuration: bad file: {path}"))
            })?,
        };
        Ok(Self {
            name: name.to_owned(),
            image: image.to_owned(),
            cpus,
            memory: size("--memory", "memory", "1G", 512 * MIB)?,
            disk: size("--disk", "disk", "5G", GIB)?,
            state: state::STARTING.to_owned(),
            ip: String::new(),
            server: None,
            user_data,
        })
    }
}

/// The folder of all instances.
pub(crate) struct Instances {
    folder: PathBuf,
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure(255, format!("the stand-in's folder: {error}"))
}

impl Instances {
    pub(crate) const fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.join("instances").join(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Instance> {
        is_name(name).then_some(())?;
        let text = std::fs::read(self.folder_of(name).join("instance.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(crate) fn all(&self) -> Vec<Instance> {
        let folders = std::fs::read_dir(self.folder.join("instances")).into_iter().flatten().flatten();
        let mut all: Vec<Instance> =
            folders.filter_map(|entry| self.get(&entry.file_name().to_string_lossy())).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The instances `names`, or all; none of them when one is missing.
    pub(crate) fn named(&self, verb: &str, names: &[String]) -> Result<Vec<Instance>, Failure> {
        if names.is_empty() {
            return Ok(self.all());
        }
        names.iter().map(|name| self.get(name).ok_or_else(|| Failure::absent(verb, name))).collect()
    }

    /// Keeps a new instance and gives it an address of its own: a folder that can be made once.
    pub(crate) fn add(&self, mut instance: Instance) -> Result<Instance, Failure> {
        let addresses = self.folder.join("addresses");
        std::fs::create_dir_all(&addresses).map_err(broken)?;
        // Two stand-ins at a time share the loopback network: each has a part of its own.
        let part = std::fs::metadata(&self.folder).map_err(broken)?;
        let part = std::os::unix::fs::MetadataExt::ino(&part) % 0xff00;
        let ip = (2u32..254).find_map(|last| {
            let ip = format!("127.{}.{}.{last}", 1 + part / 0x100 % 0xfe, part % 0x100);
            std::fs::create_dir(addresses.join(&ip)).is_ok().then_some(ip)
        });
        instance.ip = ip.ok_or_else(|| Failure::daemon("launch", "no address is left"))?;
        std::fs::create_dir_all(self.folder_of(&instance.name)).map_err(broken)?;
        std::fs::write(self.folder_of(&instance.name).join("user-data"), &instance.user_data)
            .map_err(broken)?;
        self.put(&instance)?;
        Ok(instance)
    }

    pub(crate) fn put(&self, instance: &Instance) -> Result<(), Failure> {
        let folder = self.folder_of(&instance.name);
        let unfinished = folder.join(format!("instance.json.{}", std::process::id()));
        std::fs::write(&unfinished, serde_json::to_vec(instance).map_err(broken)?).map_err(broken)?;
        std::fs::rename(unfinished, folder.join("instance.json")).map_err(broken)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        std::fs::remove_dir_all(self.folder_of(name)).map_err(broken)
    }
}
