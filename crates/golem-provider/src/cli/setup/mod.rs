//! `setup`: a node from a fresh machine to its first renter, or another look at one that is set up.
//!
//! ```text
//!   missing? writable? ─► questions (nothing is changed yet) ─► what would change ─► yes ─► settings ─► image ─► service ─► ending
//! ```
//! Owns that order, and what an interrupt leaves. Never decides what a setting may be ([`golem_host::settings`]), nor what can be
//! decided without asking ([`golem_host::setup`]).

mod ending;
mod move_in;
mod questions;
mod reach;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use golem_host::move_in::Plan;
use golem_host::node::{Node, Places, Whose};
use golem_host::settings_file;
use golem_host::setup::form::{Answers, FormError};
use golem_host::setup::plan::{self, Change};
use golem_host::setup::prompt::{self, PromptError};
use golem_host::setup::service::{self, Found};
use golem_host::setup::{clock, place, prerequisites};
use golem_reach::mapping::Mapper;
use golem_vm::images::Images;
use serde_json::json;

use super::arguments::Setup;
use super::{Exit, Invocation};
use crate::{backend, image, payments};
use golem_host::settings::{self, Origin, Resolved};
use move_in::Moving;
use questions::Image;

/// What is said where nobody can be asked.
const WOULD_ASK: &str = "setup would ask for the node's name and country, what to rent out, prices, the market, an address for \
    earnings, how its ports are reached and whether to fetch the image now, and there is no terminal; fix: `--yes` takes what \
    counts already, else what is good for this machine; flags (`golem-provider setup --help`) say otherwise, and `--dry-run` \
    shows what would change";

/// The node that is set up.
struct Target {
    /// Whether it is the service of this machine.
    service: bool,
    node: Node,
    /// Where its settings are written.
    file: PathBuf,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    resolved: Resolved,
}

/// What was answered.
struct Decision {
    changes: Vec<Change>,
    image: Image,
    reach: Option<String>,
}

/// `setup`.
pub(super) async fn setup(invocation: &Invocation, typed: &Setup) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let asks = prompt::is_possible() && !printer.json && !typed.yes;
    if !asks && !typed.yes && !typed.dry_run {
        printer.error(Exit::WrongUse, WOULD_ASK);
        return Ok(Exit::WrongUse);
    }
    let target = Target::choose(invocation, typed.here)?;
    look_at_host(&target, invocation).await?;
    let mut mapper: Option<Mapper> = None;
    let decided = tokio::select! {
        decided = ask(&target, typed, asks, invocation, &mut mapper) => decided,
        _ = tokio::signal::ctrl_c() => Err(FormError::Prompt(prompt::Ended.into()).into()),
    };
    if let Some(mapper) = &mut mapper {
        // It was only tried: the node asks for itself.
        mapper.undo(|_, _| ()).await;
    }
    let (moving, decision) = match decided {
        Ok(Some(decided)) => decided,
        Ok(None) => {
            printer.note("Nothing was changed.");
            return Ok(Exit::Done);
        }
        Err(error) => return refused(invocation, error),
    };
    let interrupted = |how_far: &str| {
        printer.note(&format!("\nInterrupted; {how_far}, and `golem-provider setup` goes on from here."));
        Ok(Exit::Interrupted)
    };
    let moved = match moving {
        Some(moving) => tokio::select! {
            moved = move_in::run(moving, invocation) => moved?,
            // What has begun is finished by the next run.
            _ = tokio::signal::ctrl_c() => return interrupted("the node may have been moved"),
        },
        None => None,
    };
    let target = match target.write(&decision) {
        Ok(resolved) => Target { resolved, ..target },
        Err(error) if moved.is_some() => {
            let let_in = service::let_into_vms(&target.node.data_dir).await?;
            service::start(false, let_in).await?;
            return Err(error.context("the node was moved and is started as it was"));
        }
        Err(error) => return Err(error),
    };
    let invocation = &target.invocation(invocation);
    tokio::select! {
        done = carry_out(invocation, &target, &decision, moved.as_ref()) => done?,
        _ = tokio::signal::ctrl_c() => return interrupted("the settings are written"),
    }
    ending::wait_for_rest(invocation).await;
    ending::tell(invocation, &target, &decision, moved.as_ref()).await
}

