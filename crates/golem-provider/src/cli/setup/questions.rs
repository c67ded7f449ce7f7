//! What `setup` asks, each with a default that is good for this machine.
//!
//! Owns the questions and their defaults. What may be an answer the settings' own checks decide, at once. Never changes anything.

use std::path::PathBuf;
use std::time::Duration;

use golem_host::setup::form::{Answers, Form, FormError};
use golem_host::setup::{country, prompt};
use golem_node::Rent;
use golem_node::host::{Host, HostOffer};
use golem_types::Resources;
use golem_vm::Overhead;

use super::Target;
use crate::cli::{images, market};
use crate::{backend, image};
use golem_host::settings::Origin;

/// Longest that markets are waited for: prices are a help, and no condition.
const MARKETS: Duration = Duration::from_secs(3);

const RENT: [&str; 3] =
    ["GOLEM_PROVIDER_RENT_CPU", "GOLEM_PROVIDER_RENT_MEMORY_GB", "GOLEM_PROVIDER_RENT_STORAGE_GB"];
const PRICES: [&str; 3] = [
    "GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH",
    "GOLEM_PROVIDER_PRICE_USD_PER_GB_RAM_MONTH",
    "GOLEM_PROVIDER_PRICE_USD_PER_GB_STORAGE_MONTH",
];

/// What becomes of the image that VMs start from.
pub(super) enum Image {
    /// Nothing.
    No,
    /// It is fetched.
    Pull,
    /// This file is taken.
    Add(PathBuf),
}

/// The form for `target`, of which `given` is answered.
pub(super) fn form(target: &Target, given: Answers, asks: bool, quiet: bool) -> Form<'_> {
    let host = Host::new(&target.resolved.settings.node.data_dir);
    // As a node that has no VM yet, and is told nothing.
    let (HostOffer { cpu, memory_most, storage, .. }, _) =
        host.offer(&Rent::default(), 0, Overhead::default());
    let most = [(cpu, "cores"), (memory_most, "GiB of memory"), (storage, "GiB of storage")];
    let mut now: Answers =
        target.resolved.found.iter().map(|(name, found)| (*name, found.text.clone())).collect();
    for (name, (has, _)) in RENT.into_iter().zip(most) {
        // What nobody set is all that there is, and goes on following it.
        if now.get(name).is_none_or(String::is_empty) {
            now.insert(name, has.to_string());
        }
    }
    let check = move |answers: &Answers| {
        for (name, (most, what)) in RENT.into_iter().zip(most) {
            let is_more = |text: &&String| {
                let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
                // One that no number has room for is more than there is, too.
                is_number && text.parse().unwrap_or(u64::MAX) > u64::from(most)
            };
            if let Some(wanted) = answers.get(name).filter(is_more) {
                let fix = if most == 0 { "make room for it".to_owned() } else { format!("at most {most}") };
                return Err(format!(
                    "{name}={wanted} is more than the {most} {what} to rent out here; fix: {fix}"
                ));
            }
        }
        target.check(answers).map(drop).map_err(|error| format!("{error:#}"))
    };
    Form { asks, quiet, now, given, wanted: Answers::new(), check: Box::new(check) }
}

