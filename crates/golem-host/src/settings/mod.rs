//! Settings: flags over environment over `.env` over defaults.
//!
//! Owns which files are a node's, and every name that starts with `GOLEM_PROVIDER_`. All mistakes are found in one run, each
//! with its fix. Never shows a secret, never changes the environment of the process.

mod alerts;
mod check;
mod keep;
mod lists;
mod name;
mod parts;
mod reader;
mod render;
mod source;
mod table;
mod unknown;
mod value;
mod variable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use crate::node::{Node, Whose};

pub use keep::{KeepError, SettingsPlace};
pub use lists::{Advertisers, Urls, WebSocketUrls};
pub use name::Name;
pub use parts::{AdvertSettings, BackendSettings, ChainSettings, MarketplaceSettings, ReachSettings};
pub use render::{env_example, help, markdown};
pub use source::{Found, Layers, Origin};
pub use table::*;
pub use value::{
    Acme, Address, Advertiser, AdvertiserType, ApiAuth, AtLeastOne, Country, Environment, LogFormat,
    LogLevel, Network, PayoutAddress, Percent, Price, PublicIp, RestartPolicy, Seconds, Secret, Url, VmAccel,
    VmBackend, WebSocketUrl, Wei,
};
pub use variable::Variable;

use reader::Reader;

/// Shown in the place of a secret.
const MASK: &str = "(secret)";

/// Put before the node's name in development.
const DEVELOPMENT_PREFIX: &str = "DEVMODE-";

/// The setting that names a node.
const DATA_DIR: &str = "GOLEM_PROVIDER_DATA_DIR";

/// Something wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable, or the file and line that could not be read.
    pub variable: String,
    /// Its value, masked if it is secret; `None` if there is no value.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong, as a sentence that begins with the variable.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        if let Some(value) = &self.value {
            write!(f, "={value} ({})", self.origin.describe(&self.variable))?;
        }
        write!(f, " {}; fix: {}", self.problem, self.fix)
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                write!(f, "{} settings are wrong", many.len())?;
                many.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

/// Settings that are good, and what there is to say about them.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the node runs with.
    pub settings: Settings,
    /// What was found for each variable, by its name.
    pub found: BTreeMap<&'static str, Found>,
    /// Variables that have no effect.
    pub warnings: Vec<String>,
    /// What is wrong with settings that count as not there; see [`load_despite_mistakes`].
    pub mistakes: Vec<Mistake>,
}

impl Resolved {
    /// The effective value of `row` as text, masked if it is secret, and where it came from.
    #[must_use]
    pub fn shown(&self, row: &Variable) -> (String, Origin) {
        self.found
            .get(row.name)
            .map_or((String::new(), Origin::Unset), |found| (reader::shown(row, found), found.origin.clone()))
    }
}

/// Reads the settings of the node that `flags`, the environment or a `.env` file name, else of the caller's own.
///
/// # Errors
/// Every mistake of every layer.
pub fn load(
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    directory: &Path,
) -> Result<Resolved, Mistakes> {
    load_of(own_node(&environment, directory).as_ref(), flags, environment, directory)
}

/// Reads the settings of `node`: from `flags`, the environment, and its files. `None` is that of a caller without a home,
/// which is a mistake among others.
///
/// # Errors
/// Every mistake of every layer.
pub fn load_of(
    node: Option<&Node>,
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    directory: &Path,
) -> Result<Resolved, Mistakes> {
    let home = home(&environment);
    let layers = layers(node, flags, environment, directory);
    resolve_of(node, layers, home.as_deref(), directory)
}

/// As [`load_of`], for a command that needs few of them: settings that are wrong count as not there, and are told in
/// [`Resolved::mistakes`].
///
/// # Errors
/// What is wrong and nowhere to be left out: there is no home.
pub fn load_despite_mistakes(
    node: Option<&Node>,
    environment: BTreeMap<String, String>,
    directory: &Path,
) -> Result<Resolved, Mistakes> {
    let home = home(&environment);
    let mut layers = layers(node, BTreeMap::new(), environment, directory);
    let mut mistakes = Vec::new();
    loop {
        match resolve_of(node, layers.clone(), home.as_deref(), directory) {
            Ok(resolved) => return Ok(Resolved { mistakes, ..resolved }),
            Err(Mistakes(wrong)) if layers.leave_out(&wrong) => mistakes.extend(wrong),
            Err(wrong) => return Err(wrong),
        }
    }
}

