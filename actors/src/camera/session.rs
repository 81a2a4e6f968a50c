//! Session: one camera's port, from its first frame to its last, again and again.
//!
//!   source ──▶ camera port (process) ──reports──▶ [session] ──▶ slot
//!
//! Stops when: the port crashes, hangs or breaks the protocol; its supervisor starts another.
//! A *source* that fails (refused, silent, ended, …) is no fault of ours: the session says so and
//! tries again for ever, soon at first and then at most every 30 s.

use super::coverage::Coverage;
use super::slot::Slot;
use protocol::camera::{Order, Report, Source, SourceFault};
use protocol::{CameraId, codec, limits};
use std::time::Duration;
use supervision::{Backoff, Failure, Port, PortSpec, ServiceCx, jitter};
use tokio::time::Instant;
use tracing::{info, warn};

/// Pauses between tries at a source that fails: under half a second at first, 30 s at most.
const SOURCE_BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), max: Duration::from_secs(30) };
/// A source whose frames flowed for so long was well: its next failure is retried soon again. Frames are what counts:
/// a source without pictures may keep its port busy for long, and is as ill as one that refuses.
const WELL_AFTER: Duration = Duration::from_secs(5);
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What a session needs; the same for every incarnation.
#[derive(Clone)]
pub struct Session {
    pub camera: CameraId,
    pub source: Source,
    pub port: PortSpec,
    pub slot: Slot,
    pub coverage: Coverage,
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

impl Session {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let mut flow = Flow::begin();
            let ended = self.watch_port(&cx, &mut flow).await;
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
                    let pause = tries.failed(flow.lasted(), jitter());
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
    async fn watch_port(&self, cx: &ServiceCx, flow: &mut Flow) -> Result<End, Failure> {
        // The port has a limit of its own for each of these.
        let mut port = cx.waits(Port::spawn(&self.port, &cx.place)).await?;
        cx.waits(port.send(&codec::encode(&Order::Open(Box::new(self.source.clone()))))).await?;
        let mut frames = FrameCount::default();
        loop {
            let data = tokio::select! {
                data = port.recv() => data?,
                () = cx.asked() => continue,
                () = cx.stop.cancelled() => {
                    cx.waits(port.stop(STOP_WITHIN)).await;
                    return Ok(End::Stopped);
                }
            };
            let Some(data) = data else {
                return Err(Failure::protocol("the camera port ended without saying why"));
            };
            let report = codec::decode::<Report, { limits::PORT_MESSAGE_BYTES_MAX }>(&data);
            match report.map_err(|error| Failure::protocol(format!("camera port: {error}")))? {
                Report::Opened { codec, width, height, decoder } => {
                    // Of the size that the port chose.
                    let (codec, decoder) = (limits::short_text(&codec), limits::short_text(&decoder));
                    info!(camera = %self.camera, codec, width, height, decoder, "stream opened");
                    frames.stream = format!("{width}x{height} {codec} by {decoder}");
                    cx.place.note(frames.stream.clone());
                }
                Report::Frame(frame) => {
                    if protocol::frame::i420_bytes(frame.width, frame.height) != Ok(frame.pixels.0.len()) {
                        return Err(Failure::protocol("camera port: a frame's size and its pixels differ"));
                    }
                    if let Some(began) = flow.frame(Instant::now()) {
                        metrics::histogram!("watchtree_camera_first_frame_seconds").record(began.as_secs_f64());
                    }
                    metrics::counter!("watchtree_camera_frames_total", "camera" => self.camera.to_string())
                        .increment(1);
                    if self.slot.put(frame) {
                        metrics::counter!("watchtree_camera_frames_superseded_total", "camera" => self.camera.to_string())
                            .increment(1);
                    }
                    frames.count(cx);
                }
                Report::Format(_) | Report::Unit(_) | Report::Size(_) | Report::Figures(_) => {}
                Report::Failed { fault, text } => {
                    cx.waits(port.stop(STOP_WITHIN)).await;
                    return Ok(End::Source(fault, limits::short_text(&text)));
                }
                Report::Ended => {
                    cx.waits(port.stop(STOP_WITHIN)).await;
                    return Ok(End::Played);
                }
            }
        }
    }
}

/// How often in a row a source failed.
#[derive(Default)]
struct Tries {
    failures: u32,
}

impl Tries {
    /// The pause until the next try, after frames had flowed for so long. `jitter`: cameras that one recorder or switch
    /// has failed together must not dial it again together.
    fn failed(&mut self, flowed: Duration, jitter: f64) -> Duration {
        self.failures = if flowed >= WELL_AFTER { 1 } else { self.failures.saturating_add(1) };
        SOURCE_BACKOFF.pause(self.failures, jitter)
    }
}

/// When frames came, in one life of the port.
struct Flow {
    began: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Flow {
    fn begin() -> Self {
        Self { began: Instant::now(), first: None, last: None }
    }

    /// How long it took, if this is the first.
    fn frame(&mut self, now: Instant) -> Option<Duration> {
        self.last = Some(now);
        self.first.replace(self.first.unwrap_or(now)).is_none().then(|| now - self.began)
    }

    /// From the first to the last.
    fn lasted(&self) -> Duration {
        self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

/// Keeps the tree's note about a camera current without writing it for each frame.
struct FrameCount {
    stream: String,
    frames: u32,
    since: Instant,
}

/// How often the note shows a new frame rate.
const NOTE_EVERY: Duration = Duration::from_secs(5);

impl Default for FrameCount {
    fn default() -> Self {
        Self { stream: String::new(), frames: 0, since: Instant::now() }
    }
}

impl FrameCount {
    fn count(&mut self, cx: &ServiceCx) {
        self.frames += 1;
        let span = self.since.elapsed();
        if span >= NOTE_EVERY {
            cx.place.note(format!("{}, {:.1} frames/s", self.stream, self.frames as f32 / span.as_secs_f32()));
            (self.frames, self.since) = (0, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    /// Pauses in milliseconds after tries in which frames flowed for so long.
    fn check(flowed: &[Duration], jitter: f64, pauses_ms: &[u128]) {
        let mut tries = Tries::default();
        let pauses: Vec<_> = flowed.iter().map(|flowed| tries.failed(*flowed, jitter).as_millis()).collect();
        assert_eq!(pauses, pauses_ms);
    }

    #[test]
    fn a_source_without_frames_is_tried_soon_and_then_more_and_more_rarely() {
        check(&[NEVER; 9], 0.0, &[250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let moment = Duration::from_secs(1);
        check(&[moment, NEVER, moment], 0.0, &[250, 500, 1000]);
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
}
