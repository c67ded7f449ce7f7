//! How the last boot of a rental went.
//!
//! Owns where that is looked for: among its events; and in the job of its create, as older versions told no other boots.

use golem_types::VmId;

use super::{Ledger, LedgerError, events, rows};
use crate::boot::Reached;

impl Ledger {
    /// When each stage of the last boot of `vm` was reached, oldest first; nothing where that is not known.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn last_boot(&self, vm: VmId) -> Result<Vec<Reached>, LedgerError> {
        self.ask(move |writer| {
            let stages = events::stages(&writer.connection, &vm)?;
            if !stages.is_empty() {
                return Ok(stages);
            }
            Ok(rows::job_of(&writer.connection, &vm)?.map(|job| job.reached()).unwrap_or_default())
        })
        .await
    }
}
