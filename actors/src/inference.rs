//! Frames to verdicts: the asker on the edge, the pool on the gpu node.
pub mod batcher;
