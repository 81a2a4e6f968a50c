//! Store: what happened, at all edges, for good.
//!
//!   receiver (one an edge) ──append──▶ [store] ──▶ file ──▶ events, record ──▶ api
//!                                         └──follow──▶ whoever watches live
//!
//! All edges share one commit, and each is answered after it. An entry that comes again is known by
//! (edge, outbox epoch, seq) and skipped. Reading never waits for writing, nor writing for reading.
//!
//! Stops when: its file fails.  On restart: opens it again; edges send again what was not acknowledged.
//! Disk full: appends are refused and edges keep what they have; the record is still read.

mod file;
mod lines;
#[cfg(test)]
mod tests;

use crate::events::disk::FileError;
use file::{Append, StoreFile};
use protocol::admin::{EventFilter, RecordedEvent};
use protocol::{Entry, Epoch, EventId, Identity, NodeName, TenantId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use supervision::{Actor, Backoff, Context, Failure, Gone, Mailbox, Node, Overflow, child};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot};
use tokio::task::{block_in_place, spawn_blocking};
use tracing::{error, info};

pub use file::Page;
pub use lines::Lines;

/// Messages that wait, of up to one wire message each. When full, the receivers wait, and then their edges.
const WAITING_MAX: usize = 64;
/// Reads at once; each takes a thread for a bounded scan. When full, the next reader waits.
const READS_MAX: usize = 8;
/// News that a follower may lag behind. When full, it misses the oldest and is told how many.
const FOLLOW_EVENTS_MAX: usize = 4096;
/// A disk that fails is not tried in a tight loop.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(5) };

/// From one commit's begin to the next one's. What comes meanwhile shares the next; what comes alone is committed at
/// once. A commit costs the same for one entry as for many: with a thousand edges, half of what a relay has to do.
const COMMIT_EVERY: Duration = Duration::from_millis(20);
/// Entries that wait for a commit. When full, it comes at once.
const BATCH_ENTRIES_MAX: usize = 4096;

/// On a full disk, appends are refused, and the disk is tried again this often, appends or not.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// One channel a tenant that somebody follows, or did.
type News = Arc<Mutex<BTreeMap<TenantId, broadcast::Sender<RecordedEvent>>>>;

/// Talks to the store. Cheap to clone; stays valid across restarts. Reads one tenant's events.
#[derive(Clone)]
pub struct EventStore {
    mailbox: Mailbox<Msg>,
    tenant: TenantId,
    news: News,
    reads: Arc<Semaphore>,
    trouble: Trouble,
}

/// Why nothing is recorded for now, for health.
type Trouble = Arc<Mutex<Option<String>>>;

impl Default for EventStore {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStore {
    /// A handle that reads the default tenant's events.
    pub fn new() -> Self {
        Self {
            mailbox: Mailbox::new("store", WAITING_MAX, Overflow::Wait),
            tenant: TenantId::default(),
            news: News::default(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            trouble: Trouble::default(),
        }
    }

    /// For health: that events are recorded, or why not and the way out.
    pub fn finding(&self) -> Result<String, String> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok("records".to_owned()),
            Some(trouble) => Err(trouble.clone()),
        }
    }

    /// The same store, read for another tenant: that of the asker's certificate or session.
    pub fn for_tenant(&self, tenant: TenantId) -> Self {
        Self { tenant, ..self.clone() }
    }

    /// The actor behind this handle.
    pub fn child(&self, path: PathBuf) -> Node {
        let (news, trouble) = (self.news.clone(), self.trouble.clone());
        let make = move || block_in_place(|| StoreState::open(path.clone(), news.clone(), trouble.clone()));
        child("store", &self.mailbox, make).backoff(BACKOFF)
    }

    /// Returns, once `entries` are on disk, how far their outbox is on the record.
    pub async fn append(&self, edge: Identity, entries: Vec<Entry>) -> Result<u64, Gone> {
        self.mailbox.ask(|reply| Msg::Append { append: Append { edge, entries }, reply }).await
    }

    /// How far this outbox is on the record; 0 if it was never heard of.
    pub async fn resume(&self, edge: Identity, epoch: Epoch) -> Result<u64, Gone> {
        self.read(move |file| file.through(&edge, epoch)).await
    }

    /// Events that `filter` matches, oldest first by begin; go on with the page's `next`.
    pub async fn events(&self, filter: EventFilter, cursor: Option<EventId>) -> Result<Page, Gone> {
        let tenant = self.tenant.clone();
        self.read(move |file| file.events(&tenant, &filter, cursor)).await
    }

