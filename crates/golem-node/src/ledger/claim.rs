//! Streams whose sender has said by a signature what they are to pay.
//!
//! ```text
//!   free ──► used by whoever knows its number ──► claimed: its sender's alone, for good
//!     └───────────────── sender signs ───────────────┘
//! ```
//! Owns the one transaction in which a stream becomes its sender's and is taken from the rental of somebody else (M-05):
//! no stranger can use it in between, or afterwards. Never judges a signature.

use std::sync::Arc;

use golem_types::{AuthorizedKey, StreamKey, VmId, VmName, VmState};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::columns::rounded;
use super::{Ledger, LedgerError, Writer, events, rows};
use crate::paid::Paid;
use crate::rental::{Goal, Rental};
use crate::vm::Vm;

/// What a stream's sender wants it to pay.
#[derive(Debug, Clone)]
pub(crate) enum ClaimedUse {
    /// A VM of this name, which this key may log in to.
    Create(VmName, AuthorizedKey),
    /// This VM.
    Attach(VmId),
}

impl ClaimedUse {
    /// Whether it is what `rental` is.
    fn is(&self, rental: &Rental) -> bool {
        match self {
            Self::Create(name, key) => rental.vm.name == *name && rental.vm.keys.first() == Some(key),
            Self::Attach(id) => rental.vm.id == *id,
        }
    }
}

/// Whether the sender of `key` has claimed it.
pub(super) fn is_claimed(connection: &Connection, key: &StreamKey) -> Result<bool, LedgerError> {
    let sql = "SELECT 1 FROM claimed_streams WHERE contract = ?1 AND id = ?2";
    let found: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row(params![&*key.contract, key.id.to_string()], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

impl Ledger {
    /// Makes the stream of `paid`, whose sender wants it to pay `wanted`, the sender's alone. A rental of somebody else
    /// that it pays for ends; gives which.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn claim(
        &self,
        paid: Paid,
        wanted: ClaimedUse,
        now: Timestamp,
    ) -> Result<Option<VmId>, LedgerError> {
        self.ask(move |writer| writer.claim(&paid, &wanted, now)).await
    }
}

impl Writer {
    fn claim(
        &mut self,
        paid: &Paid,
        wanted: &ClaimedUse,
        now: Timestamp,
    ) -> Result<Option<VmId>, LedgerError> {
        let Some(key) = paid.key().filter(|_| paid.is_proven()) else { return Ok(None) };
        if is_claimed(&self.connection, key)? {
            return Ok(None);
        }
        let stranger = self.now.paid_by(key).filter(|rental| !wanted.is(rental)).cloned();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO claimed_streams (contract, id, at) VALUES (?1, ?2, ?3)",
            params![&*key.contract, key.id.to_string(), now.as_microsecond()],
        )?;
        let Some(mut rental) = stranger else {
            transaction.commit()?;
            return Ok(None);
        };
        let before = &rental.vm;
        let state = VmState::Stopping;
        let vm = Vm {
            stream: None,
            // It never was the sender's, and must not keep the sender from the name.
            owner: format!("stranger:{}", before.id),
            state: if before.state.may_become(state) { state } else { before.state },
            updated_at: rounded(now),
            ..(**before).clone()
        };
        rental.vm = Arc::new(vm);
        rental.goal = Goal::Deleted;
        let id = rental.vm.id.clone();
        rows::put(&transaction, &rental)?;
        rows::set_owner(&transaction, &id, &rental.vm.owner)?;
        rows::end_job(&transaction, &id, Some("the stream's sender uses it for another VM"), now)?;
        events::put(&transaction, &id, "stream.claimed_by_sender", &key.to_string(), now)?;
        transaction.commit()?;
        self.now.mirror(rental);
        self.publish();
        Ok(Some(id))
    }
}
