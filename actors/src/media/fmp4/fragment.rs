//! A stretch of about a second: pictures in decoding order with the sound that belongs to them, and no take yet.

use super::boxes::HEADER_BYTES;
use super::moof::{self, Run, Sample};
use super::{FragmentInfo, Head, VIDEO_RATE, audio_rate, ticks};
use protocol::Timestamp;
use protocol::camera::Unit;

/// More than a tick of pictures: times that differ by it differ when rounded.
const TICK_US: i64 = 12;
/// `moof` beside its samples, `mdat`'s header and what a sample takes at most, for [`Fragment::bytes`].
const BESIDE_BYTES: usize = 200;
const SAMPLE_BYTES: usize = 16;

/// Written to any take whose first picture is not after its own, or to none.
#[derive(Debug, Clone, PartialEq)]
pub struct Fragment {
    /// It begins with a key frame: a take may begin with it. Pictures that are sent behind that frame and shown before
    /// it need others that are not in that take; there, and only there, they are left out.
    pub key: bool,
    /// The fragment before it ends where this one begins, and the same clocks count on. If not, a take ends there.
    pub follows: bool,
    /// The session's clock at its first picture, and at that of the next.
    pub begin_us: i64,
    pub end_us: i64,
    /// Wall clock of its first picture.
    pub captured: Timestamp,
    /// [`Head::shift_us`] of a take that begins with it.
    pub(super) shift_us: u32,
    /// Where the fragment before it ended, if it follows that.
    after_us: Option<i64>,
    pictures: Vec<Picture>,
    sounds: Vec<Sound>,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Picture {
    pts_us: i64,
    bytes: u32,
    /// And none behind it is shown before it: a player may begin here (ISO 14496-15, 5.4.3: sync samples are IDR).
    key: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sound {
    pts_us: i64,
    duration_us: u32,
    bytes: u32,
}

impl Fragment {
    /// Of units in decoding order, of which the first is a picture that exists.
    pub(super) fn new(
        pictures: Vec<Unit>,
        sounds: Vec<Unit>,
        end_us: i64,
        shift_us: u32,
        after_us: Option<i64>,
    ) -> Self {
        let first = pictures.iter().min_by_key(|unit| unit.pts_us).expect("the fragmenter closes what has a picture");
        let (begin_us, captured) = (first.pts_us, Timestamp::from_micros(first.captured_us));
        let bytes = pictures.iter().chain(&sounds).map(|unit| unit.data.0.len()).sum();
        let mut fragment = Self {
            key: pictures[0].key,
            follows: after_us.is_some(),
            begin_us,
            end_us,
            captured,
            shift_us,
            after_us,
            pictures: Vec::with_capacity(pictures.len()),
            sounds: Vec::with_capacity(sounds.len()),
            payload: Vec::with_capacity(bytes),
        };
        for unit in pictures {
            fragment.payload.extend_from_slice(&unit.data.0);
            let bytes = unit.data.0.len() as u32;
            fragment.pictures.push(Picture { pts_us: unit.pts_us, bytes, key: unit.key });
        }
        let mut earliest = i64::MAX;
        for picture in fragment.pictures.iter_mut().rev() {
            picture.key &= picture.pts_us < earliest;
            earliest = earliest.min(picture.pts_us);
        }
        for unit in sounds {
            fragment.payload.extend_from_slice(&unit.data.0);
            let bytes = unit.data.0.len() as u32;
            fragment.sounds.push(Sound { pts_us: unit.pts_us, duration_us: unit.duration_us, bytes });
        }
        fragment
    }

    /// On the disk, at most; in memory about as many.
    pub fn bytes(&self) -> usize {
        self.payload.len() + BESIDE_BYTES + SAMPLE_BYTES * (self.pictures.len() + self.sounds.len())
    }

    pub fn video_samples(&self) -> usize {
        self.pictures.len()
    }

    pub fn audio_samples(&self) -> usize {
        self.sounds.len()
    }

    /// Where a player may begin.
    pub fn key_frames(&self) -> usize {
        self.pictures.iter().filter(|picture| picture.key).count()
    }

    /// Presentation times of its pictures on the session's clock, in decoding order.
    pub fn picture_times_us(&self) -> impl Iterator<Item = i64> + '_ {
        self.pictures.iter().map(|picture| picture.pts_us)
    }

    /// When its first picture in decoding order is shown: where a take begins that begins with it.
    pub(super) fn lead_us(&self) -> i64 {
        self.pictures[0].pts_us
    }

    /// As a take begins with it; `None` if that is as it is.
    pub(super) fn leading(&self) -> Option<Self> {
        let lead_us = self.lead_us();
        if self.begin_us == lead_us {
            return None;
        }
        let mut leading = Self { begin_us: lead_us, captured: self.captured_at(lead_us), ..self.clone() };
        leading.pictures.retain(|picture| picture.pts_us >= lead_us);
        leading.pictures[0].key = true;
        leading.payload.clear();
        let mut rest = self.payload.as_slice();
        for picture in &self.pictures {
            let (data, behind) = rest.split_at(picture.bytes as usize);
            rest = behind;
            if picture.pts_us >= lead_us {
                leading.payload.extend_from_slice(data);
            }
        }
        leading.payload.extend_from_slice(rest);
        Some(leading)
    }

    pub(super) fn captured_at(&self, pts_us: i64) -> Timestamp {
        Timestamp::from_micros(self.captured.micros().saturating_add(pts_us.saturating_sub(self.begin_us)))
    }

    /// `mdat`'s data.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// `moof` and the header of the `mdat` whose data is [`Self::payload`], as they stand at `offset` of a take.
    pub fn header(&self, head: &Head, sequence: u32, offset: u64) -> (Vec<u8>, FragmentInfo) {
        let video = self.video_run(head);
        let audio = self.audio_run(head);
        let header = moof::write(sequence, &video, &audio, self.payload.len());
        let moof_bytes = header.len() - HEADER_BYTES;
        let info = info(&video, &audio, offset, moof_bytes as u32, (header.len() + self.payload.len()) as u32);
        (header, info)
    }

    /// Decoding times are presentation times in their order, and later by the take's shift like all the rest. Where
    /// that is too little for the reordering at hand, a picture is decoded earlier, when it is shown.
    fn video_run(&self, head: &Head) -> Run {
        let shift = i64::from(head.shift_us);
        let mut decode: Vec<i64> = self.pictures.iter().map(|picture| picture.pts_us - head.base_us).collect();
        decode.sort_unstable();
        let mut latest = i64::MAX;
        for (time, picture) in decode.iter_mut().zip(&self.pictures).rev() {
            *time = (*time).min(picture.pts_us - head.base_us + shift).min(latest);
            latest = *time - TICK_US;
        }
        let mut earliest = self.after_us.map_or(0, |us| us - head.base_us).max(0);
        for time in &mut decode {
            *time = (*time).max(earliest);
            earliest = *time + TICK_US;
        }
        let end = ticks(self.end_us - head.base_us, VIDEO_RATE);
        let times: Vec<i64> = decode.iter().map(|us| ticks(*us, VIDEO_RATE)).chain([end]).collect();
        let shift = head.shift() as i64;
        let samples = self.pictures.iter().zip(times.windows(2)).map(|(picture, time)| Sample {
            duration: length(time[1] - time[0]),
            bytes: picture.bytes,
            key: picture.key,
            composition: i32::try_from(ticks(picture.pts_us - head.base_us, VIDEO_RATE) + shift - time[0])
                .map_or(0, |late| late.max(0)),
        });
        Run { decode_time: times[0].unsigned_abs(), samples: samples.collect(), data_at: 0 }
    }

    /// What came before the take's first picture is left out; its bytes stay in the `mdat`, and nobody points to them.
    fn audio_run(&self, head: &Head) -> Run {
        let Some(format) = &head.format.audio else { return Run::default() };
        let rate = audio_rate(format);
        let early = self.sounds.iter().take_while(|sound| ticks(sound.pts_us - head.base_us, rate) < 0).count();
        let before: usize = self.sounds[..early].iter().map(|sound| sound.bytes as usize).sum();
        let sounds = &self.sounds[early..];
        let (Some(first), Some(last)) = (sounds.first(), sounds.last()) else { return Run::default() };
        let at = |us: i64| ticks(us - head.base_us, rate);
        let ends = sounds[1..].iter().map(|sound| at(sound.pts_us));
        let end = at(last.pts_us + i64::from(last.duration_us));
        let samples = sounds.iter().zip(ends.chain([end])).map(|(sound, end)| Sample {
            duration: length(end - at(sound.pts_us)),
            bytes: sound.bytes,
            key: true,
            composition: 0,
        });
        let video: usize = self.pictures.iter().map(|picture| picture.bytes as usize).sum();
        Run { decode_time: at(first.pts_us).unsigned_abs(), samples: samples.collect(), data_at: video + before }
    }
}

/// A sample lasts a tick at least: some players take 0 for `until further notice`.
fn length(ticks: i64) -> u32 {
    ticks.clamp(1, i64::from(u32::MAX)) as u32
}

/// The same from what was written and from what is read.
pub(super) fn info(video: &Run, audio: &Run, offset: u64, moof_bytes: u32, bytes: u32) -> FragmentInfo {
    FragmentInfo {
        offset,
        moof_bytes,
        bytes,
        key: video.samples.first().is_some_and(|sample| sample.key),
        begin: video.decode_time,
        end: video.end(),
        video_samples: video.samples.len() as u32,
        audio_samples: audio.samples.len() as u32,
        audio_end: if audio.samples.is_empty() { 0 } else { audio.end() },
    }
}
