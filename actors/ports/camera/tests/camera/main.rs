//! The program itself, as a node runs it.

mod faults;
mod gears;
mod policy;
mod sources;
mod support;
