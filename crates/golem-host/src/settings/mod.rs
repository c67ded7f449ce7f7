//! Settings: flags over environment over `.env` over defaults.
//!
//! Owns every name that starts with `GOLEM_PROVIDER_`. All mistakes are found in one run, each
//! with its fix. Never shows a secret, never changes the environment of the process.

mod check;
mod lists;
mod parts;
mod reader;
mod render;
mod source;
mod table;
mod unknown;
mod value;
mod variable;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use lists::{Advertisers, Urls, WebSocketUrls};
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

/// Reads the settings from `flags`, the environment and the `.env` files in `directory` and under
/// the home directory that the environment names.
///
/// # Errors
/// Every mistake of every layer.
pub fn load(
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    directory: &Path,
) -> Result<Resolved, Mistakes> {
    let home = environment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let files = files(&environment, directory);
    let own = user_file(&environment);
    let mut layers = Layers::new(flags, environment);
    for file in files {
        layers.add_file(&file, own.as_ref() == Some(&file));
    }
    resolve(&layers, home.as_deref(), directory)
}

/// The files that settings are read from, the strongest first: the working directory's, then the user's.
#[must_use]
pub fn files(environment: &BTreeMap<String, String>, directory: &Path) -> Vec<PathBuf> {
    [directory.join(".env")].into_iter().chain(user_file(environment)).collect()
}

/// The user's own file of settings, which counts after the environment and the working directory's.
#[must_use]
pub fn user_file(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let home = environment.get("HOME").filter(|home| !home.is_empty())?;
    Some(Path::new(home).join(".golem/provider/.env"))
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
    let mut found = reader.found;

    let settings = settings.and_then(|mut settings| {
        // Development opens the API by default, but not where VMs are paid for.
        if settings.node.network == Network::Mainnet
            && let Some(auth) = found.get_mut("GOLEM_PROVIDER_API_AUTH")
            && auth.origin == Origin::Development
        {
            settings.api.api_auth = ApiAuth::Capability;
            *auth = Found { text: settings.api.api_auth.as_str().to_owned(), origin: Origin::Default };
        }
        mistakes.extend(check::check(&settings, &found));
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
            ("GOLEM_PROVIDER_DATA_DIR", &settings.node.data_dir),
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
        Some(settings) => Ok(Resolved { settings, found, warnings: unknown::unknown(layers) }),
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
            Environment::Production => self.name.clone(),
            Environment::Development => format!("{DEVELOPMENT_PREFIX}{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests;
