//! An entry of the books: money that moved from one account to another.
//!
//! ```text
//!   earned ──► receivable ──► wallet ──► payout
//!   (by vesting)   │ (withdrawn,  ├────► gas
//!                  │  terminated) └────► l1_fee
//!                  └────► token_fee
//!   deposit ──► refunded (of what renters paid in, back to them)
//! ```
//! Owns the accounts, the kinds, and which kind moves money between which accounts. Never writes one: the ledger does.

use golem_types::StreamId;
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use serde::{Deserialize, Serialize};

use golem_chain::contract::events::Position;
use utoipa::ToSchema;

/// Where money is, or what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookAccount {
    /// What vested to the provider, all in all.
    Earned,
    /// Vested, and still in the contract.
    Receivable,
    /// In the node's wallet.
    Wallet,
    /// At the address to which earnings are swept.
    Payout,
    /// Spent on gas.
    Gas,
    /// Spent on the fee that a second layer takes for the first.
    L1Fee,
    /// Kept by a token that takes a fee for each transfer.
    TokenFee,
    /// Paid in by renters, and not vested.
    Deposit,
    /// Went back to renters.
    Refunded,
}

impl BookAccount {
    /// The account as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Earned => "earned",
            Self::Receivable => "receivable",
            Self::Wallet => "wallet",
            Self::Payout => "payout",
            Self::Gas => "gas",
            Self::L1Fee => "l1_fee",
            Self::TokenFee => "token_fee",
            Self::Deposit => "deposit",
            Self::Refunded => "refunded",
        }
    }
}

/// What moved the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// It vested.
    Earned,
    /// Less had vested than was booked: a reorganisation took some of the time away.
    EarnedLess,
    /// It reached the wallet by a withdrawal.
    Withdrawn,
    /// It reached the wallet because the stream was ended, by whomever.
    Terminated,
    /// The token kept it on its way to the wallet.
    TokenFee,
    /// It went back to the renter because the stream was ended.
    Refunded,
    /// It paid for gas.
    Gas,
    /// It paid the fee that a second layer takes for the first.
    L1Fee,
    /// It was swept to the payout address.
    Swept,
    /// An entry was taken back: its block is no longer part of the chain.
    Unbooked,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Earned,
        Self::EarnedLess,
        Self::Withdrawn,
        Self::Terminated,
        Self::TokenFee,
        Self::Refunded,
        Self::Gas,
        Self::L1Fee,
        Self::Swept,
        Self::Unbooked,
    ];

    /// The kind as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Earned => "earned",
            Self::EarnedLess => "earned_less",
            Self::Withdrawn => "withdrawn",
            Self::Terminated => "terminated",
            Self::TokenFee => "token_fee",
            Self::Refunded => "refunded",
            Self::Gas => "gas",
            Self::L1Fee => "l1_fee",
            Self::Swept => "swept",
            Self::Unbooked => "unbooked",
        }
    }

    /// Where the money went and where it came from: debit and credit. `None` if those are of the entry that is taken
    /// back.
    #[must_use]
    pub const fn accounts(self) -> Option<(BookAccount, BookAccount)> {
        Some(match self {
            Self::Earned => (BookAccount::Receivable, BookAccount::Earned),
            Self::EarnedLess => (BookAccount::Earned, BookAccount::Receivable),
            Self::Withdrawn | Self::Terminated => (BookAccount::Wallet, BookAccount::Receivable),
            Self::TokenFee => (BookAccount::TokenFee, BookAccount::Receivable),
            Self::Refunded => (BookAccount::Refunded, BookAccount::Deposit),
            Self::Gas => (BookAccount::Gas, BookAccount::Wallet),
            Self::L1Fee => (BookAccount::L1Fee, BookAccount::Wallet),
            Self::Swept => (BookAccount::Payout, BookAccount::Wallet),
            Self::Unbooked => return None,
        })
    }

    /// Whether an event of the contract says it.
    #[must_use]
    pub const fn is_of_event(self) -> bool {
        matches!(self, Self::Withdrawn | Self::Terminated | Self::TokenFee | Self::Refunded)
    }
}

impl std::fmt::Display for EntryKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no kind of entry.
#[derive(Debug, thiserror::Error)]
#[error("no entry of the books is called {0:?}")]
pub struct NoEntryKind(String);

impl std::str::FromStr for EntryKind {
    type Err = NoEntryKind;

    fn from_str(text: &str) -> Result<Self, NoEntryKind> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| NoEntryKind(text.chars().take(40).collect()))
    }
}

/// How the node knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntrySource {
    /// An event of the contract, or a receipt, says so.
    Event,
    /// The stream itself, as it was read: its events could not be had. An event takes its place.
    Reading,
    /// By the clock, between events.
    Clock,
    /// An older version of this program recorded it.
    Older,
}

impl EntrySource {
    const ALL: [Self; 4] = [Self::Event, Self::Reading, Self::Clock, Self::Older];

    /// The source as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Reading => "reading",
            Self::Clock => "clock",
            Self::Older => "older",
        }
    }
}

impl std::str::FromStr for EntrySource {
    type Err = NoEntryKind;

    fn from_str(text: &str) -> Result<Self, NoEntryKind> {
        let known = Self::ALL.into_iter().find(|source| source.as_str() == text);
        known.ok_or_else(|| NoEntryKind(text.chars().take(40).collect()))
    }
}

/// What a kind of money is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Currency {
    /// What people call it; as others give it, so not to be trusted in a terminal or a spreadsheet.
    pub symbol: String,
    /// Digits after the point.
    pub decimals: u8,
    /// Under which name the ledger keeps its rate; `None` if it is worth nothing, or no feed knows it.
    pub rated_as: Option<String>,
}

impl Currency {
    /// Money of a chain itself, of which no rate is known.
    #[must_use]
    pub fn coin(symbol: &str) -> Self {
        Self { symbol: symbol.to_owned(), decimals: 18, rated_as: None }
    }
}

/// Something that an event or a receipt says was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// Of which stream; `None` if it is the wallet's alone.
    pub stream: Option<StreamId>,
    /// What moved it.
    pub kind: EntryKind,
    /// How much, in wei.
    pub amount: U256,
    /// Of which token; zero is the chain's own money.
    pub token: U160,
    /// When.
    pub at: Timestamp,
    /// Where the chain says so.
    pub position: Position,
}
