//! What was found out about ports, so that a restart without a checker still knows which to hand out.
//!
//! Owns their table. A port has one verdict, the last; one that nobody could give changes nothing
//! (I3). Never judges: [`golem_reach::verdict`] does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use golem_reach::verdict::{PortVerdict, UnreachableReason};
use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::columns::{parsed, rounded, time};
use super::{Ledger, LedgerError};

const COLUMNS: &str = "port, problem, detail, address, sources, answered, at";

fn verdict(row: &Row<'_>) -> rusqlite::Result<PortVerdict> {
    let tag: Option<String> = row.get(1)?;
    let detail: Option<String> = row.get(2)?;
    let sources: String = row.get(4)?;
    Ok(PortVerdict {
        port: row.get(0)?,
        problem: tag.map(|tag| UnreachableReason::from_tag(&tag, detail)),
        address: parsed(row, 3)?,
        sources: serde_json::from_str(&sources).unwrap_or_default(),
        answered: row.get(5)?,
        at: time(row, 6)?,
    })
}

/// Every verdict, by port.
pub(super) fn verdicts(connection: &Connection) -> Result<BTreeMap<u16, PortVerdict>, LedgerError> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM port_verdicts"))?;
    let rows = statement.query_map([], verdict)?;
    Ok(rows.map(|row| row.map(|row| (row.port, row))).collect::<Result<_, _>>()?)
}

impl Ledger {
    /// Keeps `verdicts`, each in place of an earlier one of its port: one transaction.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_port_verdicts(&self, verdicts: Vec<PortVerdict>) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut known = (*writer.now.port_verdicts).clone();
            for verdict in verdicts {
                let sources = serde_json::Value::from_iter(verdict.sources.iter().map(String::as_str));
                let sql = format!(
                    "INSERT OR REPLACE INTO port_verdicts ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
                );
                transaction.prepare_cached(&sql)?.execute(params![
                    verdict.port,
                    verdict.problem.as_ref().map(UnreachableReason::tag),
                    verdict.problem.as_ref().and_then(UnreachableReason::detail),
                    verdict.address.to_string(),
                    sources.to_string(),
                    verdict.answered,
                    verdict.at.as_microsecond(),
                ])?;
                known.insert(verdict.port, PortVerdict { at: rounded(verdict.at), ..verdict });
            }
            transaction.commit()?;
            writer.now.port_verdicts = Arc::new(known);
            writer.publish();
            Ok(())
        })
        .await
    }

    /// Forgets the verdicts on any other address than `address`: they say nothing about it. Gives
    /// how many there were.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn forget_port_verdicts_but_of(&self, address: IpAddr) -> Result<usize, LedgerError> {
        self.ask(move |writer| {
            let sql = "DELETE FROM port_verdicts WHERE address <> ?1";
            let gone = writer.connection.execute(sql, [address.to_string()])?;
            if gone > 0 {
                writer.now.port_verdicts = Arc::new(verdicts(&writer.connection)?);
                writer.publish();
            }
            Ok(gone)
        })
        .await
    }
}
