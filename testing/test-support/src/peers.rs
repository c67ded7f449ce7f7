//! The published programs, each in a virtual environment of its own.
//!
//! Owns their versions and their installation. Never looks at what they say.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A published program: the folder of its environment, its program, and the pinned packages.
pub struct Peer {
    folder: &'static str,
    program: &'static str,
    packages: &'static [&'static str],
}

/// The renters' command line. Its stream ABI is pinned too: without that, 0.1.2 is installed, which
/// describes another contract.
pub const REQUESTOR: Peer = Peer {
    folder: "requestor",
    program: "golem",
    packages: &["request-vm-on-golem==0.1.58", "golem-streaming-abi==0.1.1", "golem-base-sdk==0.1.0"],
};

/// The provider that the node replaces. Its only program is not used: a script runs its API.
pub const ORIGINAL: Peer = Peer {
    folder: "original",
    program: "golem-provider",
    packages: &["golem-vm-provider==0.1.63", "golem-streaming-abi==0.1.1"],
};

/// The server on which the original's providers advertise.
pub const DISCOVERY: Peer =
    Peer { folder: "discovery", program: "golem-discovery", packages: &["golem-vm-discovery==0.1.25"] };

/// The ABI of the newer payment contract, and what it is used with; it has no program.
pub const NEWER_ABI: Peer = Peer {
    folder: "newer-abi",
    program: "python",
    packages: &["golem-streaming-abi==0.1.2", "web3==7.16.0"],
};

/// The library that keeps the keys of the original's clients; it has no program.
pub const ETH_ACCOUNT: Peer =
    Peer { folder: "eth-account", program: "python", packages: &["eth-account==0.13.7"] };

/// The check server that the original's providers ask.
pub const PORT_CHECKER: Peer =
    Peer { folder: "port-checker", program: "port-checker", packages: &["golem-port-checker==0.1.25"] };

/// What asks an API whatever its description allows, and more.
pub const SCHEMATHESIS: Peer = Peer {
    folder: "schemathesis",
    program: "schemathesis",
    packages: &["schemathesis==4.32.5", "hypothesis==6.170.17", "jsonschema_rs==0.60.3"],
};

impl Peer {
    fn folder(&self) -> PathBuf {
        // The test's program is in target/debug/deps.
        let program = std::env::current_exe().unwrap();
        program.ancestors().nth(3).unwrap().join("tmp/peers").join(self.folder)
    }

    /// The program's path; installed on first use, and anew when other versions are wanted.
    pub fn program(&self) -> PathBuf {
        let folder = self.folder();
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        // Tests of one run may want the same peer.
        let lock = File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let installed = folder.join("installed");
        let wanted = self.packages.join("\n");
        if std::fs::read_to_string(&installed).unwrap_or_default() != wanted {
            self.install(&folder);
            std::fs::write(installed, wanted).unwrap();
        }
        folder.join("bin").join(self.program)
    }

    fn install(&self, folder: &Path) {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder).status().unwrap();
        assert!(made.success(), "install python3-venv");
        let got = Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
            .args(self.packages)
            .status()
            .unwrap();
        assert!(got.success(), "{:?} could not be installed", self.packages);
    }

    /// The Python of its environment.
    pub fn python(&self) -> Command {
        self.program();
        Command::new(self.folder().join("bin/python"))
    }
}
