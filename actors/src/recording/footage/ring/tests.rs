//! The ring: what is handed to the writer, what is kept, what is lost.

use super::*;
use crate::recording::testing::{BEGIN, Pictures, event, format, seconds};
use config::recording::RecordMode;
use proptest::prelude::*;

const ROLL: Duration = Duration::from_secs(5);
const ROOMY: usize = 64 << 20;

fn ring(mode: RecordMode, bytes_max: usize) -> Ring {
    let mut ring = Ring::new(Plan::new(mode, ROLL, ROLL), bytes_max);
    ring.format(format(640));
    ring
}

/// A writer without a disk: the takes that it would have written, as the times of their pictures in tenths of a second.
#[derive(Default)]
struct Desk {
    tail: Option<u64>,
    takes: Vec<Vec<i64>>,
    classes: Vec<Class>,
}

impl Desk {
    fn write(&mut self, ring: &mut Ring) {
        while let Some(next) = ring.next(self.tail) {
            if !next.continues {
                assert!(next.fragment.key, "a take begins with a key frame");
                self.takes.push(Vec::new());
                self.classes.push(next.class);
            }
            let take = self.takes.last_mut().expect("one was begun");
            take.extend(next.fragment.picture_times_us().map(|us| us / 100_000));
            ring.wrote(next.seq);
            self.tail = Some(next.seq);
        }
        if self.tail.is_some_and(|tail| !ring.may_follow(tail)) {
            self.tail = None;
        }
    }

    fn play(&mut self, ring: &mut Ring, pictures: &mut Pictures, until: f64) {
        for unit in pictures.until(until) {
            if ring.unit(unit) {
                self.write(ring);
            }
        }
    }

    /// Of each take, the seconds from its first picture to its last.
    fn spans(&self) -> Vec<(f64, f64)> {
        let ends = |take: &Vec<i64>| Some((*take.first()? as f64 / 10.0, *take.last()? as f64 / 10.0));
        self.takes.iter().filter_map(ends).collect()
    }
}

fn every_picture_once(take: &[i64]) -> bool {
    take.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[test]
fn what_is_recorded_always_is_one_take_without_a_gap() {
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::All, ROOMY), Desk::default(), Pictures::default());
    desk.play(&mut ring, &mut pictures, 60.0);
    ring.cut();
    desk.write(&mut ring);
    assert_eq!(desk.spans(), [(0.0, 59.9)]);
    assert!(every_picture_once(&desk.takes[0]));
    assert_eq!(ring.take_lost(), Lost::default());
    // Of a minute, what a pre-roll may need.
    assert!(ring.pieces.len() <= 14, "{} s are kept", ring.pieces.len());
}

#[test]
fn an_event_is_a_take_from_a_key_frame_before_its_pre_roll_until_after_its_post_roll() {
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::Events, ROOMY), Desk::default(), Pictures::default());
    desk.play(&mut ring, &mut pictures, 21.0);
    ring.event(event(1, 20.0, 20.5, false), seconds(21.0));
    desk.play(&mut ring, &mut pictures, 24.0);
    ring.event(event(1, 20.0, 22.0, true), seconds(24.0));
    desk.play(&mut ring, &mut pictures, 60.0);
    // Its pre-roll begins at 15.0, which is in the group of 14.0; its post-roll ends with 27.0.
    let [(begin, end)] = desk.spans()[..] else { panic!("{:?}", desk.spans()) };
    assert!((14.0..=14.1).contains(&begin) && (27.0..28.1).contains(&end), "{begin} to {end}");
    assert!(every_picture_once(&desk.takes[0]));
    let (on, over) = ring.clips(seconds(60.0));
    assert_eq!((on.len(), over.len()), (0, 1));
    assert!(ring.has_clip(EventId(1)) && !ring.has_clip(EventId(2)));
    ring.made(EventId(1), true);
    assert!(ring.has_clip(EventId(1)) && !ring.has_events());
}

#[test]
fn events_that_overlap_share_their_footage() {
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::Events, ROOMY), Desk::default(), Pictures::default());
    for s in 10..40 {
        desk.play(&mut ring, &mut pictures, f64::from(s));
        let (a, b) = (event(1, 12.0, f64::from(s), s > 20), event(2, 18.0, f64::from(s), s > 30));
        for mark in [(s, a, 12, 20), (s, b, 18, 30)].into_iter().filter(|(s, _, from, to)| s >= from && s <= to) {
            ring.event(mark.1, seconds(f64::from(s)));
            desk.write(&mut ring);
        }
    }
    desk.play(&mut ring, &mut pictures, 60.0);
    assert_eq!(desk.takes.len(), 1, "{:?}", desk.spans());
    assert!(every_picture_once(&desk.takes[0]));
}

#[test]
fn an_event_that_begins_where_another_ends_continues_its_take_and_nothing_is_written_twice() {
    // A group of 8 s: the first event's post-roll ends in its midst, the second's pre-roll begins in the same.
    let (mut ring, mut desk) = (ring(RecordMode::Events, ROOMY), Desk::default());
    let mut pictures = Pictures { group: 80, ..Pictures::default() };
    desk.play(&mut ring, &mut pictures, 10.5);
    ring.event(event(1, 10.0, 12.0, true), seconds(11.0));
    desk.play(&mut ring, &mut pictures, 23.9);
    ring.event(event(2, 23.5, 24.0, true), seconds(24.0));
    desk.play(&mut ring, &mut pictures, 50.0);
    assert_eq!(desk.takes.len(), 1, "{:?}", desk.spans());
    assert!(every_picture_once(&desk.takes[0]));
}

