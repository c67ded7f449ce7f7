//! Running the `multipass` program.
//!
//! ```text
//!   short call: run ──► answer, failure, or deadline (the program is ended, not the machine)
//!   long call:  spawn ─────────► ended? ──► how
//! ```
//! Owns deadlines, how much is read, and what the program's words and exit codes mean. Arguments are
//! ours or of checked types. Never decides what to do about a failure.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::NAME;
use crate::machine::BackendError;

/// Most bytes that are read of an answer: a list of thousands of instances.
const ANSWER_MAXIMUM: u64 = 4 << 20;

/// Most bytes that are read of a complaint.
const COMPLAINT_MAXIMUM: u64 = 64 << 10;

/// Longest that the program may take to read what it is given.
const INPUT_DEADLINE: Duration = Duration::from_secs(30);

/// Exit code of a daemon that answers UNAVAILABLE.
const CODE_UNAVAILABLE: i32 = 3;
/// Exit code of the program's own `--timeout`.
const CODE_TIMEOUT: i32 = 5;

/// What the program meant when it did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its daemon cannot be asked now.
    Unavailable(String),
    /// It gave up waiting; the machine may still come up.
    TimedOut,
    /// There is such an instance already, or it is being made.
    Exists,
    /// There is no such instance.
    Absent,
    /// Anything else.
    Other(String),
}

impl Failure {
    pub(super) fn read(code: Option<i32>, complaint: &str) -> Self {
        let lower = complaint.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if code == Some(CODE_UNAVAILABLE)
            || says(&["cannot connect to the multipass socket", "socket access denied", "socket closed"])
        {
            return Self::Unavailable(plain(complaint));
        }
        if code == Some(CODE_TIMEOUT) || says(&["timed out waiting"]) {
            return Self::TimedOut;
        }
        if says(&["already exists", "being prepared"]) {
            return Self::Exists;
        }
        if says(&["does not exist"]) {
            return Self::Absent;
        }
        Self::Other(plain(complaint))
    }

    /// As an error of `step`.
    pub(super) fn error(self, step: &'static str) -> BackendError {
        let message = match self {
            Self::Unavailable(message) => return unavailable(message, None),
            Self::TimedOut => "Multipass gave up waiting".to_owned(),
            Self::Exists => "there is such an instance already".to_owned(),
            Self::Absent => "there is no such instance".to_owned(),
            Self::Other(message) => message,
        };
        BackendError::Failed { step, message, source: None }
    }
}

/// `complaint` on one line, without control characters, of bounded length.
fn plain(complaint: &str) -> String {
    let words: Vec<&str> = complaint.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.is_empty() { "it said nothing".to_owned() } else { line.chars().take(400).collect() }
}

pub(super) fn unavailable(message: impl Into<String>, source: Option<io::Error>) -> BackendError {
    BackendError::Unavailable { backend: NAME, message: message.into(), source }
}

