//! Integration tests: against real processes, and about the project itself.

mod blast_radius;
mod exactly_once;
mod first_light;
mod parity;
mod recovery;
mod refusals;
mod steering;
mod storm;
mod telemetry;
mod tidy;
mod truth;
