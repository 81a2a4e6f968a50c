//! What holds for every order of pictures and sound, and for every file.

use super::testing::*;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::camera::{Stream, Unit};
use std::io::Cursor;

/// One group of pictures as an encoder sends it.
#[derive(Debug, Clone)]
struct Group {
    /// Runs of so many pictures that are shown before the reference behind which they are sent.
    minis: Vec<usize>,
    /// The first run leads the key frame instead: it is shown before it, and needs the group before.
    open: bool,
    pyramid: bool,
    interval_us: i64,
}

fn any_group(reorder: usize) -> impl Strategy<Value = Group> {
    let interval = prop_oneof![4 => Just(66_667i64), 1 => 10_000..400_000i64];
    (vec(0..=reorder, 0..40), any::<bool>(), any::<bool>(), interval)
        .prop_map(|(minis, open, pyramid, interval_us)| Group { minis, open, pyramid, interval_us })
}

/// Reordering, or none, is a stream's and not a group's.
fn any_stream() -> impl Strategy<Value = Vec<Group>> {
    (0..4usize).prop_flat_map(|reorder| vec(any_group(reorder), 1..12))
}

/// Order numbers in decoding order.
fn order(group: &Group) -> Vec<i64> {
    let mut order = Vec::new();
    let mut next = 0;
    for (at, run) in group.minis.iter().copied().chain([0]).enumerate() {
        let reference = if at == 0 && !group.open { next } else { next + run as i64 };
        order.push(reference);
        let mut between: Vec<i64> = (next..reference).collect();
        if group.pyramid && between.len() == 3 {
            between.swap(0, 1);
        }
        order.extend(between);
        next = reference + 1;
    }
    order
}

fn pictures(groups: &[Group], jitter: &[i64]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut begin_us = 123_456;
    let mut wobble = jitter.iter().cycle();
    for (number, group) in groups.iter().enumerate() {
        // Nothing leads the first group: nothing was before it.
        let group = Group { open: group.open && number > 0, ..group.clone() };
        let order = order(&group);
        let by: Vec<i64> = order.iter().map(|_| *wobble.next().expect("it cycles") % (group.interval_us / 3)).collect();
        for (at, place) in order.iter().enumerate() {
            let pts_us = begin_us + place * group.interval_us + by[*place as usize];
            units.push(picture(at == 0, pts_us, 1 + (pts_us % 500) as usize));
        }
        begin_us += order.len() as i64 * group.interval_us;
    }
    units
}

/// Sound from a little before the first picture, arriving up to so late.
fn with_sound(pictures: Vec<Unit>, late_us: i64) -> Vec<Unit> {
    let end_us = pictures.iter().map(|unit| unit.pts_us).max().unwrap_or(0);
    let mut arrivals: Vec<(i64, Unit)> = Vec::new();
    let mut latest = 0;
    for unit in pictures {
        latest = latest.max(unit.pts_us);
        arrivals.push((latest, unit));
    }
    arrivals.extend((0..end_us / 21_333).map(|at| (at * 21_333 + late_us, sound(at * 21_333, 21_333))));
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals.into_iter().map(|(_, unit)| unit).collect()
}

/// Of the pictures at `at`, those in a take with so many: what leads its first key frame is left out.
fn taken<'a>(sent: &[&'a Unit], at: &mut usize, pictures: usize) -> Vec<&'a Unit> {
    let key = sent[*at];
    let mut taken = vec![key];
    *at += 1;
    while *at < sent.len() && sent[*at].pts_us < key.pts_us {
        *at += 1;
    }
    taken.extend(&sent[*at..*at + pictures - 1]);
    *at += pictures - 1;
    taken
}

