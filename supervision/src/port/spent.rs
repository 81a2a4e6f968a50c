//! Spent: the CPU time of the ports that have ended, by program.
//!
//!   /proc/PID/stat of a zombie ──just before it is reaped──▶ [spent] ──▶ metrics
//!
//! A port that starts and dies at once, again and again, is seen by nobody who looks once in a while; what it took is
//! known to the kernel until it is reaped, and to nobody afterwards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// As many entries as there are port programs.
type Spent = BTreeMap<&'static str, Duration>;

/// In user and kernel mode, since this process began, of those that are reaped.
pub fn cpu_of_ended() -> Spent {
    spent().clone()
}

pub(super) fn add(program: &'static str, cpu: Duration) {
    let mut spent = spent();
    let sum = spent.entry(program).or_default();
    *sum = sum.saturating_add(cpu);
}

/// So far, or at its end. Nothing once it is reaped.
pub(super) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = parse_ticks(&stat).unwrap_or(0);
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Fields 14 and 15, see proc(5); the program's name, which is the second, may hold anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut field = || fields.next()?.parse::<u64>().ok();
    field()?.checked_add(field()?)
}

fn spent() -> MutexGuard<'static, Spent> {
    static SPENT: Mutex<Spent> = Mutex::new(BTreeMap::new());
    SPENT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_kernel_time_count() {
        let rest = "1 2 3 0 -1 4194560 1 0 0 0 7 8 0 0 20 0 5 0 99 1000000 25";
        assert_eq!(parse_ticks(&format!("7 (port) Z {rest}")), Some(15));
        assert_eq!(parse_ticks(&format!("7 (a) T (b) S {rest}")), Some(15));
        assert_eq!(parse_ticks("7 (port) S 1 2"), None);
        assert_eq!(parse_ticks(""), None);
    }

    #[test]
    fn what_has_ended_adds_up() {
        add("a-test", Duration::from_millis(10));
        add("a-test", Duration::from_millis(20));
        assert_eq!(cpu_of_ended()["a-test"], Duration::from_millis(30));
    }

    #[test]
    fn nobody_takes_nothing() {
        assert_eq!(cpu(u32::MAX), Duration::ZERO);
    }
}
