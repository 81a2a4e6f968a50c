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
use supervision::{Backoff, Failure, Port, PortSpec, ServiceCx};
use tokio::time::Instant;
use tracing::{info, warn};

/// Pauses between tries at a source that fails: under half a second at first, 30 s at most.
const SOURCE_BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), max: Duration::from_secs(30) };
/// A port that lived for so long had a healthy source: the next failure is retried soon again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
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
        let mut failures = 0u32;
        loop {
            let began = Instant::now();
            let ended =
                self.watch_port(&cx).await.inspect_err(|failure| self.coverage.obstacle(failure.to_string()))?;
            match ended {
                End::Stopped => return Ok(()),
                End::Played => {
                    info!(camera = %self.camera, "the file was played to its end");
                    cx.place.note("played to its end");
                    self.coverage.obstacle("the file was played to its end");
                    cx.waits(cx.stop.cancelled()).await;
                    return Ok(());
                }
                End::Source(fault, text) => {
                    failures = if began.elapsed() > HEALTHY_AFTER { 1 } else { failures + 1 };
                    let pause = SOURCE_BACKOFF.pause(failures, 0.5);
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
    async fn watch_port(&self, cx: &ServiceCx) -> Result<End, Failure> {
        // The port has a limit of its own for each of these.
        let mut port = cx.waits(Port::spawn(&self.port, &cx.place)).await?;
        cx.waits(port.send(&codec::encode(&Order::Open(self.source.clone())))).await?;
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
                    info!(camera = %self.camera, codec, width, height, decoder, "stream opened");
                    frames.stream = format!("{width}x{height} {codec} by {decoder}");
                    cx.place.note(frames.stream.clone());
                }
                Report::Frame(frame) => {
                    if protocol::frame::i420_bytes(frame.width, frame.height) != Ok(frame.pixels.0.len()) {
                        return Err(Failure::protocol("camera port: a frame's size and its pixels differ"));
                    }
                    metrics::counter!("watchtree_camera_frames_total", "camera" => self.camera.to_string())
                        .increment(1);
                    if self.slot.put(frame) {
                        metrics::counter!("watchtree_camera_frames_superseded_total", "camera" => self.camera.to_string())
                            .increment(1);
                    }
                    frames.count(cx);
                }
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
