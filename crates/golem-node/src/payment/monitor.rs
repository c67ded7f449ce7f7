//! Follows the streams that pay for rentals.
//!
//! ```text
//!   tick: head ─► logs since the last one ─► read what was touched ─► billing_policy for every rental ─► act
//!                   └─ there are none, or they cost too much ─► read everything, a part in each tick
//! ```
//! Owns the timer and the cost of a tick: two round trips when nothing happened, whatever the number
//! of streams, and one more for each hundred that were touched; with an endpoint that takes no batches and gives no logs, one
//! request for each [`A_REQUEST_FOR`] streams in all, those that end first before the others. Everything is read again at the start,
//! after a reorganisation (the last block is gone), after a long silence, and every few minutes in case
//! a contract keeps an event to itself. What would end a rental is read a second time first, from another endpoint where
//! there is one, so that one garbled answer ends none. Money runs out by the chain's time, which goes on while there is no
//! new block. Never deletes or resumes on what it did not read.

use std::collections::{BTreeMap, BTreeSet};

use golem_chain::{Block, ChainError, Head, Reader};
use golem_types::{Stream, StreamId, VmId};
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio_util::sync::CancellationToken;

use super::Payments;
use super::billing_policy::{Action, Evidence, next};
use super::books::{Effort, News};
use super::control::RentalControl;
use crate::crash::crash_point;
use crate::ledger::{Batch, LedgerError};
use crate::paid::StreamCopy;
use crate::rental::{Goal, Rental};

/// Most requests for events that a tick waits for; what takes more is read beside it.
const LOG_REQUESTS: u64 = 8;

/// How many streams there have to be for each request of a tick; a few are free, for the newest block and its logs.
const A_REQUEST_FOR: usize = 20;
const FREE_REQUESTS: usize = 4;

/// How many of them the newest block takes at most, without batches.
const HEAD_REQUESTS: usize = 3;

/// Blocks that a reorganisation may take back, as far as the node's own transactions are looked for again.
const REORGANISED: u64 = 500;

/// Blocks that are looked at once more at the next tick.
const OVERLAP: u64 = 2;

/// Least streams of rentals that are to end that a tick reads, where it has requests for them at all: what nobody pays for is not
/// to run on for long.
const ENDING: usize = 8;

/// Ticks between two readings of everything.
const FULL_EVERY: u32 = 20;

/// What the monitor remembers between ticks; a restart of the node begins anew.
#[derive(Debug, Default)]
struct Memory {
    block: Option<Block>,
    ticks: u32,
    warned: BTreeSet<VmId>,
    /// Rentals that are paid for again and have no room.
    waiting: BTreeSet<VmId>,
    /// Streams that are to be read, in this tick or the next ones.
    due: BTreeSet<StreamId>,
    /// Whether more rentals were to end than one tick had requests for, or none was left for them.
    is_ending: bool,
    /// The first block of which it was not seen whether it is still there, with the node's own transactions in it.
    unseen: Option<u64>,
}

/// Follows the streams until `stop`.
pub(crate) async fn run(payments: Payments, control: RentalControl, stop: CancellationToken) {
    let mut memory = Memory::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tick(&payments, &control, &mut memory) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(payments.config().interval) => {}
        }
    }
}

/// The rentals that a stream of the configured contract pays for.
fn paid_by_streams(payments: &Payments) -> Vec<(StreamId, Rental)> {
    let now = payments.0.ledger.now();
    let paid = |rental: &Rental| {
        let key = rental.vm.stream.as_ref().filter(|key| key.contract == payments.0.contract)?;
        (rental.goal != Goal::Deleted).then(|| (key.id, rental.clone()))
    };
    now.iter().filter_map(paid).collect()
}

