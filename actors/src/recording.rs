//! Recording: what a camera sent, kept as it came.
//!
//!   session ──units──▶ [footage: ring of whole GOPs] ──▶ recorder ──▶ files
//!   tracking ──events──▶   │      watch ──motion──▶ │

pub mod footage;

pub use footage::{EventMark, Footage};
