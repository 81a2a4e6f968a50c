//! Line: what becomes of one client's packets on their way in one direction. Decides, and neither waits nor sends.
//!
//!   packet ──▶ partition? ──▶ queue and rate ──▶ lost? ──▶ corrupt? ──▶ delay, jitter, held back? ──▶ when it arrives
//!                                                               └────▶ a copy, with its own delay ──▶

#[cfg(test)]
mod properties;

use super::conditions::{Impairment, Rate};
use super::tally::Tally;
use crate::test_camera::squares::Rng;
use std::collections::VecDeque;
use std::time::Duration;

/// A packet at the other end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// On the clock that the line was told.
    pub at: Duration,
    pub packet: Vec<u8>,
}

/// The same seed, stream and packets at the same times give the same deliveries.
pub struct Line {
    rng: Rng,
    /// When the link has sent everything that it has taken.
    idle_from: Duration,
    /// What has not left the queue, and when it does.
    queue: VecDeque<(Duration, u64)>,
    queued_bytes: u64,
    /// The latest delivery that nothing overtakes.
    last: Duration,
}

impl Line {
    /// Lines of one seed that differ in `stream` have nothing in common.
    pub fn new(seed: u64, stream: u64) -> Self {
        let (rng, queue) = (Rng::new(seed, stream), VecDeque::new());
        Self { rng, idle_from: Duration::ZERO, queue, queued_bytes: 0, last: Duration::ZERO }
    }

    /// Takes a packet at `now`, which never goes back. What is on its way already arrives as it was to, whatever
    /// the link has become meanwhile.
    pub fn carry(&mut self, now: Duration, mut packet: Vec<u8>, link: &Impairment, tally: &mut Tally) -> Vec<Delivery> {
        let dice = Dice::throw(&mut self.rng);
        tally.entered += 1;
        tally.entered_bytes += packet.len() as u64;
        if link.partitioned {
            tally.cut += 1;
            return Vec::new();
        }
        let Some(leaves) = self.queue(now, packet.len() as u64, link.rate) else {
            tally.overflowed += 1;
            return Vec::new();
        };
        if dice.loss < link.loss {
            tally.lost += 1;
            return Vec::new();
        }
        if dice.corrupt < link.corrupt && flip(&mut packet, dice.bit) {
            tally.corrupted += 1;
        }
        let copy = (dice.duplicate < link.duplicate).then(|| packet.clone());
        let mut deliveries = vec![Delivery { at: self.arrival(leaves, &dice.first, link, tally), packet }];
        if let Some(packet) = copy {
            tally.duplicated += 1;
            deliveries.push(Delivery { at: self.arrival(leaves, &dice.second, link, tally), packet });
        }
        deliveries
    }

    /// When the link has sent it; `None` if the queue has no room.
    fn queue(&mut self, now: Duration, bytes: u64, rate: Option<Rate>) -> Option<Duration> {
        while let Some((_, gone)) = self.queue.pop_front_if(|(leaves, _)| *leaves <= now) {
            self.queued_bytes -= gone;
        }
        let Some(rate) = rate else { return Some(now) };
        if self.queued_bytes + bytes > rate.queue_bytes {
            return None;
        }
        self.idle_from = self.idle_from.max(now) + rate.time(bytes);
        let leaves = self.idle_from.saturating_sub(rate.time(rate.burst_bytes)).max(now);
        if leaves > now {
            self.queue.push_back((leaves, bytes));
            self.queued_bytes += bytes;
        }
        Some(leaves)
    }

    fn arrival(&mut self, leaves: Duration, dice: &Trip, link: &Impairment, tally: &mut Tally) -> Duration {
        let at = self.last.max(leaves + link.delay + link.jitter.mul_f64(dice.jitter));
        if dice.reorder < link.reorder {
            tally.reordered += 1;
            return at + link.reorder_by;
        }
        self.last = at;
        at
    }
}

/// The draws of one packet: always as many, so that what is changed of a link does not change the rest of a run.
struct Dice {
    loss: f64,
    corrupt: f64,
    bit: u64,
    duplicate: f64,
    first: Trip,
    second: Trip,
}

struct Trip {
    jitter: f64,
    reorder: f64,
}

impl Dice {
    fn throw(rng: &mut Rng) -> Self {
        let (loss, corrupt, bit, duplicate) = (rng.unit(), rng.unit(), rng.draw(), rng.unit());
        Self { loss, corrupt, bit, duplicate, first: Trip::throw(rng), second: Trip::throw(rng) }
    }
}

impl Trip {
    fn throw(rng: &mut Rng) -> Self {
        Self { jitter: rng.unit(), reorder: rng.unit() }
    }
}

/// An empty packet has no bit to flip.
fn flip(packet: &mut [u8], bit: u64) -> bool {
    let Some(bit) = bit.checked_rem(packet.len() as u64 * 8) else { return false };
    packet[(bit / 8) as usize] ^= 1 << (bit % 8);
    true
}
