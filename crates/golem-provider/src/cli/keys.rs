//! `wallet export`, `import`, `rotate`, `encrypt` and `decrypt`.
//!
//! Owns what is asked and told before a key is written. Never drops one: `golem_chain::identity` keeps what it replaces.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use golem_chain::identity::{self, Identity, KeyFolder};
use golem_chain::key_file::{self, Content, FILE_MAXIMUM};
use golem_chain::keystore::{Cost, Passphrase};
use golem_types::Wallet;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::arguments::Keys;
use super::confirm::confirmed;
use super::{Exit, Invocation};
use crate::identity::{existing_of_node, keys_of_node, no_key, of_node};
use crate::passphrase::{Asking, Passphrases};
use golem_host::node::Running;
use golem_host::pid_file::PidFile;

/// Longest that a node may take to start anew with another key.
const ANEW: Duration = Duration::from_secs(30);

/// How often it is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// `wallet export` and its kin.
pub(super) async fn keys(invocation: &Invocation, command: Keys) -> anyhow::Result<Exit> {
    match command {
        Keys::Export { keystore, out, passphrase_file } => {
            export(invocation, &out, keystore, passphrase_file)
        }
        Keys::Import { file, passphrase_file, yes } => import(invocation, &file, passphrase_file, yes).await,
        Keys::Rotate { yes } => rotate(invocation, yes).await,
        Keys::Encrypt => encrypt(invocation),
        Keys::Decrypt => decrypt(invocation),
    }
}

/// `wallet export`.
fn export(
    invocation: &Invocation,
    out: &Path,
    encrypted: bool,
    passphrase_file: Option<PathBuf>,
) -> anyhow::Result<Exit> {
    let (settings, printer) = (&invocation.resolved.settings.node, invocation.printer);
    let to_terminal = out == Path::new("-") && io::stdout().is_terminal();
    let question = "The key gives whoever sees it all of the money. Show it on this terminal?";
    if to_terminal
        && !encrypted
        && !confirmed(question, "the key is not shown on a terminal; fix: --out FILE")?
    {
        printer.note("Nothing was shown.");
        return Ok(Exit::Failed);
    }
    let own = Passphrases::of_node(settings, Asking::Terminal);
    let identity = existing_of_node(settings, &own)?;
    let passphrase = match (encrypted, passphrase_file) {
        (false, _) => None,
        (true, None) => Some(own.new_one()?),
        (true, file) => Some(Passphrases::new(file, Asking::Nobody).new_one()?),
    };
    let text = key_file::text(identity.wallet(), passphrase.as_ref(), Cost::STANDARD)?;
    if out == Path::new("-") {
        printer.raw(&format!("{}\n", *text))?;
    } else {
        write_new(out, text.as_bytes())?;
        let answer = json!({ "address": identity.address(), "file": out, "encrypted": encrypted });
        printer.answer(&answer, || {
            let how = if encrypted { ", encrypted" } else { ": whoever has it has the money" };
            format!("The key of {} is in {}{how}.", identity.address(), out.display())
        });
    }
    if !identity.former().is_empty() {
        printer.note(
            "Keys that this one replaced are not in it; they are in keys/former in the data directory.",
        );
    }
    Ok(Exit::Done)
}

/// Writes a file that must not be there, for this user alone from its first byte on.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| {
            format!("{} cannot be made; fix: name a file that is not there yet", path.display())
        })?;
    let mut write = || {
        file.write_all(bytes)?;
        file.sync_all()?;
        golem_files::sync_folder_of(&std::path::absolute(path)?)
    };
    write()
        .inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// `wallet import`.
async fn import(
    invocation: &Invocation,
    file: &Path,
    passphrase_file: Option<PathBuf>,
    yes: bool,
) -> anyhow::Result<Exit> {
    let (settings, printer) = (&invocation.resolved.settings.node, invocation.printer);
    refuse_given(invocation)?;
    // Held to the end: a node that runs has its key in memory, and would go on with it.
    let _lock = PidFile::take(&invocation.node.pid_file).await?;
    let passphrases = Passphrases::new(passphrase_file, Asking::Terminal);
    let wallet = wallet_in(file, &passphrases)?;
    let keys = keys_of_node(settings);
    let own = Passphrases::of_node(settings, Asking::Terminal);
    let before = keys.content()?.map(|_| of_node(settings, &own)).transpose()?;
    if let Some(before) = &before {
        ensure!(
            before.wallet().address() != wallet.address(),
            "{} is the node's key already",
            before.address()
        );
        let question = replacing(before, wallet.address().to_string().as_str());
        if !yes && !confirmed(&question, "another key needs a yes; fix: add --yes")? {
            printer.note("Nothing was changed.");
            return Ok(Exit::Failed);
        }
    }
    let passphrase = passphrase_of(&keys, &own)?;
    let kept = keys.replace(&wallet, passphrase.as_ref(), &|path| own.of(path))?;
    let address = wallet.address().to_string();
    let answer = json!({ "address": address, "file": keys.path(), "backup": kept });
    printer.answer(&answer, || match &kept {
        None => format!("The node's address is {address}."),
        Some(kept) => format!("The node's address is {address}.\n{}", kept_at(kept)),
    });
    Ok(Exit::Done)
}