/// What may hold settings of `node`.
fn layers(
    node: Option<&Node>,
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    directory: &Path,
) -> Layers {
    let files = files(node, &environment, directory);
    let home = home(&environment);
    let mut layers = Layers::new(flags, environment);
    let is_service = is_service(node);
    for file in files {
        // The group may ask the service's node, and need not be able to read what it holds.
        if !is_service || !is_forbidden(&file) {
            let names_programs = file != directory.join(".env")
                || node.is_some_and(|node| is_of(node, &file, home.as_deref()));
            layers.add_file(&file, names_programs);
        }
    }
    layers
}

fn is_service(node: Option<&Node>) -> bool {
    node.is_some_and(|node| node.whose == Whose::Service)
}

fn resolve_of(
    node: Option<&Node>,
    mut layers: Layers,
    home: Option<&Path>,
    directory: &Path,
) -> Result<Resolved, Mistakes> {
    let Some(service) = node.filter(|_| is_service(node)) else { return resolve(&layers, home, directory) };
    layers.flags.insert(DATA_DIR, service.data_dir.display().to_string());
    // As its unit has it: there `~` and the working directory are the data directory.
    let mut resolved = resolve(&layers, Some(&service.data_dir), &service.data_dir)?;
    if let Some(found) = resolved.found.get_mut(DATA_DIR) {
        found.origin = Origin::Service;
    }
    Ok(resolved)
}

