//! Payment networks: which chain, which contract, which endpoint.
//!
//! Owns the profiles: those that ship ([`shipped`]), and files `networks/<name>.toml` in the data directory, of
//! which one with a shipped name takes its place. Never asks a chain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::contract::Version;
use crate::faucet::Faucet;
use crate::price_id;

mod shipped;
pub use shipped::shipped;

/// Largest profile that is read, in bytes.
const FILE_MAXIMUM: u64 = 64 << 10;

/// How rentals are paid for: a network, and what was named in place of what its profile has.
#[derive(Debug, Clone)]
pub struct PaymentNetwork {
    /// The network's name.
    pub name: String,
    /// What is known of the network.
    pub network: Network,
    /// The endpoints, separated by commas.
    pub rpc_url: String,
    /// The payment contract.
    pub contract: Address,
    /// The token; zero is the chain's own money.
    pub token: Address,
}

impl PaymentNetwork {
    /// As the network's profile says; `None` where that lacks the contract, or the endpoint and `rpc_url` is not
    /// given in its place.
    #[must_use]
    pub fn plain(name: String, network: Network, rpc_url: Option<&str>) -> Option<Self> {
        let contract = network.stream_payment_address?;
        let rpc_url = rpc_url.map(str::to_owned).or_else(|| network.endpoints())?;
        Some(Self { name, rpc_url, contract, token: network.token_address, network })
    }

    /// What the token is called.
    #[must_use]
    pub fn symbol(&self) -> &str {
        if self.token.is_zero() { &self.network.symbol } else { &self.network.token_symbol }
    }

    /// Digits after the point of the streams' money.
    #[must_use]
    pub fn decimals(&self) -> u8 {
        if self.token.is_zero() { COIN_DECIMALS } else { self.network.token_decimals }
    }

    /// What price feeds call the chain's own money; `None` if that is not known, so that it has no price.
    #[must_use]
    pub fn coin_price_id(&self) -> Option<&str> {
        self.network.coin_price_id.as_deref().or_else(|| price_id::of_symbol(&self.network.symbol))
    }

    /// What price feeds call the streams' money; `None` if that is not known, so that it has no price.
    #[must_use]
    pub fn price_id(&self) -> Option<&str> {
        if self.token.is_zero() {
            return self.coin_price_id();
        }
        self.network.token_price_id.as_deref().or_else(|| price_id::of_symbol(&self.network.token_symbol))
    }
}

/// The test network of today's renters, which is taken when the operator names none.
pub const DEFAULT: &str = "hoodi";

/// The test network of the original, and of settings and deployment files that are made for it.
pub const ORIGINAL: &str = "l2.holesky";

/// A payment network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What chain the endpoint must be of.
    pub chain_id: u64,
    /// The JSON-RPC endpoint; `None` if the operator has to name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_url: Option<String>,
    /// More endpoints of the chain: load is spread over all, and one that fails is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rpc_urls: Vec<String>,
    /// How old the newest block may be, in seconds, until the chain counts as one that cannot be asked; 180 where it is not
    /// given, any age where the chain is `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_head_age_seconds: Option<u64>,
    /// The `StreamPayment` contract; `None` if the operator has to name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_payment_address: Option<Address>,
    /// Which payment contract it is: 1, or 4 for the one of golem-streaming-abi 0.1.2.
    #[serde(default)]
    pub contract_version: Version,
    /// The token of the streams; the zero address is the chain's own money.
    #[serde(default)]
    pub token_address: Address,
    /// What the chain's own money is called.
    #[serde(default = "eth")]
    pub symbol: String,
    /// What price feeds call the chain's own money; `None` if its symbol tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coin_price_id: Option<String>,
    /// What the token is called.
    #[serde(default = "glm")]
    pub token_symbol: String,
    /// What price feeds call the token; `None` if its symbol tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_price_id: Option<String>,
    /// Digits after the point of the token; what the token itself says has to be the same.
    #[serde(default = "digits_of_a_coin")]
    pub token_decimals: u8,
    /// Whether its money is worth nothing: only then are faucets asked.
    #[serde(default)]
    pub testnet: bool,
    /// Whether it runs on one's own machine, where its clock may be moved.
    #[serde(default)]
    pub local: bool,
    /// Blocks after which what happened counts as settled; `None` for what is usual ([`Network::confirmations`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<u64>,
    /// Most gwei for a unit of gas; `None` if a bound that fits the coin will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_gas_price_gwei: Option<u64>,
    /// Where a transaction can be looked at: `{hash}` is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explorer: Option<String>,
    /// Where test money for gas can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faucet: Option<Faucet>,
    /// A page on which people get test money for gas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faucet_page: Option<String>,
    /// A contract that gives whoever calls its `create()` some of the token, on test networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_minter: Option<Address>,
    /// Discovery servers on which those who rent and are paid there meet: sockets for providers (`ws://`, `wss://`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discovery_urls: Vec<String>,
    /// What there is to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How old the newest block may be where a profile does not say: five times what any known chain takes for a block, and
