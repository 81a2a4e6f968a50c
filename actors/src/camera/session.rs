//! Session: one camera's port, from its first frame to its last, again and again.
//!
//!   source ──▶ camera port (process) ──reports──▶ [session] ──frames──▶ slot
//!                         ▲                        │  │ └────units──▶ footage
//!                         └────gear──── gearbox ◀──┘ sizes
//!
//! Stops when: the port crashes, hangs or breaks the protocol; its supervisor starts another.
//! A *source* that fails (refused, silent, ended, …) is no fault of ours: the session says so and
//! tries again for ever, soon at first and then at most every 30 s.

mod checks;
mod pulse;

use super::board::Status;
use super::coverage::Coverage;
use super::gears::{Gearbox, Said, Why};
use super::slot::Slot;
use crate::recording::Footage;
use checks::Course;
use protocol::camera::{
    Figures, Format, Frame, Gear, Order, Report, Reports, Source, SourceFault, Stream, Unit, UnitSize,
};
use protocol::{CameraId, codec, limits};
use pulse::Pulse;
use std::time::Duration;
use supervision::{Backoff, Failure, Port, PortSpec, ServiceCx, jitter};
use tokio::time::Instant;
use tracing::{info, warn};

/// Pauses between tries at a source that fails: under half a second at first, 30 s at most.
const SOURCE_BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), max: Duration::from_secs(30) };
/// A source whose pictures flowed for so long was well: its next failure is retried soon again. Pictures are what counts:
/// a source without them may keep its port busy for long, and is as ill as one that refuses.
const WELL_AFTER: Duration = Duration::from_secs(5);
/// Where nobody listens, the port waits, and not the session.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What a session needs; the same for every incarnation.
#[derive(Clone)]
pub struct Session {
    pub camera: CameraId,
    pub source: Source,
    pub port: PortSpec,
    pub slot: Slot,
    pub coverage: Coverage,
    pub gears: Gearbox,
    pub footage: Footage,
    /// Where people see how it is.
    pub status: Status,
}

/// How one life of the port ended, if not in failure.
enum End {
    /// The source failed; try again.
    Source(SourceFault, String),
    /// A file was played to its end; there is no more.
    Played,
    /// The node stops.
    Stopped,
}

/// One life of the port.
struct Life<'a> {
    session: &'a Session,
    flow: &'a mut Flow,
    course: Course,
    /// As last told, to count what was added.
    figures: Figures,
    pulse: Pulse,
}

