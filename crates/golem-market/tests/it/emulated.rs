//! Adverts written to networks of both generations and read back, with their rules in force.

use alloy_primitives::{Address, B256, U256};
use golem_chain::{ChainError, Rpc, SendError, Sender};
use golem_market::arkiv::offer::Filter;
use golem_market::arkiv::{Annotations, Client, Event, FoundAdvert, Generation, Operation, Profile, logs};
use golem_types::Wallet;
use market_emulator::{Emulator, Fault, Protocol, Stored};

const CHAIN: u64 = 1337;

struct Network {
    emulator: Emulator,
    client: Client,
    sender: Sender,
    generation: Generation,
}

impl Network {
    async fn start(generation: Generation) -> Self {
        let protocol = match generation {
            Generation::GolemBase => Protocol::GolemBase,
            Generation::Tiramisu => Protocol::Tiramisu,
        };
        let emulator = Emulator::start(protocol, CHAIN).await.unwrap();
        let rpc = Rpc::new(emulator.url()).unwrap();
        let text = format!(
            "generation = \"{}\"\nchain_id = {CHAIN}",
            if generation == Generation::GolemBase { "golem-base" } else { "tiramisu" }
        );
        let profile: Profile = toml::from_str(&text).unwrap();
        let client = Client::new(rpc.clone(), &profile);
        let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
        Self { emulator, client, sender: Sender::new(rpc, wallet, CHAIN), generation }
    }

    async fn write(&self, operations: &[Operation]) -> Result<Vec<Event>, SendError> {
        let data = self.generation.calldata(operations, 7);
        let plan = self.sender.plan(Some(self.generation.address()), data, U256::ZERO).await?;
        let signed = self.sender.sign(&plan)?;
        self.sender.send(&signed.raw).await?;
        let receipt = self.sender.receipt(signed.hash).await?.expect("it is in a block");
        assert!(receipt.succeeded);
        Ok(logs::events(self.generation, &receipt.logs))
    }

    fn id(&self) -> Address {
        self.sender.address()
    }
}

fn annotations(id: Address, cpu: u64) -> Annotations {
    let texts = [
        ("golem_type", "provider"),
        ("golem_network", "testnet"),
        ("golem_payments_network", "l2.holesky"),
        ("golem_provider_id", &id.to_checksum(None)),
        ("golem_price_usd_storage_gb_month", "1e-05"),
    ];
    let numbers = [("golem_cpu", cpu), ("golem_memory", 8), ("golem_storage", 100)];
    Annotations {
        strings: texts.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        numbers: numbers.map(|(name, number)| (name.to_owned(), number)).into(),
    }
}

const GENERATIONS: [Generation; 2] = [Generation::GolemBase, Generation::Tiramisu];

#[tokio::test]
async fn an_advert_lives_through_every_operation() {
    for generation in GENERATIONS {
        let network = Network::start(generation).await;
        let id = network.id();
        let first = annotations(id, 4);
        let create = Operation::Create { blocks: 100, annotations: first.clone() };
        let events = network.write(&[create]).await.unwrap();
        let [Event::Created { key, expires_at: 102 }] = events[..] else { panic!("{events:?}") };

        let seen = network.client.own(id, id).await.unwrap();
        assert_eq!((seen.block, seen.entities.len(), seen.more), (2, 1, false));
        assert!(seen.entities[0].annotations.say_the_same(&first));
        assert_eq!((seen.entities[0].key, seen.entities[0].expires_at), (key, 102));

        let mut second = annotations(id, 2);
        second.strings.remove(4);
        let update = Operation::Update { key, blocks: 100, before: first, annotations: second.clone() };
        let extend = Operation::Extend { key, blocks: 50, expires_at: 102 };
        network.write(&[update]).await.unwrap();
        network.write(&[extend]).await.unwrap();
        let seen = network.client.own(id, id).await.unwrap();
        assert!(seen.entities[0].annotations.say_the_same(&second), "{:?}", seen.entities[0].annotations);
        let renewed = if generation.update_renews() { 103 } else { 102 };
        assert_eq!(seen.entities[0].expires_at, renewed + 50);

        network.write(&[Operation::Delete { key }]).await.unwrap();
        assert!(network.client.own(id, id).await.unwrap().entities.is_empty());
        assert!(network.emulator.entities().is_empty());
        assert!(network.emulator.mined().iter().all(|transaction| transaction.succeeded));
    }
}

