//! `config …`: what is in force, and the files that are made from the settings table.

use serde::Serialize;

use super::Exit;
use super::arguments::Form;
use super::printer::{Printer, table};
use crate::settings::{self, Origin, Resolved, TABLE};

#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// None when it is not set.
    value: Option<String>,
    source: String,
}

/// `config show`.
pub(super) fn show(resolved: &Resolved, printer: Printer) -> Exit {
    let rows: Vec<Row> = TABLE
        .iter()
        .map(|row| {
            let (value, origin) = resolved.shown(row);
            let value = (origin != Origin::Unset).then_some(value);
            Row { name: row.name, value, source: origin.describe(row.name) }
        })
        .collect();
    printer.answer(&serde_json::json!({ "settings": rows, "warnings": resolved.warnings }), || {
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
    Exit::Done
}

/// `config render`.
pub(super) fn render(form: Form, printer: Printer) -> Exit {
    printer.out(&match form {
        Form::EnvExample => settings::env_example(),
        Form::Markdown => settings::markdown(),
    });
    Exit::Done
}
