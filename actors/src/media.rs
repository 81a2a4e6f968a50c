//! Media containers, written and read in plain Rust.
