//! The model port: judges pictures for a gpu node, in a process of its own.
//!
//!   node ──ModelOrder──▶ main ▸ [pipeline] ──ModelReport──▶ node
//!
//!   picture ▸ jpeg or colour ▸ letterbox ▸ engine {rten, mock} ▸ yolox ▸ nms ▸ detections
//!
//! Untrusted bytes and model files are opened here: what crashes is this process, and the node starts
//! another. Everything except the engine's own arithmetic is in these files; nothing waits on a network.

pub mod colour;
pub mod engine;
pub mod jpeg;
pub mod letterbox;
pub mod nms;
pub mod onnx;
pub mod parity;
pub mod pipeline;
pub mod weights;
pub mod yolox;

/// Why a model cannot be used: names the file and the way out. Trying again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);
