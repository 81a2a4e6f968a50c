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
/// only by the peer's silence after its own patience.
pub(super) async fn unheard(connection: &Connection) {
    let mut looks = Looks::default();
    while !looks.is_unheard(connection.said(), connection.acknowledgements()) {
        tokio::time::sleep(KEEP_ALIVE_EVERY).await;
    }
}

/// Counted in looks, one each [`KEEP_ALIVE_EVERY`]: a process that was stopped blames nobody when it wakes.
#[derive(Default)]
struct Looks {
    /// As they stood when an acknowledgement last came.
    said: u64,
    acknowledged: u64,
    in_vain: u64,
}

impl Looks {
    /// Whether something that was said has waited for too long. Who only listens has nothing that could be acknowledged:
    /// the transport says something by itself only where nothing comes either.
    fn is_unheard(&mut self, said: u64, acknowledged: u64) -> bool {
        if acknowledged != self.acknowledged {
            *self = Self { said, acknowledged, in_vain: 0 };
        } else if said > self.said {
            self.in_vain += 1;
        }
        self.in_vain >= SILENCE_MAX.as_secs() / KEEP_ALIVE_EVERY.as_secs()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Said and acknowledged, look by look; after how many of them it counts as unheard.
    fn check(looks: &[(u64, u64)], found_at: Option<usize>) {
        let mut state = Looks::default();
        let found = looks.iter().position(|(said, acknowledged)| state.is_unheard(*said, *acknowledged));
        assert_eq!(found, found_at, "{looks:?}");
    }

    #[test]
    fn what_nobody_acknowledges_is_found_after_the_patience_of_the_transport() {
        check(&[(5, 3), (6, 3), (6, 3), (7, 3), (7, 3), (7, 3), (8, 3)], Some(4));
    }

    #[test]
    fn one_acknowledgement_is_a_sign_of_life() {
        check(&[(5, 3), (6, 3), (6, 3), (6, 3), (6, 4), (7, 4), (7, 4), (7, 4), (7, 5)], None);
    }

    #[test]
    fn who_only_listens_is_not_unheard() {
        check(&[(5, 3); 20], None);
    }
}
