//! Media containers, written and read in plain Rust.

pub mod fmp4;
