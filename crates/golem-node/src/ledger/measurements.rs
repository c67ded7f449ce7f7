//! What the host and each VM used, over time: a row for each minute of the last day, and one for each hour of the last month.
//!
//! ```text
//!   a minute ends ─► its rows ─► rows of hours that are over, from those of their minutes ─► rows that are too old go
//!                    └──────────────────────── one transaction ─────────────────────────────────────────────────┘
//! ```
//! Owns their tables, and that these stay bounded: by age alone, since a VM has one row a minute at most. They are for charts:
//! nothing is decided or charged by them. Never measures.

use golem_types::VmId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{Ledger, LedgerError, Writer};

/// Most steps that are forgotten at once, of each kind.
const STEPS_FORGOTTEN: i64 = 5;

/// A row of a VM is found by its time, so that old ones lie together; which VM it is, is a number, so that rows stay small.
pub(super) const TABLES: &str = "
CREATE TABLE host_use (
    step        INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    cpu_percent INTEGER NOT NULL, memory_percent INTEGER NOT NULL, storage_percent INTEGER NOT NULL,
    vms         INTEGER NOT NULL,
    PRIMARY KEY (step, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE measured_vms (
    number      INTEGER PRIMARY KEY,
    vm_id       TEXT NOT NULL UNIQUE,
    last_at     INTEGER NOT NULL
) STRICT;
CREATE TABLE vm_use (
    step        INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    vm          INTEGER NOT NULL,
    cpu_permille INTEGER, memory_bytes INTEGER NOT NULL, disk_bytes INTEGER NOT NULL,
    received_per_second INTEGER, sent_per_second INTEGER,
    PRIMARY KEY (step, at, vm)
) STRICT, WITHOUT ROWID;
";

/// What one row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Kept for a day.
    Minute,
    /// Kept for 31 days.
    Hour,
}

impl Step {
    /// How long it is, in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    /// How long its rows are kept, in seconds.
    const fn kept(self) -> i64 {
        match self {
            Self::Minute => 86_400,
            Self::Hour => 31 * 86_400,
        }
    }

    /// The step's beginning in which `at` lies, in seconds since 1970.
    #[must_use]
    pub fn start(self, at: Timestamp) -> i64 {
        let second = at.as_second();
        second - second.rem_euclid(self.seconds())
    }
}

/// What the host used, as the mean of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredHost {
    /// From 0 to 100.
    pub cpu_percent: u8,
    /// From 0 to 100.
    pub memory_percent: u8,
    /// From 0 to 100.
    pub storage_percent: u8,
    /// VMs that ran; of an hour, the most at a time.
    pub vms: u32,
}

/// What a VM used, as the mean of that part of a step in which it ran. What is counted is unknown for the first minute of a
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredVm {
    /// Of one core: 1,000 is all of it, and two busy cores are 2,000.
    pub cpu_permille: Option<u32>,
    /// Memory of the host, in bytes.
    pub memory_bytes: i64,
    /// Space of the host, in bytes.
    pub disk_bytes: i64,
    /// Bytes a second into it.
    pub received_per_second: Option<i64>,
    /// Bytes a second out of it.
    pub sent_per_second: Option<i64>,
}

/// Rows of the steps that begin at these times, in seconds since 1970; oldest first.
pub type Measured<T> = Vec<(i64, T)>;

fn host(row: &Row<'_>) -> rusqlite::Result<(i64, MeasuredHost)> {
    let host = MeasuredHost {
        cpu_percent: row.get(1)?,
        memory_percent: row.get(2)?,
        storage_percent: row.get(3)?,
        vms: row.get(4)?,
    };
    Ok((row.get(0)?, host))
}

fn vm(row: &Row<'_>) -> rusqlite::Result<(i64, MeasuredVm)> {
    let vm = MeasuredVm {
        cpu_permille: row.get(1)?,
        memory_bytes: row.get(2)?,
        disk_bytes: row.get(3)?,
        received_per_second: row.get(4)?,
        sent_per_second: row.get(5)?,
    };
    Ok((row.get(0)?, vm))
}

