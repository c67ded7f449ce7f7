//! The record of one rental, on the renter's side.
//!
//! ```text
//!   opening ──► paid ──► asking ──► rented ──► ending ──► (forgotten)
//!      │          │         │                    ▲
//!      └──────────┴─────────┴── refused, lost ───┘
//! ```
//! Owns the form of the record. Every step is written before it is taken: `asking` means that a create
//! may have been sent. Has no behaviour.

use std::path::PathBuf;

use alloy_primitives::{Address, B256};
use golem_chain::{Attempt, Version};
use golem_types::wire::Exact;
use golem_types::{Decimal, FirstBoot, ImageName, Resources, VmId, VmName};
use jiff::Timestamp;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

/// How far a rental is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RentalStep {
    /// Its stream is being opened.
    Opening,
    /// Its stream is open, and the provider was not asked yet.
    Paid,
    /// The provider may have been asked.
    Asking,
    /// The provider has granted it.
    Rented,
    /// It is being undone.
    Ending,
}

impl RentalStep {
    /// The step for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Paid => "paid",
            Self::Asking => "asking",
            Self::Rented => "rented",
            Self::Ending => "ending",
        }
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RentalOperation {
    /// Lets the contract take tokens.
    Approve,
    /// Opens the stream.
    Open,
    /// Adds so many wei.
    TopUp(Exact),
    /// Ends the stream, when the wallet had so many wei of its token.
    Terminate(Exact),
}

/// A transaction whose fate is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What it is for.
    pub what: RentalOperation,
    /// The transaction, and after it the same with ever higher fees.
    pub attempts: Vec<Attempt>,
}

/// The lease with which a stream of contract version 4 is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RentalLease {
    /// Tells it from every other; opens one stream.
    pub id: B256,
    /// The hash of what it is for.
    pub terms_hash: B256,
    /// How long it was quoted for, in seconds.
    pub duration: u64,
}

/// How a rental is paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The network's name.
    pub network: String,
    /// Its endpoint.
    pub rpc_url: String,
    /// The chain.
    pub chain_id: u64,
    /// The payment contract.
    pub contract: Address,
    /// The token; zero is the chain's own money.
    pub token: Address,
    /// What the coins are called.
    pub symbol: String,
    /// Digits after the point of the coins.
    #[serde(default = "golem_chain::network::digits_of_a_coin")]
    pub decimals: u8,
    /// Where coins can be had.
    #[serde(default)]
    pub coins_from: String,
    /// Most wei that a unit of gas may cost; `None` if anything short of absurd.
    #[serde(default)]
    pub max_gas_price: Option<u64>,
    /// Wei a second.
    pub rate: Exact,
    /// Wei that were paid in, or are to be.
    pub deposit: Exact,
    /// The stream, once it is open.
    pub stream_id: Option<Exact>,
    /// The transaction whose fate is not known.
    pub pending: Option<Pending>,
    /// Wei that gas has cost.
    pub gas: Exact,
    /// Wei that came back, once the stream has ended.
    pub refunded: Option<Exact>,
    /// The lease, where the contract is of version 4; `None` where it is of version 1.
    #[serde(default)]
    pub lease: Option<RentalLease>,
}

impl Payment {
    /// The version of the payment contract.
    pub const fn version(&self) -> Version {
        if self.lease.is_some() { Version::V4 } else { Version::V1 }
    }

    /// `wei` of its money, in coins.
    pub fn coins(&self, wei: U256) -> Decimal {
        Decimal::from_units(wei, self.decimals)
    }
}

/// One rental.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rental {
    /// What its renter calls it.
    pub name: VmName,
    /// Where the provider's API is.
    pub provider_url: String,
    /// Who the provider is.
    pub provider_id: Address,
    /// What was rented.
    pub resources: Resources,
    /// The image that was asked for; `None` means the provider's default.
    pub image: Option<ImageName>,
    /// The public SSH key that may log in.
    pub ssh_key: String,
    /// Further keys that may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_keys: Vec<String>,
    /// What is wanted of its first boot.
    #[serde(default)]
    pub first_boot: FirstBoot,
    /// The file of its private half, where that is known.
    pub identity: Option<PathBuf>,
    /// The quote that binds both sides; `None` if VMs are free.
    pub quote_id: Option<String>,
    /// How it is paid for; `None` if VMs are free.
    pub payment: Option<Payment>,
    /// How far it is.
    pub step: RentalStep,
    /// The provider's id of the VM, which is the right to use it. Other implementations' ids may be none that are known.
    pub vm_id: Option<VmId>,
    /// What the provider knows the create by.
    #[serde(default)]
    pub job_id: Option<String>,
    /// The VM's SSH port at the provider, once it has run.
    pub ssh_port: Option<u16>,
    /// As whom one logs in, where the provider says so.
    #[serde(default)]
    pub ssh_user: Option<String>,
    /// When it was begun.
    pub created_at: Timestamp,
}

/// As whom one logs in where the provider does not say.
const SSH_USER: &str = "ubuntu";

impl Rental {
    /// The lease that pays for it, where the contract is of version 4.
    pub fn lease(&self) -> Option<&RentalLease> {
        self.payment.as_ref()?.lease.as_ref()
    }

    /// What the provider's API calls the VM, once it was granted: its id, which nobody else knows; or its name, which a
    /// session with the wallet tells from others of that name.
    pub fn reference(&self) -> Option<&str> {
        let is_granted = self.vm_id.is_some() || self.job_id.is_some() || self.step == RentalStep::Rented;
        match self.lease() {
            Some(_) => is_granted.then_some(self.name.as_str()),
            None => self.vm_id.as_ref().map(VmId::as_str),
        }
    }

    /// As whom one logs in.
    pub fn ssh_user(&self) -> &str {
        self.ssh_user.as_deref().unwrap_or(SSH_USER)
    }
}