/// three minutes of a rental that is not paid for at most.
const HEAD_AGE: Duration = Duration::from_secs(180);

/// Blocks after which a reorganisation is hardly seen any more, where the profile does not say.
pub const CONFIRMATIONS: u64 = 12;

impl Network {
    /// A network of which nothing but its chain is known.
    #[must_use]
    pub fn bare(chain_id: u64) -> Self {
        Self {
            chain_id,
            rpc_url: None,
            rpc_urls: Vec::new(),
            maximum_head_age_seconds: None,
            stream_payment_address: None,
            contract_version: Version::V1,
            token_address: Address::ZERO,
            symbol: eth(),
            coin_price_id: None,
            token_symbol: glm(),
            token_price_id: None,
            token_decimals: COIN_DECIMALS,
            testnet: false,
            local: false,
            confirmations: None,
            maximum_gas_price_gwei: None,
            explorer: None,
            faucet: None,
            note: None,
            discovery_urls: Vec::new(),
            token_minter: None,
            faucet_page: None,
        }
    }

    /// Blocks after which what happened counts as settled: none on one's own machine.
    #[must_use]
    pub const fn confirmations(&self) -> u64 {
        match self.confirmations {
            Some(blocks) => blocks,
            None if self.local => 0,
            None => CONFIRMATIONS,
        }
    }

    /// Most wei for a unit of gas; `None` if any price will do, as on a chain of one's own.
    #[must_use]
    pub fn maximum_gas_price(&self) -> Option<u128> {
        let by_coin = if self.symbol == "ETH" && !self.testnet { 500 } else { 10_000 };
        let gwei = self.maximum_gas_price_gwei.or((!self.local).then_some(by_coin))?;
        Some(u128::from(gwei) * 1_000_000_000)
    }

    /// Most wei of gas in a day, where nothing else is set; `None` if there is no such limit, as on a chain of one's own.
    #[must_use]
    pub fn daily_gas_limit(&self) -> Option<ruint::aliases::U256> {
        let thousandths = match (self.testnet, self.symbol.as_str()) {
            _ if self.local => return None,
            (true, _) => 1000,
            (false, "ETH") => 50,
            _ => 10_000,
        };
        Some(ruint::aliases::U256::from(thousandths) * ruint::aliases::U256::from(10u64.pow(15)))
    }

    /// Every endpoint of the profile, separated by commas; `None` if it has none.
    #[must_use]
    pub fn endpoints(&self) -> Option<String> {
        let mut all: Vec<&str> = Vec::new();
        for url in self.rpc_url.iter().chain(&self.rpc_urls) {
            if !all.contains(&url.as_str()) {
                all.push(url);
            }
        }
        (!all.is_empty()).then(|| all.join(","))
    }

    /// How old the newest block may be; `None` if that tells nothing.
    #[must_use]
    pub fn maximum_head_age(&self) -> Option<Duration> {
        head_age(self.maximum_head_age_seconds, self.local)
    }
}

/// How old the newest block of a chain may be whose profile says `given`, in seconds; `None` if that tells nothing, as on one
/// that is `local`.
#[must_use]
pub fn head_age(given: Option<u64>, local: bool) -> Option<Duration> {
    given.map(Duration::from_secs).or_else(|| (!local).then_some(HEAD_AGE))
}

fn eth() -> String {
    "ETH".to_owned()
}

fn glm() -> String {
    "GLM".to_owned()
}

/// Digits after the point of a chain's own money, and of most tokens.
const COIN_DECIMALS: u8 = 18;

/// The same, for what has no word of its own on them.
#[must_use]
pub const fn digits_of_a_coin() -> u8 {
    COIN_DECIMALS
}

