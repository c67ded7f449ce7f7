//! Rows of the ledger and the values they stand for.
//!
//! Owns the SQL statements on rentals and jobs, but for stages ([`super::boots`]) and what goes in time
//! ([`super::history`]). Never opens a transaction and never decides.

use golem_types::{AuthorizedKey, FirstBoot, JobId, Resources, StreamKey, VmId, VmState};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::LedgerError;
use super::columns::{damaged, json, json_text, optional_json, parsed, time};
use crate::rental::Rental;
use crate::vm::{Job, JobState, Unpaid, Vm};

fn keys(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<AuthorizedKey>> {
    let texts: Vec<String> = json(row, index)?;
    texts.iter().map(|text| text.parse().map_err(|error| damaged(index, error))).collect()
}

/// `None` where nothing was wanted.
fn first_boot_text(wanted: &FirstBoot) -> rusqlite::Result<Option<String>> {
    (*wanted != FirstBoot::default()).then(|| json_text(wanted)).transpose()
}

const RENTAL_COLUMNS: &str = "id, name, owner, state, goal, made, error, cpu, memory, storage, image, keys, \
                              ip_address, ssh_port, created_at, updated_at, contract, stream_id, unpaid_since, \
                              unpaid_reason, held, unpaid_chain_time, first_boot, snapshots, suspends, rebuild_at, \
                              rebuild_due";

fn rental(row: &Row<'_>) -> rusqlite::Result<Rental> {
    let ip_address = match row.get::<_, Option<String>>(12)? {
        Some(_) => Some(parsed(row, 12)?),
        None => None,
    };
    let stream = match (row.get::<_, Option<String>>(16)?, row.get::<_, Option<String>>(17)?) {
        (Some(contract), Some(_)) => Some(StreamKey { contract: contract.into(), id: parsed(row, 17)? }),
        _ => None,
    };
    let unpaid = match row.get::<_, Option<i64>>(18)? {
        Some(_) => Some(Unpaid {
            since: time(row, 18)?,
            chain_time: row.get(21)?,
            reason: row.get::<_, Option<String>>(19)?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(Rental {
        goal: parsed(row, 4)?,
        has_booted: row.get(5)?,
        vm: std::sync::Arc::new(Vm {
            id: parsed(row, 0)?,
            name: parsed(row, 1)?,
            owner: row.get(2)?,
            state: parsed(row, 3)?,
            error: row.get(6)?,
            resources: Resources::new(row.get(7)?, row.get(8)?, row.get(9)?),
            image: parsed(row, 10)?,
            keys: keys(row, 11)?,
            first_boot: optional_json(row, 22)?.unwrap_or_default(),
            snapshots: json(row, 23)?,
            suspends: row.get(24)?,
            rebuild_at: row.get::<_, Option<i64>>(25)?.map(|_| time(row, 25)).transpose()?,
            rebuild_due: row.get(26)?,
            ip_address,
            ssh_port: row.get(13)?,
            stream,
            unpaid,
            held: row.get(20)?,
            created_at: time(row, 14)?,
            updated_at: time(row, 15)?,
        }),
    })
}

/// Every live rental, oldest first.
pub(super) fn live(connection: &Connection) -> Result<Vec<Rental>, LedgerError> {
    let sql = format!("SELECT {RENTAL_COLUMNS} FROM vms WHERE state <> 'deleted' ORDER BY created_at, id");
    let mut statement = connection.prepare(&sql)?;
    let rentals = statement.query_map([], rental)?.collect::<Result<_, _>>()?;
    Ok(rentals)
}

/// The rental `id`, live or not.
pub(super) fn get(connection: &Connection, id: &VmId) -> Result<Option<Rental>, LedgerError> {
    let sql = format!("SELECT {RENTAL_COLUMNS} FROM vms WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.as_str()], rental).optional()?)
}

fn keys_text(keys: &[AuthorizedKey]) -> String {
    serde_json::Value::from(keys.iter().map(AuthorizedKey::as_str).collect::<Vec<_>>()).to_string()
}

/// Writes `rental`, new or known.
pub(super) fn put(connection: &Connection, rental: &Rental) -> Result<(), LedgerError> {
    let vm = &rental.vm;
    let sql = format!(
        "INSERT INTO vms ({RENTAL_COLUMNS}) VALUES \
         (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27) \
         ON CONFLICT (id) DO UPDATE SET state = ?4, goal = ?5, made = ?6, error = ?7, \
         cpu = ?8, memory = ?9, storage = ?10, keys = ?12, \
         ip_address = ?13, updated_at = ?16, contract = ?17, stream_id = ?18, unpaid_since = ?19, \
         unpaid_reason = ?20, held = ?21, unpaid_chain_time = ?22, snapshots = ?24, suspends = ?25, \
         image = ?11, rebuild_at = ?26, rebuild_due = ?27"
    );
    connection.prepare_cached(&sql)?.execute(params![
        vm.id.as_str(),
        vm.name.as_str(),
        vm.owner,
        vm.state.as_str(),
        rental.goal.as_str(),
        rental.has_booted,
        vm.error,
        vm.resources.cpu,
        vm.resources.memory,
        vm.resources.storage,
        vm.image.as_str(),
        keys_text(&vm.keys),
        vm.ip_address.map(|ip| ip.to_string()),
        vm.ssh_port,
        vm.created_at.as_microsecond(),
        vm.updated_at.as_microsecond(),
        vm.stream.as_ref().map(|stream| &*stream.contract),
        vm.stream.as_ref().map(|stream| stream.id.to_string()),
        vm.unpaid.as_ref().map(|unpaid| unpaid.since.as_microsecond()),
        vm.unpaid.as_ref().map(|unpaid| &unpaid.reason),
        vm.held,
        vm.unpaid.as_ref().and_then(|unpaid| unpaid.chain_time),
        first_boot_text(&vm.first_boot)?,
        json_text(&vm.snapshots)?,
        vm.suspends,
        vm.rebuild_at.map(Timestamp::as_microsecond),
        vm.rebuild_due,
    ])?;
    Ok(())
}

/// Writes whose the rental `id` is.
pub(super) fn set_owner(connection: &Connection, id: &VmId, owner: &str) -> Result<(), LedgerError> {
    connection.execute("UPDATE vms SET owner = ?2 WHERE id = ?1", [id.as_str(), owner])?;
    Ok(())
}

/// When each port was last given back, in microseconds since the epoch.
pub(super) fn ports_last_used(
    connection: &Connection,
) -> Result<std::collections::BTreeMap<u16, i64>, LedgerError> {
    let mut statement = connection
        .prepare("SELECT ssh_port, max(updated_at) FROM vms WHERE state = 'deleted' GROUP BY ssh_port")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Writes a new job.
pub(super) fn insert_job(connection: &Connection, job: &Job) -> Result<(), LedgerError> {
    connection.prepare_cached("INSERT INTO jobs (id, vm_id, state, error, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        job.id.as_str(),
        job.vm_id.as_str(),
        job.state.as_str(),
        job.error,
        job.created_at.as_microsecond(),
        job.updated_at.as_microsecond(),
    ])?;
    Ok(())
}

/// Ends the job of `vm`, if it has not ended: ready without `error`, failed with one.
pub(super) fn end_job(
    connection: &Connection,
    vm: &VmId,
    error: Option<&str>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let state = if error.is_some() { JobState::Failed } else { JobState::Ready };
    connection
        .prepare_cached(
            "UPDATE jobs SET state = ?2, error = ?3, updated_at = ?4 WHERE vm_id = ?1 AND state = 'creating'",
        )?
        .execute(params![vm.as_str(), state.as_str(), error, now.as_microsecond()])?;
    Ok(())
}

/// The job `id`.
pub(super) fn job(connection: &Connection, id: &JobId) -> Result<Option<Job>, LedgerError> {
    let sql = "SELECT id, vm_id, state, error, created_at, updated_at, stages FROM jobs WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([id.as_str()], read_job).optional()?)
}

fn read_job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: parsed(row, 0)?,
        vm_id: parsed(row, 1)?,
        state: parsed(row, 2)?,
        error: row.get(3)?,
        created_at: time(row, 4)?,
        updated_at: time(row, 5)?,
        stages: super::boots::stages(row, 6)?,
    })
}

/// Keeps the digest of the quote that the create of `vm` named.
pub(super) fn put_quote(connection: &Connection, vm: &VmId, quote: &str) -> Result<(), LedgerError> {
    connection.execute("UPDATE vms SET quote = ?2 WHERE id = ?1", [vm.as_str(), quote])?;
    Ok(())
}

/// The job of `vm`, if its create named the quote of this digest.
pub(super) fn job_of_quote(
    connection: &Connection,
    vm: &VmId,
    quote: &str,
) -> Result<Option<Job>, LedgerError> {
    let sql = "SELECT jobs.id, vm_id, jobs.state, jobs.error, jobs.created_at, jobs.updated_at, stages \
               FROM jobs JOIN vms ON vms.id = vm_id WHERE vm_id = ?1 AND quote = ?2";
    Ok(connection.prepare_cached(sql)?.query_row([vm.as_str(), quote], read_job).optional()?)
}

/// The job of `vm`.
pub(super) fn job_of(connection: &Connection, vm: &VmId) -> Result<Option<Job>, LedgerError> {
    let sql = "SELECT id, vm_id, state, error, created_at, updated_at, stages FROM jobs WHERE vm_id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([vm.as_str()], read_job).optional()?)
}

/// Whether the operator lets the node run empty.
pub(super) fn draining(connection: &Connection) -> Result<bool, LedgerError> {
    Ok(connection.query_row("SELECT draining FROM node", [], |row| row.get(0))?)
}

/// Records whether the operator lets the node run empty.
pub(super) fn set_draining(connection: &Connection, draining: bool) -> Result<(), LedgerError> {
    connection.execute("UPDATE node SET draining = ?1", [draining])?;
    Ok(())
}

/// Whether a state is one of a rental that exists no more.
pub(super) fn is_live(rental: &Rental) -> bool {
    rental.vm.state != VmState::Deleted
}
