//! Sizes of drawn streams: what wakes a camera, and what must not.

use super::*;
use proptest::prelude::*;

const UNITS_PER_S: u32 = 15;

/// A stream that is never still: noise, a rhythm of its own, a slow drift.
#[derive(Debug, Clone)]
struct Stream {
    seed: u64,
    bytes: f32,
    /// Standard deviation of a picture's size, as a part of it.
    noise: f32,
    /// Pictures from key frame to key frame.
    group: u32,
    /// Each so many pictures one is larger by this factor, as P is among B.
    rhythm: (u32, f32),
    /// By which factor sizes grow or shrink in an hour.
    drift: f32,
}

fn stream() -> impl Strategy<Value = Stream> {
    let rhythm = prop_oneof![Just((1, 1.0)), (2..5u32, 1.0..4.0f32)];
    (any::<u64>(), 500.0..60_000.0f32, 0.005..0.25f32, 20..120u32, rhythm, 0.25..4.0f32)
        .prop_map(|(seed, bytes, noise, group, rhythm, drift)| Stream { seed, bytes, noise, group, rhythm, drift })
}

/// What a stream does to a camera at which nothing moves, whatever is thought.
struct Watched {
    stream: Stream,
    core: Core,
    random: u64,
    unit: u32,
    wakes: u32,
    idle_units: u32,
}

impl Watched {
    fn new(stream: Stream) -> Self {
        let random = stream.seed | 1;
        Self { stream, core: Core::new(Gears::default()), random, unit: 0, wakes: 0, idle_units: 0 }
    }

    fn bell(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..6 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            sum += (self.random >> 40) as f32 / (1u64 << 24) as f32;
        }
        (sum - 3.0) * 2.0_f32.sqrt()
    }

    /// So many pictures, larger by `factor`; how many came until it was awake.
    fn run(&mut self, units: u32, factor: f32) -> Option<u32> {
        for unit in 1..=units {
            let at = Duration::from_secs(1) * self.unit / UNITS_PER_S;
            let Stream { bytes, noise, group, rhythm: (every, larger), drift, .. } = self.stream;
            let hours = at.as_secs_f32() / 3600.0;
            let rhythm = if self.unit.is_multiple_of(every) { larger } else { 1.0 };
            let size = bytes * factor * rhythm * drift.powf(hours) * (noise * self.bell()).exp();
            let was_idle = self.core.gear() != Gear::Awake;
            self.idle_units += u32::from(was_idle);
            let key = self.unit.is_multiple_of(group);
            self.core.unit(at, key, if key { size * 12.0 } else { size } as u32);
            if self.unit.is_multiple_of(if was_idle { group * 2 } else { 3 }) {
                self.core.frame(at, false, false);
            }
            self.unit += 1;
            if was_idle && self.core.gear() == Gear::Awake {
                self.wakes += 1;
                return Some(unit);
            }
        }
        None
    }

    fn rest(&mut self) {
        for _ in 0..60 * UNITS_PER_S {
            self.run(1, 1.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn noise_wakes_a_camera_hardly_ever_and_never_often(stream in stream()) {
        let mut watched = Watched::new(stream);
        let units = 2 * 3600 * UNITS_PER_S;
        while watched.unit < units {
            watched.run(units - watched.unit, 1.0);
        }
        prop_assert!(watched.wakes <= 6, "{} false alarms in two hours", watched.wakes);
        let idle = f64::from(watched.idle_units) / f64::from(units);
        prop_assert!(idle > 0.97, "idle for {idle} of the time");
    }

    #[test]
    fn a_rise_of_more_than_the_ratio_and_the_noise_wakes_within_a_second(stream in stream(), more in 1.0..4.0f32) {
        let mut watched = Watched::new(stream);
        watched.rest();
        prop_assert_ne!(watched.core.gear(), Gear::Awake);
        // Six deviations of three pictures' mean, or the ratio; the base takes its part of small sizes.
        let (every, larger) = watched.stream.rhythm;
        let spread = if every > 1 { larger } else { 1.0 };
        let rise = 2.2_f32.max((6.0 * watched.stream.noise).exp()) * spread * 1.3 * more;
        let woken = watched.run(UNITS_PER_S + 4, rise);
        prop_assert!(woken.is_some(), "{rise} times");
    }

    #[test]
    fn day_and_night_wake_once_and_are_learnt(stream in stream(), factor in prop_oneof![0.1..0.4f32, 2.5..10.0f32]) {
        let mut watched = Watched::new(Stream { drift: 1.0, ..stream });
        watched.rest();
        watched.wakes = 0;
        let until = watched.unit + 600 * UNITS_PER_S;
        while watched.unit < until {
            watched.run(until - watched.unit, factor);
        }
        prop_assert!(watched.wakes <= 2, "woke {} times", watched.wakes);
        prop_assert_ne!(watched.core.gear(), Gear::Awake);
    }
}

#[test]
fn a_small_thing_in_a_steady_stream_wakes_within_a_second_and_a_half() {
    let stream = Stream { seed: 5, bytes: 8000.0, noise: 0.02, group: 60, rhythm: (1, 1.0), drift: 1.0 };
    for factor in [1.2, 1.5, 0.8] {
        let mut watched = Watched::new(stream.clone());
        watched.rest();
        let woken = watched.run(60, factor);
        assert!(woken.is_some_and(|units| units <= 23), "{factor} times: {woken:?}");
    }
}

#[test]
fn a_cut_wakes_at_once() {
    let stream = Stream { seed: 7, bytes: 3000.0, noise: 0.15, group: 60, rhythm: (1, 1.0), drift: 1.0 };
    let mut watched = Watched::new(stream);
    watched.rest();
    watched.unit += 60 - watched.unit % 60 + 20;
    // What follows the cut is as usual.
    let woken = watched.run(1, 12.0).or_else(|| watched.run(2, 1.0));
    assert!(woken.is_some());
}
