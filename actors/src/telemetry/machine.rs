//! Machine: what the host has and takes, as the kernel counts it.
//!
//!   /proc/stat, meminfo, net/dev · statvfs of the data's disk · /proc/PID/stat ──▶ [machine] ──▶ System
//!
//! What cannot be read is 0: a total of 0 says so.

use super::process;
use protocol::telemetry::System;
use std::path::Path;

/// Jiffies of all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cpu {
    busy: u64,
    all: u64,
}

/// Waits for the disk of `data_dir`, if that hangs. The share of the CPU is of the time since `before`.
pub fn read(data_dir: &Path, before: Cpu) -> (System, Cpu) {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = cpu(&text("/proc/stat")).unwrap_or(before);
    let (memory_used_bytes, memory_total_bytes) = memory(&text("/proc/meminfo")).unwrap_or_default();
    let (net_in_bytes, net_out_bytes) = network(&text("/proc/net/dev"));
    let (disk_free_bytes, disk_total_bytes) = disk(data_dir).unwrap_or_default();
    let own = process::read(std::process::id());
    let system = System {
        cpu_pct: cpu.since(before),
        memory_used_bytes,
        memory_total_bytes,
        disk_free_bytes,
        disk_total_bytes,
        net_in_bytes,
        net_out_bytes,
        process_cpu_ms: own.map_or(0, |usage| usage.cpu.as_millis() as u64),
        process_memory_bytes: own.map_or(0, |usage| usage.memory_bytes),
    };
    (system, cpu)
}

impl Cpu {
    /// 0 to 100.
    fn since(self, before: Self) -> f32 {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        if all == 0 { 0.0 } else { (busy as f64 * 100.0 / all as f64).min(100.0) as f32 }
    }
}

/// The first line is of all cores: user, nice, system, idle, iowait, irq, softirq, steal, and guest times, which user
/// and nice have in them already.
fn cpu(stat: &str) -> Option<Cpu> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Option<Vec<u64>> = line.split_ascii_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let fields = fields.filter(|fields| fields.len() >= 4)?;
    let all = fields.iter().sum();
    let idle = fields[3] + fields.get(4).copied().unwrap_or(0);
    Some(Cpu { busy: all - idle, all })
}

/// Used and total. What caches hold is free for whoever needs it.
fn memory(meminfo: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    let (total, available) = (kib("MemTotal")?, kib("MemAvailable")?);
    Some((total.saturating_sub(available) * 1024, total * 1024))
}

/// In and out, of all interfaces but loopback.
fn network(dev: &str) -> (u64, u64) {
    let interfaces = dev.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    let bytes = interfaces.filter_map(|(_, counts)| {
        let counts: Vec<&str> = counts.split_ascii_whitespace().collect();
        Some((counts.first()?.parse::<u64>().ok()?, counts.get(8)?.parse::<u64>().ok()?))
    });
    bytes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Free for this user, and total.
fn disk(dir: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_the_cpu_is_of_the_time_in_between() {
        let before = cpu("cpu  100 0 50 800 50 0 0 0 40 0\ncpu0 1 2 3 4\n").expect("it is readable");
        assert_eq!(before, Cpu { busy: 150, all: 1000 });
        let after = cpu("cpu  140 0 60 840 60 0 0 0 60 0\n").expect("it is readable");
        assert_eq!((after.since(before), before.since(after), after.since(after)), (50.0, 0.0, 0.0));
        for wrong in ["", "cpu0 1 2 3 4", "cpu  1 2 3", "cpu  a b c d"] {
            assert_eq!(cpu(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn memory_that_caches_hold_is_not_used() {
        let text = "MemTotal:       8000 kB\nMemFree:         100 kB\nMemAvailable:   6000 kB\n";
        assert_eq!(memory(text), Some((2000 * 1024, 8000 * 1024)));
        assert_eq!(memory("MemTotal: 8000 kB\n"), None);
    }

    #[test]
    fn loopback_is_no_traffic() {
        let text = "Inter-|   Receive      |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n\
                    \x20   lo: 9000 1 0 0 0 0 0 0 9000 1 0 0 0 0 0 0\n\
                    \x20 eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n wlan0:7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n";
        assert_eq!(network(text), (107, 208));
    }

    #[test]
    fn this_machine_has_memory_a_disk_and_this_process() {
        let (system, cpu) = read(&std::env::temp_dir(), Cpu::default());
        assert!(system.memory_total_bytes > system.memory_used_bytes && system.memory_used_bytes > 0, "{system:?}");
        assert!(system.disk_total_bytes > 0 && system.process_memory_bytes > 0 && cpu.all > 0, "{system:?}");
        let (gone, _) = read(Path::new("/nonexistent"), cpu);
        assert_eq!((gone.disk_free_bytes, gone.disk_total_bytes), (0, 0));
    }
}
