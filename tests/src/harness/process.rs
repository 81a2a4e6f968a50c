//! What a process costs: its CPU time, its memory; and whether somebody listens on a UDP port.

use std::time::Duration;

/// Of a second, as the kernel counts CPU time for programs.
const TICKS_PER_S: f64 = 100.0;

/// User and system time so far, of all its threads.
pub fn cpu_time(pid: u32) -> Result<Duration, String> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name before it may hold anything but ends with the last bracket.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |nth: usize| fields.get(nth).and_then(|ticks| ticks.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).ok_or_else(|| format!("/proc/{pid}/stat has no CPU time: {stat}"))?;
    Ok(Duration::from_secs_f64((ticks.0 + ticks.1) as f64 / TICKS_PER_S))
}

/// Resident memory now, in KiB.
pub fn rss_kib(pid: u32) -> Result<u64, String> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    rss.ok_or_else(|| format!("/proc/{pid}/status has no resident memory: is it running?"))
}

/// Whether some process of this host has bound this port.
pub fn listens_on_udp(port: u16) -> bool {
    let bound = format!(":{port:04X}");
    ["/proc/net/udp", "/proc/net/udp6"].into_iter().any(|table| {
        let table = read(table).unwrap_or_default();
        table.lines().skip(1).any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&bound)))
    })
}

fn read(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_time_and_memory() {
        let me = std::process::id();
        let before = cpu_time(me).expect("it runs");
        while cpu_time(me).expect("it runs") == before {}
        assert!(rss_kib(me).expect("it runs") > 1000);
        assert!(rss_kib(u32::MAX).is_err());
    }

    #[test]
    fn a_bound_port_is_seen() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("it is bound").port();
        assert!(listens_on_udp(port));
        drop(socket);
        assert!(!listens_on_udp(port));
    }
}
