//! A node of one camera, footage for it to watch, and what it hears.

use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::camera::{Allow, Figures, Frame, Gear, Order, Report, Reports, Source, SourceFault, Unit};
use protocol::codec::encode;
use protocol::limits::PORT_MESSAGE_BYTES_MAX;
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervision::{Failure, Place, Port, PortSpec};

const PROGRAM: &str = env!("CARGO_BIN_EXE_watchtree-camera-port");
const PATIENCE: Duration = Duration::from_secs(30);

pub fn spec() -> PortSpec {
    let mut spec = PortSpec::new(PROGRAM, PORT_MESSAGE_BYTES_MAX);
    // On a busy machine a healthy port may be silent for long.
    spec.beat_within = PATIENCE;
    spec
}

/// Of this machine.
pub fn source(url: impl Into<String>) -> Source {
    let allow = Allow { loopback: true, link_local: false };
    Source { frame_width_px_max: 640, stall_ms: 10_000, allow, ..Source::new(url) }
}

/// The port, told to open this.
pub async fn opening(spec: &PortSpec, source: Source) -> Port {
    let mut port = Port::spawn(spec, &Place::detached("test")).await.expect("the port starts");
    port.send(&encode(&Order::Open(Box::new(source)))).await.expect("the port listens");
    port
}

pub async fn next(port: &mut Port) -> Result<Option<Vec<u8>>, Failure> {
    tokio::time::timeout(PATIENCE, port.recv()).await.expect("something comes")
}

/// A port whose reports are read.
pub struct Watched {
    pub port: Port,
    pub reports: Reports,
}

impl Watched {
    pub async fn open(source: Source) -> Self {
        Self { port: opening(&spec(), source).await, reports: Reports::default() }
    }

    /// `None` when it has ended well.
    pub async fn report(&mut self) -> Option<Report> {
        loop {
            let bytes = next(&mut self.port).await.expect("the port lives")?;
            if let Some(report) = self.reports.hear(bytes).expect("a report") {
                return Some(report);
            }
        }
    }

    pub async fn shift(&mut self, gear: Gear) {
        self.port.send(&encode(&Order::Gear { gear, rewind: false })).await.expect("the port listens");
    }

    /// Reads on until this finds what it looks for.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        loop {
            let report = self.report().await.expect("it goes on");
            assert!(!matches!(report, Report::Failed { .. } | Report::Ended), "{report:?}");
            if let Some(found) = wanted(&report) {
                return found;
            }
        }
    }

    pub async fn frame(&mut self) -> Frame {
        self.until(|report| if let Report::Frame(frame) = report { Some(frame.clone()) } else { None }).await
    }

    pub async fn unit(&mut self) -> Unit {
        self.until(|report| if let Report::Unit(unit) = report { Some(unit.clone()) } else { None }).await
    }

    pub async fn figures(&mut self) -> Figures {
        self.until(|report| if let Report::Figures(figures) = report { Some(*figures) } else { None }).await
    }

    pub async fn failed(&mut self) -> (SourceFault, String) {
        loop {
            if let Report::Failed { fault, text } = self.report().await.expect("it says why") {
                return (fault, text);
            }
        }
    }

    /// All of a file.
    pub async fn all(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        loop {
            let report = self.report().await.expect("it says that it has ended");
            assert!(!matches!(report, Report::Failed { .. }), "{report:?}");
            if report == Report::Ended {
                return reports;
            }
            reports.push(report);
        }
    }
}

/// One of these tests' own.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

pub fn file(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Pictures of a ball at fifteen a second, encoded as told, in a folder of the caller's own.
pub fn footage(folder_name: &str, name: &str, frames: u32, size: (u32, u32), encoder: &str, muxer: &str) -> PathBuf {
    let path = folder(folder_name).join(name);
    let (width, height) = size;
    launch(&format!(
        "videotestsrc num-buffers={frames} pattern=ball ! \
         video/x-raw,format=I420,width={width},height={height},framerate=15/1 ! \
         x264enc speed-preset=ultrafast threads=1 {encoder} ! h264parse ! {muxer} ! filesink location={}",
        path.display()
    ));
    path
}

/// Runs a pipeline to its end.
pub fn launch(line: &str) {
    gst::init().expect("GStreamer is installed");
    let pipeline = gst::parse::launch(line).expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().and_then(|bus| bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted));
    assert!(matches!(message.as_ref().map(|message| message.view()), Some(gst::MessageView::Eos(_))), "{message:?}");
    pipeline.set_state(gst::State::Null).expect("it stops");
}
