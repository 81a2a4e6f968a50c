//! `[record]`, `[retain]` and `[snapshots]`: what is kept of a camera's pictures, where, and for how long.

use std::path::PathBuf;
use std::time::Duration;

/// `[record]`; a camera may choose its own `mode`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `None`: `recordings` in the data directory.
    pub dir: Option<PathBuf>,
    pub mode: RecordMode,
    /// Of an event's clip, before its begin and after its end.
    pub pre_roll: Duration,
    pub post_roll: Duration,
    /// One file of footage is no longer; what goes on is continued in the next, without a gap.
    pub segment: Duration,
    /// Footage of one camera kept in memory, for pre-roll and for a disk that is slow. When full, the oldest group of
    /// pictures is forgotten, and counted if it was to be recorded.
    pub ring_mib: u32,
    /// Sound too, where MP4 has a place for it.
    pub audio: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordMode {
    Off,
    /// A clip of each event.
    Events,
    /// And all in which something moved.
    Motion,
    /// Everything.
    All,
}

/// `[retain]`: what goes first is the oldest of the lowest class.
#[derive(Debug, Clone, PartialEq)]
pub struct Retain {
    pub continuous: Duration,
    pub motion: Duration,
    pub events: Duration,
    /// Of all recordings together; `None`: as much as the disk has.
    pub bytes_max: Option<u64>,
    /// Of the disk; recording stops rather than leave less free.
    pub free_bytes_min: u64,
}

/// `[snapshots]`
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshots {
    pub enabled: bool,
    /// JPEG's, 1 to 100.
    pub quality: u8,
    /// The box is drawn into the whole picture. Crop and thumbnail never have one.
    pub draw_box: bool,
    pub thumbnail_width_px: u32,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Record {
    fn default() -> Self {
        Self {
            dir: None,
            mode: RecordMode::Events,
            pre_roll: Duration::from_secs(5),
            post_roll: Duration::from_secs(5),
            segment: Duration::from_secs(60),
            ring_mib: 32,
            audio: true,
        }
    }
}

impl Default for Retain {
    fn default() -> Self {
        Self { continuous: DAY * 3, motion: DAY * 7, events: DAY * 30, bytes_max: None, free_bytes_min: 2 << 30 }
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { enabled: true, quality: 85, draw_box: false, thumbnail_width_px: 320 }
    }
}
