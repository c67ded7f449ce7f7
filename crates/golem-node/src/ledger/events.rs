//! What happened to each rental, and when.
//!
//! ```text
//!   a change of state ─┐
//!   a stage of a boot ─┼─► a row, in the transaction of the change ─► newest first: of a rental, or of all
//!   payments, notes … ─┘
//! ```
//! Owns the table. Of what a renter or a guest can cause as often as it likes, the newest are kept of each rental; everything else
//! is kept as long as the rental. Never decides what a state is.

use golem_types::{VmId, VmState};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::columns::{parsed, time};
use super::{Ledger, LedgerError};
use crate::boot::{Reached, Stage, last_boot};
use crate::vm::Vm;

/// Most events of a rental that are kept of what can happen again and again.
const KEPT: u32 = 500;

/// Newest events of all rentals among which those are looked for that are no [`ROUTINE`].
const LOOKED_THROUGH: i64 = 20_000;

/// What happens whenever a VM is started or stopped.
const ROUTINE: [&str; 2] = ["state.*", "boot.*"];

/// What a renter or a guest can cause again and again, [`ROUTINE`] included.
const FREQUENT: [&str; 11] = [
    "state.*",
    "boot.*",
    "snapshot.*",
    "console.*",
    "vm.powered_off",
    "vm.out_of_memory",
    "vm.resized",
    "vm.rebuilt",
    "vm.not_suspended",
    "vm.resumed",
    "vm.memory_lost",
];

/// That a rental was made.
const CREATED: &str = "vm.created";

/// Events of a boot that are read at most: of one there are six.
const OF_BOOTS: u32 = 32;

/// Something that happened to a rental, for its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To which rental.
    pub vm_id: VmId,
    /// What, as one word with dots.
    pub kind: String,
    /// The rest, for people.
    pub detail: String,
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event { at: time(row, 0)?, vm_id: parsed(row, 1)?, kind: row.get(2)?, detail: row.get(3)? })
}

/// Whether `kind` is one of `kinds`, of which those with a star at their end are beginnings.
fn is_of(kind: &str, kinds: &[&str]) -> bool {
    kinds
        .iter()
        .any(|one| one.strip_suffix('*').map_or(kind == *one, |beginning| kind.starts_with(beginning)))
}

/// The same as a condition of SQL.
fn condition(kinds: &[&str]) -> String {
    let each: Vec<String> = kinds.iter().map(|one| format!("kind GLOB '{one}'")).collect();
    format!("({})", each.join(" OR "))
}

