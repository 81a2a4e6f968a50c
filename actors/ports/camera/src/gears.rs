//! Gears: which access units are decoded. A pure core: units go in, what the decoder is to do comes out.
//!
//!   unit ─▶ [current group of pictures] ─▶ awake: all of it, idle: its key frame, passthrough: nothing
//!
//! Whatever the gear, the group is kept from its key frame on: whoever wakes up sees what led to it. Idle, those before it
//! are kept too, back to the last that was looked at: what a key frame shows began before it.

use crate::grid::Grid;
use protocol::camera::Gear;
use std::collections::VecDeque;

/// A group beyond this is not held: 16 s at 8 Mbit/s. Waking then waits for the next key frame. With those before it, the
/// oldest makes room.
const GOP_BYTES_MAX: usize = 16 << 20;
/// The same for small units: 40 s at 30 frames a second.
const GOP_UNITS_MAX: usize = 1200;

/// What is to be known of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub key: bool,
    /// Packets of it were lost.
    pub broken: bool,
    pub bytes: usize,
    pub pts_us: i64,
}

/// What the decoder is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    Decode {
        unit: T,
        replayed: bool,
    },
    /// Give up every picture that it holds back, and forget what it has seen.
    Drain,
}

pub struct Gears<T> {
    gear: Gear,
    /// Is there a decoder that takes steps?
    has_decoder: bool,
    /// `None` before the first key frame, and when the group is too large to be held.
    gop: Option<Gop<T>>,
    /// In idle: the groups before it, from the last that was looked at on.
    past: VecDeque<Gop<T>>,
    /// So many of the group's units are in the decoder, without a gap and from its key frame on.
    fed: usize,
    /// Awake, and the decoder has all that the next unit refers to.
    flows: bool,
    idle: Grid,
    overflows: u64,
}

struct Gop<T> {
    units: Vec<T>,
    /// Of its key frame.
    pts_us: i64,
    bytes: usize,
    /// Its key frame was decoded in idle.
    looked: bool,
}

impl<T: Clone> Gears<T> {
    pub fn new(gear: Gear) -> Self {
        let idle = idle_grid(gear);
        let (gop, past) = (None, VecDeque::new());
        Self { gear, has_decoder: false, gop, past, fed: 0, flows: false, idle, overflows: 0 }
    }

    pub fn gear(&self) -> Gear {
        self.gear
    }

    /// Groups that were too large to be held.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// The next unit of the stream, in decoding order.
    pub fn unit(&mut self, unit: &T, facts: Facts) -> Vec<Step<T>> {
        self.hold(unit, facts);
        if !self.has_decoder {
            return Vec::new();
        }
        match self.gear {
            Gear::Passthrough => Vec::new(),
            // One that misses packets would look like motion.
            Gear::Idle { .. } if facts.key && !facts.broken && self.idle.admits(facts.pts_us) => {
                self.looked();
                vec![Step::Decode { unit: unit.clone(), replayed: false }, Step::Drain]
            }
            Gear::Idle { .. } => Vec::new(),
            Gear::Awake => {
                self.flows |= facts.key;
                if !self.flows {
                    return Vec::new();
                }
                self.fed = self.held();
                vec![Step::Decode { unit: unit.clone(), replayed: false }]
            }
        }
    }

    /// What came is of no use: the decoder waits for the next key frame.
    pub fn gap(&mut self) {
        (self.gop, self.fed, self.flows) = (None, 0, false);
        self.past.clear();
    }

    /// `rewind`: waking from idle, from the look before the last on.
    pub fn shift(&mut self, gear: Gear, rewind: bool) -> Vec<Step<T>> {
        let old = std::mem::replace(&mut self.gear, gear);
        if gear == old {
            return Vec::new();
        }
        if gear != Gear::Awake {
            self.flows = false;
            if matches!(gear, Gear::Idle { .. }) {
                self.idle = idle_grid(gear);
            }
            return Vec::new();
        }
        let past = std::mem::take(&mut self.past);
        if !rewind || !self.has_decoder || self.gop.is_none() || !matches!(old, Gear::Idle { .. }) {
            return self.replay(true);
        }
        let units = past.into_iter().flat_map(|gop| gop.units);
        let mut steps: Vec<_> = units.map(|unit| Step::Decode { unit, replayed: true }).collect();
        self.fed = 0;
        steps.extend(self.replay(true));
        steps
    }

    /// The current group's key frame is looked at: what was before the look before it is of no more use.
    fn looked(&mut self) {
        if let Some(before) = self.past.iter().rposition(|gop| gop.looked) {
            self.past.drain(..before);
        }
        if let Some(gop) = &mut self.gop {
            gop.looked = true;
        }
    }

