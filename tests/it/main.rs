//! Integration tests: against real processes, and about the project itself.

mod first_light;
mod recovery;
mod tidy;
