//! Words that are a text by their nature, once it was judged.
//!
//! Owns how such a type is shown, given away, and made of a text that is owned. Which texts are taken, each type's `FromStr` says.

/// For types that hold a `String` alone, and whose `FromStr` has the error that is named.
macro_rules! text_conversions {
    ($($name:ident),* : $error:ident) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
pub(crate) use text_conversions;
