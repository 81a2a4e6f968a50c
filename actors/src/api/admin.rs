//! Admin: answers the requests of operators and viewers, each on its own stream.
//!
//!   watchtree ══request══▶ [admin] ──▶ site (this node and its peers), store
//!             ◀═replies, done═┘
//!
//! A list is sent as it comes: what all nodes tell together is never in memory at once.

mod enrol;
mod looks;
#[cfg(test)]
mod tests;

use crate::camera::desk;
use crate::events::store::{EventStore, Lines};
use crate::fabric::enrolment::Enrolment;
use crate::fabric::refusals;
use crate::fabric::site::{Failures, Sees, Shown, Site};
use futures_util::StreamExt;
use looks::Looks;
use protocol::admin::{EventFilter, RecordedEvent, Reply, Request};
use protocol::event::v3;
use protocol::roles::{self, Listed};
use protocol::transport::{Lost, Rx, SendError, Tx, Version};
use protocol::{CameraId, Entry, Epoch, EventId, Identity, NodeName, Role, limits};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tracing::{debug, info};

/// From the stream's opening to its request.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// For a look at all nodes: to be answered by them, and read by whoever asked.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Failures sent for one request, of all nodes together; the newest.
const FAILURES_MAX: usize = 1000;
/// Entries of the raw record sent for one request.
const RECORD_ENTRIES_MAX: u32 = 10_000;
/// Of these in memory at once, for each who asks.
const RECORD_PAGE_ENTRIES: u32 = 500;

type Sent = Result<(), SendError>;

#[derive(Clone)]
pub struct Admin {
    site: Site,
    /// On a relay.
    store: Option<EventStore>,
    enrolment: Option<Enrolment>,
    looks: Looks,
    version: Version,
}

impl Admin {
    pub fn new(site: Site, store: Option<EventStore>, enrolment: Option<Enrolment>) -> Self {
        Self { site, store, enrolment, looks: Looks::default(), version: Version::EDGE }
    }

    /// Whoever asks sees its own tenant: that tenant's events and edges, and this node. Operators steer. `version` is
    /// what its program speaks.
    pub async fn serve(mut self, who: Identity, version: Version, mut tx: Tx, mut rx: Rx) {
        self.version = version;
        self.store = self.store.map(|store| store.for_tenant(who.tenant.clone()));
        let request = match timeout(REQUEST_WITHIN, rx.recv::<Request>()).await {
            Ok(Ok(Some(request))) => request,
            Ok(Err(error)) => {
                let _ = tx.send(&Reply::Refused(error.to_string())).await;
                let _ = tx.finish();
                return;
            }
            Ok(Ok(None)) | Err(_) => return,
        };
        match &request {
            Request::Steer { .. }
            | Request::CreateToken { .. }
            | Request::Revoke { .. }
            | Request::ChangeCamera { .. } => {
                info!(%who, request = told(&request), "admin request")
            }
            // A screen that is kept up to date looks twice a second.
            _ => debug!(%who, request = told(&request), "admin request"),
        }
        if let Err(denied) = roles::check(self.site.facts.node.role, who.role, request.row()) {
            refusals::denied(&who, &denied);
            // An act that is refused is on the audit log too: the site says so, by the same row.
            if let Request::ChangeCamera { change, .. } = &request {
                desk::audit(&who, &self.site.facts.node, None, change, &Err(denied.to_string()));
            }
            if !matches!(request, Request::Steer { .. }) {
                if refuse(&denied.to_string(), &mut tx).await.is_ok() {
                    let _ = tx.finish();
                    let _ = tx.delivered().await;
                }
                return;
            }
        }
        // Failing to send means that the operator has gone.
        if self.answer(request, &who, &mut tx, &mut rx).await.is_ok() {
            let _ = tx.finish();
            let _ = tx.delivered().await;
        }
    }

