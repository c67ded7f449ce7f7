//! Which chain, contract and token rentals are paid with: the profile and what the settings replace
//! in it.
//!
//! Owns the order in which they win. Never asks a chain.

use std::time::Duration;

use anyhow::{Context, bail};
use golem_chain::Version;
use golem_chain::faucet::Faucet;
use golem_chain::identity::Identity;
use golem_chain::network::{self, Deployment, PaymentNetwork};
use golem_node::entry::Currency;
use golem_node::payment::{KnownContract, PaymentConfig, Rules, WithdrawConfig};
use golem_node::payout::PayoutConfig;
use golem_node::pricing::coin_of;
use golem_node::transactions::GasRules;

use crate::faucet;
use golem_host::settings::{self, ChainSettings, FaucetSettings};

/// How long the sender of a deleted VM's stream has to end it first, as existing clients do or try to.
const REFUND_AFTER: Duration = Duration::from_secs(120);

/// How rentals are paid for, the way of whoever names none first; empty if payments are turned off.
///
/// # Errors
/// When a network is not known, or lacks an endpoint or a contract.
pub fn profiles(settings: &ChainSettings) -> anyhow::Result<Vec<PaymentNetwork>> {
    let Some(first) = profile(settings)? else { return Ok(Vec::new()) };
    let mut all = vec![first];
    for name in settings.networks().into_iter().skip(1) {
        let network = network::load(&settings.data_dir, &name)?;
        let plain = PaymentNetwork::plain(name.clone(), network, None);
        all.push(plain.with_context(|| {
            format!(
                "the payment network {name} has no contract or no endpoint; fix: add both to its profile \
                     (`golem-provider networks add`), or take it out of GOLEM_PROVIDER_PAYMENTS_NETWORK"
            )
        })?);
    }
    Ok(all)
}

/// What clients of contract version 1 are told of how they pay: the first of `all` that they can. Where there is none, those of
/// the original find the contract of its own network, as they always did (S-120), which is gone.
#[must_use]
pub fn told(settings: &ChainSettings, all: &[PaymentNetwork]) -> Option<PaymentNetwork> {
    let can_pay = |profile: &&PaymentNetwork| profile.network.contract_version == Version::V1;
    let original = || {
        let is_default = settings.networks() == [network::DEFAULT];
        let network = network::shipped().remove(network::ORIGINAL).filter(|_| is_default)?;
        PaymentNetwork::plain(network::ORIGINAL.to_owned(), network, None)
    };
    let first = all.first()?;
    all.iter().find(can_pay).cloned().or_else(original).or_else(|| Some(first.clone()))
}

/// How rentals of whoever names no network are paid for; `None` if payments are turned off.
///
/// # Errors
/// When the network is not known, or lacks an endpoint or a contract.
pub fn profile(settings: &ChainSettings) -> anyhow::Result<Option<PaymentNetwork>> {
    let name = settings.networks().swap_remove(0);
    if settings.payments.stream_payment_address.is_some_and(|address| address.0.is_zero()) {
        return Ok(None);
    }
    let mut network = network::load(&settings.data_dir, &name)?;
    if let Some(folder) = &settings.payments.deployments_dir
        && name == network::ORIGINAL
    {
        let deployment = Deployment::read(folder)?;
        network.stream_payment_address = Some(deployment.contract.address);
        network.token_address = deployment.contract.token;
        network.chain_id = deployment.chain_id.unwrap_or(network.chain_id);
    }
    let given = |address: Option<settings::Address>| address.map(|address| address.0);
    let contract = given(settings.payments.stream_payment_address).or(network.stream_payment_address);
    let Some(contract) = contract.filter(|contract| !contract.is_zero()) else {
        bail!(
            "the payment network {name} has no contract; fix: set GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS to its \
             address, or to 0x0 to rent out for free"
        );
    };
    let token = given(settings.payments.glm_token_address).unwrap_or(network.token_address);
    let rpc_url = settings
        .payments
        .payments_rpc_url
        .as_ref()
        .map(|urls| urls.0.join(","))
        .or_else(|| network.endpoints());
    let rpc_url = rpc_url.with_context(|| {
        format!("the payment network {name} has no endpoint; fix: set GOLEM_PROVIDER_L2_RPC_URL to one")
    })?;
    Ok(Some(PaymentNetwork { name, network, rpc_url, contract, token }))
}

