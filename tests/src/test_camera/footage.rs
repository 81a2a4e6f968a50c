//! Access units in RAM: encoded once, played as often as wanted.
//!
//!   painter ─▶ appsrc ─┐
//!                      ├─▶ x264enc ─▶ appsink ─▶ [footage] ─▶ feeder
//!   file ─▶ decodebin ─┘
//!
//! Encoding runs ahead of play on its own thread, so that the first client need not wait for the last frame.

use super::Rhythm;
use super::scene::{Painter, Scene};
use super::squares::Size;
use anyhow::{Context, Result, anyhow, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All of the footage. When it is full the encoder fails and says so: a shorter scene or file is needed.
const FOOTAGE_BYTES_MAX: usize = 512 << 20;

/// Constant rate factor of x264: so little loss that a detector sees what it saw in the original.
const CRF_GOOD: u32 = 18;

/// For noise, which no rate suffices for.
const CRF_COARSE: u32 = 34;

const FILE_OPENS_WITHIN: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Between two lines about the progress.
const PROGRESS_FRAMES: usize = 500;

/// One encoded picture; `at` counts from the start of the footage.
#[derive(Clone)]
pub struct AccessUnit {
    pub at: Duration,
    pub key: bool,
    pub buffer: gst::Buffer,
}

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    File(PathBuf),
    Scene { scene: Scene, size: Size, seed: u64 },
}

/// Grows until `done`. Cheap to clone.
#[derive(Clone, Default)]
pub struct Footage(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    units: Vec<AccessUnit>,
    bytes: usize,
    caps: Option<gst::Caps>,
    /// The whole length, or why there is none.
    done: Option<Result<Duration, String>>,
}

impl Footage {
    /// Starts encoding on a thread of its own.
    pub fn encode(origin: Origin, rhythm: Rhythm) -> Result<Self> {
        let footage = Self::default();
        let (pipeline, painted) = match &origin {
            Origin::File(path) => (file_pipeline(path, rhythm)?, None),
            Origin::Scene { scene, size, seed } => (
                scene_pipeline(scene, *size, rhythm)?,
                Some((Painter::new(scene.clone(), *size, *seed), scene.length())),
            ),
        };
        if let Some((painter, length)) = painted {
            let source = element::<gst_app::AppSrc>(&pipeline, "src")?;
            std::thread::Builder::new()
                .name("painter".to_owned())
                .spawn(move || paint(painter, length, rhythm, &source))?;
        }
        let growing = footage.clone();
        std::thread::Builder::new().name("encoder".to_owned()).spawn(move || {
            let end = growing.collect(&pipeline).map_err(|e| format!("{e:#}"));
            // Freed here; a failed encoder must not hold its file or its threads.
            let _ = pipeline.set_state(gst::State::Null);
            growing.lock().done = Some(end);
            growing.0.grown.notify_all();
        })?;
        Ok(footage)
    }

    /// The unit with this number once it is encoded; `None` behind the last.
    pub fn wait_for(&self, index: usize) -> Result<Option<AccessUnit>> {
        let mut state = self.lock();
        loop {
            if let Some(unit) = state.units.get(index) {
                return Ok(Some(unit.clone()));
            }
            match &state.done {
                Some(Ok(_)) => return Ok(None),
                Some(Err(why)) => bail!("{why}"),
                None => state = self.0.grown.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits for the last unit. Returns the footage's length.
    pub fn wait_for_all(&self) -> Result<Duration> {
        let mut state = self.lock();
        loop {
            match &state.done {
                Some(end) => return end.clone().map_err(|why| anyhow!("{why}")),
                None => state = self.0.grown.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// What the units are; known with the first.
    pub fn caps(&self) -> Option<gst::Caps> {
        self.lock().caps.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, pipeline: &gst::Pipeline) -> Result<Duration> {
        let sink = element::<gst_app::AppSink>(pipeline, "sink")?;
        pipeline.set_state(gst::State::Playing).context("the encoder does not start")?;
        let mut first_pts = None;
        let mut end = Duration::ZERO;
        while let Ok(sample) = sink.pull_sample() {
            let buffer = sample.buffer_owned().context("a sample without a buffer")?;
            let pts = Duration::from(buffer.pts().context("an access unit without a time")?);
            let at = pts.saturating_sub(*first_pts.get_or_insert(pts));
            end = at + buffer.duration().map_or(Duration::from_millis(40), Duration::from);
            self.append(
                AccessUnit { at, key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT), buffer },
                &sample,
            )?;
        }
        if let Some(message) = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]))
            && let gst::MessageView::Error(error) = message.view()
        {
            bail!("the encoder stopped: {} ({:?})", error.error(), error.debug());
        }
        let count = self.lock().units.len();
        if count == 0 {
            bail!("the footage has no picture");
        }
        tracing::info!(frames = count, length_s = end.as_secs_f64(), "footage is encoded");
        Ok(end)
    }

    fn append(&self, unit: AccessUnit, sample: &gst::Sample) -> Result<()> {
        let mut state = self.lock();
        state.bytes += unit.buffer.size();
        if state.bytes > FOOTAGE_BYTES_MAX {
            bail!("the footage exceeds {FOOTAGE_BYTES_MAX} B; use a shorter file or --length-s");
        }
        if state.caps.is_none() {
            state.caps = sample.caps_owned();
        }
        state.units.push(unit);
        if state.units.len().is_multiple_of(PROGRESS_FRAMES) {
            tracing::info!(frames = state.units.len(), bytes = state.bytes, "encoding");
        }
        drop(state);
        self.0.grown.notify_all();
        Ok(())
    }
}

fn paint(mut painter: Painter, length: Duration, rhythm: Rhythm, source: &gst_app::AppSrc) {
    for index in 0.. {
        let at = rhythm.frame_time(index);
        if at >= length {
            break;
        }
        let mut buffer = gst::Buffer::from_mut_slice(painter.paint(at));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::try_from(at).ok());
            buffer.set_duration(gst::ClockTime::try_from(rhythm.frame_time(1)).ok());
        }
        // Refused once the encoder has failed, which says why itself.
        if source.push_buffer(buffer).is_err() {
            return;
        }
    }
    let _ = source.end_of_stream();
}

