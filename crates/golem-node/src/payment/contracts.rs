//! The contracts that rentals are paid in: the one that new rentals use, and every other that still holds their money.
//!
//! ```text
//!   contracts in the ledger ─► profile: a file of the operator's │ as it was last used │ one that ships │ none: told
//!                                   └──► [`Payments`]: its own reader, health, copies, monitor and withdrawals
//! ```
//! Owns which contracts are followed, and from which profile (M-04): until all of a contract's streams are spent and no rental
//! is paid in it, whatever the settings say now. Never decides what a stream is worth.

use alloy_primitives::Address;
use golem_chain::{Version, network};
use golem_types::{StreamKey, VmId};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use super::{PaymentConfig, PaymentError, Payments, StreamStatus, contract_key};
use crate::entry::Currency;
use crate::error::NodeError;
use crate::ledger::Ledger;
use crate::paid::StreamCopy;
use crate::transactions::{GasRules, Transactions};

/// What has to be known of a contract to follow it, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractProfile {
    name: String,
    symbol: String,
    rpc_url: String,
    chain_id: u64,
    local: bool,
    #[serde(default)]
    maximum_head_age_seconds: Option<u64>,
    contract: Address,
    version: Version,
    token: Address,
    decimals: u8,
    #[serde(default)]
    testnet: bool,
    maximum_gas_price: Option<u128>,
    daily_gas_limit: Option<U256>,
    #[serde(default)]
    rated_as: Option<String>,
    #[serde(default = "coin")]
    coin: Currency,
    #[serde(default = "confirmations")]
    confirmations: u64,
}

fn coin() -> Currency {
    Currency::coin("ETH")
}

const fn confirmations() -> u64 {
    network::CONFIRMATIONS
}

/// A contract of a profile that is known besides the one that is used.
#[derive(Debug, Clone)]
pub struct KnownContract {
    /// How it would be used.
    pub config: PaymentConfig,
    /// Whether its profile is the operator's own, which goes before what was used last.
    pub is_own: bool,
}

impl PaymentConfig {
    fn profile(&self) -> ContractProfile {
        ContractProfile {
            name: self.name.clone(),
            symbol: self.symbol.clone(),
            rpc_url: self.rpc_url.clone(),
            chain_id: self.chain_id,
            local: self.local,
            maximum_head_age_seconds: self.maximum_head_age.map(|age| age.as_secs()),
            contract: self.contract,
            version: self.version,
            token: self.token,
            decimals: self.decimals,
            testnet: self.testnet,
            maximum_gas_price: self.gas.maximum_price,
            daily_gas_limit: self.gas.daily_limit,
            rated_as: self.rated_as.clone(),
            coin: self.coin.clone(),
            confirmations: self.confirmations,
        }
    }

    /// What the operator decided, for the contract of `profile`.
    fn of(&self, profile: ContractProfile) -> Self {
        Self {
            name: profile.name,
            symbol: profile.symbol,
            rpc_url: profile.rpc_url,
            chain_id: profile.chain_id,
            local: profile.local,
            maximum_head_age: network::head_age(profile.maximum_head_age_seconds, profile.local),
            contract: profile.contract,
            version: profile.version,
            token: profile.token,
            decimals: profile.decimals,
            rated_as: profile.rated_as,
            coin: profile.coin,
            confirmations: profile.confirmations,
            testnet: profile.testnet,
            faucet: None,
            gas: GasRules { maximum_price: profile.maximum_gas_price, daily_limit: profile.daily_gas_limit },
            ..self.clone()
        }
    }

    fn key(&self) -> String {
        contract_key(self.chain_id, self.contract)
    }
}

/// The contracts that are followed; clones share them.
#[derive(Clone, Default)]
pub struct Contracts {
    /// Those that new rentals may be paid in come first, and are so many.
    all: Vec<Payments>,
    offered: usize,
    unknown: Vec<String>,
}