/// The networks on which a renter may pay: the one that is `given`, else the one in the settings and
/// every other that is known. An endpoint that is `given` counts for the first of them.
///
/// # Errors
/// When the one that is given is not known, or a profile cannot be read.
pub fn of_renter(
    mut settings: ChainSettings,
    given: Option<&str>,
    rpc_url: Option<&str>,
) -> anyhow::Result<Vec<PaymentNetwork>> {
    if let Some(name) = given {
        name.clone_into(&mut settings.payments.payments_network);
        (settings.payments.stream_payment_address, settings.payments.glm_token_address) = (None, None);
        settings.payments.payments_rpc_url = None;
    }
    if let Some(url) = rpc_url {
        settings.payments.payments_rpc_url =
            Some(settings::Urls(url.split(',').map(str::to_owned).collect()));
    }
    let first = profile(&settings);
    if given.is_some() {
        return Ok(first?.into_iter().collect());
    }
    let mut all: Vec<PaymentNetwork> = first.ok().flatten().into_iter().collect();
    for (name, network) in network::all(&settings.data_dir)? {
        all.extend(PaymentNetwork::plain(name, network, rpc_url));
    }
    Ok(all)
}

/// Says in the log how rentals are paid for.
pub fn tell(profiles: &[PaymentNetwork], market: settings::Network) {
    if profiles.is_empty() {
        tracing::warn!("payments are off: VMs are free for everybody who asks");
    }
    for profile in profiles {
        tracing::info!(
            network = profile.name,
            chain_id = profile.network.chain_id,
            contract = %profile.contract,
            version = %profile.network.contract_version,
            token = profile.symbol(),
            "rentals are paid by streams"
        );
        if profile.network.testnet && market == settings::Network::Mainnet {
            tracing::warn!(
                network = profile.name,
                "the node offers itself on mainnet and takes test money; set GOLEM_PROVIDER_PAYMENTS_NETWORK"
            );
        }
    }
}

/// Chain and contract, as stream keys have them.
#[must_use]
pub fn key(payment: &PaymentNetwork) -> String {
    golem_node::payment::contract_key(payment.network.chain_id, payment.contract)
}

/// What gas may cost on `network`.
pub(crate) fn gas_rules(network: &network::Network, settings: &ChainSettings) -> GasRules {
    GasRules {
        maximum_price: settings.payments.max_gas_price_wei().or_else(|| network.maximum_gas_price()),
        daily_limit: settings.payments.daily_gas_limit_wei().or_else(|| network.daily_gas_limit()),
    }
}

/// Where what was earned goes.
///
/// # Errors
/// When it would go to a key of the node itself, or to where nobody gets it.
pub fn payout(
    settings: &ChainSettings,
    identity: &Identity,
    profile: Option<&PaymentNetwork>,
) -> anyhow::Result<PayoutConfig> {
    let address = settings.payments.payout_address.map(|address| address.0);
    let float = settings.payments.payout_float.map(|coins| coins.0.atto());
    if let Some(address) = address {
        let own = identity.former().iter().map(|former| former.address).chain([identity.wallet().address()]);
        let profiles = network::all(&settings.data_dir).unwrap_or_default();
        let of_profiles = profiles
            .values()
            .flat_map(|network| [network.stream_payment_address, Some(network.token_address)])
            .flatten();
        let used = profile.into_iter().flat_map(|profile| [profile.contract, profile.token]);
        let what = if own.into_iter().any(|own| own == address) {
            "an address of the node itself"
        } else if of_profiles.chain(used).any(|contract| contract == address) {
            "a payment contract or a token, which would keep the money for good"
        } else {
            return Ok(PayoutConfig { address: Some(address), float, ..PayoutConfig::default() });
        };
        bail!(
            "GOLEM_PROVIDER_PAYOUT_ADDRESS={address} is {what}; fix: set it to an address whose key you have, or remove it"
        );
    }
    Ok(PayoutConfig { address, float, ..PayoutConfig::default() })
}

