//! The service's database: adverts that were posted lately, and who signs theirs.
//!
//! ```text
//!   put ─► may this claim say it? ─► adverts ─► list (in an order of its own), get ─► clean
//!             ▲      └─► signers: ids that proved themselves once
//! ```
//! Owns the rule that an id once advertised with a proof is never again spoken for without one, nor
//! with an old one. Blocks; callers keep it off the runtime. Never reads a request.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use golem_types::net::Source;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params, params};
use rusqlite_migration::{M, Migrations};
use serde_json::{Map, Value};

use super::LIFETIME_SECONDS;
use super::advert::PostedAdvert;
use super::identity::{Claim, ProviderId};
use super::order::{Candidate, Cursor, Order};

/// Most adverts at a time; each has at most some 4 KiB.
const ADVERTS: u32 = 10_000;

/// Most ids that are remembered as signing theirs; those that have been silent longest are forgotten.
const SIGNERS: u32 = 200_000;

/// How far a signed time may be from the service's, in milliseconds.
const CLOCKS: i64 = LIFETIME_SECONDS * 1000;

/// The published server's database may be in the same file: its table is `advertisements`.
const ADVERTS_TABLE: &str = "
CREATE TABLE adverts (
    provider_id TEXT PRIMARY KEY,
    ip_address  TEXT NOT NULL,
    country     TEXT NOT NULL,
    platform    TEXT,
    name        TEXT,
    cpu         INTEGER NOT NULL,
    memory      INTEGER NOT NULL,
    storage     INTEGER NOT NULL,
    resources   TEXT NOT NULL CHECK (json_valid(resources)),
    pricing     TEXT CHECK (json_valid(pricing)),
    signed      INTEGER NOT NULL CHECK (signed IN (0, 1)),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX adverts_by_age ON adverts (updated_at);

CREATE TABLE signers (
    provider_id TEXT PRIMARY KEY,
    timestamp   INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX signers_by_age ON signers (seen_at);
";

/// Who posted an advert: the network of one customer.
const SOURCE_COLUMN: &str = "ALTER TABLE adverts ADD COLUMN source TEXT;";

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database fails.
    #[error("the database fails")]
    Database(#[from] rusqlite::Error),
    /// Its file cannot be made.
    #[error("the database's file cannot be used")]
    File(#[from] std::io::Error),
    /// Its tables cannot be made.
    #[error("the database's tables cannot be made")]
    Tables(#[from] rusqlite_migration::Error),
    /// A row is not what was written.
    #[error("the database holds what was never written")]
    Damaged,
    /// The signature is not one of that id over that body.
    #[error("X-Provider-Signature is not the signature of the body by X-Provider-ID")]
    FalseSignature,
    /// The id proved itself before.
    #[error("this provider signs its adverts; one without a signature is not taken")]
    SignatureNeeded,
    /// The signed time is not now.
    #[error("the signed timestamp is too far from now, {now} ms; fix: set the clock")]
    WrongTime {
        /// The service's time, in milliseconds since the epoch.
        now: i64,
    },
    /// Something newer of that id is known, or its signed time is missing.
    #[error("a newer advert of this provider is known; a signed timestamp has to be above {last} ms")]
    Old {
        /// The time of the newest, in milliseconds since the epoch.
        last: i64,
    },
    /// There is no room.
    #[error("there is no room for more adverts")]
    Full,
}

/// An advert, as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdvertRow {
    /// Whose it is.
    pub provider_id: ProviderId,
    /// What it says.
    pub advert: PostedAdvert,
    /// Whether its owner proved to be the one who posted it.
    pub signed: bool,
    /// When its id was first advertised without a gap.
    pub created_at: Timestamp,
    /// When it was last posted.
    pub updated_at: Timestamp,
}

/// What a renter needs; what is none does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Least cores.
    pub cpu: Option<u32>,
    /// Least memory in GiB.
    pub memory: Option<u32>,
    /// Least storage in GiB.
    pub storage: Option<u32>,
    /// Country.
    pub country: Option<String>,
    /// Processor.
    pub platform: Option<String>,
}

/// Which part of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only what comes after the page that ends there.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

/// The database.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    order: Order,
}

impl Store {
    /// Opens the database in the file `path`, or makes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        golem_files::private_database(path)?;
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What a loss of power takes comes again within minutes.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Migrations::new(vec![M::up(ADVERTS_TABLE), M::up(SOURCE_COLUMN)]).to_latest(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection), order: Order::default() })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that was cut short by a panic was rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `advert` of `id` from `now` on, in place of an earlier one. `source` is who posted it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(
        &self,
        id: &ProviderId,
        advert: &PostedAdvert,
        claim: Claim,
        source: Option<Source>,
        now: Timestamp,
    ) -> Result<AdvertRow, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        admit(&transaction, id, claim, advert.timestamp, now)?;
        let known = find(&transaction, id.as_str())?;
        if known.is_none() && count(&transaction, "adverts")? >= ADVERTS {
            self.make_room(&transaction, id, claim, source, now)?;
        }
        // One that lapsed and was not cleaned up yet begins anew.
        let created_at = known.filter(|row| row.updated_at >= oldest(now)).map_or(now, |row| row.created_at);
        let json = |value: serde_json::Result<String>| value.map_err(|_| StoreError::Damaged);
        let pricing = advert.pricing.as_ref().map(serde_json::to_string).map(json).transpose()?;
        let has = |name: &str| advert.resources.get(name).copied().unwrap_or_default();
        transaction.execute(
            "INSERT OR REPLACE INTO adverts VALUES (:id, :ip_address, :country, :platform, :name, :cpu, :memory, \
             :storage, :resources, :pricing, :signed, :created_at, :updated_at, :source)",
            named_params! {
                ":id": id.as_str(), ":ip_address": advert.ip_address.to_string(), ":country": advert.country,
                ":platform": advert.platform, ":name": advert.name, ":cpu": has("cpu"), ":memory": has("memory"),
                ":storage": has("storage"), ":resources": json(serde_json::to_string(&advert.resources))?,
                ":pricing": pricing, ":signed": claim == Claim::Proven,
                ":created_at": created_at.as_microsecond(), ":updated_at": now.as_microsecond(),
                ":source": source.map(|source| source.customer.to_string()),
            },
        )?;
        transaction.commit()?;
        let advert = PostedAdvert { timestamp: None, ..advert.clone() };
        Ok(AdvertRow {
            provider_id: id.clone(),
            advert,
            signed: claim == Claim::Proven,
            created_at,
            updated_at: now,
        })
    }

    /// Forgets the advert that has the least right to its place, so that there is one for `id`.
    fn make_room(
        &self,
        transaction: &Transaction<'_>,
        id: &ProviderId,
        claim: Claim,
        source: Option<Source>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transaction.execute("DELETE FROM adverts WHERE updated_at < ?", [oldest(now).as_microsecond()])?;
        if count(transaction, "adverts")? < ADVERTS {
            return Ok(());
        }
        let mut all = candidates(transaction, &Filter::default(), now)?;
        let signed = claim == Claim::Proven;
        all.push(Candidate { id: id.to_string(), signed, source, fits: true });
        let gone = self.order.gives_way(all, id.as_str(), now).ok_or(StoreError::Full)?;
        transaction.execute("DELETE FROM adverts WHERE provider_id = ?", [gone])?;
        Ok(())
    }

    /// Adverts that `filter` lets through and that have not lapsed at `now`, in their order, and where the
    /// page ends if there are more after it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(
        &self,
        filter: &Filter,
        page: &Page,
        now: Timestamp,
    ) -> Result<(Vec<AdvertRow>, Option<Cursor>), StoreError> {
        let connection = self.connection();
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let (ids, end) = self.order.page(candidates(&connection, filter, now)?, page.after, limit, now);
        let rows = ids.iter().map(|id| find(&connection, id)).filter_map(Result::transpose);
        Ok((rows.collect::<Result<_, _>>()?, end))
    }

    /// The advert of `id`, where it has not lapsed at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: &ProviderId, now: Timestamp) -> Result<Option<AdvertRow>, StoreError> {
        Ok(find(&self.connection(), id.as_str())?.filter(|row| row.updated_at >= oldest(now)))
    }

    /// Shows the advert of `id` no longer; gives whether there was one. `timestamp` is the signed
    /// time of the wish.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(
        &self,
        id: &ProviderId,
        claim: Claim,
        timestamp: Option<i64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        admit(&transaction, id, claim, timestamp, now)?;
        let removed = transaction.execute("DELETE FROM adverts WHERE provider_id = ?", [id.as_str()])?;
        transaction.commit()?;
        Ok(removed > 0)
    }

    /// Forgets what has lapsed at `now`; gives how many adverts that were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clean(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let oldest = oldest(now).as_microsecond();
        let removed = transaction.execute("DELETE FROM adverts WHERE updated_at < ?", [oldest])?;
        let signers = count(&transaction, "signers")?;
        if let Some(surplus) = signers.checked_sub(SIGNERS).filter(|surplus| *surplus > 0) {
            transaction.execute(
                "DELETE FROM signers WHERE provider_id IN (SELECT provider_id FROM signers ORDER BY seen_at LIMIT ?)",
                [surplus],
            )?;
        }
        transaction.commit()?;
        Ok(removed)
    }
}

