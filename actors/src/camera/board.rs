//! Board: how each camera of this edge is, for whoever asks; written by who knows, read by `GET /api/v1/cameras`.
//!
//!   session ──opened, closed, gear, figures──▶ ┌───────┐
//!   recorder ──recording─────────────────────▶ │ board │ ──▶ http, telemetry
//!   coverage ──sees, blind, judged───────────▶ └───────┘
//!
//! Nobody who writes waits, and what nobody writes is not shown.

use super::coverage::Coverage;
use protocol::camera::{Figures, Gear};
use protocol::{CameraId, Timestamp, limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rates are of a second at least: of less they jump.
const RATE_OVER: Duration = Duration::from_secs(1);
/// Figures that are older than this say nothing of now.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// All cameras. Cheap to clone.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<CameraId, Status>>>);

/// One camera. Cheap to clone.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Sheet>>);

#[derive(Default)]
struct Sheet {
    disabled: bool,
    gear: Option<Gear>,
    stream: Option<String>,
    decoder: Option<String>,
    recording: Option<String>,
    /// Counters of one life of the port, and when they were told; rates are since the ones before.
    figures: Option<(Instant, Figures)>,
    rates: Rates,
    bytes_per_s: f32,
    bytes: u64,
    lost: u64,
    clock_offset_ms: Option<i64>,
    judged: Option<(Instant, u64)>,
    judged_per_s: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rates {
    /// Access units that came.
    pub units: f32,
    /// Pictures that went into the decoder, came out of it, were handed to the node, and were judged.
    pub decoding: f32,
    pub decoded: f32,
    pub handed: f32,
    pub judged: f32,
}

/// As it is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    pub camera: CameraId,
    /// `sees`, `blind`, `passthrough` or `disabled`.
    pub state: &'static str,
    pub reason: Option<String>,
    pub gear: Option<&'static str>,
    /// `1920x1080 h264`
    pub stream: Option<String>,
    pub decoder: Option<String>,
    pub frames_per_s: Rates,
    pub bytes_per_s: f32,
    /// Since the node's start.
    pub bytes: u64,
    pub packets_lost: u64,
    pub clock_offset_ms: Option<i64>,
    /// `None` before the first time.
    pub last_judged: Option<Timestamp>,
    /// What becomes of its footage, such as `records` or why not.
    pub recording: Option<String>,
}

impl Board {
    /// That of a camera, made if need be.
    pub fn of(&self, camera: &CameraId) -> Status {
        self.lock().entry(camera.clone()).or_default().clone()
    }

    /// It is not configured any more.
    pub fn remove(&self, camera: &CameraId) {
        self.lock().remove(camera);
    }

    /// The cameras by name. `parked`: why nothing works at a camera's place.
    pub fn shown(
        &self,
        coverage: impl Fn(&CameraId) -> Option<Coverage>,
        parked: impl Fn(&CameraId) -> Option<String>,
    ) -> Vec<Shown> {
        let cameras = self.lock().clone();
        cameras.iter().map(|(camera, status)| status.shown(camera, coverage(camera), parked(camera))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CameraId, Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// It is configured, and nothing is started for it.
    pub fn disabled(&self, disabled: bool) {
        self.lock().disabled = disabled;
    }

    /// `stream` such as `1920x1080 h264`.
    pub fn opened(&self, stream: &str, decoder: &str) {
        let mut sheet = self.lock();
        sheet.stream = Some(limits::short_text(stream));
        sheet.decoder = Some(limits::short_text(decoder));
    }

    /// A life of its port began: counters begin anew.
    pub fn began(&self) {
        self.lock().figures = None;
    }

    /// Its port has ended, whatever the reason.
    pub fn closed(&self) {
        let mut sheet = self.lock();
        (sheet.stream, sheet.decoder, sheet.figures) = (None, None, None);
        (sheet.rates, sheet.bytes_per_s) = (Rates::default(), 0.0);
    }

    pub fn gear(&self, gear: Gear) {
        self.lock().gear = Some(gear);
    }

    /// What becomes of its footage.
    pub fn recording(&self, text: &str) {
        self.lock().recording = Some(limits::short_text(text));
    }

    /// Counters since the port's start, about once a second.
    pub fn figures(&self, figures: Figures) {
        self.lock().take(figures, Instant::now());
    }

    pub fn gear_now(&self) -> Option<Gear> {
        self.lock().gear
    }

    fn shown(&self, camera: &CameraId, coverage: Option<Coverage>, parked: Option<String>) -> Shown {
        let mut sheet = self.lock();
        let now = Instant::now();
        let judged_ago = coverage.as_ref().and_then(Coverage::judged_ago);
        let (state, reason) = match coverage {
            _ if sheet.disabled => ("disabled", None),
            None => ("disabled", None),
            Some(coverage) => {
                sheet.judged(coverage.frames(), now);
                match coverage.blind() {
                    Some(reason) => ("blind", Some(parked.unwrap_or(reason))),
                    None if coverage.unwatched() => ("passthrough", None),
                    None => ("sees", None),
                }
            }
        };
        let is_fresh = sheet.figures.is_some_and(|(at, _)| now.saturating_duration_since(at) < STALE_AFTER);
        let (rates, bytes_per_s) = if is_fresh { (sheet.rates, sheet.bytes_per_s) } else { (Rates::default(), 0.0) };
        Shown {
            camera: camera.clone(),
            state,
            reason,
            gear: sheet.gear.map(Gear::as_str),
            stream: sheet.stream.clone(),
            decoder: sheet.decoder.clone(),
            frames_per_s: Rates { judged: sheet.judged_per_s, ..rates },
            bytes_per_s,
            bytes: sheet.bytes,
            packets_lost: sheet.lost,
            clock_offset_ms: sheet.clock_offset_ms,
            last_judged: judged_ago.map(|ago| Timestamp::now().minus(ago)),
            recording: sheet.recording.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sheet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sheet {
    fn take(&mut self, figures: Figures, now: Instant) {
        let Some((at, before)) = self.figures else {
            // A life's counters begin at 0.
            self.bytes = self.bytes.saturating_add(figures.unit_bytes);
            self.lost = self.lost.saturating_add(figures.packets_lost);
            self.figures = Some((now, figures));
            self.clock_offset_ms = figures.clock_offset_ms;
            return;
        };
        let span = now.saturating_duration_since(at);
        if span < RATE_OVER {
            return;
        }
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f32 / span.as_secs_f32();
        self.rates = Rates {
            units: per_s(figures.units, before.units),
            decoding: per_s(figures.decoding, before.decoding),
            decoded: per_s(figures.decoded, before.decoded),
            handed: per_s(figures.handed, before.handed),
            judged: 0.0,
        };
        self.bytes_per_s = per_s(figures.unit_bytes, before.unit_bytes);
        self.bytes = self.bytes.saturating_add(figures.unit_bytes.saturating_sub(before.unit_bytes));
        self.lost = self.lost.saturating_add(figures.packets_lost.saturating_sub(before.packets_lost));
        self.clock_offset_ms = figures.clock_offset_ms;
        self.figures = Some((now, figures));
    }

    /// Frames judged since the node's start; the rate is that since it was asked for before.
    fn judged(&mut self, frames: u64, now: Instant) {
        let Some((at, before)) = self.judged else {
            self.judged = Some((now, frames));
            return;
        };
        let span = now.saturating_duration_since(at);
        if span >= RATE_OVER {
            self.judged_per_s = frames.saturating_sub(before) as f32 / span.as_secs_f32();
            self.judged = Some((now, frames));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CameraId {
        name.parse().expect("a name")
    }

    fn figures(units: u64, bytes: u64) -> Figures {
        Figures { units, unit_bytes: bytes, decoded: units / 2, handed: units / 3, ..Figures::default() }
    }

    #[test]
    fn a_camera_is_shown_as_it_was_written_down() {
        let (board, door) = (Board::default(), Coverage::default());
        let status = board.of(&id("door"));
        status.opened("1920x1080 h264", "avdec_h264");
        status.gear(Gear::Idle { every_ms: 2000 });
        status.recording("records");
        board.of(&id("attic")).disabled(true);
        let coverage = |camera: &CameraId| (camera.as_str() == "door").then(|| door.clone());
        let shown = board.shown(coverage, |_| None);
        let states: Vec<_> = shown.iter().map(|shown| (shown.camera.as_str(), shown.state)).collect();
        assert_eq!(states, [("attic", "disabled"), ("door", "blind")]);
        assert!(shown[1].reason.as_deref().is_some_and(|reason| reason.starts_with("no frame was judged yet")));
        assert_eq!((shown[1].gear, shown[1].decoder.as_deref()), (Some("idle"), Some("avdec_h264")));
        door.judged();
        let parked = |_: &CameraId| Some("parked by ada".to_owned());
        assert_eq!(board.shown(coverage, parked)[1].state, "sees");
        door.set_unwatched(true);
        assert_eq!(board.shown(coverage, |_| None)[1].state, "passthrough");
        status.closed();
        let closed = &board.shown(coverage, |_| None)[1];
        assert_eq!((&closed.stream, closed.recording.as_deref()), (&None, Some("records")));
        board.remove(&id("attic"));
        assert_eq!(board.shown(coverage, |_| None).len(), 1);
    }

    #[test]
    fn rates_are_those_between_two_figures_and_bytes_go_on_over_lives_of_the_port() {
        let mut sheet = Sheet::default();
        let began = Instant::now();
        let after = |s| began + Duration::from_secs(s);
        sheet.take(figures(10, 1000), after(0));
        sheet.take(figures(11, 1100), began + Duration::from_millis(300));
        assert_eq!(sheet.rates, Rates::default(), "too soon to tell");
        sheet.take(figures(40, 7000), after(2));
        assert_eq!((sheet.rates.units, sheet.bytes_per_s, sheet.bytes), (15.0, 3000.0, 7000));
        // The next life counts from 0 again.
        sheet.figures = None;
        sheet.take(figures(5, 500), after(9));
        assert_eq!(sheet.bytes, 7500);
    }
}