/// The program, where it was found.
#[derive(Debug, Clone)]
pub(super) struct Program(pub(super) PathBuf);

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        // Settings of the node, its key among them, are none of its business.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GOLEM_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program with `input` until it ends or `deadline` is over; gives its answer.
    ///
    /// # Errors
    /// The failure is the inner result; [`BackendError::Unavailable`] when it does not run or end.
    pub(super) async fn run(
        &self,
        arguments: &[&str],
        input: &str,
        deadline: Duration,
    ) -> Result<Result<Vec<u8>, Failure>, BackendError> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let verb = arguments.first().copied().unwrap_or_default();
        let broken = |error| unavailable(format!("{} {verb} cannot be run", self.0.display()), Some(error));
        let mut child = command.spawn().map_err(broken)?;
        let work = async {
            give(&mut child, input).await?;
            let (mut answer, mut complaint) = (Vec::new(), Vec::new());
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            tokio::try_join!(
                read(stdout, ANSWER_MAXIMUM, &mut answer),
                read(stderr, COMPLAINT_MAXIMUM, &mut complaint)
            )?;
            let status = child.wait().await?;
            Ok::<_, io::Error>((status, answer, complaint))
        };
        let Ok(done) = timeout(deadline, work).await else {
            let late = format!("`multipass {verb}` gave no answer within {} s", deadline.as_secs());
            return Err(unavailable(late, None));
        };
        let (status, answer, complaint) = done.map_err(broken)?;
        if status.success() {
            return Ok(Ok(answer));
        }
        Ok(Err(match Failure::read(status.code(), &String::from_utf8_lossy(&complaint)) {
            Failure::Unavailable(message) => return Err(unavailable(message, None)),
            failure => failure,
        }))
    }

    /// Starts the program for something that takes minutes. It outlives the node; what it complains
    /// of goes to the file `complaints`.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when it does not start or does not read `input`.
    pub(super) async fn spawn(
        &self,
        arguments: &[&str],
        input: &str,
        complaints: &Path,
    ) -> Result<Long, BackendError> {
        let start = || {
            let file = std::fs::File::create(complaints)?;
            let mut command = self.command(arguments);
            // A process group of its own: what ends the node in a terminal does not end it.
            #[cfg(unix)]
            command.process_group(0);
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file).spawn()
        };
        let broken = |error| unavailable(format!("{} cannot be run", self.0.display()), Some(error));
        let mut child = start().map_err(broken)?;
        timeout(INPUT_DEADLINE, give(&mut child, input))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(broken)?;
        Ok(Long { child, complaints: complaints.to_owned() })
    }
}

/// Gives `input` to the program, which may not want it.
async fn give(child: &mut Child, input: &str) -> io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    match stdin.write_all(input.as_bytes()).await {
        // Its exit code tells why it went away.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

async fn read(
    pipe: Option<impl tokio::io::AsyncRead + Unpin>,
    maximum: u64,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    if let Some(pipe) = pipe {
        pipe.take(maximum).read_to_end(into).await?;
    }
    Ok(())
}

/// A call that takes minutes.
#[derive(Debug)]
pub(super) struct Long {
    child: Child,
    complaints: PathBuf,
}

impl Long {
    /// How it ended, if it has ended.
    pub(super) fn ended(&mut self) -> io::Result<Option<Result<(), Failure>>> {
        Ok(self.child.try_wait()?.map(|status| self.outcome(status)))
    }

    fn outcome(&self, status: ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let mut complaint = Vec::new();
        let read = std::fs::File::open(&self.complaints).and_then(|file| {
            io::Read::read_to_end(&mut io::Read::take(file, COMPLAINT_MAXIMUM), &mut complaint)
        });
        if let Err(error) = read {
            return Err(Failure::Other(format!("it failed, and its words are lost: {error}")));
        }
        Err(Failure::read(status.code(), &String::from_utf8_lossy(&complaint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_092_words_and_codes_mean_what_the_program_means() {
        let socket =
            "list failed: cannot connect to the multipass socket\nPlease ensure multipassd is running";
        assert!(matches!(Failure::read(Some(2), socket), Failure::Unavailable(_)));
        assert!(matches!(Failure::read(Some(2), "multipass socket access denied"), Failure::Unavailable(_)));
        assert!(matches!(Failure::read(Some(3), ""), Failure::Unavailable(_)));
        assert_eq!(Failure::read(Some(5), "Timed out waiting for instance launch."), Failure::TimedOut);
        let init =
            "launch failed: The following errors occurred:\ntimed out waiting for initialization to complete";
        assert_eq!(Failure::read(Some(2), init), Failure::TimedOut);
        assert_eq!(Failure::read(Some(2), "launch failed: instance \"a\" already exists"), Failure::Exists);
        let absent = "info failed: The following errors occurred:\ninstance \"x\" does not exist";
        assert_eq!(Failure::read(Some(2), absent), Failure::Absent);
        let other = Failure::read(Some(2), "launch failed: \u{1b}[2K no\nroom");
        assert_eq!(other, Failure::Other("launch failed: [2K no room".to_owned()));
    }
}
