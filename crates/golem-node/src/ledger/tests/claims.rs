//! Streams that are their sender's alone.

use golem_chain::Block;
use golem_types::{Stream, StreamId};
use ruint::aliases::{U160, U256};

use super::super::ClaimedUse;
use super::*;

fn paid() -> Paid {
    let stream = Stream {
        token: U160::ZERO,
        sender: U160::from(5),
        recipient: U160::from(7),
        start: 0,
        stop: 10_000,
        rate: 1,
        deposit: U256::from(10_000),
        withdrawn: U256::ZERO,
        halted: false,
        lease: None,
    };
    let key = StreamKey { contract: "1:0xab".into(), id: StreamId(U256::ONE) };
    Paid::by(key, stream, Block { number: 1, time: 1, hash: alloy_primitives::B256::ZERO }, now())
}

async fn create(ledger: &Ledger, name: &str, paid: Paid) -> Result<(Arc<Vm>, Job), Refusal> {
    let image = "24.04".parse().unwrap();
    ledger.reserve(wanted(name), image, paid, room(5, ports(9)), now()).await.unwrap()
}

/// M-05, I2: what was claimed before a crash is claimed after it, and the stranger's rental is on its way out.
#[tokio::test]
async fn m_05_a_claim_survives_a_crash_between_it_and_the_create() {
    let open = Open::new();
    let (stranger, _) = create(&open.ledger, "mine", paid()).await.unwrap();
    let claimed = ClaimedUse::Create("mine".parse().unwrap(), KEY.replace("eZJ", "eZK").parse().unwrap());
    let unproven = open.ledger.claim(paid(), claimed.clone(), now()).await.unwrap();
    assert_eq!(unproven, None, "who is not the sender claims nothing");
    let ended = open.ledger.claim(paid().proven(), claimed, now()).await.unwrap();
    assert_eq!(ended.as_ref(), Some(&stranger.id));
    let again = open.again();
    let rental = again.now().get(&stranger.id).unwrap().clone();
    assert_eq!((rental.goal, &rental.vm.stream), (Goal::Deleted, &None));
    assert_eq!(create(&again, "other", paid()).await.unwrap_err(), Refusal::SenderOnly);
    // The sender may use the name that the stranger took.
    let (mine, _) = create(&again, "mine", paid().proven()).await.unwrap();
    assert_eq!(create(&again, "other", paid().proven()).await.unwrap_err(), Refusal::StreamUsed);
    again.end(&mine.id, now()).await.unwrap();
    assert_eq!(create(&again, "other", paid()).await.unwrap_err(), Refusal::SenderOnly, "for good");
}

/// A sender whose create was not signed signs it afterwards: it stays what it is.
#[tokio::test]
async fn a_senders_own_create_is_not_taken_from_it() {
    let open = Open::new();
    let (mine, job) = create(&open.ledger, "mine", paid()).await.unwrap();
    let same = ClaimedUse::Create("mine".parse().unwrap(), KEY.parse().unwrap());
    assert_eq!(open.ledger.claim(paid().proven(), same, now()).await.unwrap(), None);
    let (again, same_job) = create(&open.ledger, "mine", paid().proven()).await.unwrap();
    assert_eq!((&again.id, same_job.id), (&mine.id, job.id));
}
