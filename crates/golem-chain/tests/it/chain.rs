//! The payment contract on a real EVM, read and judged as the node does.

use alloy_primitives::{Address, B256, hex, keccak256};
use golem_chain::contract::v4;
use golem_chain::judge::ExpectedLease;
use golem_chain::{Bad, ChainError, LeaseQuote, Place, Reader, Rpc, StreamTerms, StreamVerdict, Version};
use golem_testchain::{Anvil, CHAIN_ID, Leases, Limits, Provider, contracts, word};
use golem_types::StreamId;
use golem_types::stream::number;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ruint::aliases::{U160, U256};
use serde_json::json;

async fn start() -> Anvil {
    Anvil::start(&contracts(), &[]).await.unwrap()
}

/// Each verdict is the one that the state calls for, through a life with top-ups, a lapse, a halt
/// and an end.
#[tokio::test]
async fn streams_on_a_real_chain_are_read_and_judged() {
    let chain = start().await;
    let reader = chain.reader();
    reader.check().await.unwrap();
    let at = |contract, id| Reader::new(chain.rpc().clone(), contract, id, true);
    assert!(at(Address::repeat_byte(9), CHAIN_ID).check().await.is_err(), "no contract there");
    let elsewhere = at(chain.contract(), CHAIN_ID + 1);
    assert!(matches!(elsewhere.check().await, Err(ChainError::WrongChain { .. })));
    assert!(matches!(elsewhere.head(None).await, Err(ChainError::WrongChain { .. })));

    let recipient = number(chain.account(2));
    let terms = StreamTerms {
        recipient,
        token: U160::ZERO,
        least_rate: Some(1000),
        least_runway: 60,
        grace: 0,
        lease: None,
    };
    let verdict = async |id: StreamId, terms: &StreamTerms| reader.verdict(id, terms).await;
    let first = StreamId(U256::ONE);
    assert!(matches!(verdict(first, &terms).await, StreamVerdict::Bad(Bad::Recipient)), "there is none yet");
    let id = chain.create(1, chain.account(2), U256::from(100_000), 1000).await.unwrap();
    assert_eq!(id, first);
    let StreamVerdict::Good { stream, .. } = verdict(id, &terms).await else { panic!("it pays") };
    assert_eq!((stream.rate, stream.deposit, stream.stop - stream.start), (1000, U256::from(100_000), 100));
    assert_eq!((stream.sender, stream.recipient), (number(chain.account(1)), recipient));
    let dearer = StreamTerms { least_rate: Some(1001), ..terms };
    assert!(matches!(verdict(id, &dearer).await, StreamVerdict::Bad(Bad::Rate)));
    let foreign = StreamTerms { recipient: number(chain.account(3)), ..terms };
    assert!(matches!(verdict(id, &foreign).await, StreamVerdict::Bad(Bad::Recipient)));
    chain.warp(50).await.unwrap();
    assert!(matches!(verdict(id, &terms).await, StreamVerdict::Bad(Bad::Runway)));
    chain.top_up(id, U256::from(100_000)).await.unwrap();
    assert!(matches!(verdict(id, &terms).await, StreamVerdict::Good { .. }));
    chain.halt(id).await.unwrap();
    assert!(matches!(verdict(id, &terms).await, StreamVerdict::Bad(Bad::Halted)));
    chain.terminate(1, id).await.unwrap();
    assert!(matches!(verdict(id, &terms).await, StreamVerdict::Bad(Bad::Recipient)), "terminated");
}

/// Every event of a stream, and of no other, is found by its blocks.
#[tokio::test]
async fn what_touched_a_stream_is_found_in_the_logs() {
    let chain = start().await;
    let reader = chain.reader();
    let one = chain.create(1, chain.account(2), U256::from(100_000), 1000).await.unwrap();
    let two = chain.create(1, chain.account(3), U256::from(100_000), 1000).await.unwrap();
    let mut from = reader.head(None).await.unwrap().block;
    let mut touched = async || {
        let to = reader.head(None).await.unwrap().block;
        let history = reader.history(from.number + 1, to.number).await.unwrap();
        from = to;
        history.touched.into_iter().collect::<Vec<_>>()
    };
    chain.top_up(one, U256::from(5000)).await.unwrap();
    assert_eq!(touched().await, [one]);
    chain.top_up(two, U256::from(5000)).await.unwrap();
    chain.halt(one).await.unwrap();
    assert_eq!(touched().await, [one, two]);
    chain.warp(10).await.unwrap();
    assert!(touched().await.is_empty());
    chain.terminate(1, two).await.unwrap();
    assert_eq!(touched().await, [two]);
}

/// What may happen to a stream.
#[derive(Debug, Clone)]
enum Step {
    Warp(u64),
    TopUp(u64),
    Withdraw,
    Halt,
    Terminate,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..4000).prop_map(Step::Warp),
        3 => (1u64..3_000_000).prop_map(Step::TopUp),
        3 => Just(Step::Withdraw),
        1 => Just(Step::Halt),
        1 => Just(Step::Terminate),
    ]
}

