//! What a machine is made of: virtual CPUs, memory and storage.
//!
//! Owns the menu that existing clients know and checked arithmetic on it. Never asks the host
//! what it has.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Virtual CPUs, memory in GiB and storage in GiB; of one machine, or summed over several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, ToSchema)]
pub struct Resources {
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory in GiB.
    pub memory: u32,
    /// Storage in GiB.
    pub storage: u32,
}

impl Resources {
    /// CPU counts that a renter may ask for (the original's menu).
    pub const CPU_MENU: [u32; 5] = [1, 2, 4, 8, 16];
    /// Memory sizes in GiB that a renter may ask for (the original's menu).
    pub const MEMORY_MENU: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
    /// Least storage in GiB that a renter may ask for (the original's rule).
    pub const STORAGE_MINIMUM: u32 = 10;
    /// Most storage in GiB that a renter may ask for: 64 TiB, beyond any single host; keeps every
    /// later conversion to bytes inside 64 bits.
    pub const STORAGE_MAXIMUM: u32 = 65_536;

    /// Makes resources of `cpu` CPUs, `memory` GiB and `storage` GiB.
    #[must_use]
    pub const fn new(cpu: u32, memory: u32, storage: u32) -> Self {
        Self { cpu, memory, storage }
    }

    /// Sum, saturating at the largest count.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
            storage: self.storage.saturating_add(other.storage),
        }
    }

    /// Difference, stopping at zero in each dimension.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
            storage: self.storage.saturating_sub(other.storage),
        }
    }

    /// Whether `self` fits into `room` in every dimension.
    #[must_use]
    pub const fn fits(self, room: Self) -> bool {
        self.cpu <= room.cpu && self.memory <= room.memory && self.storage <= room.storage
    }

    /// Storage in bytes.
    #[must_use]
    pub const fn storage_bytes(self) -> u64 {
        self.storage as u64 * (1 << 30)
    }

    /// Memory in MiB.
    #[must_use]
    pub const fn memory_mib(self) -> u64 {
        self.memory as u64 * 1024
    }
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}

/// The original's named sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 1 CPU, 1 GiB, 10 GiB.
    Small,
    /// 2 CPUs, 4 GiB, 20 GiB.
    Medium,
    /// 4 CPUs, 8 GiB, 40 GiB.
    Large,
    /// 8 CPUs, 16 GiB, 80 GiB.
    Xlarge,
}

impl Size {
    /// Every size, the smallest first.
    pub const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Large, Self::Xlarge];

    /// The name, as the price list has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Xlarge => "xlarge",
        }
    }

    /// What the size stands for.
    #[must_use]
    pub const fn resources(self) -> Resources {
        match self {
            Self::Small => Resources::new(1, 1, 10),
            Self::Medium => Resources::new(2, 4, 20),
            Self::Large => Resources::new(4, 8, 40),
            Self::Xlarge => Resources::new(8, 16, 80),
        }
    }
}

/// A text that names no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be small, medium, large or xlarge")]
pub struct UnknownSize;

impl std::str::FromStr for Size {
    type Err = UnknownSize;

    fn from_str(text: &str) -> Result<Self, UnknownSize> {
        Self::ALL.into_iter().find(|size| size.as_str() == text).ok_or(UnknownSize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_resources() -> impl Strategy<Value = Resources> {
        (0u32..10_000, 0u32..10_000, 0u32..100_000).prop_map(|(c, m, s)| Resources::new(c, m, s))
    }

    proptest! {
        #[test]
        fn taking_and_giving_back_restores_the_room(wanted in any_resources(), rest in any_resources()) {
            let room = wanted.plus(rest);
            prop_assert!(wanted.fits(room));
            prop_assert_eq!(room.minus(wanted).plus(wanted), room);
        }
    }
}
