//! What is booked without events, and what is forgotten of transactions.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes};
use golem_chain::Block;
use golem_chain::contract::events::Position;
use golem_types::StreamId;
use ruint::aliases::U256;

use super::*;
use crate::entry::{EntryKind, EntrySource, Posting};
use crate::ledger::{Account, Batch, Order, Purpose, Readings, TransactionState};

const CONTRACT: &str = "1:0x0";

fn block(number: u64) -> Block {
    Block { number, hash: B256::from(U256::from(number)), time: 1000 + u128::from(number) }
}

/// What the stream 1 says at the block `number`: that `withdrawn` was paid out.
async fn read(open: &Open, number: u64, withdrawn: u64) -> usize {
    let stream = paid_by(1, 100, withdrawn).stream;
    let readings = Readings {
        contract: CONTRACT.into(),
        chain_id: 1,
        block: block(number),
        streams: vec![(StreamId(U256::from(1)), stream)],
        currencies: BTreeMap::new(),
    };
    open.ledger.book_readings(readings, now()).await.unwrap()
}

/// Events of withdrawals of the stream 1, block and amount, up to the block `last`.
async fn told(open: &Open, events: &[(u64, u64)], last: u64) {
    let posting = |(number, amount): &(u64, u64)| Posting {
        stream: Some(StreamId(U256::from(1))),
        kind: EntryKind::Withdrawn,
        amount: U256::from(*amount),
        token: Default::default(),
        at: now(),
        position: Position {
            block: *number,
            log: 0,
            block_hash: block(*number).hash,
            transaction: B256::repeat_byte(u8::try_from(*number).unwrap()),
        },
    };
    let batch = Batch {
        contract: CONTRACT.into(),
        chain_id: 1,
        after: 0,
        blocks: 1..=last,
        last: block(last),
        opened: Vec::new(),
        foreign: Vec::new(),
        gone: Vec::new(),
        postings: events.iter().map(posting).collect(),
        copies: Vec::new(),
        currencies: BTreeMap::new(),
    };
    open.ledger.book(batch, now()).await.unwrap();
}

/// What counts as received: by events, and by readings.
async fn received(open: &Open) -> (u64, u64) {
    let entries = open.ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let of = |source: EntrySource| {
        let ours = entries.iter().filter(|entry| entry.counts() && entry.source == source);
        let received = ours.filter(|entry| entry.kind == EntryKind::Withdrawn);
        received.map(|entry| entry.amount.to::<u64>()).sum()
    };
    (of(EntrySource::Event), of(EntrySource::Reading))
}

/// M-08, M-01: what a stream says of itself is booked where no event is, and is never booked twice: events take its place as
/// they come, piece by piece, and what a reorganisation took back is taken back.
#[tokio::test]
async fn m_08_a_reading_stands_for_what_no_event_explains() {
    let open = Open::new();
    assert_eq!((read(&open, 7, 10).await, read(&open, 8, 10).await, read(&open, 9, 25).await), (1, 0, 1));
    assert_eq!(received(&open).await, (0, 25));
    let (events, all) = ([(5, 10), (8, 15), (20, 30)], 25);
    told(&open, &events[..1], 6).await;
    assert_eq!(received(&open).await, (10, all - 10), "the rest is still as it was read");
    told(&open, &events[..1], 7).await;
    assert_eq!(received(&open).await, (10, all - 10));
    told(&open, &events[..2], 10).await;
    assert_eq!(received(&open).await, (25, 0));
    told(&open, &events, 21).await;
    assert_eq!((received(&open).await, read(&open, 22, 55).await), ((55, 0), 0));
    // Read, and gone with its block.
    assert_eq!((read(&open, 30, 60).await, read(&open, 29, 57).await), (1, 1));
    assert_eq!(received(&open).await, (55, 2));
    let entries = open.ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let earned = entries.iter().filter(|entry| entry.counts() && entry.kind == EntryKind::Earned);
    let earned = earned.fold(U256::ZERO, |sum, entry| sum + entry.amount);
    assert!(earned >= U256::from(57), "what was paid had vested: {earned}");
}

