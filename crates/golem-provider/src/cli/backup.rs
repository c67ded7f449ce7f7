//! `backup` and `restore`: what a node cannot make again, in one encrypted file.
//!
//! Owns what is asked and printed, and where this machine's files are. Never writes one: [`golem_host::backup`] does.

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use golem_chain::key_file::PassphraseError;
use golem_host::backup::{self, Backup, Cost, Destination, LedgerCopy, Restoration, Source};
use golem_host::pid_file::PidFile;
use golem_host::{layout, settings_file};
use golem_node::LEDGER_FILE;
use golem_node::ledger::Ledger;
use jiff::Timestamp;
use serde_json::json;

use super::confirm::confirmed;
use super::{Exit, Invocation, arguments};
use crate::identity;
use crate::passphrase::{Asking, Passphrases};
use golem_host::{data_dir, settings};

/// Version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A copy of the ledger that goes when it is not needed any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

/// A copy of the `ledger`, and the version of its schema, in the first of the `folders` in which it can be made: the data
/// directory's disk may be full or read-only, and that is when a backup elsewhere is needed.
fn copied(ledger: &Path, folders: [Option<&Path>; 2]) -> anyhow::Result<(Temporary, u32)> {
    let mut why = None;
    for folder in folders.into_iter().flatten() {
        let copy = Temporary(backup::copy_place(folder));
        match Ledger::copy(ledger, &copy.0) {
            Ok(version) => return Ok((copy, version)),
            Err(error) => why = why.or(Some(error)),
        }
    }
    let Some(why) = why else { bail!("the ledger cannot be copied: there is no folder for it") };
    // SQLite makes a file beside the ledger to read it where no node has it open.
    let fix = why.disk_trouble().map_or_else(String::new, |trouble| {
        format!(" ({trouble}); fix: make a little room in the data directory, or start the node first")
    });
    Err(anyhow::Error::new(why).context(format!("the ledger cannot be copied{fix}")))
}

/// Files of settings outside of the data directory: the service's, and the user's.
fn settings_elsewhere(invocation: &Invocation) -> (Option<PathBuf>, Option<PathBuf>) {
    let node = &invocation.node;
    let service = node.environment_file().map(Path::to_owned);
    // The service has nothing of whoever asks.
    let home = invocation.environment.get("HOME").filter(|home| !home.is_empty() && service.is_none());
    let user = home.map(|home| settings::user_file(Path::new(home)));
    let user = user.filter(|file| *file != node.settings_file());
    (service, user)
}

/// `backup`.
pub(super) async fn backup(invocation: &Invocation, typed: arguments::Backup) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings.node;
    let to_output = typed.file == Path::new("-");
    ensure!(
        !(to_output && io::stdout().is_terminal()),
        "a backup is not shown on a terminal; fix: name a file"
    );
    ensure!(
        !(to_output && invocation.printer.json),
        "standard output cannot be both; fix: name a file, or leave out --json"
    );
    let passphrase =
        Passphrases::new(typed.passphrase_file, Asking::Terminal).new_one().map_err(ask_by_file)?;
    let (service_settings, user_settings) = settings_elsewhere(invocation);
    let mut source = Source {
        data_dir: settings.data_dir.clone(),
        ledger: None,
        service_settings,
        user_settings,
        provider_id: identity::address_of_node(settings)?.map(|address| address.to_string()),
        program_version: VERSION,
    };
    let (file, force) = (typed.file, typed.force);
    let target = file.clone();
    let work = move || -> anyhow::Result<_> {
        let ledger = source.data_dir.join(LEDGER_FILE);
        let beside = (!to_output).then(|| std::path::absolute(&target)).and_then(Result::ok);
        let folders = [Some(source.data_dir.as_path()), beside.as_deref().and_then(Path::parent)];
        folders.iter().flatten().for_each(|folder| backup::remove_copies(folder));
        // There as long as it is read.
        let copy = ledger.exists().then(|| copied(&ledger, folders)).transpose()?;
        source.ledger =
            copy.as_ref().map(|(copy, version)| LedgerCopy { path: copy.0.clone(), version: *version });
        let now = Timestamp::now();
        Ok(match to_output {
            true => backup::write_to(&source, io::stdout().lock(), passphrase.reveal(), Cost::STANDARD, now)?,
            false => backup::write(&source, &target, force, passphrase.reveal(), Cost::STANDARD, now)?,
        })
    };
    let manifest = {
        let _waiting = invocation.printer.waiting("Writing the backup");
        tokio::task::spawn_blocking(work).await.context("the backup was lost")??
    };
    let mut notes = Vec::new();
    let keys = manifest.members.iter().any(|member| member.name.starts_with("data/keys/"));
    if !keys {
        notes.push(
            "no key file is in it: the key is in the settings or the environment, or not made yet".to_owned(),
        );
    }
    if !to_output {
        let answer = json!({
            "file": file,
            "provider_id": manifest.provider_id,
            "ledger_version": manifest.ledger_version,
            "created_at": manifest.created_at,
            "members": manifest.members.iter().map(|member| &member.name).collect::<Vec<_>>(),
            "bytes": manifest.bytes(),
            "notes": notes,
        });
        invocation.printer.answer(&answer, || {
            let whose = manifest.provider_id.as_deref().unwrap_or("a node without a key");
            format!(
                "The backup of {whose} is in {}: {} file(s). Disks, images and logs are not in it.\n\
                 Keep the passphrase: nothing opens it without.",
                file.display(),
                manifest.members.len()
            )
        });
    }
    notes.iter().for_each(|note| invocation.printer.warning(note));
    Ok(Exit::Done)
}

