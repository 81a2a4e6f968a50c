//! `watchtree-gpu detect`: judges every frame of files, without a cluster, so that anyone can compare.
//!
//!   image ──────────────────────▶ model port ──▶ one JSON line a detection
//!   video ──▶ camera port ──▶ ───────┘

use super::worker::LoadedModel;
use protocol::camera::{Frame, Order, Report, Reports, Source};
use protocol::codec::Blob;
use protocol::model::{EngineKind, MockCost, ModelSpec, Picture};
use protocol::{Detection, codec, limits};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use supervision::{Failure, Place, Port, PortSpec};

/// A larger image file is refused before it is read.
const IMAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// One line of output.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    pub file: &'a str,
    /// Counted from 0; an image is frame 0.
    pub frame: u64,
    #[serde(flatten)]
    pub detection: &'a Detection,
}

/// Where the ports are, and what they run.
pub struct Detect {
    pub camera_port: PathBuf,
    pub model_port: PathBuf,
    pub spec: ModelSpec,
    pub engine: EngineKind,
}

impl Detect {
    /// Writes a line for each detection in each frame of each file.
    pub async fn run(&self, files: &[PathBuf], out: &mut impl Write) -> Result<(), Failure> {
        let (port, place) =
            (PortSpec::new(&self.model_port, limits::PORT_MESSAGE_BYTES_MAX), Place::detached("detect"));
        let mut model = LoadedModel::load(&port, &self.spec, self.engine, MockCost::default(), &place).await?;
        for file in files {
            let named = |failure: Failure| Failure { text: format!("{}: {}", file.display(), failure.text), ..failure };
            if is_jpeg(file) {
                let picture = read_image(file).map_err(named)?;
                judge_one(&mut model, file, 0, picture, out).await.map_err(named)?;
            } else {
                self.video(&mut model, file, out).await.map_err(named)?;
            }
        }
        model.stop().await;
        out.flush().map_err(Failure::error)
    }

    async fn video(&self, model: &mut LoadedModel, file: &Path, out: &mut impl Write) -> Result<(), Failure> {
        let path = file.canonicalize().map_err(Failure::error)?;
        let spec = PortSpec::new(&self.camera_port, limits::PORT_MESSAGE_BYTES_MAX);
        let mut port = Port::spawn(&spec, &Place::detached("detect")).await?;
        port.send(&codec::encode(&Order::Open(Box::new(every_frame_of(&path))))).await?;
        let mut reports = Reports::default();
        loop {
            let Some(data) = port.recv().await? else { return Err(Failure::error("the camera port ended early")) };
            let Some(report) = reports.hear(data).map_err(Failure::protocol)? else { continue };
            match report {
                Report::Opened { .. } => {}
                Report::Format(_) | Report::Unit(_) | Report::Size(_) | Report::Figures(_) => {}
                Report::Frame(frame) => {
                    let (index, picture) = (frame.index, picture_of(frame));
                    judge_one(model, file, index, picture, out).await?;
                }
                Report::Failed { fault, text } => return Err(Failure::error(format!("{}: {text}", fault.as_str()))),
                Report::Ended => return Ok(()),
            }
        }
    }
}

async fn judge_one(
    model: &mut LoadedModel,
    file: &Path,
    frame: u64,
    picture: Picture,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let result = model.judge(vec![picture]).await?.pop().expect("as many results as pictures");
    let detections = result.map_err(|reason| Failure::error(format!("frame {frame}: {reason}")))?;
    let name = file.to_string_lossy();
    for detection in &detections {
        serde_json::to_writer(&mut *out, &Line { file: &name, frame, detection }).map_err(Failure::error)?;
        out.write_all(b"\n").map_err(Failure::error)?;
    }
    Ok(())
}

fn is_jpeg(file: &Path) -> bool {
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg"))
}

fn read_image(file: &Path) -> Result<Picture, Failure> {
    let bytes = std::fs::metadata(file).map_err(Failure::error)?.len();
    if bytes > IMAGE_BYTES_MAX {
        return Err(Failure::error(format!("is {bytes} B; images up to {IMAGE_BYTES_MAX} B are judged")));
    }
    Ok(Picture::Jpeg(Blob(std::fs::read(file).map_err(Failure::error)?)))
}

fn picture_of(frame: Frame) -> Picture {
    Picture::I420 { width: frame.width, height: frame.height, pixels: frame.pixels }
}

fn every_frame_of(path: &Path) -> Source {
    Source {
        frames_per_s: 0.0,
        frame_width_px_max: limits::FRAME_SIDE_PX_MAX,
        stall_ms: 10_000,
        every_frame: true,
        ..Source::new(format!("file://{}", path.display()))
    }
}