/// The faucet of the network; `None` on a mainnet.
#[must_use]
pub fn faucet(payment: &PaymentNetwork, settings: &FaucetSettings) -> Option<Faucet> {
    if !payment.network.testnet {
        return None;
    }
    let given = faucet::Given {
        url: settings.l2_faucet_url.as_ref(),
        captcha_url: settings.l2_captcha_url.as_ref(),
        captcha_key: settings.l2_captcha_key.as_ref(),
    };
    given.over(payment.network.faucet.as_ref())
}

/// Every contract of a profile that is known: rentals that came before a change of the settings may be paid in it.
pub fn known(settings: &ChainSettings, identity: &Identity) -> Vec<KnownContract> {
    let shipped = network::shipped();
    // Another file that is wrong must not keep the node from its own network.
    let all = network::all(&settings.data_dir).unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "network profiles cannot be read");
        shipped.clone()
    });
    all.into_iter()
        .filter_map(|(name, network)| {
            let is_own = shipped.get(&name) != Some(&network);
            let payment = PaymentNetwork::plain(name, network, None)?;
            Some(KnownContract { config: config(&payment, settings, identity), is_own })
        })
        .collect()
}

/// Under which name the ledger keeps the rate of what feeds call `price_id`. Test money has none.
fn rated_as(payment: &PaymentNetwork, price_id: Option<&str>) -> Option<String> {
    price_id.filter(|_| !payment.network.testnet).map(|id| coin_of(id).to_owned())
}

