//! Admin: answers an operator's requests, each on its own stream.
//!
//!   watchtree ══request══▶ [admin] ──▶ facts, peers, store
//!             ◀═replies, done═┘

use crate::events::store::EventStore;
use crate::fabric::facts::{Facts, SOFTWARE};
use crate::fabric::peers::Peers;
use protocol::admin::{EventFilter, NodeLine, RecordedEvent, Reply, Request};
use protocol::transport::{Rx, SendError, Tx};
use protocol::{EventId, Identity};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tracing::info;

/// From the stream's opening to its request.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// Entries of the raw record sent for one request.
const RECORD_ENTRIES_MAX: u32 = 10_000;

#[derive(Clone)]
pub struct Admin {
    pub facts: Facts,
    pub peers: Peers,
    /// On a relay.
    pub store: Option<EventStore>,
}

impl Admin {
    /// An operator sees its own tenant: that tenant's events and edges, and this node.
    pub async fn serve(mut self, operator: Identity, mut tx: Tx, mut rx: Rx) {
        self.store = self.store.map(|store| store.for_tenant(operator.tenant.clone()));
        let request = match timeout(REQUEST_WITHIN, rx.recv::<Request>()).await {
            Ok(Ok(Some(request))) => request,
            Ok(Err(error)) => {
                let _ = tx.send(&Reply::Refused(error.to_string())).await;
                let _ = tx.finish();
                return;
            }
            Ok(Ok(None)) | Err(_) => return,
        };
        info!(%operator, ?request, "admin request");
        // Failing to send means that the operator has gone.
        if self.answer(request, &operator, &mut tx, &mut rx).await.is_ok() {
            let _ = tx.finish();
            let _ = tx.delivered().await;
        }
    }

    async fn answer(&self, request: Request, operator: &Identity, tx: &mut Tx, rx: &mut Rx) -> Result<(), SendError> {
        match request {
            Request::Nodes => tx.send(&Reply::Nodes(self.nodes(operator))).await,
            Request::Tree { path: None } => {
                tx.send(&Reply::Node(Box::new(self.facts.snapshot().await))).await?;
                let peers = self.peers.snapshots().await;
                for snapshot in peers.into_iter().filter(|peer| peer.node.tenant == operator.tenant) {
                    tx.send(&Reply::Node(Box::new(snapshot))).await?;
                }
                tx.send(&Reply::Done).await
            }
            Request::Tree { path: Some(_) } | Request::Failures { .. } | Request::Steer { .. } => {
                tx.send(&Reply::Refused("not yet".to_owned())).await
            }
            Request::Events { filter, follow } => match &self.store {
                Some(store) => events(store, filter, follow, tx, rx).await,
                None => tx.send(&Reply::Refused(self.no_record())).await,
            },
            Request::Record { edge, epoch, after, limit } => {
                let Some(store) = &self.store else { return tx.send(&Reply::Refused(self.no_record())).await };
                match store.record(edge, epoch, after, limit.min(RECORD_ENTRIES_MAX)).await {
                    Ok(entries) => {
                        for entry in entries {
                            tx.send(&Reply::Entry(Box::new(entry))).await?;
                        }
                        tx.send(&Reply::Done).await
                    }
                    Err(error) => tx.send(&Reply::Refused(error.to_string())).await,
                }
            }
        }
    }

    fn nodes(&self, operator: &Identity) -> Vec<NodeLine> {
        let here = NodeLine {
            node: self.facts.node.clone(),
            state: "self".to_owned(),
            since: self.facts.up_since,
            rtt_us: None,
            software: SOFTWARE.to_owned(),
        };
        let peers = self.peers.lines().into_iter().filter(|peer| peer.node.tenant == operator.tenant);
        std::iter::once(here).chain(peers).collect()
    }

    fn no_record(&self) -> String {
        format!("{} keeps no record of events; ask a relay", self.facts.node)
    }
}

async fn events(
    store: &EventStore,
    filter: EventFilter,
    follow: bool,
    tx: &mut Tx,
    rx: &mut Rx,
) -> Result<(), SendError> {
    // Subscribed before the record is read, so that nothing falls in between.
    let mut news = store.follow();
    if let Err(reason) = recorded(store, &filter, follow, tx).await? {
        return tx.send(&Reply::Refused(reason)).await;
    }
    if !follow {
        return tx.send(&Reply::Done).await;
    }
    loop {
        let event = tokio::select! {
            event = news.recv() => event,
            // The operator has nothing more to say; its end of the stream ends when it leaves.
            _ = rx.recv::<Request>() => return Ok(()),
        };
        match event {
            Ok(event) if filter.matches(&event.event) => tx.send(&Reply::Event(Box::new(event))).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                let why = format!("{missed} events came faster than they were read; ask again without -f to see them");
                return tx.send(&Reply::Refused(why)).await;
            }
            Err(RecvError::Closed) => return tx.send(&Reply::Refused("the record was closed".to_owned())).await,
        }
    }
}

/// Sends what is on the record already, page by page. One that follows without a limit starts from now.
async fn recorded(
    store: &EventStore,
    filter: &EventFilter,
    follow: bool,
    tx: &mut Tx,
) -> Result<Result<(), String>, SendError> {
    if follow && filter.from.is_none() && filter.limit.is_none() {
        return Ok(Ok(()));
    }
    let mut cursor: Option<EventId> = None;
    let mut left = filter.limit.unwrap_or(u32::MAX) as usize;
    while left > 0 {
        let page = match store.events(EventFilter { limit: None, ..filter.clone() }, cursor).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let events: Vec<RecordedEvent> = page.events;
        for event in events.into_iter().take(left) {
            left -= 1;
            tx.send(&Reply::Event(Box::new(event))).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(Ok(()))
}
