//! What kind of command each is.
//!
//! Owns which commands have rows, need settings, and speak to a node that is there. Never does what they say.

use std::collections::BTreeMap;

use super::{Books, Command, Config, Images, Networks, Ports, Pricing, Streams, Vms, Wallet};

impl Command {
    /// Settings that were given as flags.
    pub(in crate::cli) fn flags(&self) -> BTreeMap<&'static str, String> {
        match self {
            Self::Start(start) => start.flags(),
            Self::Discovery(discovery) => discovery.flags(),
            Self::PortChecker(checker) => checker.flags(),
            _ => BTreeMap::new(),
        }
    }

    /// Whether its answer has rows, which can be printed as comma-separated values.
    pub(in crate::cli) const fn is_list(&self) -> bool {
        match self {
            Self::Earnings(_) | Self::Market(_) | Self::Books { .. } => true,
            Self::Vms { command } => matches!(command, Vms::List),
            Self::Images { command } => matches!(command, Images::List),
            Self::Streams { command } => {
                matches!(command, Streams::List | Streams::Earnings(_) | Streams::History { .. })
            }
            Self::Wallet { command } => matches!(command, Wallet::Transactions { .. }),
            Self::Networks { command } => matches!(command, Networks::List),
            Self::Ports { command } => matches!(command, Ports::List | Ports::Check),
            Self::Config { command } => matches!(command, Config::Show { .. }),
            Self::Rent(rent) => rent.command.is_list(),
            _ => false,
        }
    }

    /// Whether settings that are wrong keep it from its work. Others look at what is there, or ask the node that runs, which
    /// has its own.
    pub(in crate::cli) const fn needs_settings(&self) -> bool {
        match self {
            Self::Stop { .. }
            | Self::Reload
            | Self::Status(_)
            | Self::Doctor(_)
            | Self::Logs(_)
            | Self::Dashboard(_)
            | Self::Alerts { .. }
            | Self::Vms { .. }
            | Self::Drain { .. }
            | Self::Earnings(_)
            | Self::Market(_)
            | Self::Backup(_) => false,
            Self::Images { command } => !matches!(command, Images::List),
            Self::Streams { command } => matches!(command, Streams::Withdraw { .. }),
            Self::Books { command: Books::Check { repair } } => *repair,
            Self::Wallet { command } => !matches!(
                command,
                Wallet::Show | Wallet::Balance | Wallet::Transactions { .. } | Wallet::Cancel { .. }
            ),
            Self::Networks { command } => !matches!(command, Networks::List | Networks::Show { .. }),
            Self::Ports { command } => !matches!(command, Ports::List),
            Self::Pricing { command } => !matches!(command, Pricing::Show),
            _ => true,
        }
    }

    /// Whether it is about a node that is there: others start one, or are a renter's or a server's.
    pub(in crate::cli) const fn speaks_to_node(&self) -> bool {
        !matches!(
            self,
            Self::Start(_)
                | Self::Discovery(_)
                | Self::PortChecker(_)
                | Self::Rent(_)
                | Self::Config { command: Config::Render { .. } }
        )
    }
}
