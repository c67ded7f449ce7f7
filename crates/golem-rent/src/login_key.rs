//! The SSH key with which the renter logs in.
//!
//! Owns which one that is, and making the renter's own. Never reads a private key.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use golem_types::AuthorizedKey;

use super::store::Store;

/// The public key that may log in, and the file of its private half, if that is known: those of `file`, or the
/// renter's own, which are made where there are none.
///
/// # Errors
/// When there is no key that can be used, or none can be made.
pub async fn login_key(store: &Store, file: Option<&Path>) -> anyhow::Result<(String, Option<PathBuf>)> {
    let own = store.path("ssh/id_ed25519");
    let public = file.map_or_else(|| own.with_extension("pub"), Path::to_owned);
    if file.is_none() && !public.exists() {
        golem_files::private_folder(&store.path("ssh"))
            .context("the folder of the SSH key cannot be made")?;
        let made = tokio::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "golem-renter", "-f"])
            .arg(&own)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await;
        let made =
            made.context("ssh-keygen cannot be started; fix: install openssh-client, or give --ssh-key")?;
        ensure!(made.success(), "ssh-keygen made no key in {}", own.display());
    }
    let text =
        std::fs::read_to_string(&public).with_context(|| format!("{} cannot be read", public.display()))?;
    let key: AuthorizedKey = text
        .parse()
        .with_context(|| format!("{} holds no public SSH key that can be used", public.display()))?;
    let private = public.with_extension("");
    let known = public.extension().is_some_and(|extension| extension == "pub") && private.exists();
    Ok((key.to_string(), known.then(|| std::path::absolute(&private).unwrap_or(private))))
}
