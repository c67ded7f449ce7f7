//! What is known of a setting before anybody sets it.

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Heading under which it is documented.
    pub section: &'static str,
    /// Name in the environment and in `.env`.
    pub name: &'static str,
    /// Other names that mean the same, e.g. the original's.
    pub aliases: &'static [&'static str],
    /// Value when nobody sets it; `None` if it stays unset.
    pub default: Option<&'static str>,
    /// Value when nobody sets it under `GOLEM_ENVIRONMENT=development`, where that differs.
    pub development: Option<&'static str>,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether it names a program. One that the working directory's `.env` names is not run: whoever wrote
    /// what lies there need not be the operator.
    pub program: bool,
    /// What it does.
    pub doc: &'static str,
    /// What a good value looks like.
    pub expects: fn() -> String,
}

impl Variable {
    /// Whether its name or its text has `word` in it, in letters of either case.
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        [self.section, self.name, self.doc].iter().any(|text| text.to_lowercase().contains(&word))
    }
}

/// Whether `text` is what the original's README has for `name`, to be replaced by whoever copies it. (A name that is copied
/// so is a good name, if not a nice one.)
pub(super) fn is_placeholder(name: &str, text: &str) -> bool {
    (name, text) == ("GOLEM_PROVIDER_ID", "your-provider-id")
}
