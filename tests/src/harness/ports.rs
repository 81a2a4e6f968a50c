//! Loopback ports that a node keeps over its restarts.
//!
//! From below the range out of which the system gives ports to outgoing connections: while a node is down,
//! nobody gets its port by chance.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// Tests run as processes side by side: each begins this far from the next process's id.
const STRIDE: u32 = 61;

/// A port that is free for TCP and UDP.
pub fn free() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let nth = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + nth % COUNT).expect("the range ends below 65536");
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}; end other programs", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_port_is_given_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| super::free()).collect();
        assert_eq!(ports.len(), 50);
    }
}