impl Contracts {
    /// The contracts of `configs`, which take new rentals, and each that the ledger's rentals and streams still need, found
    /// among those that are `known` and those that were used before.
    ///
    /// # Errors
    /// [`PaymentError`] of one of `configs`; one of the others that cannot be followed is told by [`Contracts::unknown`].
    pub async fn open(
        configs: &[&PaymentConfig],
        known: &[KnownContract],
        ledger: &Ledger,
        transactions: &Transactions,
    ) -> Result<Self, PaymentError> {
        let mut contracts = Self::default();
        for config in configs {
            // The same contract under two names is one.
            if contracts.called(&config.key()).is_some() {
                continue;
            }
            ledger.keep_contract(config.key(), config.profile()).await?;
            let payments = Payments::open((*config).clone(), ledger.clone(), transactions).await?;
            contracts.all.push(payments);
            contracts.offered += 1;
        }
        let policy = configs.first().copied().or_else(|| known.first().map(|known| &known.config));
        let Some(policy) = policy else { return Ok(contracts) };
        let used = ledger.contracts().await?;
        for key in ledger.contracts_in_use(jiff::Timestamp::now()).await? {
            if contracts.called(&key).is_some() {
                continue;
            }
            let of = |is_own: bool| {
                known
                    .iter()
                    .find(|known| known.is_own == is_own && known.config.key() == key)
                    .map(|known| known.config.clone())
            };
            let before = || used.get(&key).cloned().map(|profile| policy.of(profile));
            let found = of(true).or_else(before).or_else(|| of(false));
            let opened = match found {
                Some(config) => {
                    // So that it is known even where its profile goes.
                    ledger.keep_contract(key.clone(), config.profile()).await?;
                    Payments::open(config, ledger.clone(), transactions).await
                }
                None => {
                    contracts.unknown.push(key);
                    continue;
                }
            };
            match opened {
                Ok(payments) => {
                    tracing::info!(
                        contract = key,
                        network = payments.config().name,
                        "an earlier contract is followed, too"
                    );
                    contracts.all.push(payments);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        contract = key,
                        "a contract cannot be followed"
                    );
                    contracts.unknown.push(key);
                }
            }
        }
        for key in &contracts.unknown {
            tracing::error!(
                contract = key,
                "rentals are paid in a contract that no profile names, and are not followed; fix: add a network with this chain \
                 id and contract (`golem-provider networks add`), and start again"
            );
        }
        Ok(contracts)
    }

    /// The contract that new rentals are paid in whose clients name none; `None` if they are free.
    #[must_use]
    pub fn first(&self) -> Option<&Payments> {
        self.offered().first()
    }

    /// The contract of those clients that open a stream at the advertised price, and know no leases.
    #[must_use]
    pub fn without_leases(&self) -> Option<&Payments> {
        self.all_without_leases().next()
    }

    /// The contracts of those clients, whose create names a stream and no network: it may be of any of them.
    pub fn all_without_leases(&self) -> impl Iterator<Item = &Payments> {
        self.offered().iter().filter(|payments| !payments.takes_leases())
    }

    /// The contracts that new rentals may be paid in, the operator's first choice before the others.
    #[must_use]
    pub fn offered(&self) -> &[Payments] {
        self.all.get(..self.offered).unwrap_or_default()
    }

    /// The contracts that are followed only for what earlier rentals still pay.
    pub fn others(&self) -> impl Iterator<Item = &Payments> {
        self.all.iter().skip(self.offered)
    }

    /// Every contract that is followed; those for new rentals come first.
    #[must_use]
    pub fn all(&self) -> &[Payments] {
        &self.all
    }

    /// Contracts, as stream keys have them, that should be followed and cannot be, because no profile names them.
    #[must_use]
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The contract of the stream `key`, if it is followed.
    #[must_use]
    pub fn of(&self, key: &StreamKey) -> Option<&Payments> {
        self.all.iter().find(|payments| payments.0.contract == key.contract)
    }

    /// The contract that stream keys call `key`, if it is followed.
    #[must_use]
    pub fn called(&self, key: &str) -> Option<&Payments> {
        self.all.iter().find(|payments| &*payments.0.contract == key)
    }

    /// What the chains say now of the streams of `rentals`; those of one contract are all read at one block.
    ///
    /// # Errors
    /// [`NodeError::ChainUnknown`].
    pub(crate) async fn statuses(
        &self,
        rentals: &[(VmId, StreamKey)],
    ) -> Result<Vec<StreamStatus>, NodeError> {
        let mut statuses = Vec::new();
        for payments in &self.all {
            statuses.extend(payments.statuses(rentals).await?);
        }
        Ok(statuses)
    }

    /// The streams of the rental `vm`, or all, that can be withdrawn from, each with its contract.
    #[must_use]
    pub fn withdrawable(&self, vm: Option<&VmId>) -> Vec<(Payments, StreamCopy)> {
        let of = |payments: &Payments| {
            payments.withdrawable(vm).into_iter().map(|copy| (payments.clone(), copy)).collect::<Vec<_>>()
        };
        self.all.iter().flat_map(of).collect()
    }
}
