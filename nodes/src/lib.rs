//! Nodes: each a literal tree, and the little that starts it.
//!
//!   trees/{edge,relay,gpu}   who runs on a node, in which order
//!   join                     how a new box gets its certificate
//!   launch                   configuration, certificate, log, signals, exit code
//!   recordings               an edge's footage, checked by hand
//!   cli                      the operator's command `watchtree`

pub mod cli;
pub mod join;
pub mod launch;
pub mod recordings;
pub mod trees;
