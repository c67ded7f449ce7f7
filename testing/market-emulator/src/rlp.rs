//! Reading RLP. Written apart from the encoder that it checks, and as strict as the network.

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Bytes(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    /// The one item that `bytes` are.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (item, rest) = item(bytes)?;
        rest.is_empty().then_some(item)
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Bytes(_) => None,
        }
    }

    /// The items of a list of exactly `N`.
    pub(crate) fn fields<const N: usize>(&self) -> Option<&[Self; N]> {
        self.list()?.try_into().ok()
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// A number without leading zeros.
    pub(crate) fn number(&self) -> Option<u128> {
        let bytes = self.bytes()?;
        if bytes.first() == Some(&0) || bytes.len() > 16 {
            return None;
        }
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    pub(crate) fn u64(&self) -> Option<u64> {
        self.number()?.try_into().ok()
    }

    pub(crate) fn word(&self) -> Option<[u8; 32]> {
        self.bytes()?.try_into().ok()
    }
}

fn item(bytes: &[u8]) -> Option<(Item, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0..0x80 => Some((Item::Bytes(vec![first]), rest)),
        0x80..0xc0 => {
            let (content, rest) = content(first - 0x80, rest)?;
            // One small byte is written as itself.
            if matches!(content, [0..0x80]) {
                return None;
            }
            Some((Item::Bytes(content.to_vec()), rest))
        }
        0xc0..=0xff => {
            let (mut content, rest) = content(first - 0xc0, rest)?;
            let mut items = Vec::new();
            while !content.is_empty() {
                let (one, after) = item(content)?;
                items.push(one);
                content = after;
            }
            Some((Item::List(items), rest))
        }
    }
}

/// The content of an item whose length is `short`, or stands in the next bytes.
fn content(short: u8, rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(of_length) = usize::from(short).checked_sub(55).filter(|length| *length > 0) else {
        return rest.split_at_checked(usize::from(short));
    };
    let (length, rest) = rest.split_at_checked(of_length)?;
    if length.first() == Some(&0) || length.len() > 4 {
        return None;
    }
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length < 56 {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_is_read() {
        assert_eq!(Item::decode(&[0xc4, 0xc0, 0xc0, 0xc0, 0xc0]).unwrap().fields::<4>().unwrap().len(), 4);
        assert_eq!(Item::decode(&[0x80]).unwrap().u64(), Some(0));
        assert_eq!(Item::decode(&[0x82, 1, 0]).unwrap().u64(), Some(256));
        for bad in [&[][..], &[0x81, 1], &[0xb8, 1, 200], &[0xc1], &[0x80, 0], &[0xf8, 0], &[0xbf; 9]] {
            assert_eq!(Item::decode(bad), None, "{bad:?}");
        }
        assert_eq!(Item::decode(&[0x82, 0, 1]).unwrap().u64(), None);
        let long: Vec<u8> = [&[0xb8, 56][..], &[7; 56]].concat();
        assert_eq!(Item::decode(&long).unwrap().bytes().unwrap().len(), 56);
    }
}
