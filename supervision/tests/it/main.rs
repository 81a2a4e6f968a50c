//! What supervision promises, tried on a real runtime with real processes.

mod escalation;
mod helpers;
mod latency;
mod mailboxes;
mod port_ends;
mod ports;
mod remains;
mod restarts;
mod stopping;
