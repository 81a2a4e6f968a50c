//! What runs on which node; each tree in one literal, so that start order is reading order.

mod cameras;
pub mod edge;
mod fleet;
pub mod gpu;
mod links;
pub mod relay;
mod spool;
mod terms;