    /// The raw record of one edge, in order; without an epoch, of the outbox it uses now.
    pub async fn record(
        &self,
        edge: NodeName,
        epoch: Option<Epoch>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, Gone> {
        let tenant = self.tenant.clone();
        self.read(move |file| file.record((&tenant, &edge), epoch, after, limit)).await
    }

    /// Every new revision from now on, after it is on disk.
    pub fn follow(&self) -> broadcast::Receiver<RecordedEvent> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = news.entry(self.tenant.clone()).or_insert_with(|| broadcast::Sender::new(FOLLOW_EVENTS_MAX));
        channel.subscribe()
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreFile) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, Gone> {
        let gone = Gone(self.mailbox.class());
        let permit = self.reads.clone().acquire_owned().await.map_err(|_| gone)?;
        let (reply, answer) = oneshot::channel();
        let work: Read = Box::new(move |file| {
            let _ = reply.send(read(file)?);
            Ok(())
        });
        self.mailbox.send(Msg::Read { work, permit }).await.map_err(|_| gone)?;
        answer.await.map_err(|_| gone)
    }
}

type Read = Box<dyn FnOnce(&StoreFile) -> Result<(), FileError> + Send>;

enum Msg {
    Append {
        append: Append,
        reply: oneshot::Sender<u64>,
    },
    /// Answers by itself; the permit ends with it.
    Read {
        work: Read,
        permit: OwnedSemaphorePermit,
    },
    /// The next commit is due.
    Commit,
    /// The disk was full a while ago.
    Retry,
}

struct StoreState {
    path: PathBuf,
    /// Away while the disk is too full even to open it.
    file: Option<StoreFile>,
    /// The disk was full when last tried; it is tried again soon.
    full: bool,
    trouble: Trouble,
    news: News,
    /// Handed over and not yet committed; their receivers wait in `waiting`, in the same order.
    batch: Vec<Append>,
    waiting: Vec<oneshot::Sender<u64>>,
    pace: Pace,
}

impl Actor for StoreState {
    type Msg = Msg;

    async fn handle(&mut self, message: Msg, cx: &mut Context<Msg>) -> Result<(), Failure> {
        match message {
            // Dropping `reply` is the answer: not recorded, send it again.
            Msg::Append { .. } if self.full => {}
            // Answered when the batch is on disk.
            Msg::Append { append, reply } => {
                self.batch.push(append);
                self.waiting.push(reply);
            }
            Msg::Read { work, permit } => self.read(work, permit, cx),
            // What is due is seen when all that waited has been taken.
            Msg::Commit => self.pace.planned = false,
            Msg::Retry => self.retry(cx)?,
        }
        Ok(())
    }

    async fn settled(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let entries = self.batch.iter().map(|append| append.entries.len()).sum();
        match self.pace.wait(Instant::now(), entries) {
            Duration::ZERO => self.commit(cx),
            wait => {
                self.pace.plan(wait, cx);
                Ok(())
            }
        }
    }

    async fn stopping(&mut self, cx: &mut Context<Msg>) {
        if !self.batch.is_empty()
            && let Err(failure) = self.commit(cx)
        {
            error!("what came last is not recorded, and its edges keep it: {failure}");
        }
    }
}

/// When the next commit is due.
#[derive(Default)]
struct Pace {
    /// When the last one began.
    last: Option<Instant>,
    /// A message will come when it is due.
    planned: bool,
}

