//! How far creates came, and what failed boots left.
//!
//! Owns these rows: the stages of a job, and one failed boot for each VM, the newest. They are kept for
//! [`KEPT_FOR`] and no more than [`KEPT`] of them, so that no guest fills the operator's disk. Never decides
//! what a failure is.

use golem_types::VmId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::columns::{damaged, json, parsed, time};
use super::{Ledger, LedgerError, Writer, events};
use crate::boot::{CONSOLE_BYTES, FailedBoot, KEPT, PROCESS_LOG_BYTES, Reached, Stage, reach, tail};

/// How long what a failed boot left is kept.
pub const KEPT_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Most bytes that are kept of a reason or a cause.
const REASON_BYTES: usize = 4096;

/// What a machine's task knows of a boot that failed.
#[derive(Debug, Clone)]
pub struct BootFailure {
    /// Why, as the renter reads it.
    pub reason: String,
    /// Why, with every cause.
    pub cause: String,
    /// The stages of this boot; those of a create are in its job.
    pub stages: Vec<Reached>,
    /// What the guest wrote to its serial console.
    pub console: String,
    /// What the backend's process said.
    pub process_log: String,
}

/// The stages in column `index`.
pub(super) fn stages(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<Reached>> {
    let pairs: Vec<(String, i64)> = json(row, index)?;
    let reached = |(stage, at): (String, i64)| {
        Ok(Reached {
            stage: stage.parse().map_err(|error| damaged(index, error))?,
            at: Timestamp::from_microsecond(at).map_err(|error| damaged(index, error))?,
        })
    };
    pairs.into_iter().map(reached).collect()
}

fn stages_text(stages: &[Reached]) -> String {
    let pairs: Vec<_> =
        stages.iter().map(|reached| (reached.stage.as_str(), reached.at.as_microsecond())).collect();
    serde_json::json!(pairs).to_string()
}

/// The stages of the create of `id`, while it is under way.
fn of_create(connection: &Connection, id: &VmId) -> Result<Option<Vec<Reached>>, LedgerError> {
    let sql = "SELECT stages FROM jobs WHERE vm_id = ?1 AND state = 'creating'";
    Ok(connection.prepare_cached(sql)?.query_row([id.as_str()], |row| stages(row, 0)).optional()?)
}

const COLUMNS: &str = "failed_boots.vm_id, vms.name, jobs.id, failed_boots.at, failed_boots.reason, cause, \
                       failed_boots.stages, console, process_log";

fn failed_boot(row: &Row<'_>) -> rusqlite::Result<FailedBoot> {
    let job_id = match row.get::<_, Option<String>>(2)? {
        Some(_) => Some(parsed(row, 2)?),
        None => None,
    };
    Ok(FailedBoot {
        vm_id: parsed(row, 0)?,
        name: parsed(row, 1)?,
        job_id,
        at: time(row, 3)?,
        reason: row.get(4)?,
        cause: row.get(5)?,
        stages: stages(row, 6)?,
        console: row.get(7)?,
        process_log: row.get(8)?,
    })
}

impl Ledger {
    /// Records that the boot of `id` has reached `stage`; in the job as well, while it is its create.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn reach(&self, id: &VmId, stage: Stage, now: Timestamp) -> Result<(), LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            events::put_stage(&transaction, &id, stage, now)?;
            if let Some(mut stages) = of_create(&transaction, &id)? {
                reach(&mut stages, stage, now);
                let sql = "UPDATE jobs SET stages = ?2 WHERE vm_id = ?1";
                transaction.prepare_cached(sql)?.execute([id.as_str(), &stages_text(&stages)])?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Keeps what is left of a boot of `id` that failed, in the place of an earlier one.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_failed_boot(
        &self,
        id: &VmId,
        failure: BootFailure,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = id.clone();
        self.ask(move |writer| writer.keep_failed_boot(&id, &failure, now)).await
    }

    /// What failed boots left of the VMs that `which` names: one VM's id, the id of the job that made it, or
    /// its name; newest first, and no more than two.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn failed_boots(&self, which: &str, now: Timestamp) -> Result<Vec<FailedBoot>, LedgerError> {
        let which = which.to_owned();
        self.ask(move |writer| {
            let sql = format!(
                "SELECT {COLUMNS} FROM failed_boots JOIN vms ON vms.id = failed_boots.vm_id \
                 LEFT JOIN jobs ON jobs.vm_id = vms.id \
                 WHERE (vms.id = ?1 OR vms.name = ?1 OR jobs.id = ?1) AND failed_boots.at >= ?2 \
                 ORDER BY failed_boots.at DESC LIMIT 2"
            );
            let mut statement = writer.connection.prepare_cached(&sql)?;
            let found = statement.query_map(params![which, oldest(now)], failed_boot)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Forgets what failed boots left more than a day ago. How many there were.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn forget_failed_boots(&self, now: Timestamp) -> Result<usize, LedgerError> {
        self.ask(move |writer| {
            let sql = "DELETE FROM failed_boots WHERE at < ?1";
            Ok(writer.connection.prepare_cached(sql)?.execute([oldest(now)])?)
        })
        .await
    }
}

/// When the oldest failed boot was that is kept at `now`, in microseconds since the epoch.
fn oldest(now: Timestamp) -> i64 {
    now.checked_sub(KEPT_FOR).unwrap_or(Timestamp::MIN).as_microsecond()
}

impl Writer {
    fn keep_failed_boot(
        &mut self,
        id: &VmId,
        failure: &BootFailure,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stages = match of_create(&transaction, id)? {
            Some(stages) => stages,
            None => failure.stages.clone(),
        };
        let sql = "INSERT OR REPLACE INTO failed_boots \
                   (vm_id, at, reason, cause, stages, console, process_log) VALUES (?1,?2,?3,?4,?5,?6,?7)";
        transaction.prepare_cached(sql)?.execute(params![
            id.as_str(),
            now.as_microsecond(),
            tail(&failure.reason, REASON_BYTES),
            tail(&failure.cause, REASON_BYTES),
            stages_text(&stages),
            tail(&failure.console, CONSOLE_BYTES),
            tail(&failure.process_log, PROCESS_LOG_BYTES),
        ])?;
        let sql = "DELETE FROM failed_boots WHERE vm_id NOT IN \
                   (SELECT vm_id FROM failed_boots ORDER BY at DESC, vm_id LIMIT ?1)";
        transaction.prepare_cached(sql)?.execute([KEPT])?;
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Open, now, ports, reserve, room};
    use super::*;

    fn failure(console: &str) -> BootFailure {
        BootFailure {
            reason: "it did not answer".to_owned(),
            cause: "it did not answer: at all".to_owned(),
            stages: Vec::new(),
            console: console.to_owned(),
            process_log: "qemu: no".to_owned(),
        }
    }

    /// H-14: for a day, for the newest, and within bounds, whatever a guest says.
    #[tokio::test]
    async fn h_14_what_failed_boots_leave_is_bounded_and_gone_after_a_day() {
        let open = Open::new();
        let (room, ledger) = (room(200, ports(200)), &open.ledger);
        let began = now();
        let at = |minutes: i64| began + jiff::SignedDuration::from_mins(minutes);
        let mut ids = Vec::new();
        for number in 0..=KEPT {
            let (vm, _) = reserve(ledger, &format!("vm-{number}"), &room, began).await.unwrap();
            let noise = "\u{1b}[2J\0é".repeat(if number == KEPT { 50_000 } else { 1 });
            ledger.keep_failed_boot(&vm.id, failure(&noise), at(i64::from(number))).await.unwrap();
            ids.push(vm.id.clone());
        }
        let kept =
            async |id: &VmId, minutes| ledger.failed_boots(id.as_str(), at(minutes)).await.unwrap().pop();
        let last = i64::from(KEPT);
        assert_eq!(kept(&ids[0], last).await, None, "the oldest of too many");
        let big = kept(&ids[100], last).await.unwrap();
        assert!(big.console.len() <= CONSOLE_BYTES && big.console.len() > CONSOLE_BYTES - 9);
        assert!(big.console.ends_with("\u{1b}[2J\0é"));
        // The newest of one VM.
        ledger.keep_failed_boot(&ids[100], failure("again"), at(last)).await.unwrap();
        assert_eq!(kept(&ids[100], last).await.unwrap().console, "again");
        // A day later it is not shown, and then not there.
        let day = 24 * 60;
        assert!(kept(&ids[1], day + 1).await.is_some());
        assert_eq!(kept(&ids[1], day + 2).await, None);
        assert_eq!(ledger.forget_failed_boots(at(day + 1)).await.unwrap(), 0);
        assert_eq!(ledger.forget_failed_boots(at(day + 51)).await.unwrap(), 50);
        assert_eq!(ledger.forget_failed_boots(at(2 * day + 200)).await.unwrap(), 50);
    }

    /// H-14: how far a create came is on the disk before the next step, and outlives the node.
    #[tokio::test]
    async fn h_14_the_stages_of_a_create_outlive_the_node_and_are_found_by_id_name_and_job() {
        let open = Open::new();
        let (room, ledger) = (room(9, ports(9)), &open.ledger);
        let (vm, job) = reserve(ledger, "one", &room, now()).await.unwrap();
        assert_eq!(job.reached().last().unwrap().stage, Stage::Reserved);
        ledger.reach(&vm.id, Stage::Disk, now()).await.unwrap();
        ledger.reach(&vm.id, Stage::Launch, now()).await.unwrap();
        let ledger = open.again();
        let known = ledger.job(&job.id).await.unwrap().unwrap().reached();
        let stages: Vec<_> = known.iter().map(|reached| reached.stage).collect();
        assert_eq!(stages, [Stage::Reserved, Stage::Disk, Stage::Launch]);
        ledger.keep_failed_boot(&vm.id, failure("hello"), now()).await.unwrap();
        ledger.give_up(&vm.id, "no".to_owned(), now()).await.unwrap();
        ledger.end(&vm.id, now()).await.unwrap();
        // One that ended says no more.
        ledger.reach(&vm.id, Stage::Boot, now()).await.unwrap();
        for which in [vm.id.as_str(), "one", job.id.as_str()] {
            let [found] = ledger.failed_boots(which, now()).await.unwrap().try_into().unwrap();
            assert_eq!(
                (&found.vm_id, found.job_id.as_ref(), found.stage()),
                (&vm.id, Some(&job.id), Stage::Launch)
            );
        }
        let (again, _) = reserve(&ledger, "one", &room, now()).await.unwrap();
        ledger.keep_failed_boot(&again.id, failure("hello"), now()).await.unwrap();
        assert_eq!(ledger.failed_boots("one", now()).await.unwrap().len(), 2, "no longer one VM's name");
    }
}