/// `restore`.
pub(super) async fn restore(invocation: &Invocation, typed: arguments::Restore) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings.node;
    let printer = invocation.printer;
    refuse_running(invocation)?;
    let passphrase =
        Passphrases::new(typed.passphrase_file, Asking::Terminal).of(&typed.file).map_err(ask_by_file)?;
    let (service_settings, user_settings) = settings_elsewhere(invocation);
    let destination = Destination {
        data_dir: settings.data_dir.clone(),
        service_settings,
        user_settings,
        ledger_version: Ledger::newest_version(),
        program_version: VERSION,
    };
    let (mut backup, plan) = {
        let _waiting = printer.waiting("Checking the backup");
        let (file, destination) = (typed.file, destination.clone());
        let check = move || {
            let backup = Backup::open(&file, passphrase.reveal())?;
            let plan = backup::look(&backup, &destination, Timestamp::now())?;
            Ok::<_, backup::BackupError>((backup, plan))
        };
        tokio::task::spawn_blocking(check).await.context("the check was lost")??
    };
    refuse_another_place(invocation, &backup)?;
    if typed.dry_run {
        return Ok(answer(invocation, &backup, &plan, false));
    }
    let lock = match std::fs::metadata(&settings.data_dir) {
        // Nobody can run with what is not there, and the exchange refuses what is made meanwhile.
        Err(_) => None,
        // Root, for the service's user: what root makes in there would be in that user's way.
        Ok(folder) if rustix::process::geteuid().is_root() && folder.uid() != 0 => {
            refuse_running(invocation)?;
            None
        }
        Ok(_) => {
            data_dir::make(&settings.data_dir).with_context(|| {
                format!("the data directory {} cannot be used", settings.data_dir.display())
            })?;
            Some(PidFile::take(&invocation.node.pid_file).await?)
        }
    };
    if let Some(kept) = backup::finish(&settings.data_dir, &backup)? {
        let plan = Restoration { kept, ..plan };
        return Ok(answer(invocation, &backup, &plan, true));
    }
    if plan.kept.is_some() && !typed.yes {
        printer.note(&describe(&backup, &plan, false));
        let refusal = "there is data of a provider already; fix: look with --dry-run, then add --yes";
        if !confirmed(&format!("\nReplace what is in {}?", plan.data_dir.display()), refusal)? {
            printer.note("Nothing was changed.");
            return Ok(Exit::Failed);
        }
    }
    let (backup, plan) = {
        let _waiting = printer.waiting("Restoring");
        let work = move || {
            let plan = backup::run(&mut backup, &destination, Timestamp::now())?;
            Ok::<_, backup::BackupError>((backup, plan))
        };
        tokio::task::spawn_blocking(work).await.context("the restore was lost")??
    };
    drop(lock);
    Ok(answer(invocation, &backup, &plan, true))
}