impl Session {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let mut flow = Flow::begin();
            let ended = self.watch_port(&cx, &mut flow, tries.knock).await;
            match ended.inspect_err(|failure| self.coverage.obstacle(failure.to_string()))? {
                End::Stopped => return Ok(()),
                End::Played => {
                    info!(camera = %self.camera, "the file was played to its end");
                    cx.place.note("played to its end");
                    self.coverage.obstacle("the file was played to its end");
                    cx.waits(cx.stop.cancelled()).await;
                    return Ok(());
                }
                End::Source(fault, text) => {
                    let pause = tries.failed(fault, flow.lasted(), jitter());
                    self.tell(&cx, fault, &text, pause);
                    tokio::select! {
                        () = cx.waits(tokio::time::sleep(pause)) => {}
                        () = cx.stop.cancelled() => return Ok(()),
                    }
                }
            }
        }
    }

    fn tell(&self, cx: &ServiceCx, fault: SourceFault, text: &str, pause: Duration) {
        let fault = fault.as_str();
        let camera = self.camera.to_string();
        metrics::counter!("watchtree_camera_source_failures_total", "camera" => camera, "reason" => fault).increment(1);
        warn!(camera = %self.camera, fault, ?pause, "source failed: {text}");
        cx.place.note(format!("{fault}: {text}"));
        self.coverage.obstacle(format!("{fault}: {text}"));
    }

    /// One life of the port.
    async fn watch_port(&self, cx: &ServiceCx, flow: &mut Flow, knock: Duration) -> Result<End, Failure> {
        // The port has a limit of its own for each of these.
        let mut port = cx.waits(Port::spawn(&self.port, &cx.place)).await?;
        self.gears.opened();
        self.count_wake();
        let mut gears = self.gears.follow();
        let knock_ms = u32::try_from(knock.as_millis()).unwrap_or(u32::MAX);
        let source = Source { gear: *gears.borrow_and_update(), knock_ms, ..self.source.clone() };
        self.coverage.set_unwatched(source.gear == Gear::Passthrough);
        self.status.began();
        self.status.gear(source.gear);
        let _ended = Ended(self);
        let pulse = Pulse::new(&self.camera, source.gear);
        cx.waits(port.send(&codec::encode(&Order::Open(Box::new(source))))).await?;
        let mut life = Life { session: self, flow, course: Course::default(), figures: Figures::default(), pulse };
        let mut reports = Reports::default();
        loop {
            let data = tokio::select! {
                data = port.recv() => data?,
                Ok(()) = gears.changed() => {
                    let gear = *gears.borrow_and_update();
                    let why = self.count_wake();
                    // The frame that shows motion is put aside: it comes again, behind what led to it.
                    let rewind = matches!(why, Some(Why::Motion | Why::Light));
                    cx.waits(port.send(&codec::encode(&Order::Gear { gear, rewind }))).await?;
                    life.shifted(gear, cx);
                    continue;
                }
                () = cx.asked() => continue,
                () = cx.stop.cancelled() => {
                    cx.waits(port.stop(STOP_WITHIN)).await;
                    return Ok(End::Stopped);
                }
            };
            let Some(data) = data else {
                return Err(Failure::protocol("the camera port ended without saying why"));
            };
            let report = reports.hear(data).map_err(|error| broke(error.to_string()))?;
            let Some(report) = report else { continue };
            if let Some(end) = life.report(report, cx).map_err(broke)? {
                cx.waits(port.stop(STOP_WITHIN)).await;
                return Ok(end);
            }
        }
    }

    /// Why it was woken, if it was.
    fn count_wake(&self) -> Option<Why> {
        let why = self.gears.woken();
        if let Some(why) = why {
            let camera = self.camera.to_string();
            metrics::counter!("watchtree_camera_wakes_total", "camera" => camera, "reason" => why.as_str())
                .increment(1);
        }
        why
    }

    /// Sizes are of the stream that is decoded: the units' own, unless there is another.
    fn sizes_are_told(&self) -> bool {
        self.source.detect.is_some() || !self.source.units
    }
}

fn broke(why: String) -> Failure {
    Failure::protocol(format!("camera port: {why}"))
}

/// Whatever ends a life of the port, a panic included: nothing continues it.
struct Ended<'a>(&'a Session);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.footage.cut();
        self.0.coverage.source_ended();
        self.0.status.closed();
    }
}