    async fn answer(&self, request: Request, who: &Identity, tx: &mut Tx, rx: &mut Rx) -> Result<(), SendError> {
        let sees = Sees::Tenant(who.tenant.clone());
        match request {
            Request::Nodes => {
                for some in self.site.lines(&sees).chunks(limits::NODES_MAX) {
                    tx.send(&Reply::Nodes(some.to_vec())).await?;
                }
                tx.send(&Reply::Done).await
            }
            Request::Tree { path: None } => self.in_turn(who, self.trees(&sees, tx)).await,
            Request::Tree { path: Some(path) } => match self.site.tree_at(&path, &sees).await {
                Ok(shown) => {
                    show(shown, tx).await?;
                    tx.send(&Reply::Done).await
                }
                Err(why) => refuse(&why, tx).await,
            },
            Request::Failures { path, limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(FAILURES_MAX);
                let failures = async {
                    match self.site.failures(path.as_deref(), limit, &sees).await {
                        Ok(failures) => list(failures, tx).await,
                        Err(why) => refuse(&why, tx).await,
                    }
                };
                self.in_turn(who, failures).await
            }
            Request::Steer { path, act } => match self.site.steer(path, act, who.clone()).await {
                Ok(told) => tx.send(&Reply::Steered(told.short())).await,
                Err(why) => refuse(&why, tx).await,
            },
            Request::Cameras { path } => match self.site.cameras(&path, &sees).await {
                Ok((cameras, omitted)) => tx.send(&Reply::Cameras { cameras, omitted }).await,
                Err(why) => refuse(&why, tx).await,
            },
            Request::ChangeCamera { path, change } => match self.site.change_camera(path, change, who.clone()).await {
                Ok(told) => tx.send(&Reply::Steered(told.short())).await,
                Err(why) => refuse(&why, tx).await,
            },
            Request::Timeline { edge, camera, from, to } => match &self.store {
                Some(store) if from < to => {
                    let name = edge.clone();
                    let node = Identity { tenant: who.tenant.clone(), role: Role::Edge, name };
                    let lines = Lines { edge, from, to, heard: self.site.facts.fleet.heard(&node) };
                    self.in_turn(who, timelines(store, &lines, camera, tx)).await
                }
                Some(_) => refuse(&format!("{from} is not before {to}; change them over"), tx).await,
                None => refuse(&self.no_record(), tx).await,
            },
            Request::CreateToken { role, name, ttl_s } => self.create_token(who, role, name, ttl_s, tx).await,
            Request::Revoke { name, role } => self.revoke(who, name, role, tx).await,
            Request::Revoked => self.revoked(who, tx).await,
            Request::Fleet => self.in_turn(who, self.fleet(&sees, tx)).await,
            Request::Events { filter, follow } => match &self.store {
                Some(store) => events(store, filter, follow, self.version, tx, rx).await,
                None => tx.send(&Reply::Refused(self.no_record())).await,
            },
            Request::Record { edge, epoch, after, limit } => match &self.store {
                Some(store) => record(store, edge, epoch, after, limit.min(RECORD_ENTRIES_MAX), self.version, tx).await,
                None => tx.send(&Reply::Refused(self.no_record())).await,
            },
        }
    }

    async fn in_turn(&self, who: &Identity, answer: impl Future<Output = Sent>) -> Sent {
        let unread = || Err(Lost::Stream(format!("not read within {} s", READ_WITHIN.as_secs())).into());
        self.looks.in_turn(who, READ_WITHIN, answer).await.unwrap_or_else(unread)
    }

    async fn trees(&self, sees: &Sees, tx: &mut Tx) -> Result<(), SendError> {
        let mut trees = pin!(self.site.trees(sees));
        while let Some(shown) = trees.next().await {
            show(shown, tx).await?;
        }
        tx.send(&Reply::Done).await
    }

    async fn fleet(&self, sees: &Sees, tx: &mut Tx) -> Result<(), SendError> {
        let (fleet, mut after) = (&self.site.facts.fleet, None);
        loop {
            let some = fleet.page(after.as_ref(), limits::FLEET_MAX, |node| self.site.sees(sees, node));
            after = some.last().map(|last| last.node.clone());
            if after.is_none() {
                return tx.send(&Reply::Done).await;
            }
            tx.send(&Reply::Fleet(some)).await?;
        }
    }

