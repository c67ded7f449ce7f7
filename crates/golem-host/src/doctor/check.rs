//! The checks: what each is called, what it looks at, and where the documentation says more.
//!
//! Owns the words that people and programs know a check by. Never looks at anything.

use serde::{Serialize, Serializer};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth a look; nothing is broken by it.
    Notice,
    /// It could not be seen.
    Unknown,
    /// The node does not do what it is there for.
    Broken,
}

impl State {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "look",
            Self::Unknown => "not known",
            Self::Broken => "broken",
        }
    }
}

/// Where a check stands in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Why am I not rented?
    Goal,
    /// The machine and the program on it.
    Machine,
    /// The VMs.
    Vms,
    /// Between renters and the node.
    Reach,
    /// Markets and money.
    Money,
}

impl Group {
    /// All, in the order of the answer.
    pub const ALL: [Self; 5] = [Self::Goal, Self::Machine, Self::Vms, Self::Reach, Self::Money];

    /// Its heading.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Goal => "Why am I not rented?",
            Self::Machine => "This machine",
            Self::Vms => "Its VMs",
            Self::Reach => "Reached by renters",
            Self::Money => "Markets and money",
        }
    }
}

/// The checks, one line each: name in JSON, name for people, group, heading of the page that says more, what it looks at.
macro_rules! checks {
    ($($check:ident $name:literal $title:literal $group:ident $heading:literal $looks:literal;)+) => {
        /// What is checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Check { $( #[doc = $looks] $check, )+ }

        impl Check {
            /// All, in the order of the answer.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$check),+];

            /// Its name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$check => $name, )+ }
            }

            /// Its name for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $( Self::$check => $title, )+ }
            }

            /// Where it stands.
            #[must_use]
            pub const fn group(self) -> Group {
                match self { $( Self::$check => Group::$group, )+ }
            }

            /// The heading of the troubleshooting page that is about it.
            #[must_use]
            pub const fn heading(self) -> &'static str {
                match self { $( Self::$check => $heading, )+ }
            }

            /// What is looked at, for the documentation.
            #[must_use]
            pub const fn looks_at(self) -> &'static str {
                match self { $( Self::$check => $looks, )+ }
            }
        }
    };
}

checks! {
    Rented "rented" "Can be rented" Goal "Resources" "whether the next renter gets a VM";
    Found "found" "Can be found" Goal "Renters do not find the node" "whether renters find the node in a market";
    Reached "reached" "Can be reached" Goal "Ports" "whether renters reach the API and a port for a VM";
    Paid "paid" "Can be paid" Goal "Money does not come" "whether what is rented is paid for, and the money comes";
    Demand "demand" "Asked for" Goal "Nothing is wrong, and nobody rents" "rentals there are, if nothing is in the way";
    Process "process" "Provider" Machine "The node does not start" "whether the node runs, answers, takes rentals, and is the program that is installed";
    Settings "settings" "Settings" Machine "The node does not start" "settings that are wrong, have no effect, or contradict each other";
    Prerequisites "prerequisites" "Programs" Machine "The node does not start" "programs and files that guests need";
    DataDirectory "data-directory" "Data directory" Machine "The node does not start" "whose it is, and that nobody else can look into it";
    Leftovers "leftovers" "Left behind" Machine "Left behind by a node that died" "a PID file and a socket that nobody holds, and a restore or a move that was cut short";
    Disk "disk" "Disk" Machine "The disk is full" "room and inodes in the data directory and where its VMs and images are";
    Clock "clock" "Clock" Machine "The clock is wrong" "this machine's clock against the date that those say whom the node asks anyway";
    Update "update" "Update" Machine "Updates" "whether a newer version is there";
    Backend "backend" "VM backend" Vms "The node does not start" "whether the backend can start guests, and has the default image";
    Kvm "kvm" "Virtualization" Vms "KVM" "whether guests have hardware virtualization";
    Isolation "isolation" "Isolation" Vms "Guests have no network" "network namespaces, control groups, and guests that are cut off";
    Resources "resources" "Resources" Vms "Resources" "cores, memory and storage that are left, and how busy this machine is";
    Guests "guests" "Guests" Vms "A VM" "VMs that cannot run, or that the ledger does not know";
    Api "api" "API port" Reach "Ports" "whether the API answers here and from outside";
    Ports "ports" "SSH ports" Reach "Ports" "the ports for VMs, here and from outside, and what is in the way";
    Tls "tls" "https" Reach "Ports" "the certificate, how long it lasts, and why there is none";
    Markets "markets" "Markets" Money "Renters do not find the node" "each market: whether the advert stands there, as renters see it";
    Prices "prices" "Prices" Money "Payments" "the price of a VM against that of others in the market";
    Chain "chain" "Chain" Money "Payments" "the payment chain's endpoints, and the contract";
    Wallet "wallet" "Wallet" Money "Money does not come" "gas for withdrawals, and transactions that wait";
    Payouts "payouts" "Payouts" Money "Money does not come" "whether what is earned reaches the operator, in money that is worth something";
    Books "books" "Books" Money "The books differ from the chain" "the node's books against the chain";
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// `heading` as the anchor of a link to it.
#[must_use]
pub fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-');
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// What came of a check. One check may have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was checked.
    pub check: Check,
    /// How it came out.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do, the likeliest first; never empty if something is broken.
    pub fixes: Vec<String>,
    /// Where the documentation says more.
    pub help: String,
    /// Whether `doctor --fix` does it.
    pub repairable: bool,
}

impl Row {
    /// A row without a fix.
    #[must_use]
    pub fn new(check: Check, state: State, seen: impl Into<String>) -> Self {
        let help = format!("docs/troubleshooting.md#{}", anchor(check.heading()));
        Self { check, state, seen: seen.into(), fixes: Vec::new(), help, repairable: false }
    }

    /// As it should be.
    #[must_use]
    pub fn ok(check: Check, seen: impl Into<String>) -> Self {
        Self::new(check, State::Ok, seen)
    }

    /// With one more fix.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// What `told` says, whose fix stands at its end where there is one: `…; fix: …`.
    #[must_use]
    pub fn told(check: Check, state: State, told: &str) -> Self {
        match told.split_once("; fix: ") {
            Some((seen, fix)) => Self::new(check, state, seen).fix(fix),
            None => Self::new(check, state, told),
        }
    }
}

/// The worst of `rows`.
#[must_use]
pub fn worst(rows: &[Row]) -> State {
    rows.iter().map(|row| row.state).max().unwrap_or(State::Ok)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_differ_and_groups_stand_together() {
        let names: BTreeSet<_> = Check::ALL.map(Check::name).into();
        assert_eq!(names.len(), Check::ALL.len());
        assert!(Check::ALL.is_sorted_by_key(|check| check.group()));
        assert!(Check::ALL.iter().all(|check| check.title().len() <= 16));
    }

    #[test]
    fn a_fix_that_is_told_along_is_the_fix() {
        let row = Row::told(Check::Kvm, State::Broken, "no device; fix: load it");
        assert_eq!((row.seen.as_str(), row.fixes), ("no device", vec!["load it".to_owned()]));
        assert_eq!(row.help, "docs/troubleshooting.md#kvm");
        let rows = [Row::ok(Check::Disk, "room"), Row::new(Check::Clock, State::Unknown, "nobody said")];
        assert_eq!(worst(&rows), State::Unknown);
    }
}
