//! `dashboard`: a login link for the operator's page, and where it is opened.
//!
//! Owns what is printed, and the way to a browser on this machine. Never lets anybody in: the node does.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use golem_api::views::LoginLink;
use serde_json::json;

use super::{Exit, Invocation, arguments};

/// `dashboard`.
pub(super) async fn dashboard(invocation: &Invocation, typed: &arguments::Dashboard) -> anyhow::Result<Exit> {
    let LoginLink { link, seconds, port } = invocation.client()?.login_link().await?;
    let url = format!("http://127.0.0.1:{port}/dashboard/#{link}");
    let printer = invocation.printer;
    let opener = opener(invocation);
    let is_wanted = typed.open || (!printer.json && std::io::stdout().is_terminal() && opener.is_ok());
    let opened = match (is_wanted, opener) {
        (true, Ok(folder)) => open(&url, folder).map(|()| true),
        (true, Err(why)) => Err(anyhow::anyhow!(why)),
        (false, _) => Ok(false),
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let tunnel = format!("ssh -L {port}:127.0.0.1:{port} {host}");
    let is_open = *opened.as_ref().unwrap_or(&false);
    let answer = json!({ "url": url, "seconds": seconds, "tunnel": tunnel, "opened": is_open });
    printer.answer(&answer, || {
        let how = if is_open { "A browser opens it" } else { "Open it" };
        format!(
            "{how} within {seconds} seconds; it works once:\n\n  {url}\n\nFrom another machine, first run there:\n\n  {tunnel}"
        )
    });
    if let Err(error) = opened {
        printer.warning(&format!("no browser was opened: {error:#}"));
    }
    Ok(Exit::Done)
}

/// The folder of this user's desktop, if there is one on which a browser can be opened; or why not.
fn opener(invocation: &Invocation) -> Result<PathBuf, &'static str> {
    let set = |name: &str| invocation.environment.get(name).filter(|text| !text.is_empty());
    if set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_none() {
        return Err("there is no desktop here; fix: open the link by hand");
    }
    if rustix::process::geteuid().is_root() {
        return Err("a browser is not to be run by root; fix: open the link by hand");
    }
    let path = set("PATH").map(String::as_str).unwrap_or_default();
    if !std::env::split_paths(path).any(|folder| folder.join("xdg-open").is_file()) {
        return Err("xdg-open is not installed; fix: open the link by hand");
    }
    set("XDG_RUNTIME_DIR").map(PathBuf::from).ok_or("XDG_RUNTIME_DIR is not set; fix: open the link by hand")
}

/// Opens `url` in the user's browser. By a private file, because everybody on this machine can read what programs are given.
fn open(url: &str, folder: PathBuf) -> anyhow::Result<()> {
    let file = folder.join("golem-provider-dashboard.html");
    let page = format!("<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={url}\">\n");
    golem_files::replace(&file, page.as_bytes())
        .with_context(|| format!("{} cannot be written", file.display()))?;
    let mut open = Command::new("xdg-open");
    open.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A browser may stay in the foreground.
    open.spawn().context("xdg-open cannot be run").map(drop)
}
