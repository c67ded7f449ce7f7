//! `rent …`: renting VMs, for scripts, demos and tests.
//!
//! Owns what is typed and printed. Progress goes to standard error, the answer to standard output. Never
//! decides anything: `golem_rent` does.

mod agree;
mod arguments;
mod console;
mod progress;
mod seeing;
mod snapshots;
mod text;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, bail};
use golem_chain::{Payer, Rpc};
use golem_types::{Decimal, FirstBoot, Resources, UserData, VmName};
use serde_json::json;

pub(super) use arguments::Rent;
use arguments::{Command, Create, Keep, Size};
use progress::RentProgress;

use super::printer::Printer;
use super::ssh::{self, Login};
use super::{Exit, Invocation, test_tokens};
use crate::identity;
use crate::payments;
use golem_chain::identity::Identity;
use golem_chain::network::PaymentNetwork;
use golem_host::settings::{MarketplaceSettings, RentingSettings};
use golem_rent::view::{self, RentalView};
use golem_rent::{Event, KeepEnd, Market, RentRequest, Renter, Search, Store, TopUpLimits};

/// Columns of lists.
const PROVIDERS: &str =
    "provider_id,name,country,platform,cpu,memory,storage,usd_month,glm_month,ip_address,endpoint_url";
const RENTALS: &str = "\
    name,status,ssh.host,ssh.port,resources.cpu,resources.memory,resources.storage,payment.stream_id,\
    provider_id,vm_id,created_at,problem";
const EVENTS: &str = "at,kind,detail";
const BALANCES: &str = "network,chain_id,symbol,balance_wei,decimals,gas_symbol,gas_wei,error";

impl Size {
    const fn resources(self) -> Resources {
        Resources::new(self.cpu, self.memory, self.storage)
    }
}