async fn tick(payments: &Payments, control: &RentalControl, memory: &mut Memory) {
    let rentals = paid_by_streams(payments);
    memory.warned.retain(|id| rentals.iter().any(|(_, rental)| &rental.vm.id == id));
    let reader = payments.0.reader.from_one();
    let (head, most) = match observe(payments, &reader, &rentals, memory).await {
        Ok((head, most)) => (Some(head), most),
        Err(error) => {
            payments.record_failure(&error);
            (None, 0)
        }
    };
    crash_point!("monitor-read");
    let copies = payments.copies(|copies| copies.clone());
    let now = Timestamp::now();
    let mut ending = Vec::new();
    for (id, rental) in &rentals {
        let Some(copy) = copies.get(id) else { continue };
        let read = head.map(|head| head.now);
        // M-02: the chain's time, which no clock of this machine that was set wrong changes.
        let estimated = reader.time().unwrap_or_else(|| copy.estimated_now(now));
        let action = decide(payments, rental, &copy.stream, read, estimated, now);
        if head.is_some() && matches!(action, Action::Stop(_) | Action::Delete) {
            ending.push((*id, rental));
        } else {
            act(control, rental, action, read.unwrap_or(estimated), memory).await;
        }
    }
    // What the others cost is left to the next ticks, in the order of their age; what ended is none of them any more.
    memory.is_ending = ending.len() > most;
    ending.truncate(most);
    end(payments, &reader.from_another(), control, &ending, memory).await;
    give_room(payments, control, memory).await;
    tracing::debug!(
        rentals = rentals.len(),
        block = head.map(|head| head.block.number),
        ending = ending.len(),
        "monitor tick"
    );
}

fn decide(
    payments: &Payments,
    rental: &Rental,
    stream: &Stream,
    chain_now: Option<u128>,
    estimated: u128,
    now: Timestamp,
) -> Action {
    let evidence = match chain_now {
        Some(now) => Evidence::Read { stream, now },
        None => Evidence::Remembered { stream, now: estimated },
    };
    next(rental.vm.unpaid.as_ref(), evidence, &payments.terms_of(stream), &payments.config().rules, now)
}

/// Brings the copies of streams up to the newest block; gives how many streams may be read in this tick besides.
async fn observe(
    payments: &Payments,
    reader: &Reader,
    rentals: &[(StreamId, Rental)],
    memory: &mut Memory,
) -> Result<(Head, usize), ChainError> {
    let head = reader.head(memory.block.as_ref()).await?;
    let block = head.block;
    // What still vests for rentals that ended is followed too: it can be fetched.
    let known: BTreeMap<StreamId, StreamCopy> = payments.copies(|copies| copies.clone());
    let owners: BTreeMap<StreamId, VmId> = known
        .iter()
        .map(|(id, copy)| (*id, copy.vm.clone()))
        .chain(rentals.iter().map(|(id, rental)| (*id, rental.vm.id.clone())))
        .collect();
    let requests = owners.len().div_ceil(A_REQUEST_FOR).max(FREE_REQUESTS);
    let all = !head.continues || memory.ticks.is_multiple_of(FULL_EVERY);
    let most = u64::try_from(requests).map_or(LOG_REQUESTS, |most| most.min(LOG_REQUESTS));
    let effort = Effort { requests: most, again: all };
    let alone = payments.0.reading.try_lock().ok();
    let news = match &alone {
        Some(_) => payments.news(&head, memory.block.as_ref(), effort).await,
        // The books are being read; until they are, everything is read here.
        None => Ok(News::default()),
    };
    let News { touched, batch } = news.unwrap_or_else(|error| {
        // Without events everything is read: slower, and as true.
        golem_service::log_limited!(
            warn,
            error = &error as &dyn std::error::Error,
            "what happened to streams cannot be read; the books stay behind"
        );
        News::default()
    });
    let newest = block.number;
    let before = memory.block.filter(|_| head.continues).map(|before| before.number.saturating_sub(OVERLAP));
    let from = before.unwrap_or_else(|| newest.saturating_sub(REORGANISED));
    memory.unseen = Some(memory.unseen.map_or(from, |unseen| unseen.min(from)));
    if batch.is_some() {
        // What was booked looked for them, too.
        memory.unseen = None;
    } else if let Some(from) = memory.unseen.filter(|_| !payments.has_events()) {
        match payments.take_back(from..=newest).await {
            Ok(()) => memory.unseen = None,
            Err(error) => golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "it cannot be seen whether the blocks of the node's transactions are still there"
            ),
        }
    }
    if touched.is_none() && batch.is_none() && alone.is_some() && payments.has_events() {
        payments.0.behind.notify_one();
    }
    let touched = match touched.filter(|_| !all) {
        Some(touched) => touched,
        None => {
            if all {
                payments.check_code().await?;
            }
            // What was begun is gone on with.
            if all || memory.due.is_empty() {
                memory.due.extend(owners.keys());
            }
            BTreeSet::new()
        }
    };
    memory.due.extend(touched.iter().chain(owners.keys().filter(|id| !known.contains_key(id))));
    memory.due.retain(|id| owners.contains_key(id));
    let mut due: Vec<StreamId> = memory.due.iter().copied().collect();
    // New ones first, then those of which something is known to have changed, then those that end first.
    due.sort_by_key(|id| known.get(id).map(|copy| (!touched.contains(id), copy.stream.stop.max(head.now))));
    // Where each stream is a request, so are the newest block, what it follows from, and the block that was read; and that
    // once more, with the contract's code, before rentals end.
    let heads = if memory.is_ending { 2 * HEAD_REQUESTS + 1 } else { HEAD_REQUESTS };
    let share = |a_request: usize| requests.saturating_sub(if a_request == 1 { heads } else { 0 }).max(1);
    let mut a_request = reader.streams_a_request().max(1);
    let (mut readings, mut used) = (Vec::new(), 0);
    loop {
        // What is to end needs the other half.
        let here = if memory.is_ending { share(a_request).div_ceil(2) } else { share(a_request) };
        let count = if a_request == 1 { here.saturating_sub(used) } else { a_request };
        let part = due.get(readings.len()..).unwrap_or_default();
        let part = part.get(..part.len().min(count)).unwrap_or_default();
        if part.is_empty() || used >= here {
            break;
        }
        readings.extend(reader.at(&block, part).await?);
        used += part.len().div_ceil(a_request);
        a_request = reader.streams_a_request().max(1);
    }
    // A few are free.
    let least = if requests <= FREE_REQUESTS || memory.is_ending { ENDING } else { 0 };
    let most = share(a_request).saturating_sub(used).saturating_mul(a_request).max(least);
    due.truncate(readings.len());
    keep(payments, &due, &readings, &head, &owners, batch).await;
    drop(alone);
    for id in &due {
        memory.due.remove(id);
    }
    memory.block = Some(block);
    memory.ticks = memory.ticks.wrapping_add(1);
    payments.record_reading(block);
    Ok((head, most))
}

