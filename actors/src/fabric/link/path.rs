//! The path to an upstream: how it is, when it fails one way, and how it ended.

use protocol::transport::{Connection, KEEP_ALIVE_EVERY, SILENCE_MAX};
use std::convert::Infallible;
use std::time::Duration;

/// How often the path's figures are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// Counts the end of a link that was up.
pub(super) struct Lost {
    pub connection: Connection,
    pub label: String,
}

impl Drop for Lost {
    fn drop(&mut self) {
        let reason = self.connection.ended_as().unwrap_or("left");
        metrics::counter!("watchtree_link_lost_total", "upstream" => self.label.clone(), "reason" => reason)
            .increment(1);
    }
}

/// Ends when nothing of ours arrives any more, though the peer may be heard: a network that fails one way would be found
/// only by the peer's silence after its own patience. The transport says something each second, which is acknowledged.
pub(super) async fn unheard(connection: &Connection) {
    let looks_max = SILENCE_MAX.as_secs() / KEEP_ALIVE_EVERY.as_secs();
    let (mut before, mut looks) = (connection.acknowledgements(), 0);
    // Counted in looks: a process that was stopped blames nobody when it wakes.
    while looks < looks_max {
        tokio::time::sleep(KEEP_ALIVE_EVERY).await;
        let now = connection.acknowledgements();
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
    }
}

/// For operators: how the path to the upstream is.
pub(super) async fn show_path(connection: &Connection, label: &str) -> Infallible {
    let packets_sent = metrics::counter!("watchtree_link_packets_sent_total", "upstream" => label.to_owned());
    let packets_lost = metrics::counter!("watchtree_link_packets_lost_total", "upstream" => label.to_owned());
    let rtt = metrics::gauge!("watchtree_link_rtt_seconds", "upstream" => label.to_owned());
    let (mut sent, mut lost) = (0, 0);
    loop {
        rtt.set(connection.rtt());
        let path = connection.stats().path;
        packets_sent.increment(path.sent_packets.saturating_sub(sent));
        packets_lost.increment(path.lost_packets.saturating_sub(lost));
        (sent, lost) = (path.sent_packets, path.lost_packets);
        tokio::time::sleep(SHOW_EVERY).await;
    }
}