/// Asks whether a node moves in, and all that is decided with the settings that come along then. `None` if nothing is to be
/// changed.
async fn ask(
    target: &Target,
    typed: &Setup,
    asks: bool,
    invocation: &Invocation,
    mapper: &mut Option<Mapper>,
) -> anyhow::Result<Option<(Option<Moving>, Decision)>> {
    let moving = if target.service { move_in::ask(target, typed, asks, invocation).await? } else { None };
    let source = moving.as_ref().and_then(|moving| moving.source.as_ref());
    let decides = source.unwrap_or(target);
    let plan = moving.as_ref().map(|moving| &moving.plan);
    let own = decides.invocation(invocation);
    let Some(decision) = decide(decides, typed, asks, &own, mapper, plan).await? else { return Ok(None) };
    if source.is_some() {
        // The service has a file that wins over those that come along.
        let changes = plan::written(&decision.changes);
        target.check_counts(&changes).map_err(|error| FormError::Wrong(format!("{error:#}")))?;
    }
    Ok(Some((moving, decision)))
}

/// How setup ends where there is no answer.
fn refused(invocation: &Invocation, error: anyhow::Error) -> anyhow::Result<Exit> {
    match error.downcast_ref() {
        Some(FormError::Prompt(PromptError::Ended(_))) => {
            invocation.printer.note("\nInterrupted; nothing was changed.");
            Ok(Exit::Interrupted)
        }
        Some(FormError::Wrong(_)) => {
            invocation.printer.error(Exit::WrongUse, &format!("{error:#}"));
            Ok(Exit::WrongUse)
        }
        _ => Err(error),
    }
}

impl Target {
    /// The service of this machine, or the caller's own node.
    fn choose(invocation: &Invocation, here: bool) -> anyhow::Result<Self> {
        let (node, environment) = (&invocation.node, &invocation.environment);
        let found =
            if here || node.whose == Whose::Named { Found::Nothing } else { service::find(Path::new("/")) };
        let directory = invocation.directory.clone();
        let service = found == Found::Ready;
        let (node, environment) = match found {
            Found::Ready => {
                let places = Places::default();
                let node = Node::find(Some(&places.data.clone()), environment, places)?;
                // Of whoever asks it has nothing.
                (node, BTreeMap::new())
            }
            Found::NoManager => {
                invocation
                    .printer
                    .note("systemd does not run here: this user's own node is set up, as with --here.");
                (settings::own_node(environment, &directory), environment.clone())
            }
            Found::Nothing if here => (settings::own_node(environment, &directory), environment.clone()),
            Found::Nothing => (Some(node.clone()), environment.clone()),
        };
        let node = node.context("HOME is not set; fix: set it")?;
        let resolved = settings::load_of(Some(&node), BTreeMap::new(), environment.clone(), &directory)?;
        let file = node.settings_file();
        Ok(Self { service, node, file, environment, directory, resolved })
    }

    /// The settings with `answers` in place of what counts now.
    fn load(&self, answers: Answers) -> anyhow::Result<Resolved> {
        Ok(settings::load_of(Some(&self.node), answers, self.environment.clone(), &self.directory)?)
    }

    /// What counts now for the setting `name`, as text; empty if it is not set.
    fn now(&self, name: &str) -> String {
        self.resolved.found.get(name).map(|found| found.text.clone()).unwrap_or_default()
    }

    /// Whether all of `answers` may be, alone and together, and would count.
    fn check(&self, answers: &Answers) -> anyhow::Result<Resolved> {
        settings::valid(answers)?;
        let resolved = self.load(answers.clone())?;
        resolved.settings.chain().check_money()?;
        self.check_counts(answers)?;
        Ok(resolved)
    }

    /// Whether `answers` would count where they are written.
    fn check_counts(&self, answers: &Answers) -> anyhow::Result<()> {
        for (name, text) in answers {
            let Some(found) = self.resolved.found.get(name).filter(|found| found.text != *text) else {
                continue;
            };
            let from = match &found.origin {
                Origin::File { path, .. } if *path == self.node.settings_file() => continue,
                Origin::Environment(_) | Origin::File { .. } => found.origin.describe(name),
                _ => continue,
            };
            bail!(
                "{name}={} is set in a place that wins ({from}); fix: change it there, or remove it",
                found.text
            );
        }
        Ok(())
    }

    /// Writes what was decided, and reads the settings as they are then.
    fn write(&self, decision: &Decision) -> anyhow::Result<Resolved> {
        if !decision.changes.is_empty() {
            settings_file::write(&self.file, &plan::written(&decision.changes)).with_context(|| {
                format!("{} cannot be written; nothing was changed in it", self.file.display())
            })?;
        }
        self.load(Answers::new())
    }