/// Why a profile cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A name that could leave the folder, or that nobody could type.
    #[error("{0:?} is no name of a network; fix: use letters, digits, dots and dashes, at most 64")]
    Name(String),
    /// No profile has this name.
    #[error(
        "no payment network is called {name:?}; known are {known}; fix: name one of these, or add it with `golem-provider networks add`"
    )]
    Unknown {
        name: String,
        /// The names there are.
        known: String,
    },
    /// Its file cannot be read or written.
    #[error("the network profile {} cannot be used", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its file is not a profile.
    #[error("the network profile {} is wrong: {problem}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A deployment file: what `GOLEM_DEPLOYMENTS_DIR` holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Deployment {
    /// The chain.
    #[serde(rename = "chainId")]
    pub chain_id: Option<u64>,
    /// The contract.
    #[serde(rename = "StreamPayment")]
    pub contract: DeployedContract,
}

/// The contract of a deployment file.
#[derive(Debug, Clone, Deserialize)]
pub struct DeployedContract {
    /// Where it is.
    pub address: Address,
    /// The token of its streams.
    #[serde(rename = "glmToken", default)]
    pub token: Address,
}

impl Deployment {
    /// The deployment in `folder/l2.json`.
    ///
    /// # Errors
    /// [`NetworkError::File`], [`NetworkError::Content`].
    pub fn read(folder: &Path) -> Result<Self, NetworkError> {
        let path = folder.join("l2.json");
        let text = read(&path)?;
        Self::parse(&text).map_err(|problem| NetworkError::Content { path, problem })
    }

    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

fn read(path: &Path) -> Result<String, NetworkError> {
    use std::io::Read;
    let wrong = |source| NetworkError::File { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAXIMUM).read_to_string(&mut text))
        .map_err(wrong)?;
    Ok(text)
}

/// Whether `name` may be one of a network.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Where the profile `name` is kept below `data_dir`.
///
/// # Errors
/// [`NetworkError::Name`].
pub fn path(data_dir: &Path, name: &str) -> Result<PathBuf, NetworkError> {
    if !is_name(name) {
        return Err(NetworkError::Name(name.to_owned()));
    }
    Ok(data_dir.join("networks").join(format!("{name}.toml")))
}

/// Every profile by its name.
///
/// # Errors
/// [`NetworkError::File`] and [`NetworkError::Content`] of the first file that is wrong.
pub fn all(data_dir: &Path) -> Result<BTreeMap<String, Network>, NetworkError> {
    let mut all = shipped();
    let folder = data_dir.join("networks");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        Err(source) => return Err(NetworkError::File { path: folder, source }),
    };
    for entry in entries {
        let path = entry.map_err(|source| NetworkError::File { path: folder.clone(), source })?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| is_name(name));
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|extension| extension == "toml")) {
            all.insert(name.to_owned(), parse(&path)?);
        }
    }
    Ok(all)
}

/// What the file at `path` says.
///
/// # Errors
/// [`NetworkError`].
pub fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, NetworkError> {
    let text = read(path)?;
    toml::from_str(&text)
        .map_err(|error| NetworkError::Content { path: path.to_owned(), problem: error.message().to_owned() })
}

/// The profile `name`.
///
/// # Errors
/// [`NetworkError`].
pub fn load(data_dir: &Path, name: &str) -> Result<Network, NetworkError> {
    let file = path(data_dir, name)?;
    if file.exists() {
        return parse(&file);
    }
    let mut shipped = shipped();
    if let Some(network) = shipped.remove(name) {
        return Ok(network);
    }
    let known = all(data_dir)?.keys().cloned().collect::<Vec<_>>().join(", ");
    Err(NetworkError::Unknown { name: name.to_owned(), known })
}

/// Keeps `network` as the profile `name`, in place of an older one.
///
/// # Errors
/// [`NetworkError::Name`], [`NetworkError::File`], [`NetworkError::Content`].
pub fn save(data_dir: &Path, name: &str, network: &Network) -> Result<PathBuf, NetworkError> {
    let path = path(data_dir, name)?;
    let text = toml::to_string(network)
        .map_err(|error| NetworkError::Content { path: path.clone(), problem: error.to_string() })?;
    let wrong = |source| NetworkError::File { path: path.clone(), source };
    golem_files::private_subfolder(&data_dir.join("networks")).map_err(wrong)?;
    golem_files::replace(&path, text.as_bytes()).map_err(wrong)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