fn refuse_running(invocation: &Invocation) -> anyhow::Result<()> {
    if let Some(held) = invocation.node.running()? {
        let pid = held.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        bail!("a provider runs{pid}, and writes to its data itself; fix: `golem-provider stop`, VMs run on");
    }
    Ok(())
}

/// Where the settings of `backup` name another data directory, the node would look there, and find nothing.
fn refuse_another_place(invocation: &Invocation, backup: &Backup) -> anyhow::Result<()> {
    const NAME: &str = "GOLEM_PROVIDER_DATA_DIR";
    let data_dir = &invocation.resolved.settings.node.data_dir;
    for text in backup.settings.values() {
        let (assignments, _) = settings_file::parse(text);
        let Some(named) = assignments.into_iter().rfind(|one| one.name == NAME) else { continue };
        let home = invocation.environment.get("HOME").map(PathBuf::from).unwrap_or_default();
        let place = Path::new(&named.value)
            .strip_prefix("~")
            .map_or_else(|_| named.value.clone().into(), |rest| home.join(rest));
        if !named.value.is_empty() && place != *data_dir {
            bail!(
                "the settings in the backup have {NAME}={}, and this would restore to {}; fix: `{NAME}={} golem-provider restore …`",
                named.value,
                data_dir.display(),
                named.value
            );
        }
    }
    Ok(())
}

/// Another reason than the key's: its setting does not count here.
fn ask_by_file(error: PassphraseError) -> anyhow::Error {
    match error {
        PassphraseError::Absent => {
            anyhow::anyhow!(
                "there is no terminal to ask for the passphrase on; fix: --passphrase-file FILE, of mode 0600"
            )
        }
        error => error.into(),
    }
}

fn answer(invocation: &Invocation, backup: &Backup, plan: &Restoration, done: bool) -> Exit {
    let answer = json!({
        "done": done,
        "provider_id": backup.manifest.provider_id,
        "created_at": backup.manifest.created_at,
        "data_dir": plan.data_dir,
        "kept": plan.kept,
        "settings": plan.settings,
        "members": backup.manifest.members.iter().map(|member| &member.name).collect::<Vec<_>>(),
        "notes": plan.notes,
    });
    invocation.printer.answer(&answer, || show(backup, plan, done));
    Exit::Done
}

fn show(backup: &Backup, plan: &Restoration, done: bool) -> String {
    let end = match done {
        true => "Restored. Make sure that no other machine runs with this key, then: golem-provider start",
        false => "Nothing was changed.",
    };
    format!("{}\n\n{end}", describe(backup, plan, done))
}

fn describe(backup: &Backup, plan: &Restoration, done: bool) -> String {
    let manifest = &backup.manifest;
    let mut text = format!(
        "Backup of {} of {}: {} file(s), all as they were written.",
        manifest.provider_id.as_deref().unwrap_or("a node without a key"),
        layout::time(manifest.created_at),
        manifest.members.len()
    );
    let (goes, stays) = if done { ("is in", "is in") } else { ("goes to", "would be kept in") };
    text.push_str(&format!("\nIt {goes} {}.", plan.data_dir.display()));
    for path in &plan.settings {
        text.push_str(&format!("\nSettings: {}", path.display()));
    }
    if let Some(kept) = &plan.kept {
        text.push_str(&format!(
            "\nWhat it replaces {stays} {}; disks, images and logs stay.",
            kept.display()
        ));
    }
    for note in &plan.notes {
        text.push_str(&format!("\nNote: {note}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// H-11: the disk of the data directory is full or read-only.
    #[test]
    fn h_11_where_the_first_folder_takes_no_copy_the_next_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("provider.db");
        drop(Ledger::open(&ledger).unwrap());
        let (absent, target) = (folder.path().join("absent"), folder.path().join("target"));
        std::fs::create_dir(&target).unwrap();
        let (copy, version) = copied(&ledger, [Some(&absent), Some(&target)]).unwrap();
        assert_eq!((copy.0.parent(), version), (Some(target.as_path()), Ledger::newest_version()));
        assert_eq!(std::fs::metadata(&copy.0).unwrap().permissions().mode() & 0o777, 0o600);
        drop(copy);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "nothing in the clear is left");
        assert!(copied(&ledger, [Some(&absent), None]).is_err());
    }
}