/// Asks for everything that is a setting, but how the ports are reached.
pub(super) async fn ask(form: &mut Form<'_>, target: &Target) -> Result<(), FormError> {
    if form.asks {
        form.tell(&format!(
            "Settings are kept in {}. Enter takes what is in brackets.",
            target.file.display()
        ));
    }
    // What somebody set, else what is good for this machine, else the default.
    let or_now = |name: &str, good: Option<String>| {
        let found = target.resolved.found.get(name);
        let is_set =
            found.is_some_and(|found| !matches!(found.origin, Origin::Default | Origin::Development));
        good.filter(|good| !is_set && !good.is_empty()).unwrap_or_else(|| target.now(name))
    };
    let name =
        or_now("GOLEM_PROVIDER_NAME", rustix::system::uname().nodename().to_str().ok().map(str::to_owned));
    form.settings("Name that renters see", ["GOLEM_PROVIDER_NAME"], [name]).await?;
    let country = or_now("GOLEM_PROVIDER_COUNTRY", country::guess());
    form.settings("Country, two letters", ["GOLEM_PROVIDER_COUNTRY"], [country]).await?;
    let rent = RENT.map(|name| form.now.get(name).cloned().unwrap_or_default());
    form.settings("Rent out cores, GiB of memory, GiB of storage", RENT, rent).await?;
    let least = target.resolved.settings.vms.min_storage_gb.0;
    let storage = form.wanted.get(RENT[2]).and_then(|text| text.parse::<u32>().ok());
    if let Some(storage) = storage.filter(|storage| *storage < least) {
        form.tell(&format!(
            "There is too little room: {storage} GiB of storage can be rented out, and a VM takes at least {least}; fix: make \
             room on that disk."
        ));
    }
    // Before prices: each market has its own.
    let network = target.now("GOLEM_PROVIDER_NETWORK");
    form.settings("Market: testnet (test money) or mainnet", ["GOLEM_PROVIDER_NETWORK"], [network]).await?;
    tell_prices(form, target).await;
    let prices = PRICES.map(|name| target.now(name));
    form.settings("USD a month for a core, a GiB of memory, of storage", PRICES, prices).await?;
    let payout = Some(target.now("GOLEM_PROVIDER_PAYOUT_ADDRESS")).filter(|text| !text.is_empty());
    let payout = payout.unwrap_or_else(|| "none".to_owned());
    form.settings(
        "Address for earnings (none: the node's wallet)",
        ["GOLEM_PROVIDER_PAYOUT_ADDRESS"],
        [payout],
    )
    .await
}

/// What others ask, where a market answers within seconds.
async fn tell_prices(form: &Form<'_>, target: &Target) {
    let Some(settings) = target.check(&form.changed()).ok().filter(|_| form.asks) else { return };
    for seen in market::survey(&settings.settings, Resources::new(2, 4, 20), MARKETS).await {
        let (place, rank) = (&seen.place, &seen.usd_month);
        if let (Some(lowest), Some(median)) = (rank.lowest, rank.median) {
            form.tell(&format!(
                "On {place} others ask {lowest:.2} USD (the lowest), {median:.2} USD (the median) a month for 2 cores, 4 GiB of \
                 memory and 20 GiB of storage; here that is {:.2} USD.",
                rank.own
            ));
        }
    }
}

/// Whether the image is fetched now, or which it is.
pub(super) async fn image(
    form: &mut Form<'_>,
    target: &Target,
    given: Option<&str>,
) -> anyhow::Result<Image> {
    let settings = target.check(&form.changed())?.settings.backend();
    let is_missing = backend::image_missing(&settings);
    let take = |form: &mut Form<'_>, answer: &str| image_of(form, target, answer);
    match given {
        Some(given) => Ok(take(form, given).map_err(FormError::Wrong)?),
        None if !is_missing => Ok(Image::No),
        None if !form.asks => Ok(Image::Pull),
        None => {
            let question = format!(
                "Fetch the image {} now? yes, no, a VERSION or a FILE",
                settings.vms.default_vm_image
            );
            Ok(form.answer(&question, "yes", take).await?)
        }
    }
}

/// The image that `answer` means: yes or no, a file, or a name of the catalogue.
fn image_of(form: &mut Form<'_>, target: &Target, answer: &str) -> Result<Image, String> {
    if let Some(yes) = prompt::yes_or_no(answer) {
        return Ok(if yes { Image::Pull } else { Image::No });
    }
    let file = PathBuf::from(answer);
    if file.is_file() {
        return Ok(Image::Add(file));
    }
    let Some(name) = images::parse(answer).ok().filter(image::is_in_catalogue) else {
        return Err(format!(
            "{answer} is neither a file nor in the catalogue; fix: `golem-provider images list` shows that"
        ));
    };
    form.accept(Answers::from([("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", name.to_string())]))?;
    let settings = target.check(&form.changed()).map_err(|error| format!("{error:#}"))?.settings;
    Ok(if backend::image_missing(&settings.backend()) { Image::Pull } else { Image::No })
}
