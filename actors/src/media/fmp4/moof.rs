//! `moof` (ISO 14496-12, 8.8.4): which samples a fragment has, when, and where they lie in its `mdat`.
//!
//! Always `mfhd`, then a `traf` of pictures, then one of sound if there is any; each has `tfhd`,
//! `tfdt` and one `trun` with each sample's duration and size. Numbers that a clip changes have the same width whatever
//! they are, so that they are written over in place.

use super::boxes::{Cursor, HEADER_BYTES, Kind, boxed, full, put_u32, put_u64};
use super::{AUDIO_TRACK, VIDEO_TRACK};
use std::ops::Range;

/// `tfhd`: what a sample is unless it says so; offsets count from the `moof`.
const DEFAULT_FLAGS: u32 = 0x20;
const BASE_IS_MOOF: u32 = 0x02_0000;
/// `trun`: where the data begins, and what stands there of each sample.
const DATA_OFFSET: u32 = 0x01;
const DURATION: u32 = 0x100;
const SIZE: u32 = 0x200;
const FLAGS: u32 = 0x400;
const COMPOSITION: u32 = 0x800;

/// 8.8.3.1: it needs no other sample; it needs others, and is no point to begin at.
const SYNC: u32 = 0x0200_0000;
const NON_SYNC: u32 = 0x0101_0000;

/// One sample, in ticks of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub duration: u32,
    pub bytes: u32,
    pub key: bool,
    /// Shown so long after it is decoded.
    pub composition: i32,
}

/// Samples of one track in decoding order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    pub decode_time: u64,
    pub samples: Vec<Sample>,
    /// From the `mdat`'s first byte of data.
    pub data_at: usize,
}

/// The whole box, and the header of the `mdat` behind it.
pub fn write(sequence: u32, video: &Run, audio: &Run, mdat_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(200 + 16 * video.samples.len() + 8 * audio.samples.len());
    let mut data_offsets = Vec::with_capacity(2);
    boxed(&mut out, b"moof", |out| {
        full(out, b"mfhd", 0, 0, |out| put_u32(out, sequence));
        for (track, run) in [(VIDEO_TRACK, video), (AUDIO_TRACK, audio)] {
            if !run.samples.is_empty() {
                data_offsets.push((traf(out, track, run), run.data_at));
            }
        }
    });
    let moof_bytes = out.len();
    for (at, data_at) in data_offsets {
        let offset = (moof_bytes + HEADER_BYTES + data_at) as u32;
        out[at..at + 4].copy_from_slice(&offset.to_be_bytes());
    }
    put_u32(&mut out, (HEADER_BYTES + mdat_bytes) as u32);
    out.extend(b"mdat");
    out
}

/// Returns where the data's offset belongs.
fn traf(out: &mut Vec<u8>, track: u32, run: &Run) -> usize {
    let mut offset_at = 0;
    let reordered = run.samples.iter().any(|sample| sample.composition != 0);
    boxed(out, b"traf", |out| {
        full(out, b"tfhd", 0, BASE_IS_MOOF | DEFAULT_FLAGS, |out| {
            put_u32(out, track);
            put_u32(out, if track == AUDIO_TRACK { SYNC } else { NON_SYNC });
        });
        full(out, b"tfdt", 1, 0, |out| put_u64(out, run.decode_time));
        let video = if track == VIDEO_TRACK { FLAGS } else { 0 };
        let flags = DATA_OFFSET | DURATION | SIZE | video | if reordered { COMPOSITION } else { 0 };
        full(out, b"trun", u8::from(reordered), flags, |out| {
            put_u32(out, run.samples.len() as u32);
            offset_at = out.len();
            put_u32(out, 0);
            for sample in &run.samples {
                put_u32(out, sample.duration);
                put_u32(out, sample.bytes);
                if video != 0 {
                    put_u32(out, if sample.key { SYNC } else { NON_SYNC });
                }
                if reordered {
                    put_u32(out, sample.composition as u32);
                }
            }
        });
    });
    offset_at
}

/// A `moof` that was read, header and all.
#[derive(Debug, Default)]
pub struct Moof {
    pub video: Run,
    pub audio: Run,
    /// Where the numbers stand that a clip changes.
    sequence_at: usize,
    places: Vec<Places>,
}

#[derive(Debug, Clone, Copy)]
struct Places {
    track: u32,
    decode_time_at: usize,
}

/// A fragment's number in a clip, and what that adds to its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub sequence: u32,
    pub video: i64,
    pub audio: i64,
}