impl Ledger {
    /// Keeps what was used in the minute that began at `minute`, a multiple of 60 seconds since 1970, and forgets what is too old
    /// then. Rows of later minutes are those of a clock that was wrong: they go as well.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn measured(
        &self,
        minute: i64,
        host: MeasuredHost,
        vms: Vec<(VmId, MeasuredVm)>,
    ) -> Result<(), LedgerError> {
        self.ask(move |writer| writer.measured(minute, host, &vms)).await
    }

    /// What the host used up to `now`, in steps of `step`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn host_use(&self, step: Step, now: Timestamp) -> Result<Measured<MeasuredHost>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT at, cpu_percent, memory_percent, storage_percent, vms FROM host_use \
                       WHERE step = ?1 AND at > ?2 ORDER BY at";
            let mut statement = writer.connection.prepare_cached(sql)?;
            let since = now.as_second() - step.kept() - step.seconds();
            Ok(statement.query_map([step.seconds(), since], host)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What the VM `id` used up to `now`, in steps of `step`; nothing of one that is not known.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn vm_use(
        &self,
        id: VmId,
        step: Step,
        now: Timestamp,
    ) -> Result<Measured<MeasuredVm>, LedgerError> {
        self.ask(move |writer| {
            let connection = &writer.connection;
            let sql = "SELECT number FROM measured_vms WHERE vm_id = ?1";
            let number = connection.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get::<_, i64>(0));
            let Some(number) = number.optional()? else { return Ok(Vec::new()) };
            // The host has a row for every time: each is looked up, and the rows of other VMs are not read.
            let sql = "SELECT at, cpu_permille, memory_bytes, disk_bytes, received_per_second, sent_per_second \
                       FROM host_use JOIN vm_use USING (step, at) WHERE step = ?1 AND at > ?2 AND vm = ?3 ORDER BY at";
            let mut statement = connection.prepare_cached(sql)?;
            let since = now.as_second() - step.kept() - step.seconds();
            Ok(statement.query_map([step.seconds(), since, number], vm)?.collect::<Result<_, _>>()?)
        })
        .await
    }
}

impl Writer {
    fn measured(
        &mut self,
        minute: i64,
        host: MeasuredHost,
        vms: &[(VmId, MeasuredVm)],
    ) -> Result<(), LedgerError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let step = Step::Minute.seconds();
        transaction
            .prepare_cached("INSERT OR REPLACE INTO host_use VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                step,
                minute,
                host.cpu_percent,
                host.memory_percent,
                host.storage_percent,
                host.vms
            ])?;
        for (id, used) in vms {
            let sql = "INSERT INTO measured_vms (vm_id, last_at) VALUES (?1, ?2) \
                       ON CONFLICT (vm_id) DO UPDATE SET last_at = ?2 RETURNING number";
            let number: i64 =
                transaction.prepare_cached(sql)?.query_row(params![id.as_str(), minute], |row| row.get(0))?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO vm_use VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                .execute(params![
                    step,
                    minute,
                    number,
                    used.cpu_permille,
                    used.memory_bytes,
                    used.disk_bytes,
                    used.received_per_second,
                    used.sent_per_second,
                ])?;
        }
        sum_up_hours(&transaction, minute)?;
        forget(&transaction, minute)?;
        transaction.commit()?;
        Ok(())
    }
}

