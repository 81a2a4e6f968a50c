//! The gears on a real video: six people, one after another, told by the sizes of its pictures alone.
//!
//! `reference.txt` has them in decoding order, `k` before key frames; it was made, once, by
//! `ffprobe -v error -select_streams v:0 -show_entries packet=size,flags -of csv=p=0 one-by-one-person-detection.mp4 |
//! sed -E 's/^([0-9]+),K.*/k\1/; s/,.*//' | tr '\n' ' ' | fold -s -w 118`

use super::*;

const UNITS_PER_S: u32 = 10;

/// First and last frame of each visit: `presence_intervals` of reference_yolox_nano.json.
const VISITS: [(u32, u32); 6] = [(65, 195), (230, 445), (510, 695), (745, 865), (935, 1195), (1240, 1360)];

/// A quiet stretch of the video, from key frame to key frame: 87 s to 91 s, with nobody in it.
const QUIET: std::ops::Range<usize> = 870..910;

/// Who comes moves for so long before a model knows what it is, and is not gone at once.
const BEFORE: u32 = 7;
const AFTER: u32 = 7;

fn sizes() -> Vec<(bool, u32)> {
    let words = include_str!("reference.txt").split_ascii_whitespace();
    let parse = |word: &str| (word.starts_with('k'), word.trim_start_matches('k').parse().expect("a size"));
    words.map(parse).collect()
}

/// The video with a minute of its quiet stretch before each visit and at its end.
struct Played {
    core: Core,
    unit: u32,
    idle: u32,
    /// For each wake: when, and why.
    wakes: Vec<(u32, Why)>,
    looked: u32,
}

impl Played {
    fn see(&mut self, (key, bytes): (bool, u32), moving: bool) {
        let at = Duration::from_secs(1) * self.unit / UNITS_PER_S;
        self.core.unit(at, key, bytes);
        let look = match self.core.gear() {
            Gear::Idle { every_ms } => key && (self.unit - self.looked) * 1000 / UNITS_PER_S >= every_ms,
            _ => self.unit.is_multiple_of(2),
        };
        if look {
            self.looked = self.unit;
            self.core.frame(at, moving, false);
        }
        self.idle += u32::from(self.core.gear() != Gear::Awake);
        if let Some(why) = self.core.woken() {
            self.wakes.push((self.unit, why));
        }
        self.unit += 1;
    }
}

/// Plays it, and tells when each visit began and what was made of it.
fn play(settings: Gears, quiet_s: u32) -> (Vec<u32>, Played) {
    let sizes = sizes();
    let mut played = Played { core: Core::new(settings), unit: 0, idle: 0, wakes: Vec::new(), looked: 0 };
    let mut begins = Vec::new();
    let still = |played: &mut Played| {
        for _ in 0..quiet_s * UNITS_PER_S / QUIET.len() as u32 {
            sizes[QUIET].iter().for_each(|size| played.see(*size, false));
        }
    };
    for (frame, size) in (0..).zip(&sizes) {
        let visit = VISITS.iter().find(|(begin, end)| (begin - BEFORE..=end + AFTER).contains(&frame));
        // In front of the group of pictures in which somebody comes.
        if VISITS.iter().any(|(begin, _)| (begin - BEFORE) / 10 * 10 == frame) {
            still(&mut played);
            begins.push(played.unit + BEFORE + 3);
        }
        played.see(*size, visit.is_some());
    }
    still(&mut played);
    (begins, played)
}

#[test]
fn the_table_is_the_videos() {
    let sizes = sizes();
    assert_eq!((sizes.len(), sizes.iter().filter(|(key, _)| *key).count()), (1394, 140));
}

#[test]
fn each_visit_wakes_the_camera_before_a_model_would_find_it() {
    let (begins, played) = play(Gears::default(), 60);
    let idle = f64::from(played.idle) / f64::from(played.unit);
    println!("idle for {:.0} % of {} s; woken {:?}", idle * 100.0, played.unit / UNITS_PER_S, played.wakes);
    assert_eq!((begins.len(), played.wakes.len()), (6, 6), "{begins:?}, {:?}", played.wakes);
    for (begin, (woken, why)) in begins.iter().zip(&played.wakes) {
        // What the port holds of the group of pictures, which is a second here, is looked at too.
        assert!((begin - 10..=begin + 10).contains(woken), "{why:?} at {woken}, the visit begins at {begin}");
    }
    assert!(idle > 0.55, "idle for {idle} of the time");
}

#[test]
fn as_it_is_the_video_has_no_pause_of_ten_seconds() {
    let (_, played) = play(Gears::default(), 0);
    assert_eq!((played.idle, played.wakes.len()), (0, 0));
}