/// What the node needs to know, with `identity` to be paid.
#[must_use]
pub fn config(payment: &PaymentNetwork, settings: &ChainSettings, identity: &Identity) -> PaymentConfig {
    PaymentConfig {
        name: payment.name.clone(),
        symbol: payment.symbol().to_owned(),
        rpc_url: payment.rpc_url.clone(),
        chain_id: payment.network.chain_id,
        local: payment.network.local,
        maximum_head_age: payment.network.maximum_head_age(),
        contract: payment.contract,
        version: payment.network.contract_version,
        token: payment.token,
        rated_as: rated_as(payment, payment.price_id()),
        coin: Currency {
            rated_as: rated_as(payment, payment.coin_price_id()),
            ..Currency::coin(&payment.network.symbol)
        },
        confirmations: payment.network.confirmations(),
        testnet: payment.network.testnet || payment.network.local,
        wallet: identity.wallet().clone(),
        former: identity.former().to_vec(),
        decimals: payment.decimals(),
        enforce_rate: settings.payments.stream_enforce_rate,
        refund_after: settings.payments.refund_on_delete.then_some(REFUND_AFTER),
        allow_unpriced: settings.payments.allow_unpriced,
        rules: Rules {
            least_runway: settings.payments.stream_min_remaining.duration(),
            create_runway: settings.payments.stream_min_create.duration(),
            warning: settings.payments.stream_warning.duration(),
            hold: settings.payments.stream_hold.duration(),
            grace: settings.payments.stream_grace.duration(),
        },
        monitor: settings.payments.stream_monitor_enabled,
        interval: settings.payments.stream_monitor_interval,
        withdraw: WithdrawConfig {
            enabled: settings.payments.stream_withdraw_enabled,
            interval: settings.payments.stream_withdraw_interval,
            minimum: settings.payments.stream_min_withdraw.0,
            gas_percent: settings.payments.stream_withdraw_gas_percent.0,
        },
        faucet: faucet(payment, &settings.faucets),
        gas: gas_rules(&payment.network, settings),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use golem_types::Wallet;

    use super::*;

    fn chain(more: &[(&str, &str)]) -> ChainSettings {
        let mut environment = BTreeMap::from([("HOME".to_owned(), "/nowhere".to_owned())]);
        environment
            .extend(more.iter().map(|(name, text)| (format!("GOLEM_PROVIDER_{name}"), (*text).to_owned())));
        settings::load(BTreeMap::new(), environment, Path::new("/nowhere")).unwrap().settings.chain()
    }

    #[test]
    fn the_network_is_todays_unless_the_originals_is_meant() {
        let named = |more: &[(&str, &str)]| chain(more).networks().join(" ");
        assert_eq!(named(&[]), "hoodi");
        assert_eq!(named(&[("PAYMENTS_NETWORK", "auto, mainnet ,hoodi,")]), "hoodi mainnet");
        assert_eq!(named(&[("PAYMENTS_NETWORK", ",")]), "hoodi");
        // What is set without a network was set for the original's.
        let address = "0x00000000000000000000000000000000000000aa";
        for (name, text) in [
            ("STREAM_PAYMENT_ADDRESS", address),
            ("GLM_TOKEN_ADDRESS", address),
            ("L2_RPC_URL", "http://127.0.0.1:1"),
            ("DEPLOYMENTS_DIR", "/nowhere"),
        ] {
            assert_eq!(named(&[(name, text)]), "l2.holesky", "{name}");
            assert_eq!(named(&[(name, text), ("PAYMENTS_NETWORK", "hoodi")]), "hoodi", "{name}");
        }
    }

    #[test]
    fn clients_of_version_1_are_told_of_a_contract_that_they_know() {
        let of = |more: &[(&str, &str)]| {
            let chain = chain(more);
            let all = profiles(&chain).unwrap();
            let told = told(&chain, &all).map(|profile| profile.name);
            (
                all.into_iter().map(|profile| profile.name).collect::<Vec<_>>().join(" "),
                told.unwrap_or_default(),
            )
        };
        let both = |all: &str, told: &str| (all.to_owned(), told.to_owned());
        assert_eq!(of(&[]), both("hoodi", "l2.holesky"));
        assert_eq!(of(&[("PAYMENTS_NETWORK", "hoodi,l2.holesky")]), both("hoodi l2.holesky", "l2.holesky"));
        assert_eq!(of(&[("PAYMENTS_NETWORK", "l2.holesky,hoodi")]), both("l2.holesky hoodi", "l2.holesky"));
        assert_eq!(of(&[("STREAM_PAYMENT_ADDRESS", "0x0")]), both("", ""));
        let lacks = profiles(&chain(&[("PAYMENTS_NETWORK", "hoodi,sepolia")])).unwrap_err().to_string();
        assert!(lacks.contains("sepolia has no contract") && lacks.contains("fix:"), "{lacks}");
    }

    fn configured(more: &[(&str, &str)]) -> PaymentConfig {
        let more: Vec<_> = more.iter().map(|(name, text)| (format!("STREAM_{name}"), *text)).collect();
        let more: Vec<_> = more.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let settings = chain(&more);
        config(
            &profile(&settings).unwrap().unwrap(),
            &settings,
            &Identity::of(Wallet::from_bytes(&[1; 32]).unwrap()),
        )
    }

    #[test]
    fn what_is_set_is_what_follows_and_withdraws() {
        let seconds = Duration::from_secs;
        let by_default = configured(&[]);
        // S-126, S-127
        assert!(by_default.monitor && by_default.interval == seconds(30));
        let withdraw = by_default.withdraw;
        // S-128, S-129
        assert!(!withdraw.enabled && withdraw.interval == seconds(1800));
        let set = configured(&[
            ("MIN_REMAINING_SECONDS", "3600"),
            ("MONITOR_ENABLED", "false"),
            ("MONITOR_INTERVAL_SECONDS", "7"),
            ("WITHDRAW_ENABLED", "true"),
            ("WITHDRAW_INTERVAL_SECONDS", "77"),
            ("MIN_WITHDRAW_WEI", "777"),
        ]);
        // S-125
        assert_eq!(set.rules.least_runway, seconds(3600));
        // S-126
        assert!(!set.monitor);
        // S-127
        assert_eq!(set.interval, seconds(7));
        // S-128
        assert!(set.withdraw.enabled);
        // S-129
        assert_eq!(set.withdraw.interval, seconds(77));
        // S-130
        assert_eq!(set.withdraw.minimum.to_string(), "777");
    }
}