impl Life<'_> {
    /// How it ended, if it did; or how the port broke the protocol.
    fn report(&mut self, report: Report, cx: &ServiceCx) -> Result<Option<End>, String> {
        match report {
            Report::Opened { codec, width, height, decoder } => {
                let (codec, decoder) = (limits::short_text(&codec), limits::short_text(&decoder));
                info!(camera = %self.session.camera, codec, width, height, decoder, "stream opened");
                self.session.status.opened(&format!("{width}x{height} {codec}"), &decoder);
                self.pulse.opened(format!("{width}x{height} {codec} by {decoder}"), decoder);
                cx.place.note(self.pulse.note());
            }
            Report::Frame(frame) => self.frame(frame, cx)?,
            Report::Format(format) => self.format(format)?,
            Report::Unit(unit) => self.unit(unit, cx)?,
            Report::Size(size) => self.size(size, cx),
            Report::Figures(figures) => self.figures(figures),
            Report::Failed { fault, text } => return Ok(Some(End::Source(fault, limits::short_text(&text)))),
            Report::Ended => return Ok(Some(End::Played)),
        }
        Ok(None)
    }

    fn frame(&mut self, frame: Frame, cx: &ServiceCx) -> Result<(), String> {
        if protocol::frame::i420_bytes(frame.width, frame.height) != Ok(frame.pixels.0.len()) {
            return Err("a frame's size and its pixels differ".to_owned());
        }
        if let Some(began) = self.flow.frame(Instant::now()) {
            metrics::histogram!("watchtree_camera_first_frame_seconds").record(began.as_secs_f64());
        }
        let replayed = frame.replayed;
        let lost = self.session.slot.put(frame);
        metrics::counter!("watchtree_camera_frames_total", "camera" => self.camera()).increment(1);
        if replayed {
            metrics::counter!("watchtree_camera_replayed_total", "camera" => self.camera()).increment(1);
        }
        if lost.superseded > 0 {
            let superseded = u64::from(lost.superseded);
            metrics::counter!("watchtree_camera_frames_superseded_total", "camera" => self.camera())
                .increment(superseded);
        }
        if lost.replayed > 0 {
            metrics::counter!("watchtree_camera_replayed_dropped_total", "camera" => self.camera())
                .increment(u64::from(lost.replayed));
        }
        self.pulse.frame(cx);
        Ok(())
    }

    fn format(&mut self, format: Format) -> Result<(), String> {
        self.course.format(&format)?;
        self.session.footage.format(format);
        Ok(())
    }

    fn unit(&mut self, unit: Unit, cx: &ServiceCx) -> Result<(), String> {
        if let Some(format) = self.course.unit(&unit)? {
            warn!(camera = %self.session.camera, pts_us = unit.pts_us, "the stream's time jumped: recording begins anew");
            self.session.footage.cut();
            self.session.footage.format(format.clone());
        }
        if unit.stream == Stream::Video {
            self.pulse.unit(cx);
            if !self.session.sizes_are_told() {
                self.picture(unit.key, u32::try_from(unit.data.0.len()).unwrap_or(u32::MAX));
            } else if self.pulse.gear() == Gear::Passthrough {
                self.picture(unit.key, 0);
            }
        }
        self.session.footage.unit(unit);
        Ok(())
    }

    fn size(&mut self, size: UnitSize, cx: &ServiceCx) {
        if self.session.sizes_are_told() {
            if !self.session.source.units {
                self.pulse.unit(cx);
            }
            self.picture(size.key, size.bytes);
        }
    }

    /// A picture came, decoded or not. That it did, and what its size says, is all that is known of most.
    fn picture(&mut self, key: bool, bytes: u32) {
        let said = self.session.gears.unit(key, bytes);
        let still = match self.pulse.gear() {
            Gear::Passthrough => true,
            Gear::Idle { .. } => said == Said::Usual,
            Gear::Awake => return,
        };
        self.flow.picture(Instant::now());
        if still {
            self.session.coverage.still();
            metrics::counter!("watchtree_camera_judged_total", "camera" => self.camera(), "by" => "size")
                .increment(u64::from(said == Said::Usual));
        }
    }

    fn shifted(&mut self, gear: Gear, cx: &ServiceCx) {
        self.pulse.shifted(gear);
        self.session.status.gear(gear);
        cx.place.note(self.pulse.note());
    }

    /// The port counts from its own start.
    fn figures(&mut self, now: Figures) {
        self.session.status.figures(now);
        let was = std::mem::replace(&mut self.figures, now);
        let stages = [
            ("decoding", now.decoding, was.decoding),
            ("decoded", now.decoded, was.decoded),
            ("handed", now.handed, was.handed),
        ];
        for (stage, now, was) in stages {
            metrics::counter!("watchtree_camera_stage_frames_total", "camera" => self.camera(), "stage" => stage)
                .increment(now.saturating_sub(was));
        }
        metrics::counter!("watchtree_camera_units_total", "camera" => self.camera())
            .increment(now.units.saturating_sub(was.units));
        metrics::counter!("watchtree_camera_unit_bytes_total", "camera" => self.camera())
            .increment(now.unit_bytes.saturating_sub(was.unit_bytes));
        metrics::counter!("watchtree_camera_packets_lost_total", "camera" => self.camera())
            .increment(now.packets_lost.saturating_sub(was.packets_lost));
        if let Some(offset_ms) = now.clock_offset_ms {
            metrics::gauge!("watchtree_camera_clock_offset_seconds", "camera" => self.camera())
                .set(offset_ms as f64 / 1000.0);
        }
    }

    fn camera(&self) -> String {
        self.session.camera.to_string()
    }
}

/// How often in a row a source failed.
#[derive(Default)]
struct Tries {
    failures: u32,
    /// Nobody listened: the next port waits at the door for so long, in place of the pause.
    knock: Duration,
}

