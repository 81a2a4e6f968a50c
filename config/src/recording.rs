//! `[record]`, `[retain]` and `[snapshots]`: what is kept of a camera's pictures, where, and for how long.

use crate::reader::Section;
use serde::Deserialize;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// Less than a second is no retention; a hundred years are for ever.
const DAYS: std::ops::RangeInclusive<f32> = 0.00002..=36_500.0;

pub(crate) fn record(root: &mut Section) -> Record {
    let mut s = root.section("record");
    let default = Record::default();
    Record {
        dir: s.path("dir", "name a directory, or remove it for recordings in node.data_dir"),
        mode: s.choice("mode").unwrap_or(default.mode),
        pre_roll: s.seconds("pre_roll_s", default.pre_roll, 0..=300),
        post_roll: s.seconds("post_roll_s", default.post_roll, 0..=300),
        segment: s.seconds("segment_s", default.segment, 1..=3600),
        ring_mib: s.int("ring_mib", 1..=4096, "").unwrap_or(default.ring_mib),
        audio: s.flag("audio").unwrap_or(default.audio),
    }
}

/// What is kept longer by default is never kept shorter than what is said of a lower class.
pub(crate) fn retain(root: &mut Section) -> Retain {
    let mut s = root.section("retain");
    let default = Retain::default();
    let days = |s: &mut Section, key| s.number(key, DAYS).map(|days| DAY.mul_f64(f64::from(days)));
    let continuous = days(&mut s, "continuous_days").unwrap_or(default.continuous);
    let motion = days(&mut s, "motion_days");
    let events = days(&mut s, "events_days");
    let (motion, events) = (longer(&s, "motion_days", motion, default.motion, "continuous_days", continuous), events);
    let events = longer(&s, "events_days", events, default.events, "motion_days", motion);
    let gib = s.number("size_max_gib", 0.01..=4_194_304.0);
    let bytes_max = gib.map(|gib| (f64::from(gib) * f64::from(1 << 30)) as u64);
    let free_mib = s.int("free_min_mib", 0..=1_073_741_824, "").map(|mib: u64| mib << 20);
    Retain { continuous, motion, events, bytes_max, free_bytes_min: free_mib.unwrap_or(default.free_bytes_min) }
}

fn longer(
    s: &Section,
    key: &str,
    said: Option<Duration>,
    default: Duration,
    lower_key: &str,
    lower: Duration,
) -> Duration {
    let Some(said) = said else { return default.max(lower) };
    if said < lower {
        let in_days = |span: Duration| (span.as_secs_f64() / DAY.as_secs_f64() * 1e4).round() / 1e4;
        let (least, said) = (in_days(lower), in_days(said));
        s.fault(key, &said.to_string(), &format!("use {least} or more: {lower_key} is {least}, and is of less worth"));
    }
    said
}

pub(crate) fn snapshots(root: &mut Section) -> Snapshots {
    let mut s = root.section("snapshots");
    let default = Snapshots::default();
    Snapshots {
        enabled: s.flag("enabled").unwrap_or(default.enabled),
        quality: s.int("quality", 1..=100, "").unwrap_or(default.quality),
        draw_box: s.flag("draw_box").unwrap_or(default.draw_box),
        thumbnail_width_px: s.int("thumbnail_width_px", 32..=1280, "").unwrap_or(default.thumbnail_width_px),
    }
}