/// Makes the rows of hours that are over at `minute` and have none.
fn sum_up_hours(connection: &Connection, minute: i64) -> Result<(), LedgerError> {
    let (short, long) = (Step::Minute.seconds(), Step::Hour.seconds());
    let over = minute - minute.rem_euclid(long);
    let last: Option<i64> = connection
        .prepare_cached("SELECT MAX(at) FROM host_use WHERE step = ?1 AND at < ?2")?
        .query_row([long, over], |row| row.get(0))?;
    let from = last.map_or(i64::MIN, |last| last + long);
    if from >= over {
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO host_use \
               SELECT ?1, at / ?1 * ?1, CAST(ROUND(AVG(cpu_percent)) AS INTEGER), CAST(ROUND(AVG(memory_percent)) AS INTEGER), \
               CAST(ROUND(AVG(storage_percent)) AS INTEGER), MAX(vms) \
               FROM host_use WHERE step = ?2 AND at >= ?3 AND at < ?4 GROUP BY at / ?1";
    connection.prepare_cached(sql)?.execute([long, short, from, over])?;
    let sql = "INSERT OR REPLACE INTO vm_use \
               SELECT ?1, at / ?1 * ?1, vm, CAST(ROUND(AVG(cpu_permille)) AS INTEGER), CAST(ROUND(AVG(memory_bytes)) AS INTEGER), \
               CAST(ROUND(AVG(disk_bytes)) AS INTEGER), CAST(ROUND(AVG(received_per_second)) AS INTEGER), \
               CAST(ROUND(AVG(sent_per_second)) AS INTEGER) \
               FROM vm_use WHERE step = ?2 AND at >= ?3 AND at < ?4 GROUP BY at / ?1, vm";
    connection.prepare_cached(sql)?.execute([long, short, from, over])?;
    Ok(())
}

/// Removes what is too old at `minute`, and what is of later. Of what a long stop has left, a part: others wait for the ledger.
fn forget(connection: &Connection, minute: i64) -> Result<(), LedgerError> {
    let mut oldest_vm = minute;
    for step in [Step::Minute, Step::Hour] {
        let seconds = step.seconds();
        for table in ["host_use", "vm_use"] {
            connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE step = ?1 AND at > ?2"))?
                .execute([seconds, minute])?;
            let oldest = |connection: &Connection| {
                connection
                    .prepare_cached(&format!("SELECT MIN(at) FROM {table} WHERE step = ?1"))?
                    .query_row([seconds], |row| row.get::<_, Option<i64>>(0))
            };
            let Some(first) = oldest(connection)? else { continue };
            let until = (minute - step.kept()).min(first + STEPS_FORGOTTEN * seconds);
            connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE step = ?1 AND at <= ?2"))?
                .execute([seconds, until])?;
            if table == "vm_use" {
                oldest_vm = oldest(connection)?.map_or(oldest_vm, |oldest| oldest.min(oldest_vm));
            }
        }
    }
    // A number is given anew only when no row has it.
    connection
        .prepare_cached("UPDATE measured_vms SET last_at = ?1 WHERE last_at > ?1")?
        .execute([minute])?;
    connection.prepare_cached("DELETE FROM measured_vms WHERE last_at < ?1")?.execute([oldest_vm])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const HOST: MeasuredHost =
        MeasuredHost { cpu_percent: 10, memory_percent: 20, storage_percent: 30, vms: 1 };

    /// The first minute of a day, in seconds since 1970.
    const DAY: i64 = 20_000 * 86_400;

    fn id(number: u8) -> VmId {
        VmId::new(&"web".parse().unwrap(), time(DAY), [number; 10])
    }

    const fn used(cpu_permille: Option<u32>, memory_bytes: i64) -> MeasuredVm {
        MeasuredVm {
            cpu_permille,
            memory_bytes,
            disk_bytes: 5,
            received_per_second: Some(7),
            sent_per_second: None,
        }
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("provider.db")).unwrap();
        (folder, ledger)
    }

    #[tokio::test]
    async fn an_hour_is_the_mean_of_the_minutes_that_are_known_of_it() {
        let (_folder, ledger) = ledger();
        for minute in 0..61 {
            let host = MeasuredHost { cpu_percent: if minute < 30 { 0 } else { 100 }, vms: minute, ..HOST };
            let cpu = (minute > 0).then_some(minute * 10);
            // Another VM ran for a part of it, and one in the next hour only.
            let mut vms = vec![(id(1), used(cpu, i64::from(minute)))];
            vms.extend((10..20).contains(&minute).then(|| (id(2), used(None, 4))));
            vms.extend((minute == 60).then(|| (id(3), used(None, 4))));
            ledger.measured(DAY + i64::from(minute) * 60, host, vms).await.unwrap();
        }
        let now = time(DAY + 3660);
        let host = ledger.host_use(Step::Hour, now).await.unwrap();
        assert_eq!(host, [(DAY, MeasuredHost { cpu_percent: 50, vms: 59, ..HOST })]);
        // (10 + … + 590) / 59, and (0 + … + 59) / 60 to the nearest.
        assert_eq!(ledger.vm_use(id(1), Step::Hour, now).await.unwrap(), [(DAY, used(Some(300), 30))]);
        assert_eq!(ledger.vm_use(id(2), Step::Hour, now).await.unwrap(), [(DAY, used(None, 4))]);
        assert_eq!(ledger.vm_use(id(3), Step::Hour, now).await.unwrap(), []);
        assert_eq!(ledger.vm_use(id(1), Step::Minute, now).await.unwrap().len(), 61);
        assert_eq!(ledger.vm_use(id(9), Step::Minute, now).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_long_stop_leaves_nothing_that_is_shown_and_is_forgotten_step_by_step() {
        let (_folder, ledger) = ledger();
        for minute in 0..200 {
            ledger.measured(DAY + minute * 60, HOST, vec![(id(1), used(None, 1))]).await.unwrap();
        }
        let later = DAY + 40 * 86_400;
        ledger.measured(later, HOST, vec![(id(2), used(None, 2))]).await.unwrap();
        for step in [Step::Minute, Step::Hour] {
            assert_eq!(ledger.vm_use(id(1), step, time(later)).await.unwrap(), []);
        }
        assert_eq!(ledger.vm_use(id(2), Step::Minute, time(later)).await.unwrap().len(), 1);
        let left = async |ledger: &Ledger| {
            let count = |writer: &mut Writer| {
                let sql = "SELECT (SELECT COUNT(*) FROM vm_use), (SELECT COUNT(*) FROM measured_vms)";
                Ok(writer.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
            };
            ledger.ask(count).await.unwrap()
        };
        let (before, _): (i64, i64) = left(&ledger).await;
        assert!(before > 150, "one transaction took all: {before}");
        for minute in 1..50 {
            ledger.measured(later + minute * 60, HOST, vec![]).await.unwrap();
        }
        assert_eq!(left(&ledger).await, (1, 1), "what is left is the row of the second VM");
    }

    /// What a simpler ledger would have of minutes: all of them, looked through at the end.
    #[derive(Default)]
    struct Model(BTreeMap<(i64, u8), MeasuredVm>);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// Whatever a clock does, and whichever VMs come and go: each VM has its own rows, none of a later time, and none too
        /// old for long.
        #[test]
        fn rows_are_their_vms_own_whatever_the_clock_does(
            jumps in prop::collection::vec(
                (
                    prop_oneof![8 => Just(1_i64), 1 => -2000_i64..2000, 1 => -100_000_i64..100_000],
                    prop::collection::btree_set(1_u8..5, 0..4),
                ),
                1..150,
            ),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_folder, ledger) = ledger();
            let (mut model, mut minute, mut number) = (Model::default(), DAY, 0_i64);
            for (jump, vms) in &jumps {
                minute += jump * 60;
                model.0.retain(|(at, _), _| *at <= minute && *at > minute - 86_400);
                model.0.retain(|(at, vm), _| *at != minute || !vms.contains(vm));
                let mut rows = Vec::new();
                for vm in vms {
                    number += 1;
                    rows.push((id(*vm), used(Some((*vm).into()), number)));
                    model.0.insert((minute, *vm), used(Some((*vm).into()), number));
                }
                runtime.block_on(ledger.measured(minute, HOST, rows)).unwrap();
            }
            for vm in 1..5 {
                let known = runtime.block_on(ledger.vm_use(id(vm), Step::Minute, time(minute))).unwrap();
                prop_assert!(known.iter().all(|(_, used)| used.cpu_permille == Some(vm.into())), "another's row");
                let known: BTreeSet<i64> = known.iter().map(|(_, used)| used.memory_bytes).collect();
                let wanted: BTreeSet<i64> =
                    model.0.iter().filter(|((_, of), _)| *of == vm).map(|(_, used)| used.memory_bytes).collect();
                prop_assert!(wanted.is_subset(&known), "{wanted:?} {known:?}");
            }
        }
    }
}
