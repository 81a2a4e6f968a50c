//! Configuration: a TOML file and the environment in, one typed struct out, or every fault at once.
//!
//!   edge.toml ──┐
//!   WATCHTREE_* ┼─▸ reader ─▸ Edge | Relay | Gpu      parsed once; afterwards the types are trusted
//!   overlay ────┘        └──▸ Faults                  key, value, way out; one line each
//!
//!   Edge, Edge ─▸ changes ─▸ which actors of which camera a change concerns
//!
//! Reads the files it is given (and the secrets and specs these name) and does nothing else.
//! Commented samples are in `config/samples`. Every key can be set by the environment: `env` says how.

mod camera;
mod changes;
mod common;
mod edge;
mod env;
mod fault;
mod gpu;
pub mod model;
mod overlay;
mod plan;
mod reader;
pub mod recording;
mod relay;
mod supervision;
pub mod watching;

pub use camera::Camera;
pub use changes::{CameraParts, Change, Part, RecorderPart, TrackingPart, WatchPart, as_far_as_possible, changes};
pub use common::{HostPort, Listen, LogFormat, Node, Tls};
pub use edge::{CAMERAS_MAX, Detect, Edge, EdgeLink, Gpus, Motion, Outbox, Track, edge_from};
pub use env::Vars;
pub use fault::{Fault, Faults};
pub use gpu::{Batcher, Gpu, GpuLink, ModelEntry, gpu_from};
pub use overlay::camera_keys;
pub use plan::Plan;
pub use relay::{Enrol, Relay, RelayLink, relay_from};
pub use supervision::Supervision;

use reader::Reader;
use std::path::Path;
use std::str::FromStr;

/// Which node a configuration is for: its `node.role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Edge,
    Relay,
    Gpu,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Relay => "relay",
            Self::Gpu => "gpu",
        }
    }

    /// What the names of its variables begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Edge => "WATCHTREE_EDGE",
            Self::Relay => "WATCHTREE_RELAY",
            Self::Gpu => "WATCHTREE_GPU",
        }
    }
}

impl FromStr for Kind {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Edge, Self::Relay, Self::Gpu].into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// An edge's configuration, with the `WATCHTREE_EDGE__*` variables of this process laid over it, and what operators
/// changed through the API.
pub fn edge(path: &Path) -> Result<Edge, Faults> {
    Plan::read(path).map(|plan| plan.edge)
}

/// A relay's configuration, with the `WATCHTREE_RELAY__*` variables of this process laid over it.
pub fn relay(path: &Path) -> Result<Relay, Faults> {
    let reader = Reader::open(path, Some(Kind::Relay))?;
    let relay = relay::read(&reader);
    reader.finish(relay)
}

/// A gpu node's configuration, with the `WATCHTREE_GPU__*` variables of this process laid over it.
pub fn gpu(path: &Path) -> Result<Gpu, Faults> {
    let reader = Reader::open(path, Some(Kind::Gpu))?;
    let gpu = gpu::read(&reader);
    reader.finish(gpu)
}

/// Reads the configuration as the node that its `node.role` names would, model specs included.
pub fn check(path: &Path) -> Result<Kind, Faults> {
    match reader::role(path)? {
        Kind::Edge => edge(path).map(|_| Kind::Edge),
        Kind::Relay => relay(path).map(|_| Kind::Relay),
        Kind::Gpu => gpu::check_specs(path, &gpu(path)?).map(|()| Kind::Gpu),
    }
}
