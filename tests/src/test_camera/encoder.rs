//! The encoder: what a scene or a file becomes a stream by.
//!
//!   painter ─▶ appsrc ─┐
//!                      ├─▶ x264 · x265 · JPEG ─▶ appsink
//!   file ─▶ decodebin ─┘

use super::Rhythm;
use super::scene::{Painter, Scene};
use super::squares::Size;
use anyhow::{Context, Result, anyhow};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Constant rate factor of x264: so little loss that a detector sees what it saw in the original.
const CRF_GOOD: u32 = 18;

/// For noise, which no rate suffices for.
const CRF_COARSE: u32 = 34;

/// Of scenes that are as a camera's pictures are.
const CAMERA_KBIT_PER_S: u32 = 2000;

/// Its threads wait for each other: on a busy machine they are many times slower than one.
const X265_ALONE: &str = "frame-threads=1:pools=none:wpp=0";

const FILE_OPENS_WITHIN: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// What sound is made of; played again and again.
const SOUND_LENGTH: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    H264,
    H265,
    Jpeg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    Aac,
    Opus,
    /// G.711, which MP4 has no place for.
    Pcmu,
}

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    File(PathBuf),
    Scene { scene: Scene, size: Size, seed: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub origin: Origin,
    pub rhythm: Rhythm,
    pub codec: Codec,
    /// At most, between two others.
    pub b_frames: u32,
    /// Other than the origin's.
    pub size: Option<Size>,
    /// In place of a good picture.
    pub kbit_per_s: Option<u32>,
}

/// A pipeline with an appsink `sink`, and who paints for it.
pub struct Encoder {
    pipeline: gst::Pipeline,
    painted: Option<(Painter, Duration, Rhythm)>,
}

impl Recipe {
    pub fn encoder(&self) -> Result<Encoder> {
        match &self.origin {
            Origin::File(path) => Ok(Encoder { pipeline: self.of_file(path)?, painted: None }),
            Origin::Scene { scene, size, seed } => {
                let size = self.size.unwrap_or(*size);
                let scene = scene.at_size(size);
                let pipeline = self.of_scene(&scene, size)?;
                let length = scene.length();
                Ok(Encoder { pipeline, painted: Some((Painter::new(scene, size, *seed), length, self.rhythm)) })
            }
        }
    }

    fn of_scene(&self, scene: &Scene, size: Size) -> Result<gst::Pipeline> {
        let encode = self.encode(self.rhythm, Some(scene));
        let pipeline = launch(&format!("appsrc name=src format=time block=true max-buffers=8 ! {encode}"))?;
        let rate = gst::Fraction::approximate_f64(self.rhythm.frames_per_s).context("frames a second out of range")?;
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

    fn of_file(&self, path: &Path) -> Result<gst::Pipeline> {
        let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
        let path = path.to_str().context("path is not UTF-8")?;
        let rhythm = Rhythm { frames_per_s: file_rate(path)?, ..self.rhythm };
        let scale = self.size.map(|Size { width, height }| {
            format!("videoscale add-borders=false ! video/x-raw,width={width},height={height} !")
        });
        let (scale, encode) = (scale.unwrap_or_default(), self.encode(rhythm, None));
        let decode = "filesrc name=file ! decodebin force-sw-decoders=true ! videoconvert";
        let pipeline = launch(&format!("{decode} ! {scale} {encode}"))?;
        // As a property: a path may hold what a launch line would read as syntax.
        element::<gst::Element>(&pipeline, "file")?.set_property("location", path);
        Ok(pipeline)
    }

    fn encode(&self, rhythm: Rhythm, scene: Option<&Scene>) -> String {
        // No key frame but the grid's: what a camera sends.
        let (gop, b_frames) = (rhythm.gop_frames(), self.b_frames);
        let rate = match (self.kbit_per_s, scene) {
            (Some(rate), _) => format!("bitrate={rate}"),
            (None, Some(Scene::Quiet { .. } | Scene::Busy { .. })) => format!("bitrate={CAMERA_KBIT_PER_S}"),
            // `bitrate` is only the ceiling here.
            (None, Some(Scene::Noise { .. })) => format!("pass=qual quantizer={CRF_COARSE} bitrate=20000"),
            _ => format!("pass=qual quantizer={CRF_GOOD} bitrate=20000"),
        };
        let encoder = match self.codec {
            Codec::H264 => format!(
                "x264enc key-int-max={gop} {rate} bframes={b_frames} b-adapt=false speed-preset=veryfast \
                 option-string=scenecut=0 ! video/x-h264,profile=main ! h264parse config-interval=-1 \
                 ! video/x-h264,stream-format=byte-stream,alignment=au"
            ),
            Codec::H265 => format!(
                "x265enc key-int-max={gop} bitrate={} speed-preset=ultrafast log-level=error \
                 option-string=scenecut=0:open-gop=0:b-adapt=0:bframes={b_frames}:min-keyint={gop}:{X265_ALONE} \
                 ! h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au",
                self.kbit_per_s.unwrap_or(CAMERA_KBIT_PER_S)
            ),
            Codec::Jpeg => "jpegenc quality=80".to_owned(),
        };
        format!("video/x-raw,format=I420 ! {encoder} ! {SINK}")
    }
}

const SINK: &str = "appsink name=sink sync=false max-buffers=64";

impl Sound {
    pub fn encoder(self) -> Result<Encoder> {
        // Each buffer is what one unit holds, so that none is cut at the end.
        let (rate, samples, encode) = match self {
            Self::Aac => (48_000, 1024, "avenc_aac ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw"),
            Self::Opus => (48_000, 960, "opusenc bitrate=32000"),
            Self::Pcmu => (8000, 160, "mulawenc"),
        };
        let buffers = SOUND_LENGTH.as_secs() * rate / samples;
        let pipeline = launch(&format!(
            "audiotestsrc num-buffers={buffers} samplesperbuffer={samples} freq=440 volume=0.2 \
             ! audio/x-raw,rate={rate},channels=1 ! audioconvert ! {encode} ! {SINK}"
        ))?;
        Ok(Encoder { pipeline, painted: None })
    }

    /// What puts it into RTP.
    pub fn payloader(self) -> &'static str {
        match self {
            Self::Aac => "rtpmp4gpay",
            Self::Opus => "rtpopuspay",
            Self::Pcmu => "rtppcmupay",
        }
    }
}

impl Encoder {
    /// Begins to paint. The pipeline runs once somebody sets it to.
    pub fn start(self) -> Result<gst::Pipeline> {
        if let Some((painter, length, rhythm)) = self.painted {
            let source = element::<gst_app::AppSrc>(&self.pipeline, "src")?;
            std::thread::Builder::new()
                .name("painter".to_owned())
                .spawn(move || paint(painter, length, rhythm, &source))?;
        }
        Ok(self.pipeline)
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

pub fn element<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T> {
    let element = pipeline.by_name(name).with_context(|| format!("the pipeline has no {name}"))?;
    element.downcast::<T>().map_err(|_| anyhow!("{name} is another kind of element"))
}
