//! Processes that are measured: what they use, and that they end with the benchmark.

use std::fs;
use std::process::{Child, Command};

use anyhow::Context;

/// A process that the benchmark started; it and its children end when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child =
            command.spawn().with_context(|| format!("{} did not start", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// The process itself, for its pipes and its end.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process and everything below it.
    #[must_use]
    pub fn tree(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            next += 1;
            // Gone meanwhile: it has no children.
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        found
    }

    /// Memory of the whole tree in bytes: private pages, and its share of shared ones.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn memory(&self) -> anyhow::Result<f64> {
        let mut kibibytes = 0.0;
        for id in self.tree() {
            // A child that ended meanwhile uses nothing.
            let Ok(rollup) = fs::read_to_string(format!("/proc/{id}/smaps_rollup")) else { continue };
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
            kibibytes += line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0);
        }
        anyhow::ensure!(kibibytes > 0.0, "the kernel does not say how much memory a process uses");
        Ok(kibibytes * 1024.0)
    }

    /// Processor seconds of the whole tree so far, ended children included.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut seconds = 0.0;
        for id in self.tree() {
            let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { continue };
            for task in tasks.flatten() {
                // Nanoseconds on a processor, exact where the clock ticks of `stat` are not.
                let Ok(schedule) = fs::read_to_string(task.path().join("schedstat")) else { continue };
                let nanoseconds =
                    schedule.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
                seconds += nanoseconds.unwrap_or(0.0) / 1e9;
            }
        }
        Ok(seconds + self.ended_children_seconds()?)
    }

    /// Processor seconds of children that ended, in clock ticks.
    fn ended_children_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .context("the measured process has ended")?;
        // The second field, the name, may hold blanks; it ends with the last parenthesis. What
        // follows starts with the third field; cutime and cstime are the 16th and 17th.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks: f64 =
            after.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        #[expect(clippy::cast_precision_loss, reason = "100 or so")]
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok(ticks / per_second)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        // The parent is stopped first, so that it starts no child in the place of one that ends.
        // A process that has ended already needs nothing.
        let _ = kill_process(Pid::from_child(&self.child), Signal::STOP);
        for id in self.tree().into_iter().skip(1) {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
