//! The words every other crate speaks: names, ids, resources, states, keys and the JSON that
//! existing clients know.
//!
//! Owns validation: a value of one of these types is valid by construction.
//! Never opens a socket or a file, never reads the clock and never draws randomness; callers
//! pass those in, which is what makes everything here testable by properties.

pub mod amount;
pub mod decimal;
pub mod disk_snapshot;
pub mod first_boot;
pub mod names;
pub mod net;
pub mod price;
pub mod resources;
pub mod ssh_key;
pub mod state;
pub mod status;
pub mod stream;
mod text;
pub mod visible;
pub mod wallet;
pub mod wire;

pub use decimal::Decimal;
pub use disk_snapshot::{DiskSnapshot, SnapshotConsistency, SnapshotName, SnapshotState};
pub use first_boot::{FirstBoot, HostName, TimeZoneName, UserData};
pub use names::{ImageName, JobId, VmId, VmName};
pub use resources::{Resources, Size};
pub use ssh_key::AuthorizedKey;
pub use state::{IllegalMove, VmState};
pub use status::VmStatus;
pub use stream::{Donation, Lease, Stream, StreamId, StreamKey};
pub use wallet::Wallet;
