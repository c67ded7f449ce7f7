//! One verification of ports, from the bind test to the verdicts.
//!
//! ```text
//!   for each batch:  open listeners ─► ask every source at once ─► judge each port ─► close
//!                                          until all answered, or the rest can turn no verdict
//! ```
//! Owns the order, the batches, and what an answer means next to what this host saw itself: a
//! checker that claims to have been let in where nobody came was not. Never records.

mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use futures_util::stream::FuturesUnordered;
use golem_service::tasks::Tasks;
use golem_types::wire::port_check::{CheckAnswer, PortResult};
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::inbound_probe::InboundProbe;
use super::peers;
use super::port_owner::port_owner;
use super::source::{CheckSource, SourceError};
use crate::probe::Probes;
use crate::verdict::{Finding, PortVerdict, Proof, Reachability, UnreachableReason, is_decided, judge};

pub use outcome::{LocalPort, Served, SourceOutcome, VerificationOutcome, VerificationProgress};

/// Ports that are verified at a time: as many listeners are open, and as many are in one request.
const BATCH: usize = 500;

/// How long a connection that a checker claims may take from the kernel to its listener.
const ARRIVAL: Duration = Duration::from_secs(1);

/// How often such a listener is looked at meanwhile.
const ARRIVAL_LOOK: Duration = Duration::from_millis(10);

/// Least time that has to be left for a closer look.
const CLOSER_LOOK: Duration = Duration::from_secs(2);

/// How long those that did not answer are waited for, once the others have decided: one that is only
/// slow is heard, and one that hangs does not hold up the verdicts until the deadline.
const LATE: Duration = Duration::from_secs(1);

/// How often it is told how many have come so far.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// Tries at a port that is in use: the ledger tries ports for a moment as well.
const OPEN_TRIES: u32 = 3;

/// What is verified, and how.
pub struct Verification<'a> {
    /// The public address.
    pub address: IpAddr,
    /// Address on which ports are listened on.
    pub bind: IpAddr,
    /// The ports: first that of the public API.
    pub ports: Vec<u16>,
    /// The checkers.
    pub sources: &'a [CheckSource],
    /// When it has to be over.
    pub end: Instant,
    /// Longest that a checker may take for a batch.
    pub deadline: Duration,
    /// Listeners.
    pub probes: Probes,
    /// Who owns their tasks.
    pub tasks: &'a Tasks,
    /// What this program itself serves on a port.
    pub served: &'a (dyn Fn(u16) -> Option<Served> + Sync),
}

/// Thirty-two random bytes.
fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

