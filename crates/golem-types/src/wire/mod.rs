//! The JSON that existing clients send and expect (FastAPI's shapes).
//!
//! Owns field names and the refusal of bad bodies with FastAPI's 422 list. Never decides whether
//! a valid request is granted.

pub mod answers;
pub mod bodies;
pub mod change;
pub mod create;
pub mod exact;
mod fields;
pub mod lease;
pub mod port_check;
pub mod problem;
pub mod seeing;
pub mod session;

pub use answers::{
    Access, ChainStream, Computed, FailedBootInfo, JobInfo, Lifecycle, NetworkInfo, NetworkTraffic,
    QuoteInfo, SnapshotInfo, StageInfo, StreamInfo, VmInfo, WireTime,
};
pub use change::{ResizeVm, parse_rebuild, parse_resize};
pub use create::{
    AttachStream, CreateVm, parse_create, parse_key, parse_resources, parse_snapshot, parse_stream,
};
pub use exact::Exact;
pub use lease::{LeasePayment, LeaseQuoteInfo, LeaseRequest, parse_lease_request};
pub use problem::{Problem, Problems};
pub use seeing::{BootStage, ConsoleLog, LatestMetrics, MetricsHistory, MetricsPoint, VmEvent, VmEvents};
pub use session::{OpenSession, SessionScope, TokenRequest, parse_session, parse_token_request};