#[test]
fn a_session_that_ends_ends_the_take_and_loses_nothing_of_it() {
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::All, ROOMY), Desk::default(), Pictures::default());
    desk.play(&mut ring, &mut pictures, 10.3);
    ring.cut();
    desk.write(&mut ring);
    assert_eq!(desk.tail, None);
    ring.format(format(640));
    pictures.n = 120;
    desk.play(&mut ring, &mut pictures, 20.0);
    ring.cut();
    desk.write(&mut ring);
    assert_eq!(desk.spans(), [(0.0, 10.2), (12.0, 19.9)]);
}

#[test]
fn another_format_begins_another_take() {
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::All, ROOMY), Desk::default(), Pictures::default());
    desk.play(&mut ring, &mut pictures, 10.0);
    ring.format(format(1280));
    desk.play(&mut ring, &mut pictures, 20.0);
    ring.cut();
    desk.write(&mut ring);
    assert_eq!(desk.spans(), [(0.0, 9.9), (10.0, 19.9)]);
}

#[test]
fn a_full_ring_forgets_the_oldest_and_says_what_of_it_was_wanted() {
    // 10 kB a second, room for ten.
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::All, 100_000), Desk::default(), Pictures::default());
    for unit in pictures.until(60.0) {
        ring.unit(unit);
        assert!(ring.bytes() <= 100_000);
    }
    let lost = ring.take_lost();
    assert!((40.0..56.0).contains(&lost.time.as_secs_f64()), "{lost:?}");
    assert_eq!(lost.units, lost.time.as_millis() as u64 / 100);
    desk.write(&mut ring);
    ring.cut();
    desk.write(&mut ring);
    let [(begin, end)] = desk.spans()[..] else { panic!("{:?}", desk.spans()) };
    assert_eq!((begin, end), (lost.time.as_secs_f64(), 59.9), "all else is written");
    assert_eq!(ring.take_lost(), Lost::default());
}

#[test]
fn what_nobody_wants_is_forgotten_without_a_word() {
    let (mut ring, mut pictures) = (ring(RecordMode::Events, 100_000), Pictures { group: 600, ..Pictures::default() });
    for unit in pictures.until(300.0) {
        assert!(!ring.unit(unit));
        assert!(ring.bytes() <= 100_000);
    }
    assert_eq!(ring.take_lost(), Lost::default());
}

#[test]
fn a_group_larger_than_the_ring_goes_on_in_the_take_that_has_its_begin() {
    let (mut ring, mut desk) = (ring(RecordMode::All, 50_000), Desk::default());
    let mut pictures = Pictures { group: 600, ..Pictures::default() };
    desk.play(&mut ring, &mut pictures, 120.0);
    ring.cut();
    desk.write(&mut ring);
    assert_eq!(desk.spans(), [(0.0, 119.9)]);
    assert!(every_picture_once(&desk.takes[0]));
    assert_eq!(ring.take_lost(), Lost::default());
}

#[test]
fn nothing_is_kept_where_nothing_is_recorded() {
    let (mut ring, mut pictures) = (ring(RecordMode::Off, ROOMY), Pictures::default());
    for unit in pictures.until(10.0) {
        assert!(!ring.unit(unit));
    }
    ring.event(event(1, 5.0, 6.0, true), seconds(6.0));
    assert!(ring.bytes() == 0 && !ring.has_clip(EventId(1)) && !ring.has_events());
}

#[test]
fn a_clock_that_is_set_back_costs_no_picture() {
    let (mut ring, mut desk, mut pictures) = (ring(RecordMode::All, ROOMY), Desk::default(), Pictures::default());
    desk.play(&mut ring, &mut pictures, 20.0);
    pictures.clock_us = -3_600_000_000;
    desk.play(&mut ring, &mut pictures, 60.0);
    ring.cut();
    desk.write(&mut ring);
    assert!(every_picture_once(&desk.takes.concat()), "{:?}", desk.spans());
    assert!(ring.pieces.iter().all(|piece| piece.fragment.captured.micros() < BEGIN + 60_000_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whenever events are told, and however seldom the disk gets its turn: within a ring that is large enough, all that
    /// an event wants is in takes, each begins with a key frame, and none has a picture twice.
    #[test]
    fn all_that_an_event_wants_is_written_once(
        events in proptest::collection::vec((10..100_i64, 0..10_i64, 0..4_i64), 1..6),
        group in 5..60_i64, lazy in 1..40_usize,
    ) {
        let (mut ring, mut desk) = (ring(RecordMode::Events, ROOMY), Desk::default());
        let mut pictures = Pictures { group, ..Pictures::default() };
        for (n, tick) in (0..1300_i64).enumerate() {
            ring.unit(pictures.next());
            for (id, (begin, length, late)) in (0..).zip(&events) {
                // Seen each half second, told a little later.
                let seen = tick - late * 10;
                if (begin * 10..=(begin + length) * 10).contains(&seen) && seen % 5 == 0 {
                    let mark = event(id, *begin as f64, seen as f64 / 10.0, seen == (begin + length) * 10);
                    ring.event(mark, seconds(tick as f64 / 10.0));
                }
            }
            if n % lazy == 0 {
                desk.write(&mut ring);
            }
        }
        ring.cut();
        desk.write(&mut ring);
        let mut all: Vec<i64> = desk.takes.concat();
        all.sort_unstable();
        prop_assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "written twice: {:?}", desk.spans());
        for take in &desk.takes {
            prop_assert!(every_picture_once(take) && take[0] % group == 0);
        }
        for (begin, length, _) in &events {
            let wanted = ((begin - 5).max(0) * 10)..=((begin + length + 5) * 10);
            prop_assert!(wanted.clone().all(|tick| all.binary_search(&tick).is_ok()), "{wanted:?} of {:?}", desk.spans());
        }
        prop_assert_eq!(ring.take_lost(), Lost::default());
    }
}