/// I7: over random lives of a stream, what we compute is what the contract says has
/// vested, and what we call withdrawable is what a withdrawal pays, to the wei.
#[test]
fn i7_s_180_our_vesting_is_the_contracts_payout_over_random_lives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let chain = runtime.block_on(start());
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let life = (1u64..2_000_000, 1u128..3000, proptest::collection::vec(step(), 1..10));
    runner
        .run(&life, |(deposit, rate, steps)| {
            runtime.block_on(live(&chain, deposit, rate, &steps));
            Ok(())
        })
        .unwrap();
}

async fn live(chain: &Anvil, deposit: u64, rate: u128, steps: &[Step]) {
    let id = chain.create(1, chain.account(2), U256::from(deposit), rate).await.unwrap();
    for step in steps {
        let (before, _) = chain.stream(id).await.unwrap();
        // The contract refuses some steps in some states; then nothing may change.
        match step {
            Step::Warp(seconds) => chain.warp(*seconds).await.unwrap(),
            Step::TopUp(amount) => drop(chain.top_up(id, U256::from(*amount)).await),
            Step::Halt => drop(chain.halt(id).await),
            Step::Terminate => drop(chain.terminate(1, id).await),
            Step::Withdraw => {
                let paid = chain.withdraw(2, id).await.ok();
                let (after, now) = chain.stream(id).await.unwrap();
                // Withdrawn in the newest block, whose time is `now`.
                let expected = before.withdrawable(now);
                if before.recipient.is_zero() || expected.is_zero() {
                    assert!(paid.is_none(), "nothing was there to withdraw");
                } else {
                    assert_eq!(paid, Some(()), "{expected} wei were there");
                    assert_eq!(after.withdrawn - before.withdrawn, expected);
                }
            }
        }
        let (stream, now) = chain.stream(id).await.unwrap();
        assert_eq!(stream.vested(now), chain.vested(id).await.unwrap(), "after {step:?}");
    }
}

