//! `images …`: what VMs can start from.

use std::collections::BTreeSet;

use golem_types::ImageName;
use golem_vm::images::{ImageInfo, Images, canonical};
use serde_json::{Value, json};

use super::arguments::Images as Command;
use super::printer::table;
use super::{Exit, Invocation};
use crate::{image, pid_file};

/// `images …`.
pub(super) async fn images(invocation: &Invocation, command: Command) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let images = Images::open(&settings.data_dir)?;
    match command {
        Command::List => {
            let default = canonical(&settings.default_vm_image);
            let all = images.list();
            printer.answer(&all.iter().map(|info| document(info, &default)).collect::<Vec<_>>(), || {
                list(&all, &default)
            });
        }
        Command::Pull { name } => {
            let name = parse(&name)?;
            let info = image::pull(&settings.data_dir, &name).await?;
            printer.answer(&document(&info, &settings.default_vm_image), || {
                format!("{name} is here; renters can ask for it now.")
            });
        }
        Command::Add { name, file } => {
            let name = parse(&name)?;
            let info = images.add(&name, &file)?;
            printer.answer(&document(&info, &settings.default_vm_image), || {
                format!("{name} is here; renters can ask for it now.")
            });
        }
        Command::Remove { name } => {
            let name = parse(&name)?;
            images.remove(&name, &in_use(invocation).await?)?;
            printer.answer(&json!({ "name": name, "removed": true }), || format!("{name} is removed."));
        }
    }
    Ok(Exit::Done)
}

pub(super) fn parse(name: &str) -> anyhow::Result<ImageName> {
    name.parse()
        .map_err(|error| anyhow::anyhow!("{name:?} {error}; fix: use a to z, 0 to 9, `.`, `:`, `-` and `_`"))
}

/// Images of the VMs that the running node has.
async fn in_use(invocation: &Invocation) -> anyhow::Result<BTreeSet<ImageName>> {
    if pid_file::holder(&invocation.pid_file)?.is_none() {
        return Ok(BTreeSet::new());
    }
    Ok(invocation.client()?.vms().await?.into_iter().map(|vm| vm.image).collect())
}

fn document(info: &ImageInfo, default: &ImageName) -> Value {
    json!({
        "name": info.name,
        "aliases": info.aliases,
        "here": info.bytes.is_some(),
        "bytes": info.bytes,
        "default": info.name == *default,
        "url": info.url,
    })
}

fn list(images: &[ImageInfo], default: &ImageName) -> String {
    let words = |names: &[ImageName]| names.iter().map(ImageName::as_str).collect::<Vec<_>>().join(", ");
    table(
        ["NAME", "HERE", "SIZE", "OTHER NAMES"],
        images.iter().map(|info| {
            let default = if info.name == *default { " (default)" } else { "" };
            [
                format!("{}{default}", info.name),
                if info.bytes.is_some() { "yes" } else { "no" }.to_owned(),
                info.bytes
                    .map_or_else(|| "-".to_owned(), |bytes| format!("{} MB", bytes.div_ceil(1_000_000))),
                words(&info.aliases),
            ]
        }),
    )
}
