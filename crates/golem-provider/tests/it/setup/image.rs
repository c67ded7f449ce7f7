//! The image at its question, and as a flag: fetched from a publisher, or from a file.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use golem_test_support::Home;
use golem_test_support::pebble::certificate;

use super::{COLUMNS, QUESTIONS, TERM, settings, types};
use crate::terminal::Terminal;

/// The publisher of the catalogue, as the program sees it through a proxy.
struct Publisher {
    child: Child,
    proxy: String,
    folder: tempfile::TempDir,
}

impl Publisher {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pem = certificate(&["cloud-images.ubuntu.com"], 2020, 2090);
        std::fs::write(folder.path().join("cert.pem"), pem.certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), pem.key).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("publisher.py")]).arg(folder.path()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        Self { child, proxy: format!("http://127.0.0.1:{}", port.trim()), folder }
    }

    /// A node of real guests that fetches images here.
    fn home(&self) -> Home {
        Home::new()
            .set("GOLEM_PROVIDER_VM_BACKEND", "qemu")
            .set("HTTPS_PROXY", &self.proxy)
            .set("SSL_CERT_FILE", &self.folder.path().join("cert.pem").display().to_string())
    }

    fn has(&self, file: &str) {
        std::fs::write(self.folder.path().join(file), "").unwrap();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the image `name` is here.
fn is_here(home: &Home, name: &str) -> bool {
    let images = home.json(&["images", "list", "--json"]);
    images.as_array().unwrap().iter().any(|image| image["name"] == name && image["here"] == true)
}

const QUESTION: &str = "Fetch the image 24.04 now? yes, no, a VERSION or a FILE [yes]";

/// A name of the catalogue is fetched, and whoever waits sees how far it is.
#[test]
fn an_image_of_the_catalogue_is_fetched_at_its_question_with_progress() {
    let publisher = Publisher::start();
    let home = publisher.home();
    let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, &TERM);
    QUESTIONS.iter().for_each(|question| types(&mut terminal, question, ""));
    types(&mut terminal, QUESTION, "no-such");
    terminal.shows("neither a file nor in the catalogue");
    // One of its other names.
    types(&mut terminal, QUESTION, "jammy");
    types(&mut terminal, "Write this? [yes]", "");
    // About one half: not every byte is drawn.
    terminal.shows("iB/2.00 MiB");
    assert!(!is_here(&home, "22.04"));
    publisher.has("go");
    terminal.shows("start the node with: golem-provider start --daemon");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    assert!(is_here(&home, "22.04"));
    let written = settings(&home).unwrap();
    assert!(written.contains("GOLEM_PROVIDER_DEFAULT_VM_IMAGE=jammy\n"), "{written}");
}

/// The same by a flag; where it cannot be had, why and how to go on is told, and going on is another setup.
#[test]
fn an_image_that_cannot_be_had_is_told_with_what_to_do_and_tried_again_by_another_setup() {
    let publisher = Publisher::start();
    publisher.has("go");
    publisher.has("gone");
    let home = publisher.home();
    let setup = ["setup", "--here", "--yes", "--image", "22.04"];
    let output = home.run(&setup);
    let said = Home::show(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "The settings are written; `golem-provider setup` tries the image once more.",
        "the default image 22.04 cannot be had; fix: download https://cloud-images.ubuntu.com/",
        "the publisher answered 404",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(settings(&home).unwrap().contains("GOLEM_PROVIDER_DEFAULT_VM_IMAGE=22.04\n"));
    std::fs::remove_file(publisher.folder.path().join("gone")).unwrap();
    let output = home.run(&["setup", "--here", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", Home::show(&output));
    assert!(is_here(&home, "22.04"));

    // A file takes the place of the default.
    let home = publisher.home();
    let file = home.folder.path().join("disk.qcow2");
    std::fs::write(&file, empty_disk()).unwrap();
    home.json(&["setup", "--here", "--yes", "--json", "--image", &file.display().to_string()]);
    assert!(is_here(&home, "24.04"));
}

/// The header of an empty qcow2 (version 3) of 2 GiB.
fn empty_disk() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(2u64 << 30).to_be_bytes());
    bytes
}