/// The time before which adverts have lapsed at `now`.
fn oldest(now: Timestamp) -> Timestamp {
    now.checked_sub(jiff::SignedDuration::from_secs(LIFETIME_SECONDS)).unwrap_or(Timestamp::MIN)
}

fn count(connection: &Connection, table: &str) -> Result<u32, StoreError> {
    Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
}

/// Whether `claim` may speak for `id`; what it proved is remembered.
fn admit(
    transaction: &Transaction<'_>,
    id: &ProviderId,
    claim: Claim,
    timestamp: Option<i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last: Option<i64> = transaction
        .query_row("SELECT timestamp FROM signers WHERE provider_id = ?", [id.as_str()], |row| row.get(0))
        .optional()?;
    match claim {
        Claim::False => return Err(StoreError::FalseSignature),
        Claim::Unproven => return if last.is_some() { Err(StoreError::SignatureNeeded) } else { Ok(()) },
        Claim::Proven => {}
    }
    if let Some(signed) = timestamp {
        let now = now.as_millisecond();
        if signed.abs_diff(now) > CLOCKS.unsigned_abs() {
            return Err(StoreError::WrongTime { now });
        }
    }
    let last = last.unwrap_or(0);
    // Who never names a time can be repeated, and who once did has to go on.
    let time = timestamp.unwrap_or(0);
    if last > 0 && time <= last {
        return Err(StoreError::Old { last });
    }
    transaction.execute(
        "INSERT OR REPLACE INTO signers VALUES (?, ?, ?)",
        params![id.as_str(), time, now.as_microsecond()],
    )?;
    Ok(())
}

