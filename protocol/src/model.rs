//! What a model is: where its file is, what it wants as input, what its output means.

use serde::{Deserialize, Serialize};

/// Read from a TOML file by the config crate; sent whole to the model port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// What a camera asks for.
    pub name: String,
    /// Where the weights are; absolute once the configuration is read.
    pub path: String,
    /// Lower-case hexadecimal; checked before the file is parsed.
    pub sha256: String,
    pub licence: String,
    pub input: InputSpec,
    pub head: HeadSpec,
    /// In the order of the model's classes.
    pub classes: Vec<String>,
}

/// How a picture becomes the model's input: float32, NCHW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    pub width: u32,
    pub height: u32,
    pub channels: ChannelOrder,
    /// Each byte is multiplied by this: 1.0 keeps 0 to 255.
    pub scale: f32,
    /// The grey of the border that keeps the picture's proportions, 0 to 255.
    pub letterbox_fill: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// How the output is read. In TOML a table of its own, as `[head.yolox]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadSpec {
    /// `[batch, anchors, 5 + classes]`: x, y, w, h still to be decoded on the grid, then objectness and
    /// class scores (YOLOX, arXiv 2107.08430).
    Yolox { strides: Vec<u32>, score_min: f32, iou_max: f32 },
}

/// Which program runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// The best that is there; the port says which.
    Auto,
    /// Pure Rust.
    Rten,
    /// No model at all: finds what is coloured in the frame, at a cost that is set. For tests.
    Mock,
}

/// What the node tells a model port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ModelOrder {
    /// First, once. Answered by `Ready` or `Refused`.
    Load { spec: ModelSpec, engine: EngineKind, mock: MockCost },
    /// Pictures of one batch; answered by one `Judged` with as many entries.
    Judge { batch: u64, pictures: Vec<Picture> },
}

/// What the mock engine costs: `fixed_ms + items * item_ms` of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MockCost {
    pub fixed_ms: f32,
    pub item_ms: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Picture {
    /// As in [`crate::FrameHeader`].
    I420 { width: u32, height: u32, pixels: crate::codec::Blob },
    /// A JPEG file, decoded in the port: untrusted bytes.
    Jpeg(crate::codec::Blob),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ModelReport {
    /// The engine that runs and the batch it prefers.
    Ready { engine: String, batch_preferred: u32 },
    /// The model cannot be used: the file and the way out. The port ends.
    Refused { reason: String },
    /// One entry a picture, in order: its detections, or why it could not be judged.
    Judged { batch: u64, results: Vec<Result<Vec<crate::Detection>, String>> },
}
