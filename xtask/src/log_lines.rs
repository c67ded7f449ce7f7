//! What warnings and errors of the log say about their cause.
//!
//! Owns one rule: an error is logged as an error (`error = &error as &dyn std::error::Error`), so that
//! the whole chain of its causes is there. As text (`%error`) only its own words would be.

use std::path::Path;

use anyhow::bail;

use crate::run::root;

/// What keeps the causes out of a line, as it is written.
const CUTS: [&str; 10] =
    ["%error", "%err", "%e,", "?error", "?err", "%why", "%source", "{error}", "{err}", "error.to_string()"];

/// Refuses every warning and error that says less than the whole chain.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for folder in ["crates", "bench", "testing"] {
        look(&root().join(folder), &mut wrong)?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("write `error = &error as &dyn std::error::Error` instead of {}", wrong.join("; "))
}

fn look(folder: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            look(&path, wrong)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            wrong.extend(cut(&text).map(|(line, what)| format!("{what} at {}:{line}", path.display())));
        }
    }
    Ok(())
}

/// The lines of `text` whose warning or error leaves its causes out, and by what.
fn cut(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let begins =
        ["warn!(", "error!(", "log_limited!("].into_iter().flat_map(|macro_| text.match_indices(macro_));
    begins.filter_map(|(at, macro_)| {
        let body = arguments(&text[at + macro_.len()..]);
        let what = CUTS.into_iter().find(|cut| body.contains(cut))?;
        Some((text[..at].matches('\n').count() + 1, what))
    })
}

/// What stands before the bracket that closes the macro.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => return &text[..at],
            ')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_16_a_line_that_leaves_the_causes_out_is_refused() {
        let good = r#"
            tracing::error!(error = &error as &dyn std::error::Error, "lost (all of it)");
            tracing::warn!("{error:#}; until then, rentals are refused");
            tracing::debug!(%error, "a connection ended early");
            let text = error.to_string();
        "#;
        assert_eq!(cut(good).collect::<Vec<_>>(), []);
        let bad = "x\ntracing::error!(vm = id.redacted(), %error, \"lost\");\ntracing::warn!(\n    \"no )\",\n    \
                   error = ?error,\n);\nwarn!(\"lost: {error}\");\n";
        assert_eq!(
            cut(bad).collect::<std::collections::BTreeSet<_>>(),
            [(2, "%error"), (3, "?error"), (7, "{error}")].into()
        );
        check().unwrap();
    }
}