/// `stream` as it was read, and if it has ended since `before`, with what that paid at least as paid out: all that had vested by
/// then.
fn with_its_end(stream: Stream, before: Option<&StreamCopy>) -> Stream {
    let before = before.filter(|before| stream.recipient.is_zero() && !before.stream.recipient.is_zero());
    let least = before.map_or(U256::ZERO, |before| before.stream.vested(before.block_time));
    Stream { withdrawn: stream.withdrawn.max(least), ..stream }
}

/// Remembers what was read; what is new goes to the ledger, where a restart finds it.
async fn keep(
    payments: &Payments,
    ids: &[StreamId],
    readings: &[Stream],
    head: &Head,
    owners: &BTreeMap<StreamId, VmId>,
    batch: Option<Batch>,
) {
    let read_at = Timestamp::now();
    let (mut changed, mut read) = (Vec::new(), Vec::new());
    payments.copies(|copies| {
        for (id, stream) in ids.iter().zip(readings) {
            let Some(vm) = owners.get(id) else { continue };
            let copy = StreamCopy {
                key: payments.key(*id),
                vm: vm.clone(),
                stream: *stream,
                block: head.block.number,
                block_time: head.block.time,
                read_at,
            };
            let before = copies.insert(*id, copy.clone());
            read.push((*id, with_its_end(*stream, before.as_ref())));
            if before.is_none_or(|before| before.stream != copy.stream || before.vm != copy.vm) {
                changed.push(copy);
            }
        }
    });
    let kept = match batch {
        // What happened and what came of it are kept together, or not at all.
        Some(batch) => payments.book(Batch { copies: changed, ..batch }).await.map(drop),
        None => payments.keep_readings(changed, head.block, read).await,
    };
    if let Err(error) = kept {
        golem_service::log_limited!(
            error,
            error = &error as &dyn std::error::Error,
            "what was read of streams cannot be recorded"
        );
    }
    let now = head.block.time;
    let live: BTreeSet<VmId> = payments.0.ledger.now().iter().map(|rental| rental.vm.id.clone()).collect();
    payments.copies(|copies| {
        copies.retain(|_, copy| live.contains(&copy.vm) || !copy.is_spent(now));
    });
}

