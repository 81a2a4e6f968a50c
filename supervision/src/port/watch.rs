//! The watch over a port's process: what it takes, and whether it was stopped.
//!
//!   /proc/PID/stat ──four times a second──▶ [watch] ──▶ kill, and the reason
//!
//! A task of its own and not a part of `recv`: a leak or a stopped process is found whether its owner listens
//! or not.

use super::mib;
use crate::Failure;
use rustix::process::{Signal, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// A reading costs 20 us; in this time a leak of 4 GiB/s takes one more GiB.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Dearer, and only one of its last moments has to be known.
const KERNEL_EVERY: u64 = 4;

pub(super) const STOPPED: &str = "its process was stopped by a signal";

/// What is watched, and how much of it is allowed.
pub(super) struct Watched {
    pub name: &'static str,
    pub pid: u32,
    pub handle: Arc<OwnedFd>,
    pub memory_bytes_max: u64,
    pub stopped_max: Duration,
}

/// Ends with the port.
pub(super) struct Watch {
    known: Arc<Known>,
    task: AbortHandle,
}

#[derive(Default)]
struct Known {
    memory_bytes: AtomicU64,
    kernel_kills: AtomicU64,
    verdict: OnceLock<Failure>,
}

impl Watch {
    pub fn begin(watched: Watched) -> Self {
        let known = Known { kernel_kills: kernel_kills().into(), ..Known::default() };
        let known = Arc::new(known);
        let task = tokio::spawn(watched.look_again_and_again(known.clone())).abort_handle();
        Self { known, task }
    }

    /// Why the port was killed, if it was.
    pub fn verdict(&self) -> Option<Failure> {
        self.known.verdict.get().cloned()
    }

    /// When last seen.
    pub fn memory_bytes(&self) -> u64 {
        self.known.memory_bytes.load(Ordering::Relaxed)
    }

    /// Whether the kernel has killed any process for want of memory since it was last looked.
    pub fn kernel_killed(&self) -> bool {
        kernel_kills() > self.known.kernel_kills.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    async fn look_again_and_again(self, known: Arc<Known>) {
        let mut looks_stopped = 0;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        // Looks that were missed are not made up for: several at once would see one moment as a long time.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for n in 1u64.. {
            ticks.tick().await;
            // Ended: its owner finds the socket closed.
            let Some(look) = look(self.pid) else { return };
            if n % KERNEL_EVERY == 0 {
                known.kernel_kills.store(kernel_kills(), Ordering::Relaxed);
            }
            known.memory_bytes.store(look.memory_bytes, Ordering::Relaxed);
            looks_stopped = if look.stopped { looks_stopped + 1 } else { 0 };
            if let Some(failure) = self.judge(&look, looks_stopped) {
                let _ = known.verdict.set(failure);
                let _ = pidfd_send_signal(&self.handle, Signal::KILL);
                return;
            }
        }
    }

    fn judge(&self, look: &Look, looks_stopped: u32) -> Option<Failure> {
        let name = self.name;
        if look.memory_bytes > self.memory_bytes_max {
            let (took, max) = (mib(look.memory_bytes), mib(self.memory_bytes_max));
            return Some(Failure::oom(format!("{name} took {took} of memory, the limit is {max}")));
        }
        let stopped_max = self.stopped_max;
        let too_long = looks_stopped >= looks_in(stopped_max);
        too_long.then(|| Failure::hang(format!("{name} is silent for {stopped_max:?}: {STOPPED}")))
    }
}

/// Seen stopped so often, it has been so for long enough: the first look comes up to one look late, and a hang is
/// found within its limit. One look alone may have met a moment.
fn looks_in(within: Duration) -> u32 {
    u32::try_from(within.as_millis() / LOOK_EVERY.as_millis()).unwrap_or(u32::MAX).max(2)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    memory_bytes: u64,
    stopped: bool,
}

fn look(pid: u32) -> Option<Look> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether it is stopped at this moment.
pub(super) fn is_stopped(pid: Option<u32>) -> bool {
    pid.and_then(look).is_some_and(|look| look.stopped)
}

/// The fields after the program's name, which may hold anything; see proc(5). `None` for one that has ended.
fn parse_stat(stat: &str) -> Option<Look> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    // Field 24, and the state was the third.
    let pages: u64 = fields.nth(20)?.parse().ok()?;
    let memory_bytes = pages * rustix::param::page_size() as u64;
    (!matches!(state, "Z" | "X")).then_some(Look { memory_bytes, stopped: state == "T" })
}

/// Of the whole machine since it started.
fn kernel_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stat: &str, look: Option<Look>) {
        assert_eq!(parse_stat(stat), look, "{stat}");
    }

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let page = rustix::param::page_size() as u64;
        let rest = "1 2 3 0 -1 4194560 1 0 0 0 7 8 0 0 20 0 5 0 99 1000000 25 18446744073709551615";
        check(&format!("7 (port) S {rest}"), Some(Look { memory_bytes: 25 * page, stopped: false }));
        check(&format!("7 (a) T (b) T {rest}"), Some(Look { memory_bytes: 25 * page, stopped: true }));
        check(&format!("7 (port) Z {rest}"), None);
        check("7 (port) S 1 2", None);
        check("", None);
    }

    #[test]
    fn a_stopped_process_is_found_within_the_limit_and_not_for_a_moment() {
        // The first of eight looks comes at most one late, the last seven after it.
        assert_eq!(looks_in(Duration::from_secs(2)), 8);
        assert_eq!(looks_in(Duration::from_millis(100)), 2);
    }

    #[test]
    fn this_process_takes_memory_and_is_not_stopped() {
        let look = look(std::process::id()).expect("it runs");
        assert!(look.memory_bytes > 100_000 && !look.stopped, "{look:?}");
    }
}
