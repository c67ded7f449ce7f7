//! Variables and values that look like settings and are none.

use std::collections::BTreeSet;

use super::source::Layers;
use super::table::{TABLE, variable};
use super::variable::is_placeholder;

/// Prefix of the variables that are ours, and so are worth a warning when nobody reads them.
const PREFIX: &str = "GOLEM_PROVIDER_";

/// One warning for each placeholder that nobody replaced.
pub(super) fn placeholders(layers: &Layers) -> Vec<String> {
    let environment = layers.environment.iter();
    let files = layers.files.iter().flat_map(|file| file.values.iter().map(|(name, (text, _))| (name, text)));
    let left = environment.chain(files).filter(|(name, text)| is_placeholder(name, text.trim()));
    let left: BTreeSet<_> = left.collect();
    left.into_iter()
        .map(|(name, text)| format!("{name}={text} is a placeholder and has no effect; fix: remove it"))
        .collect()
}

/// One warning for each variable with our prefix that the table does not have.
pub(super) fn unknown(layers: &Layers) -> Vec<String> {
    let ours = |name: &&String| name.starts_with(PREFIX) && variable(name).is_none();
    let environment = layers.environment.keys().filter(ours).map(|name| (name, "the environment".to_owned()));
    let files = layers.files.iter().flat_map(|file| {
        let place = move |line: &usize| format!("{}:{line}", file.path.display());
        file.values
            .iter()
            .filter(move |(name, _)| ours(name))
            .map(move |(name, (_, line))| (name, place(line)))
    });
    let mut seen = BTreeSet::new();
    environment
        .chain(files)
        .filter(|(name, _)| seen.insert((*name).clone()))
        .map(|(name, place)| {
            let hint = nearest(name).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            format!("{name} (in {place}) is not a setting of this version and has no effect{hint}")
        })
        .collect()
}

/// The known name that `name` is most likely a slip for.
fn nearest(name: &str) -> Option<&'static str> {
    // Three slips are still recognisable in names this long; more are another word.
    TABLE
        .iter()
        .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
        .map(|known| (strsim::damerau_levenshtein(&name.to_ascii_uppercase(), known), known))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, known)| known)
}
