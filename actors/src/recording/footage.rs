//! Footage of one camera on its way to the disk, and what of it is wanted.

use protocol::camera::{Format, Unit};
use protocol::{EventId, Timestamp};

/// Shared by a camera's session, watch, tracking and recorder; nobody who calls it ever waits. Cheap to clone.
#[derive(Clone, Default)]
pub struct Footage {}

/// That an event needs its footage.
#[derive(Debug, Clone, PartialEq)]
pub struct EventMark {
    pub event: EventId,
    pub label: String,
    pub begin: Timestamp,
    /// When it was last seen, so far.
    pub last_seen: Timestamp,
    pub ended: bool,
}

impl Footage {
    /// What follows is to be read so: at the begin of a session, and when it changes.
    pub fn format(&self, _format: Format) {}

    pub fn unit(&self, _unit: Unit) {}

    /// The session is over: nothing continues what came before.
    pub fn cut(&self) {}

    /// An event began, goes on, or ended.
    pub fn event(&self, _mark: EventMark) {}

    /// Something moved.
    pub fn moved(&self, _at: Timestamp) {}

    /// Some of this event's footage is on disk, or will be unless the disk fails.
    pub fn has_clip(&self, _event: EventId) -> bool {
        false
    }
}
