//! Integration tests: against real processes, and about the project itself.

mod authorisation;
mod blast_radius;
mod cameras;
mod cli;
mod core;
mod coverage;
mod enrolment;
mod exactly_once;
mod first_light;
mod fleet;
mod fleet_health;
mod health;
mod impair;
mod live_change;
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