/// `wallet rotate`.
async fn rotate(invocation: &Invocation, yes: bool) -> anyhow::Result<Exit> {
    let (settings, printer) = (&invocation.resolved.settings.node, invocation.printer);
    refuse_given(invocation)?;
    let keys = keys_of_node(settings);
    ensure!(keys.content()?.is_some(), no_key(settings));
    let node = invocation.node.running()?;
    // No node starts meanwhile with the old one.
    let _lock = match node {
        Some(_) => None,
        None => Some(PidFile::take(&invocation.node.pid_file).await?),
    };
    // A node that runs reads its keys again by itself, where nobody can be asked.
    let asking = if node.is_some() { Asking::Nobody } else { Asking::Terminal };
    let own = Passphrases::of_node(settings, asking);
    let before = of_node(settings, &own).context(match node {
        Some(_) => "the node that runs could not start anew; fix: golem-provider stop, rotate, and start",
        None => "the key cannot be replaced",
    })?;
    let next = identity::draw()?;
    let address = next.address().to_string();
    if !yes && !confirmed(&replacing(&before, "a new one"), "a new key needs a yes; fix: add --yes")? {
        printer.note("Nothing was changed.");
        return Ok(Exit::Failed);
    }
    let passphrase = passphrase_of(&keys, &own)?;
    let kept = keys.replace(&next, passphrase.as_ref(), &|path| own.of(path))?;
    let taken_over = match &node {
        Some(node) => {
            let waiting = printer.waiting("The node takes the new key");
            let taken_over = start_anew(invocation, node, &address).await;
            drop(waiting);
            Some(taken_over)
        }
        None => None,
    };
    if let Some(Err(error)) = &taken_over {
        printer.warning(&format!(
            "the node that runs goes on with the old key until it is restarted: {error:#}"
        ));
    }
    let answer = json!({
        "address": address,
        "former_address": before.address(),
        "backup": kept,
        "node_has_it": taken_over.as_ref().map(Result::is_ok),
    });
    printer.answer(&answer, || {
        let kept = kept.as_deref().map(kept_at).unwrap_or_default();
        format!("The node's address is {address}; it was {}.\n{kept}", before.address())
    });
    Ok(Exit::Done)
}

/// `wallet encrypt`.
fn encrypt(invocation: &Invocation) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings.node;
    refuse_given(invocation)?;
    let keys = keys_of_node(settings);
    ensure!(
        !keys.is_encrypted()?,
        "the key is encrypted already; fix: for another passphrase, `golem-provider wallet decrypt` first"
    );
    let own = Passphrases::of_node(settings, Asking::Terminal);
    let passphrase = own.new_one()?;
    let written = keys.rewrite(Some(&passphrase), &|path| own.of(path))?;
    let answer = json!({ "encrypted": written });
    invocation.printer.answer(&answer, || {
        format!(
            "{} key file(s) encrypted. The node needs the passphrase at every start: without it nobody has the money. \
             Copies made before, and what the disk has not yet written over, are as they were.",
            written.len()
        )
    });
    Ok(Exit::Done)
}

/// `wallet decrypt`.
fn decrypt(invocation: &Invocation) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings.node;
    let keys = keys_of_node(settings);
    let own = Passphrases::of_node(settings, Asking::Terminal);
    let written = keys.rewrite(None, &|path| own.of(path))?;
    let answer = json!({ "decrypted": written });
    invocation.printer.answer(&answer, || format!("{} key file(s) decrypted.", written.len()));
    Ok(Exit::Done)
}

/// A key that the settings hold is none that a command could replace.
fn refuse_given(invocation: &Invocation) -> anyhow::Result<()> {
    if invocation.resolved.settings.node.private_key.is_some() {
        bail!(
            "the key is the one in GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY; fix: change that variable, or remove it and put \
             the key into a file with `golem-provider wallet import`"
        );
    }
    Ok(())
}

/// The passphrase with which the next key is encrypted: the one of the key that it replaces.
fn passphrase_of(keys: &KeyFolder, own: &Passphrases) -> anyhow::Result<Option<Passphrase>> {
    Ok(if keys.is_encrypted()? { Some(own.of(keys.path())?) } else { None })
}

fn replacing(before: &Identity, next: &str) -> String {
    format!(
        "The node's key {} is replaced by {next}. Renters and markets know the node by it: they see another provider, and \
         adverts of the old one lapse. VMs run on, and streams that pay the old key go on paying for them: it is kept, \
         withdrawn from, and emptied when they are spent. Replace it?",
        before.address()
    )
}

fn kept_at(kept: &Path) -> String {
    format!("The old key is kept in {}; keep that file as long as streams pay it.", kept.display())
}

/// The key in `file`, or in what comes on standard input.
fn wallet_in(file: &Path, passphrases: &Passphrases) -> anyhow::Result<Wallet> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .take(FILE_MAXIMUM)
            .read_to_end(&mut bytes)
            .context("standard input cannot be read")?;
        bytes
    } else {
        golem_files::read(file, FILE_MAXIMUM).with_context(|| format!("{} cannot be read", file.display()))?
    };
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if let Some(wallet) = Wallet::from_hex(text) {
        return Ok(wallet);
    }
    let content = Content::of(text).map_err(|problem| {
        anyhow::anyhow!(
            "{} holds neither a key of 64 hexadecimal digits nor a key file: {problem}",
            file.display()
        )
    })?;
    Ok(content.open(file, &|path| passphrases.of(path))?)
}

/// Has the node start anew, and waits until it has the key of `address`.
async fn start_anew(invocation: &Invocation, node: &Running, address: &str) -> anyhow::Result<()> {
    let pid = node.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pid = pid.context("the PID file holds no process id")?;
    kill_process(pid, Signal::HUP).context("it cannot be signalled")?;
    let deadline = Instant::now() + ANEW;
    loop {
        let summary = async { Ok::<_, anyhow::Error>(invocation.client()?.summary().await?) };
        if summary.await.is_ok_and(|summary| summary.provider_id == address) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "it has not taken it within {} s; its log says why",
            ANEW.as_secs()
        );
        sleep(LOOK_AGAIN).await;
    }
}