/// `None` if it is not as [`write`] writes them, or says that its samples lie where the `mdat` behind it is not.
/// What is allocated is in proportion to `bytes`, which the caller caps.
pub fn read(bytes: &[u8], mdat_bytes: u64) -> Option<Moof> {
    let mut moof = Moof::default();
    let mut rest = HEADER_BYTES..bytes.len();
    while !rest.is_empty() {
        let (kind, payload) = next(bytes, &mut rest)?;
        match &kind {
            b"mfhd" => moof.sequence_at = at_least(&payload, 8)? + 4,
            b"traf" => moof.read_traf(bytes, payload, mdat_bytes)?,
            _ => {}
        }
    }
    (moof.sequence_at > 0 && !moof.places.is_empty()).then_some(moof)
}

fn next(bytes: &[u8], rest: &mut Range<usize>) -> Option<(Kind, Range<usize>)> {
    let mut cursor = Cursor(bytes.get(rest.clone())?);
    let (kind, payload) = cursor.next_box()?;
    let begin = rest.start + HEADER_BYTES;
    rest.start = begin + payload.0.len();
    Some((kind, begin..rest.start))
}

fn at_least(payload: &Range<usize>, bytes: usize) -> Option<usize> {
    (payload.len() >= bytes).then_some(payload.start)
}

impl Moof {
    fn read_traf(&mut self, bytes: &[u8], mut rest: Range<usize>, mdat_bytes: u64) -> Option<()> {
        let (mut places, mut run) = (Places { track: 0, decode_time_at: 0 }, Run::default());
        while !rest.is_empty() {
            let (kind, payload) = next(bytes, &mut rest)?;
            let mut cursor = Cursor(&bytes[payload.clone()]);
            match &kind {
                b"tfhd" => {
                    let (_, flags) = cursor.full()?;
                    places.track = cursor.u32()?;
                    if flags != BASE_IS_MOOF | DEFAULT_FLAGS {
                        return None;
                    }
                }
                b"tfdt" => {
                    let (version, _) = cursor.full()?;
                    run.decode_time = cursor.u64().filter(|_| version == 1)?;
                    places.decode_time_at = payload.start + 4;
                }
                b"trun" if run.samples.is_empty() => read_trun(cursor, bytes.len(), mdat_bytes, &mut run)?,
                _ => return None,
            }
        }
        if places.decode_time_at == 0 || run.samples.is_empty() {
            return None;
        }
        let slot = match places.track {
            VIDEO_TRACK => &mut self.video,
            AUDIO_TRACK => &mut self.audio,
            _ => return None,
        };
        // One of each.
        if !slot.samples.is_empty() {
            return None;
        }
        *slot = run;
        self.places.push(places);
        Some(())
    }

    /// The same `moof` at another time, in another file.
    pub fn moved(&self, bytes: &mut [u8], moved: &Moved) {
        bytes[self.sequence_at..self.sequence_at + 4].copy_from_slice(&moved.sequence.to_be_bytes());
        for places in &self.places {
            let (run, by) = match places.track {
                VIDEO_TRACK => (&self.video, moved.video),
                _ => (&self.audio, moved.audio),
            };
            let decode_time = run.decode_time.saturating_add_signed(by);
            bytes[places.decode_time_at..places.decode_time_at + 8].copy_from_slice(&decode_time.to_be_bytes());
        }
    }
}

fn read_trun(mut cursor: Cursor, moof_bytes: usize, mdat_bytes: u64, run: &mut Run) -> Option<()> {
    let (_, flags) = cursor.full()?;
    let always = DATA_OFFSET | DURATION | SIZE;
    if flags & always != always || flags & !(always | FLAGS | COMPOSITION) != 0 {
        return None;
    }
    let samples = cursor.u32()? as usize;
    run.data_at = (cursor.u32()? as usize).checked_sub(moof_bytes + HEADER_BYTES)?;
    let width = 8 + if flags & FLAGS != 0 { 4 } else { 0 } + if flags & COMPOSITION != 0 { 4 } else { 0 };
    if samples.checked_mul(width)? != cursor.0.len() {
        return None;
    }
    run.samples.reserve_exact(samples);
    let mut data_bytes = run.data_at as u64;
    for _ in 0..samples {
        let (duration, bytes) = (cursor.u32()?, cursor.u32()?);
        let key = flags & FLAGS == 0 || cursor.u32()? & 0x0001_0000 == 0;
        let composition = if flags & COMPOSITION != 0 { cursor.u32()? as i32 } else { 0 };
        data_bytes = data_bytes.checked_add(u64::from(bytes))?;
        run.samples.push(Sample { duration, bytes, key, composition });
    }
    (data_bytes <= mdat_bytes).then_some(())
}

impl Run {
    /// When the last sample ends.
    pub fn end(&self) -> u64 {
        let length: u64 = self.samples.iter().map(|sample| u64::from(sample.duration)).sum();
        self.decode_time.saturating_add(length)
    }
}
