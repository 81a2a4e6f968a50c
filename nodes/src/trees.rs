//! The three kinds of node.

pub mod edge;
pub mod gpu;
pub mod relay;
