//! The query languages: as much of them as clients use.

use alloy_primitives::Address;

use crate::entity::Stored;

/// Which language, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Golem Base: `name="text" && number>=4`, calldata in RLP.
    GolemBase,
    /// Tiramisu: `name = str('text') AND number >= u64(4)`, calldata in Solidity's ABI.
    Tiramisu,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Number(u64),
    Address(Address),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Compare(&'static str),
    Name(String),
    Literal(Literal),
}

/// A query.
#[derive(Debug)]
pub(crate) enum Query {
    All(Vec<Query>),
    Any(Vec<Query>),
    Compare { name: String, how: &'static str, literal: Literal },
}

const COMPARISONS: [&str; 6] = ["<=", ">=", "!=", "=", "<", ">"];

/// Text up to the closing quote, and what follows. Nothing that clients ask needs an escape.
fn quoted(rest: &str, quote: char) -> Option<(String, &str)> {
    let (text, rest) = rest.split_once(quote)?;
    (!text.contains('\\')).then(|| (text.to_owned(), rest))
}

fn word(rest: &str) -> (&str, &str) {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
    rest.split_at(end)
}

fn typed<'a>(kind: &str, rest: &'a str) -> Option<(Literal, &'a str)> {
    let rest = rest.strip_prefix('(')?;
    let (literal, rest) = match kind {
        "str" => {
            let (text, rest) = quoted(rest.strip_prefix('\'')?, '\'')?;
            (Literal::Text(text), rest)
        }
        "u64" => {
            let (digits, rest) = word(rest);
            (Literal::Number(digits.parse().ok()?), rest)
        }
        "addr" => {
            let (digits, rest) = word(rest);
            (Literal::Address(digits.parse().ok()?), rest)
        }
        _ => return None,
    };
    Some((literal, rest.strip_prefix(')')?))
}

fn token(protocol: Protocol, text: &str) -> Option<(Token, &str)> {
    if let Some(rest) = text.strip_prefix('(') {
        return Some((Token::Open, rest));
    }
    if let Some(rest) = text.strip_prefix(')') {
        return Some((Token::Close, rest));
    }
    for how in COMPARISONS {
        if let Some(rest) = text.strip_prefix(how) {
            return Some((Token::Compare(how), rest));
        }
    }
    if protocol == Protocol::GolemBase {
        if let Some(rest) = text.strip_prefix("&&") {
            return Some((Token::And, rest));
        }
        if let Some(rest) = text.strip_prefix("||") {
            return Some((Token::Or, rest));
        }
        if let Some(rest) = text.strip_prefix('"') {
            let (text, rest) = quoted(rest, '"')?;
            return Some((Token::Literal(Literal::Text(text)), rest));
        }
    }
    let (name, rest) = word(text);
    if name.is_empty() {
        return None;
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        let number = (protocol == Protocol::GolemBase).then(|| name.parse().ok())??;
        return Some((Token::Literal(Literal::Number(number)), rest));
    }
    if protocol == Protocol::Tiramisu {
        match name {
            "AND" => return Some((Token::And, rest)),
            "OR" => return Some((Token::Or, rest)),
            _ if rest.starts_with('(') => {
                let (literal, rest) = typed(name, rest)?;
                return Some((Token::Literal(literal), rest));
            }
            _ => {}
        }
    }
    Some((Token::Name(name.to_owned()), rest))
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn any(&mut self) -> Option<Query> {
        let mut parts = vec![self.all()?];
        while self.tokens.next_if_eq(&Token::Or).is_some() {
            parts.push(self.all()?);
        }
        Some(Query::Any(parts))
    }

    fn all(&mut self) -> Option<Query> {
        let mut parts = vec![self.one()?];
        while self.tokens.next_if_eq(&Token::And).is_some() {
            parts.push(self.one()?);
        }
        Some(Query::All(parts))
    }

    fn one(&mut self) -> Option<Query> {
        match (self.tokens.next()?, self.tokens.peek()?) {
            (Token::Open, _) => {
                let inner = self.any()?;
                (self.tokens.next()? == Token::Close).then_some(inner)
            }
            (Token::Name(name), Token::Compare(how)) => {
                let how = *how;
                self.tokens.next();
                let Token::Literal(literal) = self.tokens.next()? else { return None };
                Some(Query::Compare { name, how, literal })
            }
            _ => None,
        }
    }
}

impl Query {
    pub(crate) fn parse(protocol: Protocol, text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (token, after) = token(protocol, rest)?;
            tokens.push(token);
            rest = after.trim_start();
        }
        let mut parser = Parser { tokens: tokens.into_iter().peekable() };
        let query = parser.any()?;
        parser.tokens.next().is_none().then_some(query)
    }

    pub(crate) fn finds(&self, entity: &Stored) -> bool {
        fn compare<T: PartialOrd + ?Sized>(one: &T, how: &str, other: &T) -> bool {
            match how {
                "=" => one == other,
                "!=" => one != other,
                "<" => one < other,
                "<=" => one <= other,
                ">" => one > other,
                _ => one >= other,
            }
        }
        match self {
            Self::All(parts) => parts.iter().all(|part| part.finds(entity)),
            Self::Any(parts) => parts.iter().any(|part| part.finds(entity)),
            Self::Compare { name, how, literal } => match (name.as_str(), literal) {
                // Kept in lower case, and compared as it is written: no node promises more.
                ("$owner", Literal::Text(owner)) => {
                    compare(alloy_primitives::hex::encode_prefixed(entity.owner).as_str(), how, owner)
                }
                ("$owner", Literal::Address(owner)) => compare(&entity.owner, how, owner),
                ("$creator", Literal::Address(creator)) => compare(&entity.creator, how, creator),
                (name, Literal::Text(text)) => {
                    entity.strings.get(name).is_some_and(|own| compare(own.as_str(), how, text))
                }
                (name, Literal::Number(number)) => {
                    entity.numbers.get(name).is_some_and(|own| compare(own, how, number))
                }
                (_, Literal::Address(_)) => false,
            },
        }
    }
}
