//! A ledger of an older version, as its own code wrote it, read by today's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use golem_chain::transaction::Fee;
use golem_reach::verdict::UnreachableReason;
use golem_types::{StreamId, VmState};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::*;
use crate::vm::JobState;

/// With every kind of row that the node of commit 5240090 could write.
const OF_5240090: &str = include_str!("../../tests/data/ledger-5240090.sql");

const CONTRACT: &str = "84532:0x1f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a";

/// What the node of that commit recorded in minute `number`.
fn at(number: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + number * 60).unwrap()
}

fn key(number: U256) -> StreamKey {
    StreamKey { contract: CONTRACT.into(), id: StreamId(number) }
}

fn kept(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(OF_5240090).unwrap();
    connection
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every row of every table, in the columns `of`.
type Rows = BTreeMap<String, Vec<Vec<Value>>>;

fn rows(connection: &Connection, of: &BTreeMap<String, Vec<String>>) -> Rows {
    let read = |(table, columns): (&String, &Vec<String>)| {
        let sql = format!("SELECT {} FROM {table} ORDER BY rowid", columns.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|index| row.get(index)).collect();
        (table.clone(), statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap())
    };
    of.iter().map(read).collect()
}

fn columns(connection: &Connection) -> BTreeMap<String, Vec<String>> {
    let tables =
        texts(connection, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let of = |table: String| {
        let columns = texts(connection, &format!("SELECT name FROM pragma_table_info('{table}')"));
        (table, columns)
    };
    tables.into_iter().map(of).collect()
}

/// What is written today for what was written then.
fn tag_of(words: &str) -> &'static str {
    match words {
        "connection refused" => "refused",
        "connection timed out" => "timed_out",
        "no route to the address" => "no_route",
        "something else answers at the public address" => "another_answers",
        "accepted before it reached this node" => "nobody_came",
        _ => "other",
    }
}

struct Kept {
    ledger: Ledger,
    folder: tempfile::TempDir,
}

impl Kept {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provider.db");
        drop(kept(&path));
        Self { ledger: Ledger::open(&path).unwrap(), folder }
    }

    /// The one rental of this name, live or ended.
    async fn rental(&self, name: &str) -> Rental {
        let connection = Connection::open(self.folder.path().join("provider.db")).unwrap();
        let [id] =
            texts(&connection, &format!("SELECT id FROM vms WHERE name = '{name}'")).try_into().unwrap();
        self.ledger.rental(&id.parse().unwrap()).await.unwrap().unwrap()
    }
}

#[test]
fn every_column_of_every_row_stays_as_it_was_but_for_words_that_are_tags_now() {
    let folder = tempfile::tempdir().unwrap();
    let before = kept(&folder.path().join("before.db"));
    let columns = columns(&before);
    assert_eq!(columns.len(), 9, "{columns:?}");
    let expected = rows(&before, &columns);
    assert!(expected.values().all(|rows| !rows.is_empty()), "a table without a row: {expected:?}");
    let path = folder.path().join("provider.db");
    drop(kept(&path));
    drop(Ledger::open(&path).unwrap());
    let after = rows(&Connection::open(&path).unwrap(), &columns);
    for (table, mut expected) in expected {
        if table == "port_verdicts" {
            // Told in words then, by tags now.
            let problem = columns[&table].iter().position(|column| column == "problem").unwrap();
            for row in &mut expected {
                row[problem] = match &row[problem] {
                    Value::Text(words) => Value::Text(tag_of(words).to_owned()),
                    reachable => reachable.clone(),
                };
            }
        }
        assert_eq!(after[&table], expected, "{table}");
    }
}

