//! What the tests of this room share: a camera that is made up, and ways to look at what became of it.

use protocol::camera::{AudioCodec, AudioFormat, Format, Stream, Unit, VideoCodec, VideoFormat};
use protocol::codec::Blob;
use protocol::{CameraId, EventId, Timestamp};

use super::footage::EventMark;

pub const SECOND: i64 = 1_000_000;
/// When the made-up camera begins, on the wall clock.
pub const BEGIN: i64 = 1_790_000_000 * SECOND;

pub fn camera() -> CameraId {
    "yard-1".parse().expect("a name")
}

pub fn format(width: u32) -> Format {
    let config = Blob(vec![1, 0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x4d, 0x40, 0x1f, 1, 0, 2, 0x68, 0xee]);
    Format { video: VideoFormat { codec: VideoCodec::H264, width, height: width * 9 / 16, config }, audio: None }
}

pub fn format_with_sound() -> Format {
    let sound =
        AudioFormat { codec: AudioCodec::Aac, sample_rate: 48_000, channels: 1, config: Blob(vec![0x11, 0x88]) };
    Format { audio: Some(sound), ..format(640) }
}

/// At `us` after the begin.
pub fn at(us: i64) -> Timestamp {
    Timestamp::from_micros(BEGIN + us)
}

pub fn seconds(s: f64) -> Timestamp {
    at((s * SECOND as f64) as i64)
}

/// A made-up stream of pictures: 10 a second, a key frame each two seconds, all of them alike in size.
#[derive(Clone)]
pub struct Pictures {
    /// Of the next one.
    pub n: i64,
    pub every_us: i64,
    pub group: i64,
    pub bytes: usize,
    /// What the wall clock is off by.
    pub clock_us: i64,
}

impl Default for Pictures {
    fn default() -> Self {
        Self { n: 0, every_us: 100_000, group: 20, bytes: 1000, clock_us: 0 }
    }
}

impl Pictures {
    pub fn next(&mut self) -> Unit {
        let pts_us = self.n * self.every_us;
        let key = self.n % self.group == 0;
        self.n += 1;
        picture(pts_us, key, self.bytes, self.clock_us)
    }

    /// Those that come until so long after the begin.
    pub fn until(&mut self, s: f64) -> Vec<Unit> {
        let until = (s * SECOND as f64) as i64;
        let mut units = Vec::new();
        while self.n * self.every_us < until {
            units.push(self.next());
        }
        units
    }
}

/// Its bytes say which it is.
pub fn picture(pts_us: i64, key: bool, bytes: usize, clock_us: i64) -> Unit {
    let mut data = vec![0; bytes.max(16)];
    data[..4].copy_from_slice(&(bytes.max(16) as u32 - 4).to_be_bytes());
    data[4] = if key { 0x65 } else { 0x41 };
    data[8..16].copy_from_slice(&pts_us.to_be_bytes());
    let captured_us = BEGIN + pts_us + clock_us;
    Unit { stream: Stream::Video, key, pts_us, duration_us: 0, captured_us, data: Blob(data) }
}

/// 20 ms of it.
pub fn sound(pts_us: i64) -> Unit {
    let data = Blob(pts_us.to_be_bytes().to_vec());
    let captured_us = BEGIN + pts_us;
    Unit { stream: Stream::Audio, key: true, pts_us, duration_us: 20_000, captured_us, data }
}

pub fn event(id: u128, begin: f64, last_seen: f64, ended: bool) -> EventMark {
    let (begin, last_seen) = (seconds(begin), seconds(last_seen));
    EventMark { event: EventId(id), label: "person".to_owned(), begin, last_seen, ended }
}