/// Writes that something happened.
pub(super) fn put(
    connection: &Connection,
    vm: &VmId,
    kind: &str,
    detail: &str,
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("INSERT INTO events (at, vm_id, kind, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![now.as_microsecond(), vm.as_str(), kind, detail])?;
    if is_of(kind, &FREQUENT) {
        let frequent = condition(&FREQUENT);
        let sql = format!(
            "DELETE FROM events WHERE vm_id = ?1 AND {frequent} AND id <= \
             (SELECT id FROM events WHERE vm_id = ?1 AND {frequent} ORDER BY id DESC LIMIT 1 OFFSET ?2)"
        );
        connection.prepare_cached(&sql)?.execute(params![vm.as_str(), KEPT])?;
    }
    Ok(())
}

/// Writes that the rental `vm` was made.
pub(super) fn put_created(connection: &Connection, vm: &Vm, now: Timestamp) -> Result<(), LedgerError> {
    put(connection, &vm.id, CREATED, "", now)
}

/// Writes that the rental that stood as `before` stands as `after`, if its state is another, or its error.
pub(super) fn put_change(
    connection: &Connection,
    before: &Vm,
    after: &Vm,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let detail = match after.state {
        VmState::Error => after.error.as_deref().unwrap_or_default(),
        _ => "",
    };
    let is_another_error = after.state == VmState::Error && after.error != before.error;
    if before.state == after.state && !is_another_error {
        return Ok(());
    }
    put(connection, &after.id, &format!("state.{}", after.status()), detail, now)
}

/// Writes that a boot of the rental `id` has reached `stage`.
pub(super) fn put_stage(
    connection: &Connection,
    id: &VmId,
    stage: Stage,
    now: Timestamp,
) -> Result<(), LedgerError> {
    put(connection, id, &format!("boot.{stage}"), "", now)
}

/// The stage of a boot that an event of `kind` tells.
fn stage_of(kind: &str) -> Option<Stage> {
    match kind {
        CREATED => Some(Stage::Reserved),
        "state.running" => Some(Stage::Running),
        kind => kind.strip_prefix("boot.")?.parse().ok(),
    }
}

/// When each stage of the last boot of `vm` was reached, oldest first; nothing where no event tells.
pub(super) fn stages(connection: &Connection, vm: &VmId) -> Result<Vec<Reached>, LedgerError> {
    let sql = "SELECT at, vm_id, kind, detail FROM events WHERE vm_id = ?1 \
               AND (kind GLOB 'boot.*' OR kind IN ('state.running', ?2)) ORDER BY id DESC LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let told: Vec<Event> =
        statement.query_map(params![vm.as_str(), CREATED, OF_BOOTS], event)?.collect::<Result<_, _>>()?;
    let reached = |event: &Event| Some(Reached { stage: stage_of(&event.kind)?, at: event.at });
    Ok(last_boot(told.iter().rev().filter_map(reached)))
}

impl Ledger {
    /// The last events, newest first: those of `vm`, or of all rentals, without their states and boots.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn events(&self, vm: Option<VmId>, limit: u32) -> Result<Vec<Event>, LedgerError> {
        self.ask(move |writer| {
            let connection = &writer.connection;
            let columns = "SELECT at, vm_id, kind, detail FROM events";
            let events = match &vm {
                Some(vm) => connection
                    .prepare_cached(&format!("{columns} WHERE vm_id = ?1 ORDER BY id DESC LIMIT ?2"))?
                    .query_map(params![vm.as_str(), limit], event)?
                    .collect::<Result<_, _>>()?,
                None => connection
                    .prepare_cached(&format!(
                        "{columns} WHERE id > (SELECT MAX(id) FROM events) - ?1 AND NOT {} ORDER BY id DESC LIMIT ?2",
                        condition(&ROUTINE)
                    ))?
                    .query_map(params![LOOKED_THROUGH, limit], event)?
                    .collect::<Result<_, _>>()?,
            };
            Ok(events)
        })
        .await
    }

    /// The last events of `vm` that are of these `kinds`, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn events_of_kinds(
        &self,
        vm: VmId,
        kinds: &'static [&'static str],
        limit: u32,
    ) -> Result<Vec<Event>, LedgerError> {
        let kinds = serde_json::json!(kinds).to_string();
        self.ask(move |writer| {
            let sql = "SELECT at, vm_id, kind, detail FROM events WHERE vm_id = ?1 \
                       AND kind IN (SELECT value FROM json_each(?2)) ORDER BY id DESC LIMIT ?3";
            let mut statement = writer.connection.prepare_cached(sql)?;
            Ok(statement.query_map(params![vm.as_str(), kinds, limit], event)?.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever opens a console or makes a snapshot again and again fills no disk, and nothing of money is forgotten for it.
    #[test]
    fn what_can_happen_again_and_again_is_kept_for_a_while() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrations().to_latest(&mut connection).unwrap();
        let ids = [1, 2].map(|n| VmId::new(&"web".parse().unwrap(), Timestamp::UNIX_EPOCH, [n; 10]));
        let kinds = [
            "state.running",
            "boot.launch",
            "snapshot.created",
            "console.opened",
            "vm.powered_off",
            "vm.out_of_memory",
        ];
        for kind in ["stream.opened", "payment.ended"]
            .into_iter()
            .chain(kinds.into_iter().cycle().take(KEPT as usize + 100))
        {
            for id in &ids {
                put(&connection, id, kind, "", Timestamp::UNIX_EPOCH).unwrap();
            }
        }
        let sql = "SELECT COUNT(*) FROM events WHERE vm_id = ?1 AND kind GLOB ?2";
        let count = |id: &VmId, kind: &str| {
            connection.query_row(sql, params![id.as_str(), kind], |row| row.get::<_, u32>(0)).unwrap()
        };
        for id in &ids {
            assert_eq!(count(id, "*"), KEPT + 2);
            assert_eq!((count(id, "stream.opened"), count(id, "payment.ended")), (1, 1));
            assert!(kinds.iter().all(|kind| count(id, kind) > 80), "the newest of all together");
        }
        for kind in kinds {
            assert!(is_of(kind, &FREQUENT));
        }
        assert!(
            !is_of("stream.opened", &FREQUENT)
                && !is_of("states", &FREQUENT)
                && !is_of("vm.created", &FREQUENT)
        );
    }
}