impl Verification<'_> {
    /// Verifies the ports, and looks closer at those that nobody reached; `tell` is called with the progress. Listeners are closed
    /// at its end, and have to be closed by the caller when it is dropped before.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub async fn find(&self, tell: impl Fn(VerificationProgress)) -> io::Result<VerificationOutcome> {
        let mut outcome = self.run(tell).await?;
        let closed = |verdict: &&PortVerdict| {
            matches!(
                verdict.problem,
                Some(
                    UnreachableReason::Refused
                        | UnreachableReason::TimedOut
                        | UnreachableReason::NoRoute
                        | UnreachableReason::Other(_)
                )
            )
        };
        let missed: Vec<u16> =
            outcome.verdicts.iter().filter(closed).map(|verdict| verdict.port).take(BATCH).collect();
        let time = self.end.saturating_duration_since(Instant::now()) >= CLOSER_LOOK;
        let (Some(&first), false, true) = (self.ports.first(), missed.is_empty(), time) else {
            return Ok(outcome);
        };
        let Some(inbound) = InboundProbe::begin(first, &missed).await else { return Ok(outcome) };
        let answered: Vec<&SourceOutcome> =
            outcome.asked.iter().filter(|asked| asked.problem.is_none()).collect();
        // A connection from inside takes another way.
        let outside = answered.iter().any(|asked| !asked.inside);
        let answered = |source: &&CheckSource| {
            answered.iter().any(|asked| asked.source == source.name() && !(outside && asked.inside))
        };
        let sources: Vec<CheckSource> = self.sources.iter().filter(answered).cloned().collect();
        let again =
            Verification { ports: missed.clone(), sources: &sources, probes: self.probes.clone(), ..*self };
        let again = again.run(|_| {}).await?;
        let seen = inbound.end().await;
        // If none answered this time, none may have tried to connect.
        let tried = again.asked.iter().any(|asked| asked.problem.is_none());
        let of = |seen: BTreeSet<u16>| {
            let rows = missed.iter().map(|port| (*port, seen.contains(port)));
            rows.filter(|(_, inbound)| *inbound || tried).collect()
        };
        outcome.inbound = seen.map(of);
        Ok(outcome)
    }

    /// Verifies the ports once; `tell` is called with the progress. Listeners are closed at its end, and have to be closed by
    /// the caller when it is dropped before.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub async fn run(&self, tell: impl Fn(VerificationProgress)) -> io::Result<VerificationOutcome> {
        self.probes.renew(random()?);
        let mut outcome = VerificationOutcome::default();
        let mut known = Known::default();
        let total = self.ports.len();
        // One time for all, so that ports of which the same is known are shown as one row.
        let at = Timestamp::now();
        tell(VerificationProgress { done: 0, visited: 0, total });
        for (number, batch) in self.ports.chunks(BATCH).enumerate() {
            let mut asked = Vec::new();
            for &port in batch {
                let local = self.open(port).await;
                if matches!(local, LocalPort::Free | LocalPort::Served(_)) {
                    asked.push(port);
                }
                outcome.local.insert(port, local);
            }
            // One that failed once would hold up every further batch.
            let failed = |source: &&CheckSource| {
                known.problems.get(source.name()).is_some_and(|problem| !matches!(problem, SourceError::Late))
            };
            let sources: Vec<_> = self.sources.iter().filter(|source| !failed(source)).collect();
            let visited = || asked.iter().filter(|port| self.probes.arrivals(**port) > Some(0)).count();
            let done = number * BATCH;
            let under_way = || tell(VerificationProgress { done, visited: visited(), total });
            let all = self.ask(&sources, &asked, &outcome.local, &mut known, under_way).await?;
            let answers = known.counting(&sources, &all);
            self.wait_for_arrivals(&asked, &answers).await;
            for &port in &asked {
                match self.verdict(port, &outcome.local, &answers, at) {
                    Some(verdict) => outcome.verdicts.push(verdict),
                    None if answers.iter().any(|(_, answer)| answer.results.contains_key(&port)) => {
                        outcome.disputed.insert(port);
                    }
                    None => {}
                }
            }
            self.probes.close(batch.iter().copied()).await;
            tell(VerificationProgress { done: (done + batch.len()).min(total), visited: 0, total });
        }
        outcome.asked = self.outcomes(&known);
        Ok(outcome)
    }

    /// What came of the sources. Of other providers, only those that answered are named: most may not
    /// try ports at all.
    fn outcomes(&self, known: &Known<'_>) -> Vec<SourceOutcome> {
        let row = |source: &CheckSource| {
            let problem = known.problems.get(source.name());
            SourceOutcome {
                source: source.name().to_owned(),
                problem: problem.map(ToString::to_string),
                seen_at: match problem {
                    Some(SourceError::Elsewhere(address)) => Some(*address),
                    _ => None,
                },
                inside: known.inside.contains(source.name()),
            }
        };
        let (peers, named): (Vec<&CheckSource>, Vec<&CheckSource>) =
            self.sources.iter().partition(|source| source.is_peer());
        let mut asked: Vec<SourceOutcome> = named.into_iter().map(row).collect();
        let total = peers.len();
        let answered: Vec<SourceOutcome> =
            peers.into_iter().map(row).filter(|asked| asked.problem.is_none()).collect();
        if total > 0 && answered.len() < peers::LEAST {
            asked.push(SourceOutcome {
                source: "other providers".to_owned(),
                problem: Some(format!(
                    "{} of {total} answered, and {} have to",
                    answered.len(),
                    peers::LEAST
                )),
                seen_at: None,
                inside: false,
            });
        } else {
            asked.extend(answered);
        }
        asked
    }

    /// Listens on `port`, or tells what does.
    async fn open(&self, port: u16) -> LocalPort {
        for _ in 0..OPEN_TRIES {
            if let Some(served) = (self.served)(port) {
                return LocalPort::Served(served);
            }
            match self.probes.open(self.tasks, self.bind, port) {
                Ok(()) => return LocalPort::Free,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(ARRIVAL_LOOK).await,
                Err(error) => return LocalPort::Failed(error.to_string()),
            }
        }
        LocalPort::Held(port_owner(port).await)
    }

    /// What `sources` say of `ports`, until all have answered or the rest can turn no verdict.
    async fn ask<'s>(
        &self,
        sources: &[&'s CheckSource],
        ports: &[u16],
        local: &BTreeMap<u16, LocalPort>,
        known: &mut Known<'s>,
        under_way: impl Fn(),
    ) -> io::Result<Vec<(&'s str, CheckAnswer)>> {
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        let mut nonces = Vec::new();
        for _ in sources {
            nonces.push(alloy_primitives::hex::encode(random()?));
        }
        let deadline = self.deadline.min(self.end.saturating_duration_since(Instant::now()));
        let mut asking: FuturesUnordered<_> = sources
            .iter()
            .zip(&nonces)
            .map(async |(source, nonce)| {
                (source.name(), source.ask(self.address, ports, nonce, deadline).await)
            })
            .collect();
        let mut answers = Vec::new();
        let mut end = None;
        loop {
            let answer = tokio::select! {
                answer = asking.next() => answer,
                Some(()) = OptionFuture::from(end.map(sleep_until)) => break,
                () = sleep(UNDER_WAY) => {
                    under_way();
                    continue;
                }
            };
            match answer {
                None => break,
                Some((name, Ok((answer, inside)))) => {
                    known.problems.remove(name);
                    if inside {
                        known.inside.insert(name);
                    }
                    answers.push((name, answer));
                }
                Some((name, Err(error))) => {
                    tracing::debug!(source = name, %error, "a port checker did not answer");
                    known.problems.insert(name, error);
                }
            }
            let counting = known.counting(sources, &answers);
            let more = asking.len() + answers.len() - counting.len();
            let decided = |port: &u16| {
                let said: Vec<Finding> =
                    self.all_said(*port, local, &counting).into_iter().map(|(_, said)| said).collect();
                is_decided(&said, more)
            };
            if end.is_none() && ports.iter().all(decided) {
                end = Some(Instant::now() + LATE);
            }
        }
        for source in sources {
            let name = source.name();
            if answers.iter().all(|(answered, _)| *answered != name) {
                known.problems.entry(name).or_insert(SourceError::Late);
            }
        }
        Ok(answers)
    }

    /// Waits a moment for connections that a checker says it made.
    async fn wait_for_arrivals(&self, ports: &[u16], answers: &[&(&str, CheckAnswer)]) {
        let claimed = |port: &u16| {
            answers.iter().any(|(_, answer)| answer.results.get(port).is_some_and(|r| r.accessible))
        };
        let end = Instant::now() + ARRIVAL;
        for port in ports.iter().filter(|port| claimed(port)) {
            while self.probes.arrivals(*port) == Some(0) && Instant::now() < end {
                sleep(ARRIVAL_LOOK).await;
            }
        }
    }

    /// What each of `answers` says of `port`, as far as it does.
    fn all_said<'s>(
        &self,
        port: u16,
        local: &BTreeMap<u16, LocalPort>,
        answers: &[&(&'s str, CheckAnswer)],
    ) -> Vec<(&'s str, Finding)> {
        answers
            .iter()
            .filter_map(|(name, answer)| {
                Some((*name, self.finding(port, local.get(&port)?, answer.results.get(&port)?)))
            })
            .collect()
    }

    /// The verdict on `port`; `None` if nobody can tell.
    fn verdict(
        &self,
        port: u16,
        local: &BTreeMap<u16, LocalPort>,
        answers: &[&(&str, CheckAnswer)],
        at: Timestamp,
    ) -> Option<PortVerdict> {
        let said = self.all_said(port, local, answers);
        let problem = match judge(&said.iter().map(|(_, said)| said.clone()).collect::<Vec<_>>()) {
            Reachability::Reachable => None,
            Reachability::Unreachable(why) => Some(why),
            Reachability::Unknown => return None,
        };
        let agree = |said: &Finding| matches!(said, Finding::Open(_)) == problem.is_none();
        let sources: BTreeSet<String> =
            said.iter().filter(|(_, said)| agree(said)).map(|(name, _)| (*name).to_owned()).collect();
        Some(PortVerdict {
            port,
            address: self.address,
            answered: u16::try_from(said.len()).unwrap_or(u16::MAX),
            sources,
            problem,
            at,
        })
    }

    /// What a checker's `result` means.
    fn finding(&self, port: u16, local: &LocalPort, result: &PortResult) -> Finding {
        if !result.accessible {
            return Finding::Closed(UnreachableReason::of(result.error.as_deref().unwrap_or_default()));
        }
        let shown = result.read.as_deref().map(|read| read == self.probes.banner(port));
        match (local, shown) {
            (_, Some(true)) => Finding::Open(Proof::Shown),
            // A guest greets as it likes, and TLS has no word for a banner.
            (LocalPort::Served(Served::Ssh | Served::Web), _) => Finding::Open(Proof::Claimed),
            (_, Some(false)) => Finding::Closed(UnreachableReason::AnotherAnswers),
            (LocalPort::Free, None) if self.probes.arrivals(port) == Some(0) => {
                Finding::Closed(UnreachableReason::NobodyCame)
            }
            (_, None) => Finding::Open(Proof::Claimed),
        }
    }
}

/// What a verification knows of its sources so far.
#[derive(Default)]
struct Known<'s> {
    /// Why they did not answer.
    problems: BTreeMap<&'s str, SourceError>,
    /// Those that stand in the same network as this node.
    inside: BTreeSet<&'s str>,
}

impl Known<'_> {
    /// Those of `answers` that count. Few other providers could all be one liar's; and who stands inside
    /// knows less than anyone outside.
    fn counting<'a, 's>(
        &self,
        sources: &[&CheckSource],
        answers: &'a [(&'s str, CheckAnswer)],
    ) -> Vec<&'a (&'s str, CheckAnswer)> {
        let is_peer = |name: &str| sources.iter().any(|source| source.is_peer() && source.name() == name);
        let few = answers.iter().filter(|(name, _)| is_peer(name)).count() < peers::LEAST;
        let mut counting: Vec<_> = answers.iter().filter(|(name, _)| !few || !is_peer(name)).collect();
        if counting.iter().any(|(name, _)| !self.inside.contains(name)) {
            counting.retain(|(name, _)| !self.inside.contains(name));
        }
        counting
    }
}

#[cfg(test)]
mod tests;
