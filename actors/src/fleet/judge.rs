//! Judge: whether a node is healthy, degraded or down, and why. Pure: what is known of it in, a verdict out.
//!
//!   its link, its beats, its newest telemetry ──▶ [judge] ──▶ state, reasons (the most important first)

use protocol::admin::HealthState;
use protocol::telemetry::{BEAT_EVERY, CameraFigures, DOWN_AFTER, TELEMETRY_EVERY, Telemetry};
use protocol::{CameraId, Timestamp};
use std::fmt;
use std::time::Duration;

/// A transport whose packets come at least this often is alive: both sides send keep-alives each second.
const PACKETS_WITHIN: Duration = Duration::from_secs(2);
/// Without beats on a transport that is alive. On a link that loses one packet in twenty, two beats in a row are lost
/// a few times an hour, and three hardly ever.
const BEATS_WITHIN: Duration = Duration::from_secs(3 * BEAT_EVERY.as_secs() + 1);
/// Three messages are missing.
const TELEMETRY_WITHIN: Duration = Duration::from_secs(3 * TELEMETRY_EVERY.as_secs() + 2);

/// Below either of the two a disk is nearly full.
const DISK_FREE_BYTES_MIN: u64 = 1 << 30;
const DISK_FREE_SHARE_MIN: f64 = 0.05;
const MEMORY_SHARE_MAX: f64 = 0.95;
/// A relay that is there acknowledges within a second.
const SPOOL_OLDEST_MAX: Duration = Duration::from_secs(60);
/// Between two clocks that are kept.
pub const SKEW_MAX_MS: i64 = 2000;

const HOUR: Duration = Duration::from_secs(3600);
/// Blind cameras that are named; the others are counted.
const CAMERAS_NAMED_MAX: usize = 4;

/// All that is known of one node.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub link: Link<'a>,
    /// Since a beat or a message of it.
    pub silent: Duration,
    /// Since a packet of it, of any kind.
    pub packets_silent: Duration,
    /// Its newest word on it.
    pub ready: Option<bool>,
    pub telemetry: Option<&'a Telemetry>,
    /// Since its newest telemetry or, before the first, since its link came up.
    pub untold: Duration,
    pub skew_ms: Option<i64>,
    pub wall: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link<'a> {
    /// It is the one that judges.
    Here,
    /// Up, with beats and telemetry.
    Tells,
    /// Up, and nothing else will come: the peer speaks an older version, or tells another node.
    Alone,
    /// It said goodbye.
    Stopped,
    Lost {
        why: &'a str,
    },
}

/// What a state is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Why<'a> {
    Stopped,
    Silent {
        silent: Duration,
        link: Option<&'a str>,
    },
    NotReady,
    Blind {
        camera: &'a CameraId,
        why: Option<&'a str>,
    },
    MoreBlind(usize),
    Spool {
        waiting: u64,
        oldest: Duration,
    },
    Disk {
        free_bytes: u64,
        total_bytes: u64,
    },
    Memory {
        used_bytes: u64,
        total_bytes: u64,
    },
    Skew {
        ms: i64,
    },
    Certificate,
    Untold {
        untold: Duration,
    },
    Note(&'a str),
    /// Of a healthy one.
    LinkAlone,
}

pub fn judge<'a>(case: &Case<'a>) -> (HealthState, Vec<Why<'a>>) {
    if let Some(down) = down(case) {
        return (HealthState::Down, vec![down]);
    }
    let mut whys = Vec::new();
    degraded(case, &mut whys);
    match whys.is_empty() {
        false => (HealthState::Degraded, whys),
        true if case.link == Link::Alone => (HealthState::Healthy, vec![Why::LinkAlone]),
        true => (HealthState::Healthy, whys),
    }
}

fn down<'a>(case: &Case<'a>) -> Option<Why<'a>> {
    let alive = case.packets_silent <= PACKETS_WITHIN;
    let within = if alive { BEATS_WITHIN } else { DOWN_AFTER };
    match case.link {
        Link::Stopped => Some(Why::Stopped),
        Link::Lost { why } => Some(Why::Silent { silent: case.silent, link: Some(why) }),
        Link::Tells if case.silent >= within => Some(Why::Silent { silent: case.silent, link: None }),
        Link::Alone if case.packets_silent >= DOWN_AFTER => {
            Some(Why::Silent { silent: case.packets_silent, link: None })
        }
        Link::Here | Link::Tells | Link::Alone => None,
    }
}

