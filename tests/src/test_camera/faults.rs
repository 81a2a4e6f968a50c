//! What the camera was told to do wrong: written by orders, read at each access unit and each packet.

use super::squares::{Rng, Size};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// One line on stdin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// Keeps its connections and sends nothing.
    Stall,
    /// Ends `stall` and `garbage`.
    Go,
    /// Sends rubbish in place of pictures.
    Garbage,
    /// From the next key frame on: one of the two sizes that were prepared.
    Size(Size),
    /// The wall clock that its RTCP tells is so many seconds off.
    Clock(i64),
    /// Percent of its RTP packets that never arrive.
    Loss(f64),
    Report,
    Quit,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let order = match word {
            "stall" => Some(Self::Stall),
            "go" => Some(Self::Go),
            "garbage" => Some(Self::Garbage),
            "report" => Some(Self::Report),
            "quit" => Some(Self::Quit),
            "size" => rest.parse().ok().map(Self::Size),
            "clock" => rest.parse().ok().map(Self::Clock),
            "loss" => rest.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).map(Self::Loss),
            _ => None,
        };
        let known = "stall, go, garbage, size WxH, clock +N, loss PERCENT, report or quit";
        order.ok_or_else(|| format!("`{}` is no order; use {known}", line.trim()))
    }
}

#[derive(Debug, Default)]
pub struct Faults {
    stalled: AtomicBool,
    garbage: AtomicBool,
    /// The second of the two sizes.
    resized: AtomicBool,
    clock_s: AtomicI64,
    loss_ppm: AtomicU32,
    /// Packets that never arrived.
    dropped: AtomicU64,
}

impl Faults {
    pub fn stall(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    pub fn garbage(&self) {
        self.garbage.store(true, Ordering::Relaxed);
    }

    pub fn go(&self) {
        self.stalled.store(false, Ordering::Relaxed);
        self.garbage.store(false, Ordering::Relaxed);
    }

    pub fn resize(&self, second: bool) {
        self.resized.store(second, Ordering::Relaxed);
    }

    pub fn set_clock(&self, offset_s: i64) {
        self.clock_s.store(offset_s, Ordering::Relaxed);
    }

    pub fn set_loss(&self, percent: f64) {
        self.loss_ppm.store((percent * 10_000.0).round() as u32, Ordering::Relaxed);
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    pub fn is_garbage(&self) -> bool {
        self.garbage.load(Ordering::Relaxed)
    }

    pub fn is_resized(&self) -> bool {
        self.resized.load(Ordering::Relaxed)
    }

    pub fn clock_s(&self) -> i64 {
        self.clock_s.load(Ordering::Relaxed)
    }

    /// Whether the next packet is lost.
    pub fn loses(&self, rng: &mut Rng) -> bool {
        let loss_ppm = self.loss_ppm.load(Ordering::Relaxed);
        let lost = loss_ppm > 0 && rng.draw() % 1_000_000 < u64::from(loss_ppm);
        self.dropped.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Rubbish of the same length: what says that something comes stays (start codes, kinds), what it says does not.
pub fn scrambled(unit: &[u8], header_bytes: usize, rng: &mut Rng) -> Vec<u8> {
    let mut out = unit.to_vec();
    let (mut zeros, mut keep) = (0, 0);
    for (byte, was) in out.iter_mut().zip(unit) {
        let starts = zeros >= 2 && *was == 1;
        zeros = if *was == 0 { zeros + 1 } else { 0 };
        if starts {
            keep = header_bytes;
        } else if keep > 0 {
            keep -= 1;
        } else if zeros == 0 {
            // Odd, so that it never makes a start code.
            *byte = rng.draw() as u8 | 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_is_one_line() {
        let size = Size { width: 320, height: 180 };
        let orders = [
            ("stall", Order::Stall),
            (" go ", Order::Go),
            ("garbage", Order::Garbage),
            ("size 320x180", Order::Size(size)),
            ("clock +30", Order::Clock(30)),
            ("clock -7", Order::Clock(-7)),
            ("loss 1.5", Order::Loss(1.5)),
            ("report", Order::Report),
            ("quit", Order::Quit),
        ];
        for (line, order) in orders {
            assert_eq!(line.parse(), Ok(order));
        }
        for wrong in ["", "dance", "size 3", "clock", "loss 101", "loss"] {
            assert!(wrong.parse::<Order>().is_err_and(|why| why.contains("stall, go")), "{wrong}");
        }
    }

    #[test]
    fn loss_is_of_so_many_percent_and_the_same_for_the_same_seed() {
        let faults = Faults::default();
        let lost = |seed| {
            let mut rng = Rng::new(seed, 0);
            (0..10_000).map(|_| faults.loses(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(lost(1).iter().filter(|lost| **lost).count(), 0);
        faults.set_loss(1.0);
        let one = lost(1);
        assert!((70..130).contains(&one.iter().filter(|lost| **lost).count()));
        assert_eq!(one, lost(1));
        assert_ne!(one, lost(2));
    }

    #[test]
    fn rubbish_keeps_start_codes_and_kinds_and_makes_no_new_ones() {
        let unit = [0, 0, 0, 1, 0x67, 9, 8, 7, 0, 0, 1, 0x65, 1, 2, 3, 4, 5, 6];
        let rubbish = scrambled(&unit, 1, &mut Rng::new(1, 0));
        assert_eq!((rubbish.len(), &rubbish[..5], &rubbish[8..12]), (unit.len(), &unit[..5], &unit[8..12]));
        assert_ne!(rubbish, unit);
        assert!(rubbish[12..].iter().all(|byte| byte % 2 == 1));
    }
}
