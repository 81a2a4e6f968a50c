//! Refusals: what the role table denies a peer, counted and told.

use protocol::roles::Denied;
use std::fmt::Display;
use tracing::warn;

/// Of a peer: its identity, or its address where it has none.
pub fn denied(peer: impl Display, denied: &Denied) {
    count(denied);
    warn!(%peer, what = %denied.row, "refused: {denied}");
}

/// For what comes by the thousand, and is told once a connection.
pub fn count(denied: &Denied) {
    let (role, what) = (denied.peer.as_str(), denied.row.plane.as_str());
    metrics::counter!("watchtree_refused_total", "role" => role, "what" => what).increment(1);
}
