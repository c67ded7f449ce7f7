//! `images …`: what VMs can start from.
//!
//! Owns what is printed of images. Never decides what one is: `golem_vm::images` does.

use golem_types::ImageName;
use golem_vm::images::{ImageInfo, Images, Pulled, canonical};
use serde_json::{Value, json};

use super::arguments::Images as Command;
use super::layout::table;
use super::{Exit, Invocation};
use crate::image;

/// `images …`.
pub(super) async fn images(invocation: &Invocation, command: Command) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let images = Images::open(&settings.node.data_dir)?;
    match command {
        Command::List => {
            let default = canonical(&settings.vms.default_vm_image);
            let all = images.list();
            let rows: Vec<_> = all.iter().map(|info| document(info, &default)).collect();
            printer.list(&rows, &rows, "name,aliases,here,bytes,default,url", || list(&all, &default));
        }
        Command::Pull { name: Some(name), .. } => {
            let name = parse(&name)?;
            let pulled = image::pull(&settings.node.data_dir, &name).await?;
            printer.done(&pulled_document(&pulled, &settings.vms.default_vm_image), || summary(&pulled));
        }
        Command::Pull { name: None, .. } => return pull_all(invocation, &images).await,
        Command::Add { name, file } => {
            let name = parse(&name)?;
            let info = images.add(&name, &file)?;
            printer.done(&document(&info, &settings.vms.default_vm_image), || {
                format!("{name} is here; renters can ask for it now.")
            });
        }
        Command::Remove { name } => {
            let name = parse(&name)?;
            let users = users(invocation, &name).await?;
            images.remove(&name)?;
            printer.done(&json!({ "name": name, "removed": true, "used_by": users }), || match &*users {
                [] => format!("{name} is removed."),
                users => format!("{name} is removed; {} keep what they started from.", users.join(", ")),
            });
        }
    }
    Ok(Exit::Done)
}

pub(super) fn parse(name: &str) -> anyhow::Result<ImageName> {
    name.parse()
        .map_err(|error| anyhow::anyhow!("{name:?} {error}; fix: use a to z, 0 to 9, `.`, `:`, `-` and `_`"))
}

/// Downloads what the publishers have in place of every image that was downloaded before; one that fails
/// keeps none from the rest.
async fn pull_all(invocation: &Invocation, images: &Images) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let (mut done, mut exit) = (Vec::new(), Exit::Done);
    for (name, _) in images.downloaded() {
        match image::pull(&settings.node.data_dir, &name).await {
            Ok(pulled) => done.push(pulled),
            Err(error) => {
                exit = Exit::Failed;
                invocation.printer.warning(&format!("{name}: {error:#}"));
            }
        }
    }
    let documents: Vec<_> =
        done.iter().map(|pulled| pulled_document(pulled, &settings.vms.default_vm_image)).collect();
    invocation.printer.done(&documents, || match (&*done, exit) {
        ([], Exit::Done) => "No image was downloaded before: name one with `images pull NAME`.".to_owned(),
        (done, _) => done.iter().map(summary).collect::<Vec<_>>().join("\n"),
    });
    Ok(exit)
}

fn pulled_document(pulled: &Pulled, default: &ImageName) -> Value {
    let mut document = document(&pulled.image, default);
    document["new"] = pulled.is_new.into();
    document
}

fn summary(pulled: &Pulled) -> String {
    let name = &pulled.image.name;
    if pulled.is_new {
        format!("{name} is here; renters can ask for it now.")
    } else {
        format!("{name} is its publisher's newest.")
    }
}

/// The VMs of the running node that were made from the image `name`.
async fn users(invocation: &Invocation, name: &ImageName) -> anyhow::Result<Vec<String>> {
    if !invocation.runs()? {
        return Ok(Vec::new());
    }
    let name = canonical(name);
    let vms = invocation.client()?.vms().await?;
    Ok(vms.into_iter().filter(|vm| canonical(&vm.image) == name).map(|vm| vm.name.to_string()).collect())
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