fn degraded<'a>(case: &Case<'a>, whys: &mut Vec<Why<'a>>) {
    if case.ready == Some(false) {
        whys.push(Why::NotReady);
    }
    if case.link != Link::Alone && case.untold >= TELEMETRY_WITHIN {
        whys.push(Why::Untold { untold: case.untold });
    }
    let Some(telemetry) = case.telemetry else { return };
    blind(&telemetry.cameras, whys);
    if let Some(spool) = telemetry.spool {
        let oldest = Duration::from_millis(spool.oldest_ms);
        if oldest > SPOOL_OLDEST_MAX {
            whys.push(Why::Spool { waiting: spool.waiting, oldest });
        }
    }
    let system = &telemetry.system;
    let (free_bytes, total_bytes) = (system.disk_free_bytes, system.disk_total_bytes);
    let least = (total_bytes as f64 * DISK_FREE_SHARE_MIN).max(DISK_FREE_BYTES_MIN as f64);
    // A total of nothing was not read.
    if total_bytes > 0 && (free_bytes as f64) < least {
        whys.push(Why::Disk { free_bytes, total_bytes });
    }
    let (used_bytes, total_bytes) = (system.memory_used_bytes, system.memory_total_bytes);
    if total_bytes > 0 && used_bytes as f64 > total_bytes as f64 * MEMORY_SHARE_MAX {
        whys.push(Why::Memory { used_bytes, total_bytes });
    }
    if let Some(ms) = case.skew_ms.filter(|ms| ms.unsigned_abs() > SKEW_MAX_MS.unsigned_abs()) {
        whys.push(Why::Skew { ms });
    }
    // That it ends soon is among its notes: the node knows how long its certificates live, and why it has no new one.
    if telemetry.certificate_until.is_some_and(|until| until <= case.wall) {
        whys.push(Why::Certificate);
    }
    whys.extend(telemetry.notes.iter().map(|note| Why::Note(note)));
}

fn blind<'a>(cameras: &'a [CameraFigures], whys: &mut Vec<Why<'a>>) {
    let all = cameras.iter().filter(|camera| !camera.on_line);
    let more = all.clone().count().saturating_sub(CAMERAS_NAMED_MAX);
    let named = all.take(CAMERAS_NAMED_MAX);
    whys.extend(named.map(|camera| Why::Blind { camera: &camera.camera, why: camera.why.as_deref() }));
    if more > 0 {
        whys.push(Why::MoreBlind(more));
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "it stopped in good order"),
            Self::Silent { silent, link: None } => write!(f, "nothing was heard of it for {}", span(*silent)),
            Self::Silent { silent, link: Some(why) } => {
                write!(f, "nothing was heard of it for {}; its link ended: {why}", span(*silent))
            }
            Self::NotReady => write!(f, "it is not ready"),
            Self::Blind { camera, why: Some(why) } => write!(f, "camera {camera} is blind: {why}"),
            Self::Blind { camera, why: None } => write!(f, "camera {camera} is blind"),
            Self::MoreBlind(more) => write!(f, "{more} more cameras are blind"),
            Self::Spool { waiting, oldest } => {
                write!(f, "{waiting} entries wait for the relay, the oldest for {}", span(*oldest))
            }
            Self::Disk { free_bytes, total_bytes } => {
                write!(f, "its disk has {} MiB free of {} MiB; make room there", free_bytes >> 20, total_bytes >> 20)
            }
            Self::Memory { used_bytes, total_bytes } => {
                write!(f, "its memory is nearly full: {} MiB of {} MiB", used_bytes >> 20, total_bytes >> 20)
            }
            Self::Skew { ms } => {
                let way = if *ms > 0 { "ahead of" } else { "behind" };
                write!(f, "its clock is {:.1} s {way} the relay's; see to its time service", ms.abs() as f64 / 1e3)
            }
            Self::Certificate => write!(f, "its certificate has ended; enrol it again"),
            Self::Untold { untold } => write!(f, "it has told nothing of itself for {}", span(*untold)),
            Self::Note(note) => write!(f, "{note}"),
            Self::LinkAlone => write!(f, "it tells this node nothing of itself: judged by its link alone"),
        }
    }
}

/// `7 s`, `3 min`, `5 h`, `2 days`.
fn span(span: Duration) -> String {
    match span.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * HOUR.as_secs() => format!("{} min", s / 60),
        s if s < 48 * HOUR.as_secs() => format!("{} h", s / HOUR.as_secs()),
        s => format!("{} days", s / (24 * HOUR.as_secs())),
    }
}

#[cfg(test)]
mod tests;