    fn no_record(&self) -> String {
        format!("{} keeps no record of events; ask a relay", self.site.facts.node)
    }
}

async fn show(shown: Shown, tx: &mut Tx) -> Result<(), SendError> {
    let (node, why) = match shown {
        Shown::Missing { node, why } => (node, why),
        Shown::Tree(tree) => {
            let node = tree.node.clone();
            match tx.send(&Reply::Node(tree)).await {
                // One node's tree must not keep those of all others from whoever asks.
                Err(too_large @ SendError::TooLarge { .. }) => (node, too_large.to_string()),
                sent => return sent,
            }
        }
    };
    tx.send(&Reply::Missing { node, why: limits::short_text(&why) }).await
}

/// For the log: a request is as long as its sender likes, up to a whole message.
fn told(request: &Request) -> String {
    limits::short_text(&format!("{request:?}"))
}

async fn refuse(why: &str, tx: &mut Tx) -> Result<(), SendError> {
    tx.send(&Reply::Refused(limits::short_text(why))).await
}

async fn list(failures: Failures, tx: &mut Tx) -> Result<(), SendError> {
    for failure in failures.records {
        tx.send(&Reply::Failure(Box::new(failure))).await?;
    }
    for (node, why) in failures.missing {
        tx.send(&Reply::Missing { node, why: limits::short_text(&why) }).await?;
    }
    tx.send(&Reply::Done).await
}

/// Page by page, all of one epoch.
async fn record(
    store: &EventStore,
    edge: NodeName,
    mut epoch: Option<Epoch>,
    mut after: u64,
    mut left: u32,
    version: Version,
    tx: &mut Tx,
) -> Result<(), SendError> {
    while left > 0 {
        let page = match store.record(edge.clone(), epoch, after, left.min(RECORD_PAGE_ENTRIES)).await {
            Ok(page) => page,
            Err(error) => return refuse(&error.to_string(), tx).await,
        };
        let Some(last) = page.last() else { break };
        (epoch, after) = (Some(last.epoch), last.seq);
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        for entry in page {
            tx.send(&entry_for(entry, version)).await?;
        }
    }
    tx.send(&Reply::Done).await
}

/// To a program of before there was a word for it, the label tells what it is about.
fn old(event: v3::Event, version: Version) -> v3::Event {
    if version >= Version::FABRIC { event } else { event.before_fabric() }
}

fn entry_for(entry: Entry, version: Version) -> Reply {
    if version >= Version::EDGE {
        return Reply::Entry(Box::new(entry));
    }
    let entry = v3::Entry::from(entry);
    Reply::OldEntry(Box::new(v3::Entry { event: old(entry.event, version), ..entry }))
}

async fn tell(recorded: RecordedEvent, version: Version, tx: &mut Tx) -> Sent {
    let reply = if version >= Version::EDGE {
        Reply::Event(Box::new(recorded))
    } else {
        let recorded = v3::RecordedEvent::from(recorded);
        Reply::OldEvent(Box::new(v3::RecordedEvent { event: old(recorded.event, version), ..recorded }))
    };
    tx.send(&reply).await
}

async fn timelines(store: &EventStore, lines: &Lines, camera: Option<CameraId>, tx: &mut Tx) -> Sent {
    match store.timelines(lines, camera).await {
        Ok(timelines) => {
            for timeline in timelines {
                tx.send(&Reply::Timeline(Box::new(timeline))).await?;
            }
            tx.send(&Reply::Done).await
        }
        Err(error) => refuse(&error.to_string(), tx).await,
    }
}

async fn events(
    store: &EventStore,
    filter: EventFilter,
    follow: bool,
    version: Version,
    tx: &mut Tx,
    rx: &mut Rx,
) -> Result<(), SendError> {
    // Subscribed before the record is read, so that nothing falls in between.
    let mut news = store.follow();
    if let Err(reason) = recorded(store, &filter, follow, version, tx).await? {
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
            Ok(event) if filter.matches(&event.event) => tell(event, version, tx).await?,
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
    version: Version,
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
            tell(event, version, tx).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(Ok(()))
}