    /// There is a decoder, or another one: it has seen nothing yet.
    pub fn decoder(&mut self, replayed: bool) -> Vec<Step<T>> {
        self.has_decoder = true;
        self.fed = 0;
        match self.gear {
            Gear::Passthrough => Vec::new(),
            Gear::Idle { .. } => {
                let key = self.gop.as_ref().and_then(|gop| Some((gop.units.first()?.clone(), gop.pts_us)));
                let Some((unit, pts_us)) = key else { return Vec::new() };
                // It counts, whether it comes too early or not.
                let _ = self.idle.admits(pts_us);
                self.looked();
                vec![Step::Decode { unit, replayed }, Step::Drain]
            }
            Gear::Awake => self.replay(replayed),
        }
    }

    fn replay(&mut self, replayed: bool) -> Vec<Step<T>> {
        if !self.has_decoder {
            return Vec::new();
        }
        let Some(gop) = &self.gop else {
            self.flows = false;
            return Vec::new();
        };
        let steps = gop.units[self.fed.min(gop.units.len())..].iter();
        let steps = steps.map(|unit| Step::Decode { unit: unit.clone(), replayed }).collect();
        self.flows = true;
        self.fed = gop.units.len();
        steps
    }

    fn hold(&mut self, unit: &T, facts: Facts) {
        if facts.key {
            let new = Gop { units: Vec::new(), pts_us: facts.pts_us, bytes: 0, looked: false };
            let old = self.gop.replace(new);
            // A group that is gone, or was decoded, leaves nothing to go back to.
            match old.filter(|_| matches!(self.gear, Gear::Idle { .. })) {
                Some(old) => self.past.push_back(old),
                None => self.past.clear(),
            }
            self.fed = 0;
        }
        let Some(gop) = &mut self.gop else { return };
        gop.bytes += facts.bytes;
        gop.units.push(unit.clone());
        if gop.bytes > GOP_BYTES_MAX || gop.units.len() > GOP_UNITS_MAX {
            (self.gop, self.fed) = (None, 0);
            self.past.clear();
            self.overflows += 1;
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let of = |gop: &Gop<T>| (gop.bytes, gop.units.len());
        let all = self.past.iter().chain(&self.gop).map(of);
        let (mut bytes, mut units) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        while (bytes > GOP_BYTES_MAX || units > GOP_UNITS_MAX)
            && let Some(oldest) = self.past.pop_front()
        {
            (bytes, units) = (bytes - oldest.bytes, units - oldest.units.len());
        }
    }

    fn held(&self) -> usize {
        self.gop.as_ref().map_or(0, |gop| gop.units.len())
    }
}

fn idle_grid(gear: Gear) -> Grid {
    match gear {
        Gear::Idle { every_ms } => Grid::every_us(i64::from(every_ms) * 1000),
        Gear::Passthrough | Gear::Awake => Grid::every_us(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: Gear = Gear::Idle { every_ms: 1000 };

    /// Units number `range` of a stream of ten a second with a key frame in every `gop`.
    fn feed(gears: &mut Gears<u64>, range: std::ops::Range<u64>, gop: u64) -> Vec<Step<u64>> {
        let facts = |n: u64| Facts {
            key: n.is_multiple_of(gop),
            broken: false,
            bytes: 1000,
            pts_us: i64::try_from(n * 100_000).expect("a small time"),
        };
        range.flat_map(|n| gears.unit(&n, facts(n))).collect()
    }

    fn with_decoder(gear: Gear) -> Gears<u64> {
        let mut gears = Gears::new(gear);
        assert_eq!(gears.decoder(false), []);
        gears
    }

    fn fresh(units: impl IntoIterator<Item = u64>) -> Vec<Step<u64>> {
        units.into_iter().map(|unit| Step::Decode { unit, replayed: false }).collect()
    }

    fn again(units: impl IntoIterator<Item = u64>) -> Vec<Step<u64>> {
        units.into_iter().map(|unit| Step::Decode { unit, replayed: true }).collect()
    }

    #[test]
    fn passthrough_decodes_nothing_and_awake_everything_from_the_first_key_frame() {
        assert_eq!(feed(&mut with_decoder(Gear::Passthrough), 0..100, 20), []);
        assert_eq!(feed(&mut with_decoder(Gear::Awake), 5..60, 20), fresh(20..60));
    }

    #[test]
    fn idle_decodes_key_frames_alone_and_gives_each_up_at_once() {
        let key = |unit| [Step::Decode { unit, replayed: false }, Step::Drain];
        assert_eq!(feed(&mut with_decoder(IDLE), 0..41, 20), [key(0), key(20), key(40)].concat());
        // Key frames that come faster than asked for are thinned.
        assert_eq!(feed(&mut with_decoder(IDLE), 0..21, 5), [key(0), key(10), key(20)].concat());
    }

    #[test]
    fn waking_decodes_what_is_held_and_goes_on_behind_it() {
        for gear in [IDLE, Gear::Passthrough] {
            let mut gears = with_decoder(gear);
            feed(&mut gears, 0..35, 20);
            assert_eq!(gears.shift(Gear::Awake, false), again(20..35), "{gear:?}");
            assert_eq!(feed(&mut gears, 35..50, 20), fresh(35..50));
        }
    }

    #[test]
    fn rewinding_decodes_all_since_the_look_before_the_last() {
        let slow = Gear::Idle { every_ms: 4000 };
        let mut gears = with_decoder(slow);
        // Looked at: 0, 40 and 80; the key frames 20 and 60 between them are not.
        feed(&mut gears, 0..82, 20);
        assert_eq!(gears.shift(Gear::Awake, true), again(40..82));
        assert_eq!(feed(&mut gears, 82..90, 20), fresh(82..90));
        // Of what was decoded there is nothing to go back to.
        feed(&mut gears, 90..110, 20);
        assert_eq!(gears.shift(slow, false), []);
        feed(&mut gears, 110..115, 20);
        assert_eq!(gears.shift(Gear::Awake, true), again(100..115));
    }

    #[test]
    fn what_is_gone_back_to_has_a_limit() {
        let mut gears = with_decoder(Gear::Idle { every_ms: 600_000 });
        feed(&mut gears, 0..5000, 100);
        let steps = gears.shift(Gear::Awake, true).len();
        assert!((GOP_UNITS_MAX - 100..=GOP_UNITS_MAX).contains(&steps), "{steps}");
    }

    #[test]
    fn a_short_sleep_within_a_group_decodes_nothing_twice() {
        let mut gears = with_decoder(Gear::Awake);
        feed(&mut gears, 0..25, 20);
        assert_eq!(gears.shift(IDLE, false), []);
        assert_eq!(feed(&mut gears, 25..30, 20), []);
        assert_eq!(gears.shift(Gear::Awake, false), again(25..30));
    }

    #[test]
    fn a_group_too_large_to_be_held_is_waited_out() {
        let mut gears = with_decoder(IDLE);
        feed(&mut gears, 0..2000, 4000);
        assert_eq!((gears.overflows(), gears.held()), (1, 0));
        assert_eq!(gears.shift(Gear::Awake, false), []);
        assert_eq!(feed(&mut gears, 2000..4002, 4000), fresh(4000..4002));
        // Whoever was awake before sees it through.
        assert_eq!(feed(&mut gears, 4002..7000, 4000).len(), 2998);
    }

    #[test]
    fn another_decoder_begins_with_what_is_held() {
        let mut gears = with_decoder(Gear::Awake);
        feed(&mut gears, 0..30, 20);
        assert_eq!(gears.decoder(true), again(20..30));
        let mut late = Gears::new(Gear::Awake);
        assert_eq!(feed(&mut late, 0..5, 20), []);
        assert_eq!(late.decoder(false), fresh(0..5));
    }

    #[test]
    fn a_broken_key_frame_is_not_looked_at_in_idle() {
        let mut gears = with_decoder(IDLE);
        let broken = Facts { key: true, broken: true, bytes: 1, pts_us: 0 };
        assert_eq!(gears.unit(&0, broken), []);
        assert_eq!(gears.unit(&1, Facts { broken: false, pts_us: 100_000, ..broken }).len(), 2);
    }

    proptest! {
        /// Since the last drain, what the decoder was given is one run of units from a key frame on.
        #[test]
        fn the_decoder_never_misses_a_reference(
            shifts in prop::collection::vec((0u64..30, 0u8..4, any::<bool>()), 1..30), gop in 1u64..25,
        ) {
            let mut gears = with_decoder(Gear::Awake);
            let (mut next, mut last) = (0, None);
            for (units, gear, rewind) in shifts {
                let mut steps = feed(&mut gears, next..next + units, gop);
                next += units;
                let gear = [Gear::Awake, IDLE, Gear::Passthrough, Gear::Idle { every_ms: 0 }][usize::from(gear)];
                steps.extend(gears.shift(gear, rewind));
                for step in steps {
                    last = match step {
                        Step::Drain => None,
                        Step::Decode { unit, .. } => {
                            prop_assert!(unit.is_multiple_of(gop) || last == Some(unit - 1), "{unit} after {last:?}");
                            Some(unit)
                        }
                    }
                }
            }
        }
    }
}
