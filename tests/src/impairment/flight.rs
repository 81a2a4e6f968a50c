//! Flight: the packets that are on their way, by the time at which they arrive.

use super::line::Delivery;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

/// Of all packets on their way, both ways: a second of a full gigabit. When full, the packet that comes is dropped and
/// counted as undelivered.
const BYTES_MAX: usize = 128 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Upstream,
    Client,
}

/// Ordered by time, and of one time by the order in which they came.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passenger {
    pub due: Duration,
    nth: u64,
    pub client: SocketAddr,
    pub to: End,
    pub packet: Vec<u8>,
}

#[derive(Default)]
pub struct Flight {
    heap: BinaryHeap<Reverse<Passenger>>,
    bytes: usize,
    count: u64,
}

impl Flight {
    /// `false`: there is no room.
    pub fn board(&mut self, client: SocketAddr, to: End, Delivery { at: due, packet }: Delivery) -> bool {
        if self.bytes + packet.len() > BYTES_MAX {
            return false;
        }
        self.bytes += packet.len();
        self.count += 1;
        self.heap.push(Reverse(Passenger { due, nth: self.count, client, to, packet }));
        true
    }

    pub fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(passenger)| passenger.due)
    }

    pub fn land(&mut self, now: Duration) -> Option<Passenger> {
        self.next_due().filter(|due| *due <= now)?;
        let Reverse(passenger) = self.heap.pop()?;
        self.bytes -= passenger.packet.len();
        Some(passenger)
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(flight: &mut Flight, ms: u64, byte: u8) {
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(flight.board(client, End::Client, Delivery { at: Duration::from_millis(ms), packet: vec![byte] }));
    }

    #[test]
    fn packets_land_by_their_time_and_then_in_the_order_in_which_they_came() {
        let mut flight = Flight::default();
        for (ms, byte) in [(30, 1), (10, 9), (10, 2), (20, 3)] {
            board(&mut flight, ms, byte);
        }
        assert_eq!(flight.land(Duration::from_millis(9)), None);
        let now = Duration::from_millis(25);
        let landed: Vec<u8> = std::iter::from_fn(|| flight.land(now)).map(|passenger| passenger.packet[0]).collect();
        assert_eq!(landed, [9, 2, 3]);
        assert_eq!((flight.len(), flight.bytes, flight.next_due()), (1, 1, Some(Duration::from_millis(30))));
    }

    #[test]
    fn a_full_flight_takes_nobody() {
        let mut flight = Flight { bytes: BYTES_MAX - 1, ..Flight::default() };
        board(&mut flight, 1, 0);
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(!flight.board(client, End::Client, Delivery { at: Duration::ZERO, packet: vec![1] }));
    }
}