fn is_forbidden(file: &Path) -> bool {
    std::fs::File::open(file).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether `file` is `node`'s, or its caller's, own file of settings.
fn is_of(node: &Node, file: &Path, home: Option<&Path>) -> bool {
    node.settings_file() == file || home.map(user_file).as_deref() == Some(file)
}

fn home(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    environment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// The file of whoever has this home, which counts for every node that they start.
#[must_use]
pub fn user_file(home: &Path) -> PathBuf {
    home.join(".golem/provider/.env")
}

/// The files that `node`'s settings are read from, the strongest first: the working directory's, then the node's, then the
/// caller's; of the service its file of environment, then the node's.
#[must_use]
pub fn files(node: Option<&Node>, environment: &BTreeMap<String, String>, directory: &Path) -> Vec<PathBuf> {
    let own = node.map(Node::settings_file);
    let mut files: Vec<PathBuf> = match node.and_then(Node::environment_file) {
        Some(file) => [file.to_owned()].into_iter().chain(own).collect(),
        None => {
            let user = home(environment).as_deref().map(user_file);
            [directory.join(".env")].into_iter().chain(own).chain(user).collect()
        }
    };
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    files
}

/// The data directory that the environment or a `.env` file of the caller names.
#[must_use]
pub fn named_data_dir(environment: &BTreeMap<String, String>, directory: &Path) -> Option<PathBuf> {
    let mut layers = Layers::new(BTreeMap::new(), environment.clone());
    for file in files(None, environment, directory) {
        // What is wrong with them is told when they are read as settings.
        layers.add_file(&file, false);
    }
    let found = layers.find(variable(DATA_DIR)?)?;
    place(Path::new(&found.text), home(environment).as_deref(), directory)
}

/// The node that is named, else the caller's own; `None` if the caller has no home.
#[must_use]
pub fn own_node(environment: &BTreeMap<String, String>, directory: &Path) -> Option<Node> {
    match named_data_dir(environment, directory) {
        Some(data_dir) => Some(Node::named(data_dir, environment)),
        None => Node::own(environment),
    }
}

/// Which of `names` are set where that wins over `node`'s own file, and where. The service has none of its caller's
/// environment.
#[must_use]
pub fn set_elsewhere<'a>(
    node: &Node,
    environment: &BTreeMap<String, String>,
    directory: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Vec<(&'a str, Origin)> {
    let own = (node.whose != Whose::Service).then(|| environment.clone());
    let mut layers = Layers::new(BTreeMap::new(), own.unwrap_or_default());
    let written = node.settings_file();
    for file in files(Some(node), environment, directory).iter().take_while(|file| **file != written) {
        layers.add_file(file, false);
    }
    names.filter_map(|name| Some((name, layers.find(variable(name)?)?.origin))).collect()
}

/// Whether `changes` are good values.
///
/// # Errors
/// Every mistake in them.
pub fn valid(changes: &BTreeMap<&'static str, String>) -> Result<(), Mistakes> {
    let names = changes.keys().copied();
    let mistakes = check_values(&Layers::new(changes.clone(), BTreeMap::new()), names);
    if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
}

fn check_values(layers: &Layers, names: impl Iterator<Item = &'static str>) -> Vec<Mistake> {
    let mut reader = Reader::new(layers);
    let _ = Settings::read(&mut reader);
    let names: Vec<_> = names.collect();
    reader.mistakes.retain(|mistake| names.contains(&mistake.variable.as_str()));
    reader.mistakes
}

/// Reads the settings from `layers`.
fn resolve(layers: &Layers, home: Option<&Path>, directory: &Path) -> Result<Resolved, Mistakes> {
    let mut reader = Reader::new(layers);
    // Read ahead of the rest, because it decides about defaults; its mistake is counted below.
    let before = reader.mistakes.len();
    reader.development =
        variable("GOLEM_ENVIRONMENT").and_then(|row| reader.read(row)) == Some(Environment::Development);
    reader.mistakes.truncate(before);
    let settings = Settings::read(&mut reader);
    let mut mistakes = reader.mistakes;
    let (mut found, warnings) = (reader.found, reader.warnings);

    let settings = settings.and_then(|mut settings| {
        // Development opens the API by default, but not where VMs are paid for.
        if settings.node.network == Network::Mainnet
            && let Some(auth) = found.get_mut("GOLEM_PROVIDER_API_AUTH")
            && auth.origin == Origin::Development
        {
            settings.api.api_auth = ApiAuth::Capability;
            *auth = Found { text: settings.api.api_auth.as_str().to_owned(), origin: Origin::Default };
        }
        if !layers.may_contradict {
            mistakes.extend(check::check(&settings, &found));
        }
        // Only the commands that use them need these, and say so themselves.
        for dir in [&mut settings.renting.renter_dir, &mut settings.discovery_server.dir] {
            if let Some(place) = place(dir, home, directory) {
                *dir = place;
            }
        }
        if let Some(file) = &mut settings.node.key_passphrase_file
            && let Some(place) = place(file, home, directory)
        {
            *file = place;
        }
        for file in [&mut settings.https.certificate, &mut settings.https.key].into_iter().flatten() {
            if let Some(place) = place(file, home, directory) {
                *file = place;
            }
        }
        if let Some(program) = &mut settings.vms.multipass_binary_path
            && let Ok(rest) = program.strip_prefix("~")
            && let Some(home) = home
        {
            *program = home.join(rest);
        }
        match place(&settings.node.data_dir, home, directory) {
            Some(data_dir) => settings.node.data_dir = data_dir,
            None => mistakes.push(Mistake {
                variable: "HOME".to_owned(),
                value: None,
                origin: Origin::Unset,
                problem: "is not set, so the data directory cannot be found".to_owned(),
                fix: "set HOME, or GOLEM_PROVIDER_DATA_DIR to an absolute path".to_owned(),
            }),
        }
        for (name, dir) in [
            (DATA_DIR, &settings.node.data_dir),
            ("GOLEM_RENTER_DIR", &settings.renting.renter_dir),
            ("GOLEM_DISCOVERY_DATABASE_DIR", &settings.discovery_server.dir),
        ] {
            if let Some(shown) = found.get_mut(name) {
                shown.text = dir.display().to_string();
            }
        }
        mistakes.is_empty().then_some(settings)
    });
    match settings {
        Some(settings) => {
            let warnings = [warnings, unknown::placeholders(layers), unknown::unknown(layers)].concat();
            Ok(Resolved { settings, found, warnings, mistakes: Vec::new() })
        }
        None => Err(Mistakes(mistakes)),
    }
}

/// `path` made absolute: `~` is `home`, and relative paths start in `directory`.
fn place(path: &Path, home: Option<&Path>, directory: &Path) -> Option<PathBuf> {
    match path.strip_prefix("~") {
        Ok(rest) => home.map(|home| home.join(rest)),
        Err(_) => Some(directory.join(path)),
    }
}

impl NodeSettings {
    /// How long ended rentals are remembered; `None` means for good.
    #[must_use]
    pub fn history(&self) -> Option<Duration> {
        (self.history_days > 0).then(|| Duration::from_secs(u64::from(self.history_days) * 86_400))
    }

    /// The name under which the node offers itself.
    #[must_use]
    pub fn advertised_name(&self) -> String {
        match self.environment {
            Environment::Production => self.name.0.clone(),
            Environment::Development => format!("{DEVELOPMENT_PREFIX}{}", self.name.0),
        }
    }
}

#[cfg(test)]
mod tests;