impl Pace {
    /// How long so many entries should wait for others.
    fn wait(&self, now: Instant, entries: usize) -> Duration {
        match self.last {
            Some(last) if entries < BATCH_ENTRIES_MAX => (last + COMMIT_EVERY).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    fn plan(&mut self, wait: Duration, cx: &mut Context<Msg>) {
        if std::mem::replace(&mut self.planned, true) {
            return;
        }
        let me = cx.me().clone();
        cx.spawn(async move {
            tokio::time::sleep(wait).await;
            // Fails when the store ends, which is as good; waits for room, while what is there is taken.
            let _ = me.send(Msg::Commit).await;
            Ok(())
        });
    }
}

impl StoreState {
    fn open(path: PathBuf, news: News, trouble: Trouble) -> Result<Self, Failure> {
        let file = Some(StoreFile::open(&path)?);
        info!(path = %path.display(), "record of events is open");
        // What a predecessor met; this one finds out itself.
        say(&trouble, None);
        Ok(Self {
            path,
            file,
            full: false,
            trouble,
            news,
            batch: Vec::new(),
            waiting: Vec::new(),
            pace: Pace::default(),
        })
    }

    /// Whether the disk takes anything again is known only by writing to it.
    fn retry(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        if self.file.is_none() && !self.reopen() {
            plan_retry(cx);
            return Ok(());
        }
        let Some(file) = &self.file else { return Ok(()) };
        match block_in_place(|| file.append(&[])) {
            Ok(_) => self.well_again(cx),
            Err(full) if full.is_full() => self.disk_is_full(&full, cx),
            Err(error) => return Err(error.failure(&self.path)),
        }
        Ok(())
    }

    fn well_again(&mut self, cx: &mut Context<Msg>) {
        self.full = false;
        info!(path = %self.path.display(), "the record takes events again");
        cx.note("records again");
        say(&self.trouble, None);
    }

    /// redb does no more work after an I/O error until the file is opened again.
    fn reopen(&mut self) -> bool {
        self.file = None;
        match block_in_place(|| StoreFile::open(&self.path)) {
            Ok(file) => self.file = Some(file),
            Err(failure) => say(&self.trouble, Some(failure.text)),
        }
        self.file.is_some()
    }

    fn disk_is_full(&mut self, cause: &FileError, cx: &mut Context<Msg>) {
        let text =
            format!("{}: {cause}; free space on its disk, edges keep their events meanwhile", self.path.display());
        let told = std::mem::replace(&mut self.full, true);
        if !told {
            error!("the record takes no more: {text}");
        }
        cx.note("disk is full, events are refused: free space");
        say(&self.trouble, Some(text));
        self.waiting.clear();
        self.reopen();
        plan_retry(cx);
    }

    /// One transaction for all that waits; then every edge is answered and the followers hear of it.
    fn commit(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        let began = Instant::now();
        self.pace.last = Some(began);
        let batch = std::mem::take(&mut self.batch);
        let Some(file) = &self.file else {
            self.waiting.clear();
            return Ok(());
        };
        let done = match block_in_place(|| file.append(&batch)) {
            Ok(done) => done,
            Err(full) if full.is_full() => {
                self.disk_is_full(&full, cx);
                return Ok(());
            }
            Err(error) => return Err(error.failure(&self.path)),
        };
        for (through, reply) in done.through.into_iter().zip(self.waiting.drain(..)) {
            // A receiver that is gone will hear it from the mark.
            let _ = reply.send(through);
        }
        metrics::counter!("watchtree_record_entries_total").increment(done.entries);
        metrics::counter!("watchtree_record_duplicates_total").increment(done.duplicates);
        metrics::histogram!("watchtree_record_commit_seconds").record(began.elapsed().as_secs_f64());
        self.publish(done.news);
        Ok(())
    }

    fn publish(&self, events: Vec<RecordedEvent>) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if let Some(channel) = news.get(&event.tenant) {
                // Fails when nobody follows at the moment.
                let _ = channel.send(event);
            }
        }
    }

    /// Beside the writer, on what is committed now.
    fn read(&mut self, work: Read, permit: OwnedSemaphorePermit, cx: &mut Context<Msg>) {
        // Dropping `work` is the answer.
        let Some(file) = self.file.clone() else { return };
        // A read that nobody can end has the file in its hands for as long as it takes.
        let (path, held) = (self.path.clone(), cx.token());
        cx.spawn(async move {
            let done = spawn_blocking(move || {
                let done = work(&file);
                drop((file, permit, held));
                done
            });
            match done.await {
                // One bad record costs its reader an answer, and not every edge its writer.
                Ok(Err(bad @ (FileError::Record(_) | FileError::Broken(_)))) => {
                    error!(path = %path.display(), %bad, "a record cannot be read");
                    Ok(())
                }
                // The writer met a full disk meanwhile and has opened the file again, for the next reader.
                Ok(Err(error)) if error.is_stale() => Ok(()),
                Ok(done) => done.map_err(|error| error.failure(&path)),
                Err(panicked) => Err(Failure::panic(format!("{}: reading: {panicked}", path.display()))),
            }
        });
    }
}

fn plan_retry(cx: &mut Context<Msg>) {
    let me = cx.me().clone();
    cx.spawn(async move {
        tokio::time::sleep(FULL_PAUSE).await;
        // Waits for room: nothing else would plan the next one. Gone: its successor plans its own.
        let _ = me.send(Msg::Retry).await;
        Ok(())
    });
}

fn say(to: &Trouble, trouble: Option<String>) {
    *to.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
}
