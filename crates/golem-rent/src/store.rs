//! The renter's folder: a file for each rental, and a lock on the wallet.
//!
//! ```text
//!   renter/  keys/renter_key.json   rentals/NAME.json   ssh/id_ed25519   known_hosts   sessions/   lock
//! ```
//! Owns that a record is whole or not there, on the disk before the next step is taken, and closed to
//! others: a VM's id is the right to use it. Never reads more than a record's size.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use golem_types::VmName;

use super::rental::Rental;

/// Largest record that is read, in bytes; a real one has about 4,000.
const RECORD_BYTES: u64 = 256 << 10;

/// Why the renter's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be made, read or written.
    #[error("{} cannot be used", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record is not one.
    #[error("{} is damaged: {problem}; fix: move it away; its stream, if it names one, can still be ended with any wallet software", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another command has the wallet.
    #[error("another rent command uses the wallet now; fix: wait for it to end")]
    Busy,
    /// There is no such rental.
    #[error("no rental is called {0}; fix: see `golem-provider rent list`")]
    NoRental(VmName),
}

/// A file by which a renter's folder is recognised.
const MARKS: [&str; 1] = ["keys/renter_key.json"];

/// What the renter's folder may hold.
const NAMES: [&str; 6] = ["keys", "known_hosts", "lock", "rentals", "sessions", "ssh"];

/// The renter's folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// Keeps other commands from the wallet until it is dropped: there is one nonce.
#[derive(Debug)]
pub struct WalletLock(#[expect(dead_code, reason = "held, not read")] File);

impl Store {
    /// The folder `folder`, made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        golem_files::private_root(folder, &MARKS, &NAMES).map_err(wrong(folder))?;
        let rentals = folder.join("rentals");
        golem_files::private_folder(&rentals).map_err(wrong(&rentals))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The file `name` in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn record(&self, name: &VmName) -> PathBuf {
        self.folder.join("rentals").join(format!("{name}.json"))
    }

    /// Takes the wallet for this command.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::File`].
    pub fn lock(&self) -> Result<WalletLock, StoreError> {
        let path = self.path("lock");
        let file = golem_files::private_file(&path, OpenOptions::new().write(true));
        let file = file.map_err(|source| StoreError::File { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(WalletLock(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Busy),
            Err(std::fs::TryLockError::Error(source)) => Err(StoreError::File { path, source }),
        }
    }

    /// The rental `name`, if it is known.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Damaged`].
    pub fn find(&self, name: &VmName) -> Result<Option<Rental>, StoreError> {
        let path = self.record(name);
        match read(&path) {
            Ok(bytes) => parse(path, &bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::File { path, source }),
        }
    }

    /// The rental `name`.
    ///
    /// # Errors
    /// [`StoreError::NoRental`], [`StoreError::File`], [`StoreError::Damaged`].
    pub fn rental(&self, name: &VmName) -> Result<Rental, StoreError> {
        self.find(name)?.ok_or_else(|| StoreError::NoRental(name.clone()))
    }

    /// Every rental, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Damaged`].
    pub fn all(&self) -> Result<Vec<Rental>, StoreError> {
        let folder = self.folder.join("rentals");
        let wrong = |source| StoreError::File { path: folder.clone(), source };
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = read(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
                all.push(parse(path, &bytes)?);
            }
        }
        all.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        Ok(all)
    }

    /// Keeps `rental`: on the disk when this returns, in place of what was known of it.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn keep(&self, rental: &Rental) -> Result<(), StoreError> {
        let path = self.record(&rental.name);
        let text = serde_json::to_vec_pretty(rental).map_err(io::Error::from);
        text.and_then(|text| golem_files::replace(&path, &text))
            .map_err(|source| StoreError::File { path, source })
    }

    /// Forgets the rental `name`.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn forget(&self, name: &VmName) -> Result<(), StoreError> {
        let path = self.record(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::File { path, source: error })
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(RECORD_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(path: PathBuf, bytes: &[u8]) -> Result<Rental, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged { path, problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use alloy_primitives::Address;
    use golem_types::Resources;
    use golem_types::wire::Exact;
    use jiff::Timestamp;
    use ruint::aliases::U256;

    use super::super::rental::{Payment, RentalStep};
    use super::*;

    fn rental(name: &str, second: i64) -> Rental {
        Rental {
            name: name.parse().unwrap(),
            provider_url: "http://192.0.2.1:7466".to_owned(),
            provider_id: Address::repeat_byte(1),
            resources: Resources::new(1, 1, 10),
            image: None,
            ssh_key: "ssh-ed25519 AAAA".to_owned(),
            more_keys: Vec::new(),
            first_boot: golem_types::FirstBoot::default(),
            identity: None,
            quote_id: Some("0x00".to_owned()),
            payment: Some(Payment {
                network: "mine".to_owned(),
                rpc_url: "http://192.0.2.2".to_owned(),
                chain_id: 5,
                contract: Address::repeat_byte(2),
                token: Address::ZERO,
                symbol: "ETH".to_owned(),
                decimals: 18,
                coins_from: String::new(),
                max_gas_price: None,
                rate: Exact(U256::MAX),
                deposit: Exact(U256::MAX),
                stream_id: Some(Exact(U256::MAX)),
                pending: None,
                gas: Exact::default(),
                refunded: None,
                lease: None,
            }),
            step: RentalStep::Paid,
            vm_id: None,
            job_id: None,
            ssh_port: None,
            ssh_user: None,
            created_at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn what_is_kept_reads_back_and_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("renter")).unwrap();
        let (late, early) = (rental("late", 9), rental("early", 5));
        store.keep(&late).unwrap();
        store.keep(&early).unwrap();
        assert_eq!(store.all().unwrap(), [early.clone(), late.clone()], "every digit of a number");
        assert_eq!(store.rental(&late.name).unwrap(), late);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.record(&late.name)), 0o600);
        assert_eq!(mode(&store.path("rentals")), 0o700);
        store.forget(&late.name).unwrap();
        store.forget(&late.name).unwrap();
        assert!(matches!(store.rental(&late.name), Err(StoreError::NoRental(_))));
        std::fs::write(store.record(&early.name), "{").unwrap();
        assert!(matches!(store.all(), Err(StoreError::Damaged { .. })));
    }

    /// What an earlier version kept has no lease, and is of contract version 1.
    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let old = rental("old", 5);
        let mut text = serde_json::to_string(&old).unwrap();
        for member in [r#""job_id":null,"#, r#""ssh_user":null,"#, r#","lease":null"#] {
            assert!(text.contains(member), "{member}: {text}");
            text = text.replace(member, "");
        }
        let read = parse(PathBuf::new(), text.as_bytes()).unwrap();
        assert_eq!(read, old);
        assert_eq!(read.payment.unwrap().version(), golem_chain::Version::V1);
    }

    #[test]
    fn the_wallet_is_one_commands_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let lock = store.lock().unwrap();
        assert!(matches!(store.lock(), Err(StoreError::Busy)));
        drop(lock);
        assert!(store.lock().is_ok());
    }
}