/// `rent …`.
pub(super) async fn rent(invocation: &Invocation, arguments: Rent) -> anyhow::Result<Exit> {
    let Rent { payments_network, rpc_url, discovery, command } = arguments;
    let (settings, printer) = (&invocation.resolved.settings, invocation.printer);
    let markets = || {
        let mut settings = settings.clone();
        if let Some(name) = &payments_network {
            name.clone_into(&mut settings.payments.payments_network);
        }
        markets(&settings.marketplace(), discovery.clone())
    };
    let networks = || payments::of_renter(settings.chain(), payments_network.as_deref(), rpc_url.as_deref());
    let store = Store::open(&settings.renting.renter_dir)?;
    let identity = identity::of_renter(&settings.renting)?;
    let progress = RentProgress::of(printer);
    let tell = |told: Event<'_>| progress.tell(told);
    let renter =
        Renter { store: &store, wallet: identity.wallet(), rpc_url: rpc_url.as_deref(), tell: &tell };
    match command {
        Command::Providers { size, country, platform } => {
            let Size { cpu, memory, storage } = size;
            let search = Search { cpu, memory, storage, country, platform };
            let found = {
                let _waiting = printer.waiting("Looking for providers");
                golem_rent::find(&markets()?, &search).await?
            };
            for failure in &found.failures {
                printer.warning(&format!("{failure:#}"));
            }
            printer.list(&found.listings, &found.listings, PROVIDERS, || text::providers(&found.listings));
        }
        Command::Quote { provider, size } => {
            let (url, id) = golem_rent::named(&markets, &provider).await?;
            let networks = networks().unwrap_or_default();
            let offer = golem_rent::quote(&renter, &url, id, size.resources(), &networks).await?;
            let decimals = offer.paying.as_ref().map_or(18, |paying| paying.decimals(&networks));
            printer.answer(&offer.view(decimals), || text::offer(&offer, decimals));
        }
        Command::Create(create) => {
            agree::somebody_decides(create.free, create.yes, create.most.is_some())?;
            let (url, id) = golem_rent::named(&markets, &create.provider).await?;
            let median = match id {
                // Who is looked for on the market is compared with it.
                Some(_) => golem_rent::median_price(&markets()?, create.size.resources()).await,
                None => None,
            };
            let agree = agree::Agree { prices: &settings.prices, printer, yes: create.yes, median };
            let wanted = wanted(create, (url, id), &store, networks()?).await?;
            let ask = async |proposal: &golem_rent::Proposal| {
                progress.end();
                agree.ask(proposal).await
            };
            let created = golem_rent::create(&renter, &wanted, ask).await;
            progress.end();
            let created = RentalView::of(&store, &created?);
            printer.done(&created, || text::created(&created));
        }
        Command::List => {
            let shown = view::all(&renter, &store.all()?).await;
            printer.list(&shown, &shown, RENTALS, || text::list(&shown));
        }
        Command::Show { vm } => {
            let shown = view::closely(&renter, &store.rental(&vm)?).await;
            printer.answer(&shown, || text::show(&shown));
        }
        Command::Stats { vm, range } => {
            let stats = {
                let _waiting = printer.waiting("Asking the provider");
                golem_rent::stats(&renter, &vm, range.as_deref()).await?
            };
            printer.answer(&stats, || seeing::stats(&stats));
        }
        Command::Events { vm, limit } => {
            let told = {
                let _waiting = printer.waiting("Asking the provider");
                golem_rent::events(&renter, &vm, limit).await?
            };
            printer.list(&told, &told.events, EVENTS, || seeing::events(&told));
        }
        Command::Ssh { vm, user, command } => {
            match login(&renter, &vm, user, command).await?.become_ssh()? {}
        }
        Command::Console { vm } => return console::console(&renter, printer, &vm).await,
        Command::Topup { vm, hours } => {
            let topped = golem_rent::top_up(&renter, &vm, hours).await;
            progress.end();
            let rental = topped?;
            let shown = view::closely(&renter, &rental).await;
            printer.answer(&shown, || text::show(&shown));
        }
        Command::Keep(wanted) => return keep(&renter, printer, &progress, wanted).await,
        Command::Stop { vm } => order(&renter, printer, &vm, "stop").await?,
        Command::Start { vm } => order(&renter, printer, &vm, "start").await?,
        Command::Suspend { vm } => order(&renter, printer, &vm, "suspend").await?,
        Command::Resume { vm } => order(&renter, printer, &vm, "resume").await?,
        Command::Rebuild { vm, image, yes } => {
            if !yes && !agree::to_rebuild(&vm)? {
                return Ok(printer.declined("Nothing was changed."));
            }
            let seen = {
                let _waiting = printer.waiting(format!("Asking the provider to rebuild {vm}"));
                golem_rent::rebuild(&renter, &vm, image.as_ref()).await?
            };
            // The guest makes a new key for itself; the old one would be taken for an attack.
            ssh::forget(&store.path("known_hosts"), view::host_key_alias(&store.rental(&vm)?));
            let answer = json!({ "name": vm, "status": seen.status, "error_message": seen.error_message });
            printer.done(&answer, || format!("The disk of {vm} is made anew."));
        }
        Command::Snapshot { command } => return snapshots::snapshot(&renter, printer, command).await,
        Command::Destroy { vm, yes } => {
            if !yes && !agree::to_destroy(&store.rental(&vm)?)? {
                return Ok(printer.declined("Nothing was destroyed."));
            }
            let ended = golem_rent::destroy(&renter, &vm).await;
            progress.end();
            let ended = ended?;
            if let Some(error) = &ended.provider_error {
                printer.warning(&format!("the provider did not delete it: {error}"));
            }
            printer.done(&ended, || text::ended(&ended));
        }
        Command::Balance => {
            let networks = networks()?;
            let all = {
                let _waiting = printer.waiting("Asking the chains");
                golem_rent::balance::balances(&networks, identity.wallet()).await
            };
            printer.list(&all, &all.networks, BALANCES, || text::balances(&all));
        }
        Command::Faucet => {
            let _lock = store.lock()?;
            let networks = networks()?;
            let gives = |profile: &&PaymentNetwork| profile.network.token_minter.is_some();
            let profile = networks.iter().find(gives).or(networks.first()).context("no network is known")?;
            let most = profile.network.maximum_gas_price();
            return test_tokens::get(printer, profile, identity.wallet(), most).await;
        }
        Command::Wallet => wallet(&settings.renting, printer, &identity, networks()?).await?,
    }
    Ok(Exit::Done)
}

/// Where providers are looked for: on the discovery server, if one is named, else on those that show who is connected,
/// and on the market's network.
fn markets(settings: &MarketplaceSettings, discovery: Option<String>) -> anyhow::Result<Vec<Market>> {
    let is_socket = |url: &String| url.starts_with("ws://") || url.starts_with("wss://");
    match discovery {
        Some(url) if is_socket(&url) => return Ok(vec![Market::Live { url }]),
        Some(url) => return Ok(vec![Market::Server { url }]),
        None => {}
    }
    let live = settings.sockets.iter().map(|url| Market::Live { url: url.clone() });
    let network = crate::market::network(settings)?;
    let client = network.client()?;
    let environment = settings.network.as_str().to_owned();
    let network = Market::Network { name: network.name, client, environment };
    Ok(live.chain([network]).collect())
}

async fn wanted(
    create: Create,
    (url, provider_id): (String, Option<Address>),
    store: &Store,
    networks: Vec<PaymentNetwork>,
) -> anyhow::Result<RentRequest> {
    let (ssh_key, identity) =
        golem_rent::login_key(store, create.ssh_key.first().map(PathBuf::as_path)).await?;
    let mut more_keys = Vec::new();
    for file in create.ssh_key.iter().skip(1) {
        more_keys.push(golem_rent::login_key(store, Some(file)).await?.0);
    }
    let user_data = create.user_data.as_deref().map(user_data).transpose()?;
    Ok(RentRequest {
        name: create.name,
        url,
        provider_id,
        resources: create.size.resources(),
        image: create.image,
        ssh_key,
        more_keys,
        first_boot: FirstBoot { user_data, hostname: create.hostname, timezone: create.timezone },
        identity,
        hours: create.hours,
        free: create.free,
        most: create.most,
        networks,
        deadline: Duration::from_secs(create.timeout),
    })
}

