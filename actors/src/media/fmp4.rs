//! Fragmented MP4 (ISO 14496-12, -14, -15): footage files written, finished, read again and cut into clips.
//!
//!   units ──▶ [fragmenter] ──fragments──▶ [take] ──bytes──▶ one file: ftyp moov uuid free │ moof mdat │ moof mdat │ …
//!                                                             on finishing: durations, and sidx in the place of `free`
//!   file ──▶ [scan] ──▶ head and fragments ──▶ [clip]: a range over several takes, as one virtual MP4
//!
//! No I/O of its own: bytes go out as `Vec`s, and come in through `Read + Seek`.
//!
//! Time. A picture's presentation time is kept as it came, in microseconds, and turned into ticks (90 kHz, and the rate
//! of the sound) only by its distance from the take's first picture: no rounding adds up. RTP tells no decoding times,
//! so they are made: the i-th picture in decoding order is decoded when the i-th in order of presentation is shown,
//! and all is shown `shift` later than it says, which an edit list takes back (8.6.6). So no composition offset is
//! negative: with negative ones (version 1 of `trun`) ffmpeg, and Chromium with it, shows pictures too late.

mod boxes;
mod clip;
mod fragment;
mod fragmenter;
mod head;
mod live;
mod moof;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod real;
mod scan;
mod sidx;
mod sound;
mod take;
#[cfg(test)]
mod testing;

pub use clip::{Piece, View, Virtual};
pub use fragment::Fragment;
pub use fragmenter::{Dropped, Fragmenter};
pub use head::{Head, codecs};
pub use live::Live;
pub use moof::Moved;
pub use scan::{Scan, ScanError, scan};
pub use take::{Part, Patch, Take};

use protocol::camera::{AudioCodec, AudioFormat};
use protocol::{EventId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Ticks of pictures a second, which is RTP's own clock: times that came over it come out again to the tick.
pub const VIDEO_RATE: u32 = 90_000;

/// Of one fragment, with its pictures and sound. A fragment that would be larger is cut where it is.
pub const FRAGMENT_BYTES_MAX: usize = 16 << 20;
/// Pictures, and units of sound, of one fragment. A fragment that would have more is cut where it is.
pub const FRAGMENT_SAMPLES_MAX: usize = 2048;
/// `ftyp` to `free`, as read from a file.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// A `moof` with as many samples as a fragment may have is far smaller.
pub const MOOF_BYTES_MAX: usize = 256 << 10;
/// Fragments of one take, as read from a file: a day of one-second fragments. What follows them is as good as torn.
pub const FRAGMENTS_MAX: usize = 86_400;

const VIDEO_TRACK: u32 = 1;
const AUDIO_TRACK: u32 = 2;

/// One file of footage for its whole life; later ones have larger ids. 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TakeId(EventId);

impl TakeId {
    pub fn new(begin: Timestamp) -> Self {
        Self(EventId::new(begin))
    }

    pub fn from_bits(bits: u128) -> Self {
        Self(EventId(bits))
    }

    pub fn bits(self) -> u128 {
        self.0.0
    }
}

impl fmt::Display for TakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TakeId {
    type Err = protocol::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a fragment lies in its file, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentInfo {
    pub offset: u64,
    pub moof_bytes: u32,
    /// `moof` and `mdat`.
    pub bytes: u32,
    /// A player may begin with it: it begins with a key frame, and no picture behind that is shown before it.
    pub key: bool,
    /// Its first picture, and the next fragment's: ticks since the take's first.
    pub begin: u64,
    pub end: u64,
    pub video_samples: u32,
    pub audio_samples: u32,
    /// When its sound ends, in ticks of the sound; 0 if it has none.
    pub audio_end: u64,
}

impl FragmentInfo {
    pub fn begin_after(&self) -> Duration {
        span(self.begin)
    }

    pub fn end_after(&self) -> Duration {
        span(self.end)
    }

    pub fn ends_at(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.bytes))
    }
}

/// Ticks of pictures as time.
fn span(ticks: u64) -> Duration {
    Duration::from_micros(u64::try_from(u128::from(ticks) * 1_000_000 / u128::from(VIDEO_RATE)).unwrap_or(u64::MAX))
}

/// The nearest tick.
fn ticks(us: i64, rate: u32) -> i64 {
    let ticks = (i128::from(us) * i128::from(rate) + 500_000).div_euclid(1_000_000);
    ticks.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Opus counts in 48 kHz whatever was recorded (Opus in ISOBMFF, 4.3.2).
fn audio_rate(audio: &AudioFormat) -> u32 {
    match audio.codec {
        AudioCodec::Aac => audio.sample_rate.max(1),
        AudioCodec::Opus => 48_000,
    }
}
