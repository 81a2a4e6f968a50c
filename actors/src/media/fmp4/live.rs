//! Units as they come, each a fragment of its own, for a player that shows them at once.
//!
//! Nothing is known of what follows: a picture lasts as long as those before did, and the next one, which says itself
//! when it is shown, puts that right.

use super::fragmenter::Recent;
use super::head::Head;
use super::moof::{self, Run, Sample};
use super::{VIDEO_RATE, audio_rate, ticks};
use protocol::camera::{Stream, Unit};

/// More than a tick of pictures.
const TICK_US: i64 = 12;

/// One stream for any number of players, each of which got [`Head::init`] first and then begins at a key frame.
#[derive(Debug, Clone)]
pub struct Live {
    head: Head,
    sequence: u32,
    decoded_us: i64,
    recent: Recent,
}

impl Live {
    /// Times count from [`Head::base_us`], with room for reordering of [`Head::shift_us`].
    pub fn new(head: Head) -> Self {
        Self { head, sequence: 0, decoded_us: -TICK_US, recent: Recent::default() }
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// `moof` and `mdat`. `None` for what is before the begin, and sound that the head does not know of.
    pub fn push(&mut self, unit: &Unit) -> Option<Vec<u8>> {
        let shown_us = unit.pts_us.checked_sub(self.head.base_us).filter(|us| *us >= 0)?;
        let bytes = u32::try_from(unit.data.0.len()).ok()?;
        let (video, audio) = match unit.stream {
            Stream::Video => (self.picture(unit.key, shown_us, bytes), Run::default()),
            Stream::Audio => (Run::default(), self.sound(unit.duration_us, shown_us, bytes)?),
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = moof::write(self.sequence, &video, &audio, unit.data.0.len());
        out.extend_from_slice(&unit.data.0);
        Some(out)
    }

    fn picture(&mut self, key: bool, shown_us: i64, bytes: u32) -> Run {
        self.recent.push(shown_us);
        let newest_us = self.recent.newest().unwrap_or(shown_us);
        let interval_us = self.recent.interval_us();
        // Evenly; neither so late that no picture shown before the newest could follow, nor earlier than there is room.
        let earliest_us = shown_us - i64::from(self.head.shift_us);
        let next_us = (self.decoded_us + interval_us).clamp(earliest_us, newest_us);
        self.decoded_us = next_us.max(self.decoded_us + TICK_US);
        let decode_time = ticks(self.decoded_us, VIDEO_RATE);
        let composition = ticks(shown_us, VIDEO_RATE) + self.head.shift() as i64 - decode_time;
        let sample = Sample {
            duration: ticks(interval_us, VIDEO_RATE).clamp(1, i64::from(u32::MAX)) as u32,
            bytes,
            key,
            composition: i32::try_from(composition.max(0)).unwrap_or(0),
        };
        Run { decode_time: decode_time.unsigned_abs(), samples: vec![sample], data_at: 0 }
    }

    fn sound(&self, duration_us: u32, shown_us: i64, bytes: u32) -> Option<Run> {
        let rate = audio_rate(self.head.format.audio.as_ref()?);
        let duration = ticks(i64::from(duration_us), rate).clamp(1, i64::from(u32::MAX)) as u32;
        let sample = Sample { duration, bytes, key: true, composition: 0 };
        Some(Run { decode_time: ticks(shown_us, rate).unsigned_abs(), samples: vec![sample], data_at: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::*;
    use super::*;

    /// Order numbers of pictures in decoding order; each is shown at its time, and decoded no later.
    #[track_caller]
    fn check(shift_us: u32, order: &[i64]) {
        let head = Head {
            take: TakeId::from_bits(1),
            follows: None,
            camera: camera(),
            begin: Timestamp::from_micros(WALL_US),
            base_us: 500_000,
            shift_us,
            format: format(true),
        };
        let shift = head.shift() as i64;
        let mut live = Live::new(head);
        let mut before = None;
        for (at, place) in order.iter().enumerate() {
            let unit = picture(at == 0, 500_000 + place * 40_000, 100);
            let bytes = live.push(&unit).expect("it is not before the begin");
            let (moof, mdat) = bytes.split_at(bytes.len() - unit.data.0.len() - 8);
            assert_eq!(&mdat[8..], unit.data.0);
            let video = moof::read(moof, unit.data.0.len() as u64).expect("a moof of ours").video;
            assert!(before < Some(video.decode_time), "decoding times go forward");
            before = Some(video.decode_time);
            let shown = video.decode_time as i64 + i64::from(video.samples[0].composition) - shift;
            assert_eq!(shown, place * 3600);
        }
        assert!(live.push(&sound(499_999, 21_333)).is_none(), "before the begin");
        let bytes = live.push(&sound(1_500_000, 21_333)).expect("sound");
        let audio = moof::read(&bytes[..bytes.len() - 208], 200).expect("a moof of ours").audio;
        assert_eq!((audio.decode_time, audio.samples[0].duration), (48_000, 1024));
    }

    #[test]
    fn each_picture_is_a_fragment_of_its_own() {
        check(0, &[0, 1, 2, 3, 5, 9, 10]);
    }

    #[test]
    fn reordered_pictures_are_shown_in_their_order() {
        check(160_000, &[0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 10, 14, 12, 11, 13]);
    }
}