#[tokio::test]
async fn rentals_of_every_state_and_their_jobs_arrive() {
    let kept = Kept::open();
    for (name, state, goal, has_booted, aim) in [
        ("creating", VmState::Creating, Goal::Running, false, Goal::Running),
        ("running", VmState::Running, Goal::Running, true, Goal::Running),
        ("stopping", VmState::Stopping, Goal::Stopped, true, Goal::Stopped),
        ("stopped", VmState::Stopped, Goal::Stopped, true, Goal::Stopped),
        ("unpaid", VmState::Stopped, Goal::Running, true, Goal::Stopped),
        ("error", VmState::Error, Goal::Running, true, Goal::Running),
        ("given-up", VmState::Error, Goal::Deleted, false, Goal::Deleted),
        ("attached", VmState::Creating, Goal::Running, false, Goal::Running),
        ("import", VmState::Running, Goal::Running, true, Goal::Running),
        ("imported", VmState::Stopped, Goal::Stopped, true, Goal::Stopped),
    ] {
        let rental = kept.rental(name).await;
        assert_eq!(
            (rental.vm.state, rental.goal, rental.has_booted, rental.aim()),
            (state, goal, has_booted, aim),
            "{name}"
        );
        assert_eq!(kept.ledger.now().get(&rental.vm.id), Some(&rental), "{name} is live");
    }
    for name in ["ended", "early", "failed", "import-ended"] {
        let rental = kept.rental(name).await;
        assert_eq!((rental.vm.state, rental.goal), (VmState::Deleted, Goal::Deleted), "{name}");
        assert_eq!(kept.ledger.known(&rental.vm.id).await.unwrap(), Known::Ended);
        let last = kept.ledger.now().ports_last_used[&rental.vm.ssh_port];
        assert_eq!(last, rental.vm.updated_at.as_microsecond(), "{name}");
    }
    assert_eq!(kept.ledger.now().iter().len(), 10);
    assert!(kept.ledger.now().draining);

    let running = kept.rental("running").await.vm;
    assert_eq!(running.owner, "eth:0x00000000000000000000000000000000000a11ce");
    assert_eq!((running.keys.len(), running.ssh_port), (2, 50_801));
    assert_eq!(running.ip_address, Some("10.0.2.15".parse().unwrap()));
    assert_eq!(running.stream, Some(key(U256::from(2))));
    assert_eq!((running.created_at, running.updated_at), (at(2), at(4)));
    assert_eq!(kept.rental("stopping").await.vm.ip_address, Some("fd00::15".parse().unwrap()));
    let unpaid = kept.rental("unpaid").await.vm.unpaid.clone().unwrap();
    assert_eq!((unpaid.since, unpaid.reason.as_str()), (at(7), "its stream has run out"));
    assert_eq!(kept.rental("attached").await.vm.unpaid, None);
    let error = kept.rental("error").await.vm.error.clone();
    assert_eq!(error.as_deref(), Some("the machine's disk is missing on this host"));
    let names = kept.ledger.backend_names().await.unwrap();
    let backend_name = |id: &VmId| names.get(id).map(String::as_str);
    for name in ["import", "imported", "import-ended"] {
        let wanted = format!("golem-{name}-20250219-130424");
        assert_eq!(backend_name(&kept.rental(name).await.vm.id), Some(wanted.as_str()));
    }
    assert_eq!((names.len(), backend_name(&running.id)), (3, None));

    let connection = Connection::open(kept.folder.path().join("provider.db")).unwrap();
    let mut states = BTreeMap::new();
    for id in texts(&connection, "SELECT id FROM jobs") {
        let job = kept.ledger.job(&id.parse().unwrap()).await.unwrap().unwrap();
        assert!(job.stages.is_empty(), "stages came later");
        let vm = kept.ledger.rental(&job.vm_id).await.unwrap().unwrap().vm;
        states.insert(vm.name.to_string(), (job.state, job.error));
    }
    assert_eq!(states.len(), 11);
    assert_eq!(states["creating"], (JobState::Creating, None));
    assert_eq!(states["running"], (JobState::Ready, None));
    assert_eq!(states["early"], (JobState::Failed, Some("deleted before it ran".to_owned())));
    assert_eq!(states["given-up"], (JobState::Failed, Some("making the disk: no space is left".to_owned())));
    // Whoever made this create and lost its answer is still told of it.
    let created =
        async |quote| kept.ledger.created("creating".parse().unwrap(), key(U256::ONE), quote).await.unwrap();
    let (vm, job) = created("quote-of-the-creating-one").await.unwrap();
    assert_eq!((vm, job.state), (kept.rental("creating").await.vm, JobState::Creating));
    assert_eq!(created("another").await, None);
}

