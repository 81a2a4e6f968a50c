//! Recording: what a camera sent, kept as it came.
//!
//!   session ──units──▶ [footage: ring of whole GOPs] ──▶ recorder ──takes, clips──▶ library ──▶ http, relay
//!   tracking ──events──▶   │      watch ──motion──▶ │                    index, space, files
//!
//! `plan` and `space` are pure: what is wanted, and what has to go.

pub mod check;
mod clips;
pub mod footage;
mod index;
pub mod library;
mod plan;
pub mod recorder;
pub mod rows;
pub mod snapshots;
pub mod space;
#[cfg(test)]
mod testing;
pub mod trouble;

pub use clips::{ClipError, Reader, Recording};
pub use footage::{EventMark, Footage, FootageSettings};
pub use library::Library;
pub use recorder::Recorder;
