//! What supervision promises, tried on a real runtime with real processes.

mod counted;
mod dynamic;
mod escalation;
mod fenced;
mod groups;
mod hangs;
mod helpers;
mod latency;
mod mailboxes;
mod otp;
mod port_confined;
mod port_ends;
mod port_memory;
mod port_orphans;
mod port_progress;
mod port_thousand;
mod port_told;
mod ports;
mod quarantine;
mod remains;
mod restarts;
mod soak;
mod steering;
mod stopping;
// One yardstick for all that is measured.
#[path = "../../../tests/src/harness/yardstick.rs"]
mod yardstick;
