//! Streams of the largest and smallest numbers that a contract, or an endpoint, can name.

use golem_chain::{Bad, Reader, Rpc, StreamTerms, StreamVerdict};
use golem_testchain::Emulator;
use golem_types::{Stream, StreamId};
use ruint::aliases::{U160, U256};

const CHAIN: u64 = 99;

/// The provider.
const US: U160 = U160::from_limbs([7, 0, 0]);

/// Every stream of these limits in each place, at the chain's time `now`, in seconds since the epoch.
fn streams(now: u128) -> Vec<Stream> {
    let half = U256::MAX >> 128;
    let [amounts, rates] = [
        [U256::ZERO, U256::ONE, half, half + U256::ONE, U256::MAX],
        [U256::ZERO, U256::ONE, U256::from(u64::MAX), half - U256::ONE, half],
    ];
    let seconds = u128::from(u64::MAX);
    // Far from now, or not after it: seconds pass while they are read.
    let times = [0, now - 1, now, now + 3600, seconds, seconds + 5000, u128::MAX];
    let mut all = Vec::new();
    for (deposit, withdrawn) in amounts.iter().flat_map(|one| amounts.iter().map(move |other| (*one, *other)))
    {
        for rate in rates {
            for (start, stop) in times.iter().flat_map(|one| times.iter().map(move |other| (*one, *other))) {
                let rate = rate.to();
                let (sender, recipient, token) = (U160::MAX, US, U160::ZERO);
                all.push(Stream {
                    token,
                    sender,
                    recipient,
                    start,
                    stop,
                    rate,
                    deposit,
                    withdrawn,
                    halted: false,
                    lease: None,
                });
            }
        }
    }
    all
}

/// Whatever numbers a stream has, it is read as it is or not believed at all; what pays for long enough is good, what is judged
/// to be bad is bad for the first reason that holds, and what could not be on any contract ends nothing.
#[tokio::test]
async fn no_number_is_too_large_to_be_read_and_judged() {
    let terms = StreamTerms {
        recipient: US,
        token: U160::ZERO,
        least_rate: Some(1),
        least_runway: 60,
        grace: 0,
        lease: None,
    };
    for now in [1_800_000_000u128, u128::from(u64::MAX)] {
        let chain = Emulator::start(CHAIN, now).await.unwrap();
        let reader = Reader::new(Rpc::new(chain.url()).unwrap(), chain.contract(), CHAIN, true);
        let all = streams(now);
        for (id, stream) in (1u64..).zip(&all) {
            chain.put(id, *stream);
        }
        let block = reader.head(None).await.unwrap().block;
        assert_eq!(block.time, now);
        // What no contract can hold: more paid out than in, an end before the beginning, a stream that costs nothing.
        let is_possible = |stream: &Stream| {
            stream.withdrawn <= stream.deposit && stream.start <= stream.stop && stream.rate > 0
        };
        let (possible, impossible): (Vec<_>, Vec<_>) =
            (1u64..).zip(&all).partition(|(_, stream)| is_possible(stream));
        assert!(possible.len() > 500 && impossible.len() > 1000);
        for part in possible.chunks(100) {
            let ids: Vec<StreamId> = part.iter().map(|(id, _)| StreamId(U256::from(*id))).collect();
            let read = reader.at(&block, &ids).await.unwrap();
            assert!(read.iter().zip(part).all(|(read, (_, stream))| *read == **stream));
        }
        for (id, stream) in possible.iter().step_by(7) {
            let found = reader.verdict(StreamId(U256::from(*id)), &terms).await;
            let wanted = if stream.deposit.is_zero() {
                Err(Bad::Deposit)
            } else if stream.start > now {
                Err(Bad::NotStarted)
            } else if stream.stop < now.saturating_add(60) {
                Err(Bad::Runway)
            } else {
                Ok(())
            };
            let found = match found {
                StreamVerdict::Good { .. } => Ok(()),
                StreamVerdict::Bad(bad) => Err(bad),
                StreamVerdict::Unknown(error) => panic!("{stream:?}: {error}"),
            };
            assert_eq!(found, wanted, "{stream:?} at {now}");
            // Never more than was paid in, and all of it at the end of time.
            assert!(stream.vested(now) <= stream.deposit);
            assert!(stream.withdrawable(u128::MAX) <= stream.deposit - stream.withdrawn);
        }
        for (id, stream) in impossible.iter().step_by(31) {
            let found = reader.verdict(StreamId(U256::from(*id)), &terms).await;
            assert!(matches!(found, StreamVerdict::Unknown(_)), "{stream:?}: {found:?}");
        }
    }
}
