//! Typed values out of the texts that were found.
//!
//! Owns what is read, where it came from, and what is wrong with it: every mistake, not only the first.

use std::collections::BTreeMap;

use super::source::{Found, Layers, Origin};
use super::value::Value;
use super::variable::Variable;
use super::{MASK, Mistake};

/// Reads typed values out of layers, and remembers what was found and what was wrong.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    /// Whether the defaults of development count.
    pub development: bool,
    /// What was found for each variable.
    pub found: BTreeMap<&'static str, Found>,
    /// Everything that is wrong so far.
    pub mistakes: Vec<Mistake>,
    /// What was made of bad texts.
    pub warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        let mistakes = layers.mistakes.clone();
        Self { layers, development: false, found: BTreeMap::new(), mistakes, warnings: Vec::new() }
    }

    /// The value of `row`; `None` after a mistake.
    ///
    /// An optional type that nobody sets is read as `Some(None)`.
    pub(super) fn read<T: Value>(&mut self, row: &'static Variable) -> Option<T> {
        let mut found = self.layers.find(row).unwrap_or_else(|| match (row.development, row.default) {
            (Some(text), _) if self.development => {
                Found { text: text.to_owned(), origin: Origin::Development }
            }
            (_, Some(text)) => Found { text: text.to_owned(), origin: Origin::Default },
            _ => Found { text: String::new(), origin: Origin::Unset },
        });
        if row.program && self.layers.is_from_the_directory(&found) {
            self.mistakes.push(Mistake {
                variable: row.name.to_owned(),
                value: Some(shown(row, &found)),
                origin: found.origin.clone(),
                problem: "names a program, which a `.env` of the working directory may not: it runs as you"
                    .to_owned(),
                fix: "set it in ~/.golem/provider/.env or in the environment".to_owned(),
            });
            self.found.insert(row.name, found);
            return None;
        }
        let mut value = if found.origin == Origin::Unset { T::unset() } else { T::read(&found.text) };
        // Who types one now is there to type another.
        if value.is_none()
            && found.origin != Origin::Flag
            && let Some(mended) = T::mended(&found.text)
        {
            let default = row.default.unwrap_or_default();
            let text = if mended.is_empty() { default.to_owned() } else { mended };
            value = T::read(&text);
            if value.is_some() {
                self.warnings.push(format!(
                    "{} in {} is not {}, and {text:?} is taken for it; fix: set it to that, or to another",
                    row.name,
                    found.origin.place(row.name),
                    (row.expects)()
                ));
                found.text = text;
            }
        }
        if value.is_none() {
            self.mistakes.push(Mistake {
                variable: row.name.to_owned(),
                value: Some(shown(row, &found)),
                origin: found.origin.clone(),
                problem: format!("is not {}", (row.expects)()),
                fix: match row.default {
                    Some(default) => {
                        format!("set it to {}, or remove it for the default {default}", (row.expects)())
                    }
                    None => format!("set it to {}, or remove it", (row.expects)()),
                },
            });
        }
        self.found.insert(row.name, found);
        value
    }
}

/// What is found for `row`, masked if it is secret, or where an address has a user and a password.
pub(super) fn shown(row: &Variable, found: &Found) -> String {
    if row.secret && found.origin != Origin::Unset { MASK.to_owned() } else { without_user(&found.text) }
}

/// `text`, perhaps of several addresses with commas between them, without what stands before the `@` of each.
fn without_user(text: &str) -> String {
    let address = |address: &str| match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}{MASK}{}", &address[..scheme + 3], &address[at..])
        }
        _ => address.to_owned(),
    };
    text.split(',').map(address).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        for (text, shown) in [
            ("smtp://me:secret@mail.example", "smtp://(secret)@mail.example"),
            (
                "http://u:p@ss/w@a.example/x,https://b.example",
                "http://(secret)@a.example/x,https://b.example",
            ),
            ("https://rpc.example/v3", "https://rpc.example/v3"),
            ("me@example.org, you@example.org", "me@example.org, you@example.org"),
            ("", ""),
        ] {
            assert_eq!(without_user(text), shown);
        }
    }
}