/// Which contract an address holds is found by its code, or by its answers behind a proxy; what is
/// neither is said to be neither.
#[tokio::test]
async fn the_contract_at_an_address_is_recognised() {
    let chain = start().await;
    let deploy = async |name: &str, argument| chain.deploy(&contracts(), name, &[argument]).await.unwrap();
    let Leases { token, contract: four, .. } = Leases::deploy(&chain, &contracts()).await.unwrap();
    let of = |contract| Reader::new(chain.rpc().clone(), contract, CHAIN_ID, true);
    for (contract, version) in [
        (chain.contract(), Version::V1),
        (four, Version::V4),
        (deploy("Proxy", word(chain.contract())).await, Version::V1),
        (deploy("Proxy", word(four)).await, Version::V4),
    ] {
        assert_eq!(of(contract).find_version().await.unwrap(), version);
        assert!(of(contract).of(version).check().await.is_ok());
        let other = if version == Version::V1 { Version::V4 } else { Version::V1 };
        let error = of(contract).of(other).check().await.unwrap_err().to_string();
        let said = format!("is of version {version}, not {other}; fix: contract_version = {version}");
        assert!(error.contains(&said), "{error}");
    }
    for (contract, said) in [
        (token, "no payment contract that is known, neither version 1 nor 4"),
        (deploy("Proxy", word(token)).await, "neither version 1 nor 4"),
        (Address::repeat_byte(9), "no contract at the payment address"),
    ] {
        let error = of(contract).check().await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert!(
        matches!(
            of(four).at(&of(four).head(None).await.unwrap().block, &[StreamId(U256::ONE)]).await,
            Err(ChainError::Nonsense(_))
        ),
        "an answer of one version is none of the other"
    );
}

/// A stream of version 4 is opened with a signed lease, read with it, and judged by it; where it stands follows from its own
/// words as the contract itself says.
#[tokio::test]
async fn a_stream_of_version_4_is_judged_by_its_lease() {
    let chain = start().await;
    let leases = Leases::deploy(&chain, &contracts()).await.unwrap();
    let Leases { contract, token, .. } = leases;
    let reader = leases.reader();
    let provider = Anvil::wallet(2).unwrap();
    let place = Place { chain_id: CHAIN_ID, contract };
    let quote = LeaseQuote {
        recipient: provider.address(),
        deposit: U256::from(100_000),
        rate: 1000,
        lease_id: B256::repeat_byte(5),
        terms_hash: B256::repeat_byte(6),
        expires_at: chain.time().await.unwrap() + 900,
    };
    let signature = quote.sign(place, &provider).unwrap();
    let open = v4::OpenLease { quote, signature, donation_basis_points: 150 };
    let lease = ExpectedLease {
        sender: number(chain.account(1)),
        rate: 1000,
        id: quote.lease_id,
        terms_hash: quote.terms_hash,
    };
    let terms = StreamTerms {
        recipient: number(provider.address()),
        token: number(token),
        least_rate: None,
        least_runway: 60,
        grace: 0,
        lease: Some(lease),
    };
    let id = StreamId(U256::ONE);
    let bad = async |terms: &StreamTerms| match reader.verdict(id, terms).await {
        StreamVerdict::Bad(bad) => Some(bad),
        StreamVerdict::Good { .. } => None,
        StreamVerdict::Unknown(error) => panic!("{error}"),
    };
    assert_eq!(bad(&terms).await, Some(Bad::Recipient), "there is none yet");
    assert_eq!(leases.open(1, &open).await.unwrap(), id);
    assert_eq!(bad(&terms).await, None);
    let with = |change: fn(&mut ExpectedLease)| {
        let mut other = lease;
        change(&mut other);
        StreamTerms { lease: Some(other), ..terms }
    };
    for (other, why) in [
        (with(|lease| lease.sender = U160::from(9)), Bad::Sender),
        (with(|lease| lease.rate = 999), Bad::LeaseRate),
        (with(|lease| lease.id = B256::ZERO), Bad::Lease),
        (with(|lease| lease.terms_hash = B256::ZERO), Bad::Terms),
        (StreamTerms { token: U160::ZERO, ..terms }, Bad::Token),
        (StreamTerms { recipient: U160::from(9), ..terms }, Bad::Recipient),
    ] {
        assert_eq!(bad(&other).await, Some(why));
    }
    let read = async || reader.streams(&[id]).await.unwrap();
    let stream = read().await.streams[0];
    assert_eq!((stream.rate, stream.deposit, stream.stop - stream.start), (1000, U256::from(100_000), 100));
    let donation = stream.lease.unwrap().donation;
    assert_eq!((donation.basis_points, donation.deposit), (150, U256::from(1500)));
    assert_eq!(donation.recipient, number(leases.donations()));

    let agree = async |word: &str| {
        let seen = read().await;
        let data = format!("0x{}{:064x}", hex::encode(&keccak256("streamState(uint256)")[..4]), 1);
        let said = chain.ask("eth_call", json!([{ "to": contract, "data": data }, "latest"])).await.unwrap();
        // An offset, a length, and the text.
        let said = hex::decode(said.as_str().unwrap()).unwrap();
        let said = std::str::from_utf8(&said[64..]).unwrap().trim_end_matches('\0');
        assert_eq!((v4::state(&seen.streams[0], seen.block.time), said), (word, word));
    };
    agree("active").await;
    chain.warp(101).await.unwrap();
    agree("grace").await;
    // What runs goes on to run; nothing begins in the grace.
    let running = StreamTerms { lease: None, grace: Version::V4.grace(), least_runway: 0, ..terms };
    assert_eq!((bad(&running).await, bad(&terms).await), (None, Some(Bad::Runway)));
    chain.warp(30).await.unwrap();
    agree("expired").await;
    assert_eq!(bad(&running).await, Some(Bad::Runway));
    chain.invoke(1, contract, "terminate(uint256)", &[U256::ONE]).await.unwrap();
    agree("terminated").await;
    assert_eq!(bad(&running).await, Some(Bad::Recipient));
    let head = reader.head(None).await.unwrap().block;
    assert_eq!(reader.history(0, head.number).await.unwrap().touched, [id].into());
}

/// M-08: an endpoint that takes no batches is asked for forty streams at once by a program that runs on any EVM; one that
/// runs none, or has thrown older state away, gives the same streams.
#[tokio::test]
async fn many_streams_are_read_by_one_call_where_there_are_no_batches() {
    let chain = start().await;
    for number in 1..=3u64 {
        let deposit = U256::from(100_000 * number);
        chain.create(1, chain.account(2), deposit, 1000).await.unwrap();
    }
    let ids: Vec<_> = (1..=60u64).map(|id| StreamId(U256::from(id))).collect();
    let expected = chain.reader().streams(&ids).await.unwrap();
    assert_eq!(expected.streams.iter().filter(|one| !one.sender.is_zero()).count(), 3);
    for (limits, most) in [
        (Limits { batch: 1, ..Limits::NONE }, 5),
        (Limits { batch: 2, is_pruned: true, ..Limits::NONE }, 12),
        (Limits { batch: 1, refuses_programs: true, ..Limits::NONE }, 70),
        (Limits { batch: 3, ..Limits::MEANEST }, 70),
    ] {
        let provider = Provider::start(chain.url(), limits).await.unwrap();
        let reader = Reader::new(Rpc::new(provider.url()).unwrap(), chain.contract(), CHAIN_ID, true);
        // The first question finds the limits.
        reader.streams(&ids).await.unwrap();
        let before = provider.requests();
        let seen = reader.streams(&ids).await.unwrap();
        assert_eq!(seen.streams, expected.streams, "{limits:?}");
        let asked = provider.requests() - before;
        assert!(asked <= most, "{limits:?}: {asked} requests");
    }
}