/// What decides about the order of all that has not lapsed at `now`, and whether `filter` lets it through.
fn candidates(
    connection: &Connection,
    filter: &Filter,
    now: Timestamp,
) -> Result<Vec<Candidate>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT provider_id, signed, source, cpu >= :cpu AND memory >= :memory AND storage >= :storage \
         AND (:country IS NULL OR country = :country) AND (:platform IS NULL OR coalesce(platform, '') = :platform) \
         FROM adverts WHERE updated_at >= :oldest",
    )?;
    let candidates = statement.query_map(
        named_params! {
            ":oldest": oldest(now).as_microsecond(), ":cpu": filter.cpu.unwrap_or(0),
            ":memory": filter.memory.unwrap_or(0), ":storage": filter.storage.unwrap_or(0),
            ":country": filter.country, ":platform": filter.platform,
        },
        |row| {
            let source =
                row.get::<_, Option<String>>(2)?.and_then(|source| source.parse().ok()).map(Source::of);
            Ok(Candidate { id: row.get(0)?, signed: row.get(1)?, source, fits: row.get(3)? })
        },
    )?;
    Ok(candidates.collect::<Result<_, _>>()?)
}

fn find(connection: &Connection, id: &str) -> Result<Option<AdvertRow>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM adverts WHERE provider_id = ?")?;
    let mut rows = statement.query_and_then([id], read)?;
    rows.next().transpose()
}

fn read(row: &rusqlite::Row<'_>) -> Result<AdvertRow, StoreError> {
    let text = |name: &str| row.get::<_, String>(name);
    let time = |name: &str| -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(row.get(name)?).map_err(|_| StoreError::Damaged)
    };
    let resources: BTreeMap<String, u32> =
        serde_json::from_str(&text("resources")?).map_err(|_| StoreError::Damaged)?;
    let pricing: Option<Map<String, Value>> = match row.get::<_, Option<String>>("pricing")? {
        Some(pricing) => serde_json::from_str(&pricing).map_err(|_| StoreError::Damaged)?,
        None => None,
    };
    Ok(AdvertRow {
        provider_id: text("provider_id")?.parse().map_err(|_| StoreError::Damaged)?,
        advert: PostedAdvert {
            ip_address: text("ip_address")?.parse().map_err(|_| StoreError::Damaged)?,
            country: text("country")?,
            platform: row.get("platform")?,
            name: row.get("name")?,
            resources,
            pricing,
            timestamp: None,
        },
        signed: row.get("signed")?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
    })
}

#[cfg(test)]
mod tests;