fn ticks_of(pictures: &[&Unit]) -> Vec<u64> {
    let base_us = pictures.iter().map(|unit| unit.pts_us).min().unwrap_or(0);
    pictures.iter().map(|unit| ticks(unit.pts_us - base_us, VIDEO_RATE) as u64).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_picture_comes_back_at_its_time(
        groups in any_stream(), jitter in vec(0..100_000i64, 7), late_us in 0..400_000i64, length_us in 1..20_000_000i64,
    ) {
        let units = with_sound(pictures(&groups, &jitter), late_us);
        let all = fragments(true, units.clone());
        let takes = takes(&format(true), &all, length_us);
        let sent: Vec<&Unit> = units.iter().filter(|unit| unit.stream == Stream::Video).collect();
        let mut found = 0;
        for (take, bytes) in &takes {
            let mut bytes = bytes.clone();
            let open = scanned(&bytes);
            prop_assert_eq!((&open.head, open.finished, open.torn), (take.head(), false, None));
            prop_assert_eq!(&open.fragments, take.fragments());
            finish(take, &mut bytes);
            let scan = scanned(&bytes);
            prop_assert!(scan.finished && scan.valid_bytes == bytes.len() as u64);
            prop_assert_eq!(&scan.fragments, &open.fragments);

            let times = times(&bytes, &scan.fragments, take.head().shift());
            let sent = taken(&sent, &mut found, times.pictures.len());
            let shown: Vec<u64> = times.pictures.iter().map(|(shown, _)| *shown).collect();
            // Where reordering shows only when a fragment was cut in the midst of it, single pictures come too late.
            let needed_us = all.iter().map(|fragment| fragment.shift_us).max().expect("a fragment");
            let apart = if take.head().shift_us == needed_us { 0 } else { 200_000 };
            for (shown, wanted) in shown.iter().zip(ticks_of(&sent)) {
                prop_assert!(shown.abs_diff(wanted) <= apart, "shown at {}, wanted at {}", shown, wanted);
            }
            prop_assert!(times.pictures.windows(2).all(|pair| pair[0].1 < pair[1].1), "decoding times go forward");
            let data = sent.iter().map(|unit| &unit.data.0);
            prop_assert!(data.eq(times.data.iter()), "each picture has its bytes");
            prop_assert!(scan.fragments.windows(2).all(|pair| pair[0].end == pair[1].begin), "no gap, no overlap");
            prop_assert!(times.sounds.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(take.duration() >= span(*shown.iter().max().expect("a picture")));
        }
        prop_assert_eq!(found, sent.len());
        let sounds: usize = all.iter().map(Fragment::audio_samples).sum();
        let sent_sounds = units.iter().filter(|unit| unit.stream == Stream::Audio).count();
        prop_assert_eq!(sounds, sent_sounds, "what is before the first picture is left out later");
    }

    #[test]
    fn a_clip_has_what_its_takes_have(
        groups in any_stream(), jitter in vec(0..100_000i64, 7), length_us in 1..9_000_000i64,
        from_us in 0..20_000_000i64, span_us in 1_000..20_000_000i64,
    ) {
        let units = with_sound(pictures(&groups, &jitter), 0);
        let all = fragments(true, units.clone());
        let takes = takes(&format(true), &all, length_us);
        let views: Vec<View> = takes.iter().map(|(take, _)| View { head: take.head(), fragments: take.fragments() }).collect();
        let files: Vec<&[u8]> = takes.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let from = Timestamp::from_micros(WALL_US + from_us);
        let to = Timestamp::from_micros(WALL_US + from_us + span_us);
        let Some(clip) = Virtual::new(&views, from, to) else {
            let last = takes.last().expect("there is a take").0.end();
            // Or where what led a take would be.
            let led = groups.iter().any(|group| group.open) && span_us < 2_000_000;
            prop_assert!(led || last <= from || to <= takes[0].0.head().begin, "{last} is in the range");
            return Ok(());
        };
        let bytes = read_clip(&clip, &files);
        let infos = clip_fragments(&bytes);
        let shift = clip.takes().iter().map(|take| views[*take].head.shift()).max().expect("a take");
        let times = times(&bytes, &infos, shift);
        prop_assert!(infos[0].key);
        let is_open = groups.iter().any(|group| group.open);
        let joined = |pair: &[FragmentInfo]| pair[0].end == pair[1].begin || (is_open && pair[0].end < pair[1].begin);
        prop_assert!(infos.windows(2).all(joined), "joined to the tick, but for what led a take");
        prop_assert_eq!(span(infos.last().expect("one").end), clip.end().since(clip.begin()));
        // The same as in one take of all of it, but later where a take needed more room than those before.
        let grew = all.iter().any(|fragment| fragment.shift_us > takes[0].0.head().shift_us);
        let begin_us = clip.begin().micros() - WALL_US;
        let sent: Vec<&Unit> = units.iter().filter(|unit| unit.stream == Stream::Video).collect();
        let at = sent.iter().position(|unit| unit.key && (unit.pts_us - begin_us).abs() < 12).expect("it was sent");
        let mut sent = sent[at..].iter();
        for (data, (shown, _)) in times.data.iter().zip(&times.pictures) {
            let mut unit = sent.next().expect("it was sent");
            while is_open && unit.data.0 != *data {
                unit = sent.next().expect("it was sent");
            }
            prop_assert_eq!(&unit.data.0, data);
            let late = *shown as i64 - ticks(unit.pts_us - begin_us, VIDEO_RATE);
            prop_assert!((-5..=if grew { 200_000 } else { 5 }).contains(&late), "{} is {} too late", shown, late);
        }
        prop_assert!(is_open || clip.begin() <= from || takes[0].0.head().begin >= clip.begin());
    }

    #[test]
    fn no_file_does_harm(
        noise in vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), cut in any::<prop::sample::Index>(),
        groups in vec(any_group(2), 1..4),
    ) {
        let units = with_sound(pictures(&groups, &[0]), 0);
        let mut takes = takes(&format(true), &fragments(true, units), 60_000_000);
        let (take, bytes) = &mut takes[0];
        finish(take, bytes);
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let whole = bytes.len() as u64;
        if let Ok(scan) = scan(&mut Cursor::new(&*bytes), whole) {
            prop_assert!(scan.valid_bytes <= whole);
            prop_assert!(scan.torn.is_some() == (scan.valid_bytes < whole));
            let resumed = Take::resume(scan.head.clone(), scan.fragments.clone());
            let _ = (resumed.finish(), resumed.end());
            let view = View { head: &scan.head, fragments: &scan.fragments };
            let _ = Virtual::new(&[view, view], Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        }
    }

    #[test]
    fn no_noise_is_a_take(noise in vec(any::<u8>(), 0..4096)) {
        prop_assert!(scan(&mut Cursor::new(&noise), noise.len() as u64).is_err());
    }
}

/// Where a take is cut, all before the fragment that is cut is left.
#[test]
fn a_torn_take_is_whole_up_to_its_last_whole_fragment() {
    let units: Vec<Unit> = (0..60).map(|at| picture(at % 15 == 0, at * 100_000, 90)).collect();
    let takes = takes(&format(false), &fragments(false, units), 60_000_000);
    let (take, bytes) = &takes[0];
    for cut in 0..bytes.len() {
        match scan(&mut Cursor::new(&bytes[..cut]), cut as u64) {
            Ok(scan) => {
                let whole = take.fragments().iter().filter(|info| info.ends_at() <= cut as u64);
                assert!(whole.eq(&scan.fragments), "cut at {cut}");
            }
            Err(ScanError::Headless) => assert!(cut < take.head_bytes().len(), "cut at {cut}"),
            Err(why) => panic!("cut at {cut}: {why}"),
        }
    }
}

/// A clip has no box of ours: its fragments are found by hand.
fn clip_fragments(bytes: &[u8]) -> Vec<FragmentInfo> {
    let mut found = Vec::new();
    let (mut at, mut moof) = (0, 0);
    while at < bytes.len() {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
        match &bytes[at + 4..at + 8] {
            b"moof" => moof = at,
            b"mdat" => {
                let read = moof::read(&bytes[moof..at], size as u64 - 8).expect("a moof of ours");
                found.push(fragment::info(
                    &read.video,
                    &read.audio,
                    moof as u64,
                    (at - moof) as u32,
                    (at - moof + size) as u32,
                ));
            }
            _ => {}
        }
        at += size;
    }
    found
}