#[tokio::test]
async fn streams_withdrawals_and_events_arrive() {
    let kept = Kept::open();
    let streams = kept.ledger.streams(CONTRACT).await.unwrap();
    let of = |number: U256| streams.iter().find(|copy| copy.key == key(number)).unwrap();
    assert_eq!(streams.len(), 9);
    let paying = of(U256::from(2));
    assert_eq!(paying.vm, kept.rental("running").await.vm.id);
    assert_eq!((paying.block, paying.block_time, paying.read_at), (1002, 1_760_000_120, at(2)));
    let wanted = golem_types::Stream {
        token: U160::from(9),
        sender: U160::from(0xa11ce),
        recipient: U160::from(0xb0b),
        start: 1_760_000_000,
        stop: 1_770_000_000,
        rate: 1_000_000_000_000,
        deposit: U256::from(10).pow(U256::from(19)),
        withdrawn: U256::from(2),
        halted: false,
        lease: None,
    };
    assert_eq!(paying.stream, wanted);
    assert!(of(U256::from(30)).stream.halted);
    assert!(of(U256::from(31)).stream.recipient.is_zero());
    assert_eq!(of(U256::MAX).stream.deposit, U256::MAX);

    let withdrawals = kept.ledger.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
    let [paid, failed, sent] = withdrawals.try_into().unwrap();
    assert_eq!(
        (paid.state, paid.paid, paid.cost),
        (WithdrawalState::Paid, Some(U256::from(5_000_000)), Some(U256::from(90_000)))
    );
    assert_eq!((paid.block, paid.key.clone(), paid.transaction), (Some(2001), key(U256::from(8)), None));
    assert_eq!(
        (failed.state, failed.error.as_deref()),
        (WithdrawalState::Failed, Some("the contract refused it"))
    );
    assert_eq!(failed.tries[0].transaction.fee, Fee::Legacy { price: 5 });
    assert_eq!(
        (sent.state, sent.tries.len(), sent.tries[1].transaction.nonce),
        (WithdrawalState::Sent, 2, 2)
    );
    assert_eq!(sent.tries[1].signed.raw.to_vec(), [2, 2, 36]);
    assert_eq!(kept.ledger.withdrawals_under_way(CONTRACT).await.unwrap(), std::slice::from_ref(&sent));

    // M-07: what that version had sent is taken over, once, with its number and its bytes.
    let account = Account { chain_id: 1, wallet: alloy_primitives::Address::repeat_byte(9) };
    for _ in 0..2 {
        kept.ledger.take_over_withdrawals(CONTRACT, account, at(9)).await.unwrap();
    }
    let [taken] = kept.ledger.open_transactions(Some(account)).await.unwrap().try_into().unwrap();
    assert_eq!(
        (taken.nonce, taken.state, &taken.attempts),
        (Some(2), TransactionState::Recorded, &sent.tries)
    );
    let under_way = kept.ledger.withdrawals_under_way(CONTRACT).await.unwrap();
    assert_eq!(under_way[0].transaction, Some(taken.id));

    let events = kept.ledger.events(None, 100).await.unwrap();
    let kinds: BTreeSet<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let wanted = [
        "payment.ended",
        "payment.resumed",
        "stream.attached",
        "stream.opened",
        "vm.imported",
        "vm.out_of_memory",
        "withdrawal.failed",
        "withdrawal.paid",
        "withdrawal.replaced",
    ];
    assert_eq!((events.len(), kinds), (16, BTreeSet::from(wanted)));
    let attached = kept.ledger.events(Some(kept.rental("attached").await.vm.id.clone()), 100).await.unwrap();
    assert_eq!(attached.iter().map(|event| event.at).collect::<Vec<_>>(), [at(14), at(13), at(12), at(11)]);
}

/// M-01: withdrawals that were recorded before there were books are in them, marked as such, and their gas.
#[tokio::test]
async fn withdrawals_of_before_are_in_the_books() {
    let kept = Kept::open();
    let entries = kept.ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (entry.kind.as_str(), entry.amount.to::<u64>(), entry.debit.as_str(), entry.credit.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("earned", 5_000_000, "receivable", "earned"),
            ("withdrawn", 5_000_000, "wallet", "receivable"),
            ("gas", 90_000, "gas", "wallet"),
            ("gas", 45_000, "gas", "wallet"),
        ]
    );
    for entry in &entries {
        assert_eq!(entry.source, crate::entry::EntrySource::Older);
        assert_eq!((entry.chain_id, entry.contract.as_deref()), (84_532, Some(CONTRACT)));
        assert_eq!(entry.stream, Some(StreamId(U256::from(8))));
        assert!(entry.vm.is_some() && entry.transaction.is_some() && entry.usd.is_none());
    }
    let streams = kept.ledger.book_streams(CONTRACT.into()).await.unwrap();
    assert_eq!(streams.len(), 9);
    assert_eq!(streams[&StreamId(U256::from(2))].sender, U160::from(0xa11ce));
}

#[tokio::test]
async fn what_adverts_cost_rates_and_verdicts_on_ports_arrive() {
    let kept = Kept::open();
    let spent = kept.ledger.advert_spending("tiramisu").await.unwrap();
    assert_eq!(
        (spent.writes, spent.failed, spent.gas, spent.cost),
        (2, 1, 120_000, U256::from(2 * 1_234_567))
    );
    for (coin, usd, minute) in [("GLM", "0.2512", 42), ("ETH", "3012.75", 43)] {
        let rate = kept.ledger.rate(coin).await.unwrap().unwrap();
        assert_eq!((rate.usd.to_string().as_str(), rate.at), (usd, at(minute)));
    }
    let verdicts = Arc::clone(&kept.ledger.now().port_verdicts);
    let other = UnreachableReason::Other("TLS handshake \"failed\"".to_owned());
    for (port, problem) in (50_800..).zip([
        None,
        Some(UnreachableReason::Refused),
        Some(UnreachableReason::TimedOut),
        Some(UnreachableReason::NoRoute),
        Some(UnreachableReason::AnotherAnswers),
        Some(UnreachableReason::NobodyCame),
        Some(other),
    ]) {
        let verdict = &verdicts[&port];
        assert_eq!(
            (verdict.port, &verdict.problem, verdict.answered, verdict.at),
            (port, &problem, 3, at(44))
        );
        assert_eq!(verdict.address, std::net::Ipv4Addr::new(203, 0, 113, 7));
        assert_eq!(verdict.sources.iter().collect::<Vec<_>>(), ["https://check.one", "https://check.two"]);
    }
    let api = &verdicts[&7466];
    assert_eq!((api.address.to_string().as_str(), &api.problem, api.at), ("2001:db8::7", &None, at(45)));
    assert_eq!(verdicts.len(), 8);
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_no_byte_of_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("provider.db");
    let newer = kept(&path);
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Ledger::open(&path), Err(LedgerError::Newer { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
