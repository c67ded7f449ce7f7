//! How a node is: what was seen of it, judged.
//!
//! ```text
//!   facts (whoever looks gives them) ─► judge (pure) ─► view ─► text, or JSON
//! ```
//! Owns the verdict, and the answer that people and programs read. Never looks at anything itself, and never prints.

mod awaited;
mod examine;
mod facts;
mod judge;
mod text;
mod view;

pub use awaited::{Awaited, awaited};
pub use examine::{Seen, examine};
pub use facts::{Local, NodeFacts, StatusFacts, StatusSettings, WalletFacts};
pub use judge::{judge, judge_ports};
pub use text::{checklist as checklist_text, text};
pub use view::{
    Answer, BackendPart, Checklist, ChecklistRow, EnvironmentPart, Grade, Issue, LastKnown, Overall,
    PortCheck, PortsPart, ProviderPort, ResourcesPart, SshIssues, SshPort, SshPorts, Status, VersionPart,
    WalletPart,
};
