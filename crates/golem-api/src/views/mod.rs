//! What the APIs say, on both of their ends.
//!
//! Owns the JSON of the operator API, and how both APIs' answers follow from what the node knows. Never changes
//! anything, but for [`payments::withdraw`] and [`books::check`].

mod alerts;
pub mod books;
pub mod earnings;
pub mod entries_csv;
mod history;
mod node;
pub mod payments;
mod pricing;
pub(crate) mod renter;
pub(crate) mod seeing;
pub mod transactions;
mod vm;

pub use alerts::{AlertsView, deliveries};
pub use books::{BooksCheckView, BooksView, DifferenceView, EntryView};
pub use history::{HostHistoryView, VmHistoryView};
pub use node::{
    AdvertView, BackendView, DrainView, HostView, LoginLink, PaymentsClosed, PaymentsView, PortsView, Summary,
};
pub use payments::{
    PayoutView, PayoutsView, StreamView, StreamsView, WithdrawOutcome, WithdrawView, WithdrawalView,
};
pub use pricing::{PriceExample, PricingView, UnitPrices};
pub use transactions::TransactionView;
pub use vm::{FailedBootView, LogsView, NetworkProblem, StageView, TrafficView, VmView};