    /// The program as if it had been called for this node.
    fn invocation(&self, from: &Invocation) -> Invocation {
        Invocation {
            node: self.node.clone(),
            resolved: self.resolved.clone(),
            environment: self.environment.clone(),
            directory: self.directory.clone(),
            printer: from.printer,
        }
    }

    /// How its node is started by hand.
    const fn how_to_start(&self) -> &'static str {
        if self.service { "sudo systemctl start golem-provider" } else { "golem-provider start --daemon" }
    }
}

/// Whether this machine has what a node needs, before anything is asked or fetched.
async fn look_at_host(target: &Target, invocation: &Invocation) -> anyhow::Result<()> {
    place::check(&target.file)?;
    let vms = target.resolved.settings.backend();
    let path = std::env::var("PATH").unwrap_or_default();
    let manager = prerequisites::PackageManager::of_host(&path);
    let root = rustix::process::geteuid().is_root();
    if let Some(missing) = prerequisites::told(&backend::missing(&vms), manager, root) {
        bail!(missing);
    }
    backend::check(&vms).await.context("the VM backend cannot be used")?;
    if let Some(why) = backend::without_kvm(&vms).await {
        invocation.printer.warning(&format!(
            "without hardware virtualization (KVM) guests boot in minutes instead of seconds, and nothing is rented out for real \
             money: {why}"
        ));
    }
    let profile = payments::profile(&target.resolved.settings.chain()).ok().flatten();
    if let Some(endpoint) = profile.as_ref().and_then(|profile| profile.rpc_url.split(',').next())
        && let Some(wrong) = clock::problem(endpoint).await
    {
        invocation.printer.warning(&wrong);
    }
    Ok(())
}

/// Asks for everything, and shows what would change. `None` if that is declined, or was only to be shown.
async fn decide(
    target: &Target,
    typed: &Setup,
    asks: bool,
    invocation: &Invocation,
    mapper: &mut Option<Mapper>,
    moved: Option<&Plan>,
) -> anyhow::Result<Option<Decision>> {
    let printer = invocation.printer;
    let mut form = questions::form(target, typed.settings(), asks, printer.json || printer.quiet);
    questions::ask(&mut form, target).await?;
    let client = match invocation.node.running()? {
        Some(_) => Some(invocation.client()?),
        None => None,
    };
    let reach = reach::ask(&mut form, target, client.as_ref(), mapper, !typed.dry_run).await?;
    let image = questions::image(&mut form, target, typed.image.as_deref()).await?;
    let changes = form.changes();
    let file = target.file.display();
    if !printer.json {
        printer.note(&match &*changes {
            [] => format!("\nNothing to change in {file}."),
            changes => format!("\nTo be changed in {file}:\n{}", plan::told(changes)),
        });
    }
    if typed.dry_run {
        if printer.json {
            let answer = json!({
                "file": file.to_string(), "changes": changes, "written": false, "move_in": moved,
            });
            printer.answer(&answer, String::new);
        }
        return Ok(None);
    }
    if asks && !changes.is_empty() && !form.yes_or_no("Write this?", true).await? {
        return Ok(None);
    }
    Ok(Some(Decision { changes, image, reach }))
}

/// Does what was decided, beside the settings: the image, and the service.
async fn carry_out(
    invocation: &Invocation,
    target: &Target,
    decision: &Decision,
    moved: Option<&Plan>,
) -> anyhow::Result<()> {
    let printer = invocation.printer;
    let settings = &invocation.resolved.settings;
    let (data_dir, name) = (&settings.node.data_dir, &settings.vms.default_vm_image);
    let image = async {
        match &decision.image {
            Image::No => {}
            Image::Pull => {
                image::pull(data_dir, name).await.with_context(|| image::cannot_be_had(name))?;
            }
            Image::Add(file) => {
                let (images, _waiting) =
                    (Images::open(data_dir)?, printer.waiting(format!("Copying {}", file.display())));
                images.add(name, file)?;
            }
        }
        anyhow::Ok(())
    };
    let image = image.await;
    if image.is_err() {
        let rest = if target.service { " and starts the service" } else { "" };
        printer.note(&format!(
            "The settings are written; `golem-provider setup` tries the image once more{rest}."
        ));
    }
    // A node that has moved in has run before, and its VMs wait for it.
    let image = if moved.is_some() { image } else { Ok(image?) };
    if target.service {
        let let_in = service::let_into_vms(data_dir).await;
        let let_in = let_in.context("the service cannot be let into the folder of its VMs")?;
        service::start(!decision.changes.is_empty(), let_in).await?;
        ending::wait_until_ready(invocation).await?;
    }
    image
}