/// Reads the streams of rentals that would end once more, and acts where it comes out the same.
async fn end(
    payments: &Payments,
    reader: &Reader,
    control: &RentalControl,
    ending: &[(StreamId, &Rental)],
    memory: &mut Memory,
) {
    if ending.is_empty() {
        return;
    }
    let ids: Vec<StreamId> = ending.iter().map(|(id, _)| *id).collect();
    // M-04: what another contract says ends nothing.
    if let Err(error) = payments.check_code().await {
        return payments.record_failure(&error);
    }
    let read = async {
        let head = reader.head(memory.block.as_ref()).await?;
        Ok((head, reader.at(&head.block, &ids).await?))
    };
    let (head, readings) = match read.await {
        Ok(seen) => seen,
        Err(error) => return payments.record_failure(&error),
    };
    let owners = ending.iter().map(|(id, rental)| (*id, rental.vm.id.clone())).collect();
    keep(payments, &ids, &readings, &head, &owners, None).await;
    let now = Timestamp::now();
    for ((_, rental), stream) in ending.iter().zip(&readings) {
        let action = decide(payments, rental, stream, Some(head.now), head.now, now);
        act(control, rental, action, head.now, memory).await;
    }
}

/// Lets rentals run that are paid for again, as far as there is room; those that wait longest first.
async fn give_room(payments: &Payments, control: &RentalControl, memory: &mut Memory) {
    let now = payments.0.ledger.now();
    let mut waiting: Vec<_> =
        now.iter().filter(|rental| rental.waits_for_room()).map(|rental| &rental.vm).collect();
    waiting.sort_by_key(|vm| vm.updated_at);
    memory.waiting.retain(|id| waiting.iter().any(|vm| &vm.id == id));
    for vm in waiting {
        let done = match control.take_room(&vm.id).await {
            Ok(Err(refusal)) if memory.waiting.insert(vm.id.clone()) => {
                tracing::warn!(vm = vm.id.redacted(), %refusal, "VM is paid for again and waits for room");
                control.note(&vm.id, "room.waiting", refusal.to_string()).await
            }
            Ok(Ok(())) if memory.waiting.remove(&vm.id) => {
                control.note(&vm.id, "room.taken", String::new()).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        told(&vm.id, done);
    }
}

/// Says in the log that what follows for the rental `id` from a payment failed, if it did.
fn told(id: &VmId, done: Result<(), LedgerError>) {
    match done {
        Ok(()) | Err(LedgerError::NoRental(_)) => {}
        Err(error) => golem_service::log_limited_each!(
            id,
            error,
            vm = id.redacted(),
            error = &error as &dyn std::error::Error,
            "what follows from a payment failed"
        ),
    }
}

async fn act(control: &RentalControl, rental: &Rental, action: Action, chain_now: u128, memory: &mut Memory) {
    let id = &rental.vm.id;
    let done = match action {
        Action::Rest => {
            memory.warned.remove(id);
            Ok(())
        }
        Action::Warn(left) => {
            if memory.warned.insert(id.clone()) {
                tracing::warn!(vm = id.redacted(), seconds_left = %left, "the payment of this VM will end soon");
                control.note(id, "payment.ending", format!("{left} seconds are left")).await
            } else {
                Ok(())
            }
        }
        Action::Stop(reason) => {
            golem_service::log_limited_each!(
                id,
                warn,
                vm = id.redacted(),
                %reason,
                "VM is not paid for and is stopped; its disk is held"
            );
            crash_point!("monitor-before-stop");
            control.set_unpaid(id, Some((reason, chain_now))).await
        }
        Action::Resume => {
            golem_service::log_limited_each!(id, info, vm = id.redacted(), "VM is paid for again");
            crash_point!("monitor-before-resume");
            control.set_unpaid(id, None).await
        }
        Action::Delete => {
            tracing::warn!(vm = id.redacted(), "VM was not paid for during the whole hold, and is deleted");
            crash_point!("monitor-before-delete");
            match control.note(id, "payment.hold_over", String::new()).await {
                Ok(()) => control.abandon(id).await,
                failed => failed,
            }
        }
    };
    told(id, done);
}
