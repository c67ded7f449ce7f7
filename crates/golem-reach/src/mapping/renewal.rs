//! Ports that stay forwarded while somebody waits for news of them.
//!
//! Owns when the router is asked again, and what of its answers is new. Never says it to anybody.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep_until};

use super::{AGAIN, Mapper, MappingError, MappingReport};

/// What is new.
#[derive(Debug)]
pub enum MappingChange {
    /// Other ports are forwarded than before.
    Forwarded(MappingReport),
    /// The same are, and something else is in the way.
    Problems(MappingReport),
    /// None is, or not for long any more: the router is asked again after [`AGAIN`].
    Failed(MappingError),
}

/// The renewal of what a router forwards.
pub struct Renewal<'a> {
    mapper: &'a mut Mapper,
    next: Instant,
    /// What is forwarded.
    forwarded: BTreeSet<u16>,
    /// What is in the way.
    told: Vec<String>,
}

impl<'a> Renewal<'a> {
    /// Nothing is asked for before the first news are waited for.
    pub fn new(mapper: &'a mut Mapper) -> Self {
        Self { mapper, next: Instant::now(), forwarded: BTreeSet::new(), told: Vec::new() }
    }

    /// Keeps the ports forwarded until something is new; `tell` hears of each round how many are done, of
    /// how many.
    pub async fn news(&mut self, tell: impl Fn(usize, usize)) -> MappingChange {
        loop {
            sleep_until(self.next).await;
            let asked = self.mapper.map(&tell).await;
            let (pause, forwarded, told) = match &asked {
                Ok(report) => {
                    let problems = report.problems.iter().map(|problem| problem.what.clone()).collect();
                    (report.renewal(), report.forwarded(), problems)
                }
                Err(error) => (AGAIN, BTreeSet::new(), vec![error.to_string()]),
            };
            self.next = Instant::now() + pause;
            let other_ports = std::mem::replace(&mut self.forwarded, forwarded) != self.forwarded;
            let other_words = std::mem::replace(&mut self.told, told) != self.told;
            match asked {
                Ok(report) if other_ports => return MappingChange::Forwarded(report),
                Ok(report) if other_words => return MappingChange::Problems(report),
                Err(error) if other_words => return MappingChange::Failed(error),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
