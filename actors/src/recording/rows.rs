//! What is known of a take and of a clip, and where their files are.
//!
//!   <root>/2026-11-20/front-door/<take: 32 hex>.mp4
//!                                <event: 32 hex>.json, .jpg, -crop.jpg, -thumb.jpg

pub use crate::media::fmp4::TakeId;
use protocol::camera::{AudioCodec, Format, VideoCodec};
use protocol::{CameraId, EventId, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// What footage is kept for: the highest that overlaps it. What goes first is the oldest of the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Continuous,
    Motion,
    Events,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Continuous, Self::Motion, Self::Events];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continuous => "continuous",
            Self::Motion => "motion",
            Self::Events => "events",
        }
    }

    /// As a file says it.
    pub(super) fn kind(self) -> u8 {
        self as u8
    }

    pub(super) fn of_kind(kind: u8) -> Self {
        Self::ALL.into_iter().find(|class| class.kind() == kind).unwrap_or(Self::Continuous)
    }
}

/// What the index knows of a file of footage; its file knows it too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TakeRow {
    pub id: TakeId,
    pub camera: CameraId,
    pub begin: Timestamp,
    pub end: Timestamp,
    pub bytes: u64,
    pub class: Class,
    /// Of the finished file, in hexadecimal.
    pub sha256: Option<String>,
    pub format: TakeFormat,
}

impl TakeRow {
    pub fn is_finished(&self) -> bool {
        self.sha256.is_some()
    }

    /// Below the root of all recordings.
    pub fn path(&self) -> PathBuf {
        folder(&self.camera, self.begin).join(format!("{}.mp4", self.id))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeFormat {
    pub video: VideoCodec,
    pub width: u32,
    pub height: u32,
    pub audio: Option<AudioCodec>,
}

impl From<&Format> for TakeFormat {
    fn from(Format { video, audio }: &Format) -> Self {
        Self { video: video.codec, width: video.width, height: video.height, audio: audio.as_ref().map(|a| a.codec) }
    }
}

/// The footage of one event: what its takes hold of it. `<event>.json` is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipRow {
    pub event: EventId,
    pub camera: CameraId,
    pub label: String,
    /// The event's.
    pub begin: Timestamp,
    pub end: Timestamp,
    /// The clip's: from before the begin until after the end.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Oldest first.
    pub takes: Vec<TakeId>,
    /// More may come.
    pub goes_on: bool,
}

impl ClipRow {
    pub fn path(&self) -> PathBuf {
        event_file(&self.camera, self.event, self.begin, ".json")
    }
}

/// Before all takes that begin at `at`, to the millisecond: a take's id begins with its begin.
pub fn first_at(at: Timestamp) -> TakeId {
    /// An id has 48 bits for them.
    const MILLIS_MAX: i64 = 0xffff_ffff_ffff;
    TakeId::from_bits(((at.micros() / 1000).clamp(0, MILLIS_MAX) as u128) << 80)
}

/// What ends the names of an event's pictures, beside its clip.
pub const SNAPSHOTS: [&str; 3] = [".jpg", "-crop.jpg", "-thumb.jpg"];

/// Where a file of an event lies, below the root of all recordings: with its camera's, on the day on which it began.
pub fn event_file(camera: &CameraId, event: EventId, begin: Timestamp, ending: &str) -> PathBuf {
    folder(camera, begin).join(format!("{event}{ending}"))
}

/// Of a camera and a day (UTC), below the root of all recordings.
pub fn folder(camera: &CameraId, at: Timestamp) -> PathBuf {
    Path::new(&day(at)).join(camera.as_str())
}

/// `2026-11-20`, in UTC.
pub fn day(at: Timestamp) -> String {
    let utc = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.micros()) * 1000);
    let date = utc.unwrap_or(OffsetDateTime::UNIX_EPOCH).date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_by_day_and_camera() {
        let camera: CameraId = "front-door".parse().expect("a name");
        let at: Timestamp = "2026-11-20T23:59:59.5Z".parse().expect("a time");
        assert_eq!(folder(&camera, at).display().to_string(), "2026-11-20/front-door");
        let crop = event_file(&camera, EventId(7), at, SNAPSHOTS[1]);
        assert_eq!(crop.display().to_string(), format!("2026-11-20/front-door/{:032x}-crop.jpg", 7));
    }
}