fn scene_pipeline(scene: &Scene, size: Size, rhythm: Rhythm) -> Result<gst::Pipeline> {
    let crf = if matches!(scene, Scene::Noise { .. }) { CRF_COARSE } else { CRF_GOOD };
    let pipeline = launch(&format!("appsrc name=src format=time block=true max-buffers=8 ! {}", encoder(crf, rhythm)))?;
    let rate = gst::Fraction::approximate_f64(rhythm.frames_per_s).context("frames a second out of range")?;
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", i32::try_from(size.width)?)
        .field("height", i32::try_from(size.height)?)
        .field("framerate", rate)
        .field("colorimetry", "bt601")
        .build();
    element::<gst_app::AppSrc>(&pipeline, "src")?.set_caps(Some(&caps));
    Ok(pipeline)
}

fn file_pipeline(path: &Path, rhythm: Rhythm) -> Result<gst::Pipeline> {
    let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
    let path = path.to_str().context("path is not UTF-8")?;
    let rhythm = Rhythm { frames_per_s: file_rate(path)?, ..rhythm };
    let encoder = encoder(CRF_GOOD, rhythm);
    let pipeline = launch(&format!("filesrc name=file ! decodebin force-sw-decoders=true ! videoconvert ! {encoder}"))?;
    // As a property: a path may hold what a launch line would read as syntax.
    element::<gst::Element>(&pipeline, "file")?.set_property("location", path);
    Ok(pipeline)
}

fn encoder(crf: u32, rhythm: Rhythm) -> String {
    // No B frames and no key frame but the grid's: what a camera sends. `bitrate` is only the ceiling here.
    format!(
        "video/x-raw,format=I420 ! x264enc key-int-max={} pass=qual quantizer={crf} bitrate=20000 bframes=0 \
         speed-preset=veryfast option-string=scenecut=0 ! video/x-h264,profile=main ! h264parse config-interval=-1 \
         ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=sink sync=false max-buffers=64",
        rhythm.gop_frames()
    )
}

/// x264 counts a GOP in frames, so a file's rate must be known before it is encoded.
fn file_rate(path: &str) -> Result<f64> {
    let pipeline = launch("filesrc name=file ! decodebin force-sw-decoders=true ! videoconvert ! fakesink name=sink")?;
    element::<gst::Element>(&pipeline, "file")?.set_property("location", path);
    let ready = pipeline.set_state(gst::State::Paused).and_then(|_| pipeline.state(FILE_OPENS_WITHIN).0);
    let caps = element::<gst::Element>(&pipeline, "sink")?.static_pad("sink").and_then(|pad| pad.current_caps());
    let _ = pipeline.set_state(gst::State::Null);
    ready.with_context(|| format!("{path} has no video that can be decoded"))?;
    let rate = caps.as_ref().and_then(|caps| caps.structure(0)?.get::<gst::Fraction>("framerate").ok());
    let frames_per_s = rate.map(|rate| f64::from(rate.numer()) / f64::from(rate.denom())).filter(|rate| *rate >= 1.0);
    // Variable, or not told: the GOP is then a little off.
    Ok(frames_per_s.unwrap_or(25.0))
}

fn launch(line: &str) -> Result<gst::Pipeline> {
    let element = gst::parse::launch(line).context("GStreamer lacks a part (gstreamer1.0-plugins-ugly has x264enc)")?;
    element.downcast::<gst::Pipeline>().map_err(|_| anyhow!("not a pipeline: {line}"))
}

fn element<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T> {
    let element = pipeline.by_name(name).with_context(|| format!("the pipeline has no {name}"))?;
    element.downcast::<T>().map_err(|_| anyhow!("{name} is another kind of element"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_becomes_units_with_a_key_frame_on_each_gop_boundary() {
        gst::init().expect("GStreamer is installed");
        let scene = Scene::Still { length: Duration::from_secs(2) };
        let origin = Origin::Scene { scene, size: Size { width: 160, height: 90 }, seed: 1 };
        let footage = Footage::encode(origin, Rhythm { frames_per_s: 10.0, gop_s: 0.5 }).expect("it starts");
        assert_eq!(footage.wait_for_all().expect("it ends"), Duration::from_secs(2));
        let keys: Vec<bool> = (0..20).map(|i| footage.wait_for(i).expect("encoded").expect("20 frames").key).collect();
        assert!(keys.iter().enumerate().all(|(i, key)| *key == i.is_multiple_of(5)), "{keys:?}");
        assert!(footage.wait_for(20).expect("encoded").is_none());
    }
}