#[tokio::test]
async fn what_the_network_would_refuse_is_not_sent() {
    for generation in GENERATIONS {
        let network = Network::start(generation).await;
        let gone = Operation::Delete { key: B256::repeat_byte(9) };
        let dead = Operation::Create { blocks: 0, annotations: annotations(network.id(), 4) };
        for operation in [gone, dead] {
            let refused = network.write(std::slice::from_ref(&operation)).await;
            assert!(matches!(refused, Err(SendError::Reverts(_))), "{operation:?}: {refused:?}");
        }
        network.emulator.set_balance(network.id(), 1000);
        let create = Operation::Create { blocks: 100, annotations: annotations(network.id(), 4) };
        assert!(matches!(network.write(&[create]).await, Err(SendError::NoFunds { .. })));
        assert!(network.emulator.mined().is_empty());
    }
}

fn foreign(owner: u8, annotations: &Annotations) -> Stored {
    Stored {
        owner: Address::repeat_byte(owner),
        creator: Address::repeat_byte(owner),
        expires_at: 5000,
        strings: annotations.strings.iter().cloned().collect(),
        numbers: annotations.numbers.iter().cloned().collect(),
        payload: Vec::new(),
    }
}

#[tokio::test]
async fn an_advert_of_another_with_our_id_is_none_of_ours() {
    for generation in GENERATIONS {
        let network = Network::start(generation).await;
        let id = network.id();
        network.emulator.put(B256::repeat_byte(1), foreign(9, &annotations(id, 64)));
        assert!(network.client.own(id, id).await.unwrap().entities.is_empty());
        let create = Operation::Create { blocks: 100, annotations: annotations(id, 4) };
        network.write(&[create]).await.unwrap();
        let seen = network.client.own(id, id).await.unwrap();
        assert_eq!(seen.entities.len(), 1);
        assert_eq!(seen.entities[0].annotations.number("golem_cpu"), Some(4));
    }
}

#[tokio::test]
async fn the_requestors_query_finds_the_market_page_by_page() {
    for generation in GENERATIONS {
        let network = Network::start(generation).await;
        for provider in 1..=250_u8 {
            let mut said = annotations(Address::repeat_byte(provider), u64::from(provider));
            if provider % 2 == 0 {
                said.strings[1].1 = "mainnet".to_owned();
            }
            network.emulator.put(B256::repeat_byte(provider), foreign(provider, &said));
        }
        let filter = Filter {
            network: Some("testnet".to_owned()),
            payments_network: Some("l2.holesky".to_owned()),
            ..Filter::default()
        };
        let find = async |filter: &Filter, most| {
            network.client.find(&filter.query(generation).unwrap(), most).await.unwrap()
        };
        let all = find(&filter, 1000).await;
        // S-118, S-215
        assert_eq!((all.entities.len(), all.more), (125, false));
        assert!(
            all.entities.iter().all(|entity| FoundAdvert::of(entity).is_some_and(|offer| offer.cpu % 2 == 1))
        );
        let some = find(&filter, 100).await;
        assert_eq!((some.entities.len(), some.more), (100, true));
        let large = Filter { cpu: Some(200), ..filter };
        assert_eq!(find(&large, 1000).await.entities.len(), 25);
        let every = find(&Filter::default(), 1000).await;
        assert_eq!((every.entities.len(), every.more), (250, false));
    }
}

#[tokio::test]
async fn a_broken_endpoint_is_an_error_and_never_an_empty_market() {
    for generation in GENERATIONS {
        let network = Network::start(generation).await;
        let id = network.id();
        network.emulator.set_fault(Fault::Down);
        assert!(matches!(network.client.own(id, id).await, Err(ChainError::Status(500))));
        network.emulator.set_fault(Fault::OtherChain);
        let other = network.client.own(id, id).await;
        assert!(matches!(other, Err(ChainError::WrongChain { found: 1338, expected: 1337 })), "{other:?}");
    }
    // One that speaks the other protocol refuses.
    let network = Network::start(Generation::Tiramisu).await;
    let rpc = Rpc::new(network.emulator.url()).unwrap();
    let profile: Profile = toml::from_str("generation = \"golem-base\"\nchain_id = 1337").unwrap();
    let client = Client::new(rpc, &profile);
    let refused = client.own(network.id(), network.id()).await;
    assert!(matches!(refused, Err(ChainError::Refused { code: -32601, .. })), "{refused:?}");
}