/// The user-data in `file`, looked at before anything is paid.
fn user_data(file: &Path) -> anyhow::Result<UserData> {
    // One byte more than may be, so that a larger one is seen to be.
    let most = UserData::MAXIMUM as u64 + 1;
    let mut text = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(most).read_to_end(&mut text),
        _ => std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut text)),
    };
    read.with_context(|| format!("{} cannot be read", file.display()))?;
    let text = String::from_utf8(text).with_context(|| format!("{} is no text", file.display()))?;
    text.parse().map_err(|error| anyhow::anyhow!("{} {error}", file.display()))
}

/// How to log in to the rental `vm`.
async fn login(
    renter: &Renter<'_>,
    vm: &VmName,
    user: Option<String>,
    command: Vec<String>,
) -> anyhow::Result<Login> {
    let rental = golem_rent::reachable(renter, vm).await?;
    let (host, port) = view::host_and_port(&rental)
        .with_context(|| format!("{vm} does not run yet; fix: golem-provider rent show {vm}"))?;
    Ok(Login {
        host,
        port,
        alias: view::host_key_alias(&rental).to_owned(),
        user: user.unwrap_or_else(|| rental.ssh_user().to_owned()),
        identity: rental.identity,
        known_hosts: renter.store.path("known_hosts"),
        command,
    })
}

/// `rent keep`.
async fn keep(
    renter: &Renter<'_>,
    printer: Printer,
    progress: &RentProgress,
    wanted: Keep,
) -> anyhow::Result<Exit> {
    let bounds = TopUpLimits {
        below: wanted.below,
        hours: wanted.hours,
        most: wanted.most.atto(),
        every: Duration::from_secs(wanted.every),
        once: wanted.once,
    };
    for vm in &wanted.vms {
        renter.store.rental(vm)?;
    }
    let hook = wanted.warn.as_deref();
    let warn = async |short: &golem_rent::Short| {
        if let Some(hook) = hook
            && let Err(error) = golem_rent::hook::tell(hook, short).await
        {
            printer.warning(&format!("nobody was told that money gets short: {error:#}"));
        }
    };
    let kept = tokio::select! {
        kept = golem_rent::keep(renter, wanted.vms, &bounds, warn) => kept,
        // What is under way is recorded, and goes on with the next command.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    progress.end();
    let (why, paid) = kept?;
    let why_text = match why {
        KeepEnd::Over => "no stream is left to keep",
        KeepEnd::Bound => "no more may be paid",
        KeepEnd::Once => "looked once",
    };
    let answer = json!({ "paid_wei": paid.to_string(), "ended": why_text });
    printer.answer(&answer, || format!("Paid {} in all: {why_text}.", Decimal::from_atto(paid)));
    Ok(if why == KeepEnd::Bound { Exit::Failed } else { Exit::Done })
}

/// Has the provider start, stop, suspend or resume the VM.
async fn order(
    renter: &Renter<'_>,
    printer: Printer,
    vm: &VmName,
    order: &'static str,
) -> anyhow::Result<()> {
    let seen = {
        let _waiting = printer.waiting(format!("Asking the provider to {order} {vm}"));
        golem_rent::order(renter, vm, order).await?
    };
    let answer = json!({ "name": vm, "status": seen.status, "error_message": seen.error_message });
    printer.done(&answer, || format!("{vm} is {}.", seen.status));
    Ok(())
}

/// `rent wallet`.
async fn wallet(
    settings: &RentingSettings,
    printer: Printer,
    identity: &Identity,
    networks: Vec<PaymentNetwork>,
) -> anyhow::Result<()> {
    let network = networks.first();
    let funds = match network {
        None => Err("no network is known".to_owned()),
        Some(profile) => {
            let _waiting = printer.waiting("Asking the chain");
            let place = (profile.contract, profile.token);
            let rpc = Rpc::new(&profile.rpc_url)?;
            let payer = Payer::new(rpc, identity.wallet().clone(), profile.network.chain_id, place);
            payer.funds().await.map_err(|error| error.to_string())
        }
    };
    let key_file = settings.renter_dir.join("keys/renter_key.json").display().to_string();
    let answer = json!({
        "address": identity.address(),
        "key_file": key_file,
        "network": network.map(|profile| &profile.name),
        "native_wei": funds.as_ref().map(|funds| funds.native.to_string()).ok(),
        "token_wei": funds.as_ref().map(|funds| funds.token.to_string()).ok(),
        "error": funds.as_ref().err(),
    });
    printer.answer(&answer, || text::wallet(identity.address(), &key_file, network, funds));
    Ok(())
}
