//! `[supervision]`, the same on every node: when a failed part is parked, what counts as a hang, what a port may use.

use crate::reader::Section;
use std::ops::RangeInclusive;
use std::time::Duration;

/// `[supervision]`
#[derive(Debug, Clone, PartialEq)]
pub struct Supervision {
    /// Restarts of one part within `restarts_within`. At one more it is parked, or its supervisor fails with it.
    /// 0: at its first failure.
    pub restarts_max: u32,
    pub restarts_within: Duration,
    /// An actor or port that does not answer for so long hangs, and is replaced.
    pub hang: Duration,
    /// The same for what writes to disk, which may be slow without being stuck. Never less than `hang`.
    pub store_hang: Duration,
    /// A parked part is tried again after this; each time that it fails again, after twice as long.
    pub resume_after: Duration,
    /// The longest of those pauses. Never less than `resume_after`.
    pub resume_after_max: Duration,
    /// Memory of one port process. One that uses more is restarted (`oom`).
    pub port_memory_mib: u32,
    /// Operators may inject faults, for drills: `watchtree inject`.
    pub allow_faults: bool,
}

/// More restarts than this would be a storm of its own.
const RESTARTS_MAX: RangeInclusive<u64> = 0..=1000;

/// A budget over more than a day says nothing about now.
const WITHIN_S: RangeInclusive<u64> = 1..=86_400;

/// Sooner, a busy machine looks like a hang; later, nobody is helped.
const HANG_MS: RangeInclusive<u64> = 200..=60_000;

/// A disk that takes ten minutes is broken.
const STORE_HANG_MS: RangeInclusive<u64> = 200..=600_000;

/// Within a week, or by hand.
const RESUME_S: RangeInclusive<u64> = 1..=604_800;

/// A decoder needs some 60 MiB; no machine that runs a port has more than 1 TiB.
const PORT_MEMORY_MIB: RangeInclusive<u64> = 64..=1_048_576;

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            restarts_within: Duration::from_secs(60),
            hang: Duration::from_secs(2),
            store_hang: Duration::from_secs(10),
            resume_after: Duration::from_secs(60),
            resume_after_max: Duration::from_secs(1800),
            port_memory_mib: 1024,
            allow_faults: false,
        }
    }
}

impl Supervision {
    pub fn port_memory_bytes(&self) -> u64 {
        u64::from(self.port_memory_mib) * 1024 * 1024
    }
}

pub(crate) fn read(root: &mut Section) -> Supervision {
    let mut s = root.section("supervision");
    let default = Supervision::default();
    let read = Supervision {
        restarts_max: s.int("restarts_max", RESTARTS_MAX, "").unwrap_or(default.restarts_max),
        restarts_within: s.seconds("restarts_within_s", default.restarts_within, WITHIN_S),
        hang: s.millis("hang_ms", default.hang.as_millis() as u64, HANG_MS),
        store_hang: s.millis("store_hang_ms", default.store_hang.as_millis() as u64, STORE_HANG_MS),
        resume_after: s.seconds("resume_after_s", default.resume_after, RESUME_S),
        resume_after_max: s.seconds("resume_after_max_s", default.resume_after_max, RESUME_S),
        port_memory_mib: s.int("port_memory_mib", PORT_MEMORY_MIB, "").unwrap_or(default.port_memory_mib),
        allow_faults: s.flag("allow_faults").unwrap_or(default.allow_faults),
    };
    let (hang, store_hang) = (read.hang.as_millis(), read.store_hang.as_millis());
    if store_hang < hang {
        s.fault("store_hang_ms", &store_hang.to_string(), &format!("use {hang} or more: hang_ms is {hang}"));
    }
    let (after, max) = (read.resume_after.as_secs(), read.resume_after_max.as_secs());
    if max < after {
        s.fault("resume_after_max_s", &max.to_string(), &format!("use {after} or more: resume_after_s is {after}"));
    }
    read
}