/// M-10: of several withdrawals of one stream whose blocks are all gone, none stays in the books with what it cost, and each is
/// followed again.
#[tokio::test]
async fn m_10_each_of_several_transactions_about_one_stream_is_taken_back() {
    let open = Open::new();
    let account = Account { chain_id: 1, wallet: Address::repeat_byte(7) };
    let order = |subject: &str| Order {
        purpose: Purpose::Withdraw,
        subject: subject.to_owned(),
        to: Address::repeat_byte(8),
        data: Bytes::new(),
        value: U256::ZERO,
        most_cost: None,
    };
    let mut ids = Vec::new();
    for nonce in 0..3u64 {
        let id = open.ledger.want_transaction(account, order("1:0x0:1"), now()).await.unwrap();
        let mut row = open.ledger.transaction(id).await.unwrap().unwrap();
        (row.state, row.nonce) = (TransactionState::Mined, Some(nonce));
        (row.block, row.block_hash) = (Some(10 + nonce), Some(block(10 + nonce).hash));
        (row.hash, row.cost) = (Some(B256::from(U256::from(id))), Some(U256::from(3)));
        open.ledger.keep_transaction(row, now()).await.unwrap();
        ids.push(id);
    }
    // Before that is seen, the number of the first is given to something else.
    let other = open.ledger.want_transaction(account, order("1:0x0:2"), now()).await.unwrap();
    let mut row = open.ledger.transaction(other).await.unwrap().unwrap();
    (row.state, row.nonce) = (TransactionState::Sent, Some(0));
    open.ledger.keep_transaction(row, now()).await.unwrap();
    let gone = (10..13).map(|number| (number, block(number).hash)).collect();
    // M-10
    assert_eq!(open.ledger.reopen_transactions(1, gone, now()).await.unwrap(), 3);
    let entries = open.ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(entries.iter().all(|entry| !entry.counts()), "{entries:?}");
    let open_now = open.ledger.open_transactions(Some(account)).await.unwrap();
    let open_now: Vec<i64> = open_now.into_iter().map(|one| one.id).collect();
    assert_eq!(open_now, [ids, vec![other]].concat());
    // What is wanted once more is one of those.
    let again = open.ledger.want_transaction(account, order("1:0x0:1"), now()).await.unwrap();
    assert!(open_now.contains(&again));
}

/// M-07: transactions that ended long ago are forgotten, but for the newest thousand, those of which something is still to be
/// found out, and what they cost.
#[tokio::test]
async fn m_07_transactions_that_ended_are_forgotten_in_time() {
    let open = Open::new();
    let account = Account { chain_id: 1, wallet: Address::repeat_byte(7) };
    let long_ago = now() - jiff::SignedDuration::from_hours(100 * 24);
    let cutoff = now() - jiff::SignedDuration::from_hours(90 * 24);
    let want = async |purpose, number: u64| {
        let order = Order {
            purpose,
            subject: number.to_string(),
            to: Address::repeat_byte(8),
            data: Bytes::new(),
            value: U256::ZERO,
            most_cost: None,
        };
        open.ledger.want_transaction(account, order, long_ago).await.unwrap()
    };
    let mined = async |id: i64, at| {
        let mut row = open.ledger.transaction(id).await.unwrap().unwrap();
        (row.state, row.block) = (TransactionState::Mined, Some(5));
        (row.hash, row.cost) = (Some(B256::from(U256::from(id))), Some(U256::from(3)));
        open.ledger.keep_transaction(row, at).await.unwrap();
    };
    let open_still = want(Purpose::Withdraw, 0).await;
    let unseen = want(Purpose::Sweep, 1).await;
    mined(unseen, long_ago).await;
    let recent = want(Purpose::Withdraw, 2).await;
    mined(recent, now()).await;
    let mut old = Vec::new();
    for number in 3..1253 {
        let id = want(Purpose::Withdraw, number).await;
        mined(id, long_ago).await;
        old.push(id);
    }
    let mut gone = 0;
    loop {
        let pruned = open.ledger.prune(cutoff, BTreeSet::new(), now()).await.unwrap();
        if pruned.is_none() {
            break;
        }
        gone += pruned.transactions;
    }
    // M-07
    assert_eq!(gone, 250);
    for id in [open_still, unseen, recent, old[250]] {
        assert!(open.ledger.transaction(id).await.unwrap().is_some(), "{id}");
    }
    assert!(open.ledger.transaction(old[249]).await.unwrap().is_none());
    let cost = open.ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let cost = cost.iter().filter(|entry| entry.kind == EntryKind::Gas);
    assert_eq!(cost.fold(U256::ZERO, |sum, entry| sum + entry.amount), U256::from(3 * 1252));
}
