//! Questions about settings, and what was answered.
//!
//! ```text
//!   given as a flag ─► check ─► wanted        asked ─► check ─► wanted
//!                        └─► refused                  ▲     └─► why, and again
//!                                                     └──────────┘
//! ```
//! Owns who answers (flags, a person, or nobody: then what is good counts), and another try after a wrong answer. What may be an
//! answer, whoever makes the form says. Never changes anything but what it remembers.

use std::collections::BTreeMap;
use std::io::Write;

use golem_types::visible::visible;

use super::plan::{self, Change};
use super::prompt::{self, PromptError};
use crate::layout;

/// Texts of settings by name; an empty one is a setting that is not set.
pub type Answers = BTreeMap<&'static str, String>;

/// Why settings cannot be, with the fix; `Ok` if they can.
pub type Check<'a> = Box<dyn Fn(&Answers) -> Result<(), String> + 'a>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Nobody answers any more, or the terminal cannot be read.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// What was given as a flag, or is set already, cannot be.
    #[error("{0}")]
    Wrong(String),
}

/// The questions of one setup.
pub struct Form<'a> {
    /// Whether somebody answers.
    pub asks: bool,
    /// Whether nothing is told, because a program reads.
    pub quiet: bool,
    /// What counts now.
    pub now: Answers,
    /// What was given as flags.
    pub given: Answers,
    /// What was answered.
    pub wanted: Answers,
    /// Asked of those that differ from what counts now.
    pub check: Check<'a>,
}

impl Form<'_> {
    /// Takes `answers`, if they can be together with those before. `none` is a setting that is not set.
    ///
    /// # Errors
    /// Why not, with the fix.
    pub fn accept(&mut self, answers: Answers) -> Result<(), String> {
        let text = |text: String| if text == "none" { String::new() } else { text };
        let mut together = self.wanted.clone();
        together.extend(answers.into_iter().map(|(name, answer)| (name, text(answer))));
        (self.check)(&plan::written(&plan::plan(&self.now, &together)))?;
        self.wanted = together;
        Ok(())
    }

    /// What would change.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        plan::plan(&self.now, &self.wanted)
    }

    /// What would be written: an answer that counts already is nobody's wish, and need not be one that could be written.
    #[must_use]
    pub fn changed(&self) -> Answers {
        plan::written(&self.changes())
    }

    /// Asks for the settings `names` in one line, unless all were given as flags or nobody answers.
    ///
    /// # Errors
    /// [`FormError`].
    pub async fn settings<const N: usize>(
        &mut self,
        question: &str,
        names: [&'static str; N],
        defaults: [String; N],
    ) -> Result<(), FormError> {
        let given = names.map(|name| self.given.get(name).cloned());
        if !self.asks || given.iter().all(Option::is_some) {
            let texts = given.into_iter().zip(defaults).map(|(given, default)| given.unwrap_or(default));
            return self.accept(names.into_iter().zip(texts).collect()).map_err(FormError::Wrong);
        }
        let default = defaults.join(" ");
        self.answer(question, &default, |form, answer| {
            // One may have spaces in it.
            let texts =
                if N == 1 { Some(vec![answer.to_owned()]) } else { plan::words::<N>(answer).map(Vec::from) };
            let texts = texts.ok_or_else(|| format!("That is not {N} numbers with spaces between them."))?;
            form.accept(names.into_iter().zip(texts).collect())
        })
        .await
    }

    /// Asks `question` until `take` takes the answer; whoever was asked hears why it does not.
    ///
    /// # Errors
    /// [`FormError`].
    pub async fn answer<T>(
        &mut self,
        question: &str,
        default: &str,
        mut take: impl FnMut(&mut Self, &str) -> Result<T, String>,
    ) -> Result<T, FormError> {
        loop {
            let answer = prompt::line(question, default).await?;
            match take(self, &answer) {
                Ok(taken) => return Ok(taken),
                Err(why) => self.tell(&why),
            }
        }
    }

    /// Asks until the answer is yes or no; without anybody to ask it is `default`.
    ///
    /// # Errors
    /// [`FormError::Prompt`].
    pub async fn yes_or_no(&mut self, question: &str, default: bool) -> Result<bool, FormError> {
        if !self.asks {
            return Ok(default);
        }
        let word = if default { "yes" } else { "no" };
        self.answer(question, word, |_, answer| {
            prompt::yes_or_no(answer).ok_or_else(|| "Please answer yes or no.".to_owned())
        })
        .await
    }

    /// Tells whoever answers something, in lines that fit.
    pub fn tell(&self, text: &str) {
        if !self.quiet {
            let width = layout::terminal_width().unwrap_or(layout::COLUMNS);
            let _ = writeln!(std::io::stderr(), "{}", layout::wrapped(&visible(text, false), width));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(given: Answers) -> Form<'static> {
        let check = |answers: &Answers| match answers.get("A").map(String::as_str) {
            Some("bad") => Err("A is bad; fix: be good".to_owned()),
            _ => Ok(()),
        };
        let now = Answers::from([("A", "1".to_owned()), ("B", "2".to_owned())]);
        Form { asks: false, quiet: true, now, given, wanted: Answers::new(), check: Box::new(check) }
    }

    #[tokio::test]
    async fn without_anybody_to_ask_flags_count_and_then_what_is_good() {
        let mut form = form(Answers::from([("B", "none".to_owned())]));
        form.settings("?", ["A", "B"], ["7", "8"].map(str::to_owned)).await.unwrap();
        let told: Vec<_> = form.changes().into_iter().map(|change| (change.name, change.after)).collect();
        assert_eq!(told, [("A", Some("7".to_owned())), ("B", None)]);
        assert!(form.yes_or_no("?", true).await.unwrap());
    }

    #[tokio::test]
    async fn a_wrong_flag_is_refused_and_nothing_of_it_kept() {
        let mut form = form(Answers::from([("A", "bad".to_owned())]));
        let refused = form.settings("?", ["A"], ["7".to_owned()]).await.unwrap_err();
        assert!(matches!(&refused, FormError::Wrong(why) if why.contains("fix: ")), "{refused}");
        assert_eq!(form.changes(), []);
    }
}
