//! Reads `.env` files.
//!
//! Owns their syntax: `NAME=value` lines, `export` before them, `#` comments, single quotes
//! (literal), double quotes (`\n`, `\t`, `\"`, `\\` mean what they say), and bracketed lists over several lines.
//! Never substitutes variables and never touches the environment of the process. Errors name a
//! line, never its text, which may hold a secret.

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable's name.
    pub name: String,
    /// Its value, unquoted.
    pub value: String,
    /// Line on which it begins, counted from 1.
    pub line: usize,
}

/// A line that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Reads `text`: what could be read, and what could not.
#[must_use]
pub fn parse(text: &str) -> (Vec<Assignment>, Vec<BadLine>) {
    let mut assignments = Vec::new();
    let mut bad = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, rest)) = line.split_once('=') else {
            bad.push(BadLine { line: number, problem: "has no `=`" });
            continue;
        };
        let name = name.trim();
        if !is_name(name) {
            bad.push(BadLine { line: number, problem: "has no variable name before the `=`" });
            continue;
        }
        let mut rest = rest.trim_start().to_owned();
        if rest.starts_with('[') && !rest.contains(']') {
            for (_, more) in lines.by_ref() {
                rest.push(' ');
                rest.push_str(more.trim());
                if more.contains(']') {
                    break;
                }
            }
        }
        match value(&rest) {
            Ok(value) => assignments.push(Assignment { name: name.to_owned(), value, line: number }),
            Err(problem) => bad.push(BadLine { line: number, problem }),
        }
    }
    (assignments, bad)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value that `text`, the part after the `=`, stands for.
fn value(text: &str) -> Result<String, &'static str> {
    let (value, rest) = if let Some(inside) = text.strip_prefix('\'') {
        inside.split_once('\'').map(|(value, rest)| (value.to_owned(), rest)).ok_or("has no closing `'`")?
    } else if let Some(inside) = text.strip_prefix('"') {
        double_quoted(inside)?
    } else {
        let end = text
            .char_indices()
            .find(|(at, c)| *c == '#' && (*at == 0 || text[..*at].ends_with(char::is_whitespace)))
            .map_or(text.len(), |(at, _)| at);
        return Ok(text[..end].trim_end().to_owned());
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(value) } else { Err("has text after the closing quote") }
}

/// `text`, one line, as it is written after the `=`, so that [`parse`] reads it again.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:,/+@%~*?&=".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{escaped}\"")
}

/// The value up to the closing `"`, and what follows it.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("has no closing `\"`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let (assignments, bad) = parse(text);
        assert_eq!(bad, []);
        assignments.into_iter().map(|a| (a.name, a.value, a.line)).collect()
    }

    #[test]
    fn s_101_the_forms_of_the_documentation_are_read() {
        let text = "# Provider Settings\n\
            GOLEM_PROVIDER_NAME=\"your name\"   # shown\n\
            export GOLEM_PROVIDER_MAX_VMS=10 # at most\n\
            \n\
            A='it # is $literal'\n\
            B=http://host/#anchor\n\
            C=\n\
            SERVERS=[\n    \"https://ports1\",\n    \"https://ports2\"\n]\n\
            D=last";
        assert_eq!(
            read(text),
            [
                ("GOLEM_PROVIDER_NAME", "your name", 2),
                ("GOLEM_PROVIDER_MAX_VMS", "10", 3),
                ("A", "it # is $literal", 5),
                ("B", "http://host/#anchor", 6),
                ("C", "", 7),
                ("SERVERS", "[ \"https://ports1\", \"https://ports2\" ]", 8),
                ("D", "last", 12),
            ]
            .map(|(name, value, line)| (name.to_owned(), value.to_owned(), line))
        );
    }

    proptest! {
        /// What is written is read again as it was.
        #[test]
        fn what_is_quoted_is_read_as_it_was(text in "[ -~äß✅\t]{0,20}") {
            prop_assume!(text.trim() == text);
            let line = format!("A={}", quoted(&text));
            prop_assert_eq!(read(&line), vec![("A".to_owned(), text, 1)], "{}", line);
        }
    }

    #[test]
    fn every_bad_line_is_named_and_the_rest_is_read() {
        let (good, bad) = parse("A=1\nnonsense\n1B=2\nC=\"open\nD='x' y\nE=5");
        assert_eq!(good.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["A", "E"]);
        assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            let lines = text.lines().count();
            let (good, bad) = parse(&text);
            prop_assert!(good.len() + bad.len() <= lines);
            prop_assert!(good.iter().all(|a| is_name(&a.name)));
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[^\\r\\n]{0,60}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let (good, bad) = parse(&format!("NAME=\"{escaped}\" # comment"));
            prop_assert!(bad.is_empty());
            prop_assert_eq!(&good[0].value, &value);
        }
    }
}
