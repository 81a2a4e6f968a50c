//! Dialling: keeps a stream of the core open on the connection of one link, as that comes and goes.

use super::Core;
use crate::fabric::link::Link;
use protocol::Role;
use protocol::link::Open;
use protocol::transport::{Connection, Version};
use std::time::Duration;
use supervision::{Backoff, jitter};
use tokio::time::{Instant, timeout};

/// Between two streams on one connection.
const AGAIN: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_secs(2) };
/// A session that lived for so long was well: the next pause is the shortest.
const WELL_AFTER: Duration = Duration::from_secs(5);
/// For the peer to make room for the stream.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

impl Core {
    /// For as long as the core runs.
    pub(super) async fn attend(self, link: Link) {
        let (mut connections, mut tries) = (link.connections(), 0);
        loop {
            let connection = connections.borrow_and_update().clone().filter(|there| self.speaks_core(there));
            let Some(connection) = connection else {
                if connections.changed().await.is_err() {
                    return std::future::pending().await;
                }
                continue;
            };
            let began = Instant::now();
            tokio::select! {
                ended = self.converse(&connection) => {
                    tracing::debug!(peer = %connection.peer(), "session of the core: {ended}");
                }
                // A newer connection of the same link; the older one's session ends when the newer one's begins.
                _ = connections.changed() => { tries = 0; continue }
            }
            tries = if began.elapsed() > WELL_AFTER { 1 } else { tries + 1 };
            tokio::select! {
                () = tokio::time::sleep(AGAIN.pause(tries, jitter())) => {}
                _ = connections.changed() => tries = 0,
            }
        }
    }

    /// Whoever is told to dial itself is in no core by that.
    fn speaks_core(&self, connection: &Connection) -> bool {
        let (peer, version) = (connection.peer(), connection.version());
        version >= Version::FABRIC && peer.role == Role::Relay && *peer != self.0.node
    }

    async fn converse(&self, connection: &Connection) -> String {
        if self.0.seats.has(connection.peer()) {
            return "the peer has opened one itself".to_owned();
        }
        match timeout(OPEN_WITHIN, connection.open_bi(&Open::Core)).await {
            Ok(Ok((tx, rx))) => self.host(connection, tx, rx, true).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the peer makes no room for the stream".to_owned(),
        }
    }
}