impl Tries {
    /// The pause until the next try, after pictures had flowed for so long. `jitter`: cameras that one recorder or switch
    /// has failed together must not dial it again together.
    fn failed(&mut self, fault: SourceFault, flowed: Duration, jitter: f64) -> Duration {
        let is_refused = fault == SourceFault::Refused;
        // What is wrong now is something else than before.
        let anew = flowed >= WELL_AFTER || (!is_refused && self.knock > Duration::ZERO);
        self.failures = if anew { 1 } else { self.failures.saturating_add(1) };
        let pause = SOURCE_BACKOFF.pause(self.failures, jitter);
        self.knock = if is_refused { pause } else { Duration::ZERO };
        if is_refused { REFUSED_PAUSE } else { pause }
    }
}

/// When pictures came, in one life of the port.
struct Flow {
    began: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    has_frame: bool,
}

impl Flow {
    fn begin() -> Self {
        Self { began: Instant::now(), first: None, last: None, has_frame: false }
    }

    /// One that need not be decoded.
    fn picture(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// One that was; how long it took, if this is the first.
    fn frame(&mut self, now: Instant) -> Option<Duration> {
        self.picture(now);
        (!std::mem::replace(&mut self.has_frame, true)).then(|| now - self.began)
    }

    /// From the first to the last.
    fn lasted(&self) -> Duration {
        self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    /// Pauses in milliseconds after tries in which frames flowed for so long.
    fn check(flowed: &[Duration], jitter: f64, pauses_ms: &[u128]) {
        let mut tries = Tries::default();
        let pauses: Vec<_> =
            flowed.iter().map(|flowed| tries.failed(SourceFault::Silent, *flowed, jitter).as_millis()).collect();
        assert_eq!(pauses, pauses_ms);
    }

    #[test]
    fn a_source_without_frames_is_tried_soon_and_then_more_and_more_rarely() {
        check(&[NEVER; 9], 0.0, &[250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let moment = Duration::from_secs(1);
        check(&[moment, NEVER, moment], 0.0, &[250, 500, 1000]);
    }

    #[test]
    fn where_nobody_listens_the_port_knocks_longer_and_longer_and_another_fault_begins_anew() {
        let mut tries = Tries::default();
        let mut failed = |fault| {
            let pause = tries.failed(fault, NEVER, 0.0).as_millis();
            (pause, tries.knock.as_millis())
        };
        assert_eq!(failed(SourceFault::Ended), (250, 0));
        assert_eq!([500, 1000, 2000].map(|_| failed(SourceFault::Refused)), [(50, 500), (50, 1000), (50, 2000)]);
        assert_eq!(failed(SourceFault::NotFound), (250, 0), "it is there, and not ready yet");
        assert_eq!(failed(SourceFault::NotFound), (500, 0));
    }

    #[test]
    fn a_source_that_was_well_is_tried_soon_again_however_often_it_fails() {
        check(&[Duration::from_secs(9); 20], 0.0, &[250; 20]);
        check(&[NEVER, NEVER, NEVER, WELL_AFTER, NEVER], 0.0, &[250, 500, 1000, 250, 500]);
    }

    #[test]
    fn cameras_that_failed_together_come_back_apart() {
        check(&[NEVER; 8], 1.0, &[187, 375, 750, 1500, 3000, 6000, 12_000, 22_500]);
    }

    #[test]
    fn a_flow_lasts_from_its_first_frame_to_its_last() {
        let mut flow = Flow::begin();
        assert_eq!(flow.lasted(), NEVER, "a port that lives for long without a frame");
        let after = |s| flow.began + Duration::from_secs(s);
        let (at_3, at_5, at_9) = (after(3), after(5), after(9));
        assert_eq!(flow.frame(at_3), Some(Duration::from_secs(3)));
        assert_eq!(flow.lasted(), NEVER);
        assert_eq!([flow.frame(at_5), flow.frame(at_9)], [None, None]);
        assert_eq!(flow.lasted(), Duration::from_secs(6));
    }

    #[test]
    fn pictures_that_are_not_decoded_flow_too() {
        let mut flow = Flow::begin();
        let after = |s| flow.began + Duration::from_secs(s);
        let (at_1, at_8, at_9) = (after(1), after(8), after(9));
        flow.picture(at_1);
        flow.picture(at_8);
        assert_eq!(flow.lasted(), Duration::from_secs(7));
        assert_eq!(flow.frame(at_9), Some(Duration::from_secs(9)), "it is the first that can be looked at");
    }
}
