//! Process: what a port's process takes, as the kernel counts it.
//!
//!   pid ──/proc/PID/stat──▶ [process] ──▶ CPU time, memory
//!
//! Knows nothing of children of the process: ports have none.

use std::time::Duration;

/// What a process has taken so far, and takes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In user and kernel mode, over all its threads.
    pub cpu: Duration,
    /// Resident: what it really occupies.
    pub memory_bytes: u64,
}

/// `None`: there is no such process, or it has just ended.
pub fn read(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)
}

fn parse(stat: &str, ticks_per_s: u64, page_bytes: u64) -> Option<Usage> {
    // The name in parentheses is the program's to choose: it may hold spaces and parentheses itself.
    let (_, fields) = stat.rsplit_once(") ")?;
    // proc(5) counts from 1, and the first one behind the name is its third.
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    let cpu = Duration::from_secs_f64(ticks as f64 / ticks_per_s as f64);
    Some(Usage { cpu, memory_bytes: field(24)?.checked_mul(page_bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel writes it, with a name that a hostile port could choose.
    const STAT: &str = "4242 (camera) R 1 (x) S 17 4242 4242 0 -1 4194560 3021 0 2 0 150 25 0 0 20 0 9 0 987654 \
                        412303360 2500 18446744073709551615 1 1 0 0 0 0 0 4096 81920 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn ticks_are_time_and_pages_are_bytes() {
        let usage = parse(STAT, 100, 4096);
        let cpu = Duration::from_millis(1750);
        assert_eq!(usage, Some(Usage { cpu, memory_bytes: 2500 * 4096 }));
    }

    #[test]
    fn what_is_cut_off_or_of_another_form_is_nothing() {
        for end in 0..STAT.find(" 18446744073709551615").expect("it is there") - 4 {
            assert_eq!(parse(&STAT[..end], 100, 4096), None, "{}", &STAT[..end]);
        }
        assert_eq!(parse("1 (a) S x x x x x x x x x x x x x x x x x x x x x x", 100, 4096), None);
    }

    #[test]
    fn this_process_takes_memory_and_then_cpu_time() {
        let me = std::process::id();
        let before = read(me).expect("it runs");
        assert!(before.memory_bytes > 100_000, "{before:?}");
        let mut sum = 0_u64;
        while read(me).expect("it runs").cpu < before.cpu + Duration::from_millis(30) {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
    }

    #[test]
    fn nobody_takes_nothing() {
        assert_eq!(read(u32::MAX), None);
    }
}
