//! Integration tests: against real processes, and about the project itself.

mod authorisation;
mod blast_radius;
mod cli;
mod core;
mod enrolment;
mod exactly_once;
mod first_light;
mod fleet;
mod fleet_health;
mod health;
mod impair;
mod onlookers;
mod parity;
mod partition;
mod recovery;
mod refusals;
mod sd_notify;
mod steering;
mod storm;
mod telemetry;
mod tidy;
mod truth;
