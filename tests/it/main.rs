//! Integration tests: against real processes, and about the project itself.

mod exactly_once;
mod first_light;
mod parity;
mod recovery;
mod refusals;
mod tidy;
mod truth;
