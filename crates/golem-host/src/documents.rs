//! A command's answer for programs: as YAML, and as rows of comma-separated values.
//!
//! Owns how one document looks in each, from its JSON: fields stay in their order, and numbers keep every digit. Never prints.

use serde::de::{MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A document cannot be written in this form.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be made JSON of.
    #[error("the answer is no document")]
    Json(#[from] serde_json::Error),
    /// It cannot be made YAML of.
    #[error("the answer cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// A part of a document.
#[derive(Debug)]
enum Part {
    Text(String),
    /// A number, `true`, `false` or `null`, as it stands there.
    Plain(String),
    List(Vec<Part>),
    Fields(Vec<(String, Part)>),
}

/// The fields of an object in their order, which `serde_json::Map` does not keep.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl Part {
    fn of(document: &impl Serialize) -> serde_json::Result<Self> {
        Self::read(&serde_json::to_string(document)?)
    }

    fn read(json: &str) -> serde_json::Result<Self> {
        Ok(match json.as_bytes().first() {
            Some(b'{') => {
                let fields = serde_json::from_str::<Fields>(json)?.0.into_iter();
                let read = fields.map(|(name, value)| Ok((name, Self::read(value.get())?)));
                Self::Fields(read.collect::<serde_json::Result<_>>()?)
            }
            Some(b'[') => {
                let all: Vec<Box<RawValue>> = serde_json::from_str(json)?;
                let read = all.iter().map(|value| Self::read(value.get()));
                Self::List(read.collect::<serde_json::Result<_>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(json)?),
            _ => Self::Plain(json.to_owned()),
        })
    }

    /// What stands at `path`, names with dots between them.
    fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |part, name| match part {
            Self::Fields(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, part)| part),
            _ => None,
        })
    }

    /// As the cell of a table. What is a list has its parts one after the other.
    fn cell(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Plain(text) if text == "null" => String::new(),
            Self::Plain(text) => text.clone(),
            Self::List(parts) => parts.iter().map(Self::cell).collect::<Vec<_>>().join(" "),
            Self::Fields(fields) => {
                let fields = fields.iter().map(|(name, part)| format!("{name}={}", part.cell()));
                fields.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Plain(text) => match (text.as_str(), text.parse::<u128>(), text.parse::<i128>()) {
                ("null", ..) => serializer.serialize_unit(),
                ("true" | "false", ..) => serializer.serialize_bool(text == "true"),
                (_, Ok(number), _) => serializer.serialize_u128(number),
                (_, _, Ok(number)) => serializer.serialize_i128(number),
                // Whole numbers that are larger still are texts, and no fractions that are nearly as large.
                _ => match text.parse::<f64>() {
                    Ok(number) if text.contains(['.', 'e', 'E']) => serializer.serialize_f64(number),
                    _ => serializer.serialize_str(text),
                },
            },
            Self::List(parts) => {
                let mut list = serializer.serialize_seq(Some(parts.len()))?;
                parts.iter().try_for_each(|part| list.serialize_element(part))?;
                list.end()
            }
            Self::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, part)| map.serialize_entry(name, part))?;
                map.end()
            }
        }
    }
}

/// `document` as YAML.
///
/// # Errors
/// [`DocumentError`].
pub fn yaml(document: &impl Serialize) -> Result<String, DocumentError> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(&Part::of(document)?, options)?)
}

/// `rows` as comma-separated values below `columns`, their heading: paths as `resources.cpu` with commas between them. What a
/// row does not have is empty.
///
/// # Errors
/// [`DocumentError::Json`].
pub fn csv(rows: &[impl Serialize], columns: &str) -> Result<String, DocumentError> {
    let mut lines = vec![columns.to_owned()];
    for row in rows {
        let row = Part::of(row)?;
        let cells = columns.split(',').map(|column| match row.at(column) {
            // A number is none that a spreadsheet would compute, whatever its sign.
            Some(part @ Part::Plain(_)) => part.cell(),
            Some(part) => cell(&part.cell()),
            None => String::new(),
        });
        lines.push(cells.collect::<Vec<_>>().join(","));
    }
    Ok(lines.join("\n"))
}

/// What each of `rows` has at `path`, which is a path as `resources.cpu`.
///
/// # Errors
/// [`DocumentError::Json`].
pub fn names(rows: &[impl Serialize], path: &str) -> Result<Vec<String>, DocumentError> {
    let name = |row| Ok(Part::of(row)?.at(path).map(Part::cell).unwrap_or_default());
    rows.iter().map(name).collect()
}

/// A cell of comma-separated values: quoted where it has to be, and never something that a spreadsheet would compute.
#[must_use]
pub fn cell(text: &str) -> String {
    let harmless = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    };
    if harmless.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", harmless.replace('"', "\"\""))
    } else {
        harmless
    }
}

#[cfg(test)]
mod tests {
    use golem_types::wire::Exact;
    use proptest::prelude::*;
    use ruint::aliases::U256;
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        resources: Size,
        amount: Exact,
        balance: Exact,
        error: Option<&'static str>,
        aliases: Vec<&'static str>,
    }

    #[derive(Serialize)]
    struct Size {
        memory: u32,
        cpu: f64,
    }

    fn row() -> Row {
        Row {
            name: "=web, \"1\"",
            resources: Size { memory: 4, cpu: 1.5 },
            amount: Exact(U256::from(12_345_678_901_234_567_890_123_u128)),
            balance: Exact(U256::MAX),
            error: None,
            aliases: vec!["no", "24.04"],
        }
    }

    /// U-10: in the order of the document, and money to the last digit.
    #[test]
    fn u_10_yaml_keeps_order_and_digits() {
        assert_eq!(
            yaml(&json!({ "rows": [1, -2, true, null, []] })).unwrap(),
            "rows:\n- 1\n- -2\n- true\n- null\n- []\n"
        );
        assert_eq!(
            yaml(&row()).unwrap(),
            format!(
                "name: =web, \"1\"\nresources:\n  memory: 4\n  cpu: 1.5\namount: 12345678901234567890123\n\
                 balance: \"{}\"\nerror: null\naliases:\n- \"no\"\n- \"24.04\"\n",
                U256::MAX
            )
        );
    }

    #[test]
    fn u_10_rows_have_the_columns_that_were_named_and_harm_no_spreadsheet() {
        let columns = "name,resources.cpu,amount,error,aliases,resources,nothing.there";
        assert_eq!(
            csv(&[row()], columns).unwrap(),
            "name,resources.cpu,amount,error,aliases,resources,nothing.there\n\
             \"'=web, \"\"1\"\"\",1.5,12345678901234567890123,,no 24.04,memory=4 cpu=1.5,"
        );
        assert_eq!(csv(&[] as &[Row], "name").unwrap(), "name");
        assert_eq!(names(&[row()], "resources.memory").unwrap(), ["4"]);
    }

    proptest! {
        /// Whatever others call things, a row is a row with as many cells as there are columns.
        #[test]
        fn u_10_no_text_makes_another_cell_or_row(texts in proptest::collection::vec(".*", 1..4)) {
            let rows: Vec<_> = texts.iter().map(|text| json!({ "a": text, "b": text })).collect();
            let table = csv(&rows, "a,b").unwrap();
            let (mut quoted, mut commas, mut ends) = (false, 0, 0);
            for sign in table.chars() {
                match sign {
                    '"' => quoted = !quoted,
                    ',' if !quoted => commas += 1,
                    '\n' if !quoted => ends += 1,
                    _ => {}
                }
            }
            prop_assert_eq!((quoted, commas, ends), (false, texts.len() + 1, texts.len()));
        }
    }
}
