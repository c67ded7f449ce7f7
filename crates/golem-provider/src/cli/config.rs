//! `config …`: what is in force, and the files that are made from tables.
//!
//! Owns how settings are shown, and the node's own file of them. Never checks a value: `settings` does.

use std::collections::BTreeMap;

use anyhow::bail;
use serde::Serialize;
use serde_json::json;

use super::arguments::{Config, Form};
use super::layout::table;
use super::printer::Printer;
use super::{Exit, Invocation};
use golem_host::doctor::advice;
use golem_host::settings::{self, Origin, Resolved, TABLE};

#[derive(Serialize)]
struct SettingRow {
    name: &'static str,
    /// `None` if it is not set.
    value: Option<String>,
    source: String,
}

/// `config …`, except what needs no settings.
pub(super) fn config(invocation: &Invocation, command: Config) -> anyhow::Result<Exit> {
    let text = |flag: Option<bool>| flag.map(|flag| flag.to_string());
    match command {
        Config::Show { word } => show(&invocation.resolved, word.as_deref(), invocation.printer),
        Config::Render { form } => Ok(render(form, invocation.printer)),
        Config::Monitor { enable, interval, min_remaining } => change(
            invocation,
            [
                ("GOLEM_PROVIDER_STREAM_MONITOR_ENABLED", text(enable)),
                ("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", interval),
                ("GOLEM_PROVIDER_STREAM_MIN_REMAINING_SECONDS", min_remaining),
            ],
        ),
        Config::Withdraw { enable, interval, min_wei } => change(
            invocation,
            [
                ("GOLEM_PROVIDER_STREAM_WITHDRAW_ENABLED", text(enable)),
                ("GOLEM_PROVIDER_STREAM_WITHDRAW_INTERVAL_SECONDS", interval),
                ("GOLEM_PROVIDER_STREAM_MIN_WITHDRAW_WEI", min_wei),
            ],
        ),
        Config::Payout { address, float } => change(
            invocation,
            [("GOLEM_PROVIDER_PAYOUT_ADDRESS", address), ("GOLEM_PROVIDER_PAYOUT_FLOAT", float)],
        ),
    }
}

/// Keeps `changes` in the node's `.env`, if they are good settings and nothing wins over them there.
pub(super) fn change<const N: usize>(
    invocation: &Invocation,
    changes: [(&'static str, Option<String>); N],
) -> anyhow::Result<Exit> {
    let changes: BTreeMap<_, _> =
        changes.into_iter().filter_map(|(name, text)| text.map(|text| (name, text))).collect();
    if changes.is_empty() {
        bail!("nothing to change; fix: name a flag (--help shows them)");
    }
    let printer = invocation.printer;
    let path = invocation.settings_place().keep(&changes)?;
    let running = invocation.runs()?;
    let answer = json!({ "file": path.display().to_string(), "changed": changes, "restart_needed": running });
    printer.done(&answer, || {
        let lines: Vec<_> = changes.iter().map(|(name, text)| format!("{name}={text}")).collect();
        let when = if running { "\nThe provider that runs takes it at its next start." } else { "" };
        format!("Wrote to {}:\n{}{when}", path.display(), lines.join("\n"))
    });
    Ok(Exit::Done)
}

/// `config show`.
fn show(resolved: &Resolved, word: Option<&str>, printer: Printer) -> anyhow::Result<Exit> {
    let rows: Vec<SettingRow> = TABLE
        .iter()
        .filter(|row| word.is_none_or(|word| row.mentions(word)))
        .map(|row| {
            let (value, origin) = resolved.shown(row);
            let value = (origin != Origin::Unset).then_some(value);
            SettingRow { name: row.name, value, source: origin.describe(row.name) }
        })
        .collect();
    if let Some(word) = word.filter(|_| rows.is_empty()) {
        bail!("no setting has {word} in it; fix: `golem-provider config show`");
    }
    let document = json!({ "settings": rows, "warnings": resolved.warnings });
    printer.list(&document, &rows, "name,value,source", || {
        table(
            ["SETTING", "VALUE", "FROM"],
            rows.iter().map(|row| {
                [row.name.to_owned(), row.value.clone().unwrap_or_else(|| "-".to_owned()), row.source.clone()]
            }),
        )
    });
    if !printer.json {
        resolved.warnings.iter().for_each(|warning| printer.warning(warning));
    }
    Ok(Exit::Done)
}

/// `config render`.
pub(super) fn render(form: Form, printer: Printer) -> Exit {
    printer.out(&match form {
        Form::EnvExample => settings::env_example(),
        Form::Markdown => settings::markdown(),
        Form::OpenapiPublic => golem_api::descriptions::public(),
        Form::OpenapiOperator => golem_api::descriptions::operator(),
        Form::Troubleshooting => advice::markdown(),
    });
    Exit::Done
}
