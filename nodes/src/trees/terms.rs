//! Terms: `[supervision]` of the configuration, in the words of a tree.
//!
//!   restarts_max, restarts_within_s ▸ intensity      hang_ms, store_hang_ms ▸ how long each may be silent
//!   resume_after_s, …_max_s ▸ quarantine             port_memory_mib ▸ what a port may take

use config::Supervision;
use protocol::limits::PORT_MESSAGE_BYTES_MAX;
use std::path::PathBuf;
use std::time::Duration;
use supervision::{Failure, Intensity, Node, PortSpec, Quarantine, ServiceCx, Strategy, Tree, service};

/// The same for all parts of one node.
#[derive(Debug, Clone)]
pub(super) struct Terms(Supervision);

impl Terms {
    pub fn new(supervision: &Supervision) -> Self {
        Self(supervision.clone())
    }

    pub fn intensity(&self) -> Intensity {
        Intensity { restarts: self.0.restarts_max, within: self.0.restarts_within }
    }

    /// Handles survive restarts, so nobody needs to restart with a neighbour.
    pub fn tree(&self, name: impl ToString, children: Vec<Node>) -> Tree {
        Tree { name: name.to_string(), strategy: Strategy::OneForOne, intensity: self.intensity(), children }
    }

    pub fn service<F, Fut>(&self, class: &'static str, body: F) -> Node
    where
        F: Fn(ServiceCx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        service(class, body).answers_within(self.0.hang)
    }

    /// Parked when it fails too often, and tried again after longer and longer pauses.
    pub fn parked(&self, node: impl Into<Node>) -> Node {
        node.into().parked().quarantine(Quarantine { first: self.0.resume_after, max: self.0.resume_after_max })
    }

    /// It owns a file: a disk may be slow for longer than an actor may be silent. If its thread never comes back
    /// the node exits, as a second owner of that file would be worse.
    pub fn store(&self, node: Node) -> Node {
        node.holds_store().answers_within(self.0.store_hang)
    }

    /// It may wait for a store for as long as that may take, and is slow itself after that.
    pub fn waits_for_store(&self, node: Node) -> Node {
        node.answers_within(self.0.hang).waits_within(self.0.store_hang + self.0.hang)
    }

    /// A camera's port always has something to do, if only to see that nothing comes.
    pub fn camera_port(&self, program: PathBuf) -> PortSpec {
        self.port(program, Duration::ZERO)
    }

    /// A model's port has something to do while it judges, and one turn of a large model takes its time.
    pub fn model_port(&self, program: PathBuf, turn_max: Duration) -> PortSpec {
        self.port(program, turn_max)
    }

    fn port(&self, program: PathBuf, progress_within: Duration) -> PortSpec {
        let beat_within = self.0.hang.max(BEATS_WITHIN_MIN);
        PortSpec {
            beat_within,
            memory_bytes_max: self.0.port_memory_bytes(),
            progress_within: Some(beat_within.max(progress_within)),
            ..PortSpec::new(program, PORT_MESSAGE_BYTES_MAX)
        }
    }

    pub fn allow_faults(&self) -> bool {
        self.0.allow_faults
    }
}

/// A port beats four times a second: with less patience, one late beat is a hang.
const BEATS_WITHIN_MIN: Duration = Duration::from_secs(1);
