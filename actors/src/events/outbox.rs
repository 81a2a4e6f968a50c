//! Outbox: events that the relay has not yet acknowledged, on disk.
//!
//!   tracking ──push──▶ [outbox] ──next──▶ forwarder ══▶ relay
//!                          └───────── ack ◀──────┘
//!
//! Everyone who pushes at the same time shares one commit, and is answered after it. A crash repeats
//! entries and never loses an accepted one: the relay knows the repeated by their numbers.
//!
//! Stops when: its file fails.  On restart: opens the file again and goes on where it ends.
//! Disk full: pushes are refused, what was accepted stays and is still forwarded.
//! Outbox full: the oldest of the lowest severity is dropped, counted, and reported by an event of its own.

mod file;
mod open;
mod spool;
#[cfg(test)]
mod tests;

use crate::events::disk::FileError;
use file::{Appended, OutboxFile};
use protocol::admin::OutboxStatus;
use protocol::telemetry::SpoolFigures;
use protocol::{CameraId, Entry, Epoch, Event, Severity, Timestamp};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use supervision::{Actor, AskError, Backoff, Context, Failure, Gone, Mailbox, Node, Overflow, child};
use tokio::sync::{oneshot, watch};
use tokio::task::block_in_place;
use tracing::{debug, error, info, warn};

/// Requests that wait while a commit is on its way. When full, the next one waits at its caller.
const WAITING_MAX: usize = 1024;
/// Events of one commit. When full it is committed, though more are coming.
const BATCH_EVENTS_MAX: usize = 512;
/// Without pushes, acknowledged entries leave the file this much later, many at once.
const TRIM_AFTER: Duration = Duration::from_secs(2);
/// On a full disk, pushes are refused, and the disk is tried again this often, pushes or not.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// A disk that hangs must not keep the rest of the node from being shown; after this, the outbox is left out.
const STATUS_WITHIN: Duration = Duration::from_secs(1);
/// While the outbox stays full, what it drops is gathered and reported no more often than this; when there is room
/// again, at once.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How old the oldest entry is, and whether a report is due, is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A disk that fails is not tried in a tight loop.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(5) };

/// Talks to the outbox. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Outbox {
    mailbox: Mailbox<Msg>,
    newest: watch::Sender<u64>,
    figures: Arc<Figures>,
    trouble: Trouble,
}

/// What is shown without asking the actor; stays over its restarts.
#[derive(Default)]
struct Figures {
    waiting: AtomicU64,
    dropped: AtomicU64,
}

/// Why no event is accepted for now, for health.
type Trouble = Arc<Mutex<Option<String>>>;

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox {
    pub fn new() -> Self {
        let mailbox = Mailbox::new("outbox", WAITING_MAX, Overflow::Wait);
        let (newest, figures) = (watch::Sender::new(0), Arc::default());
        Self { mailbox, newest, figures, trouble: Trouble::default() }
    }

    /// For health: that events are accepted, or why not and the way out.
    pub fn finding(&self) -> Result<String, String> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok("accepts".to_owned()),
            Some(trouble) => Err(trouble.clone()),
        }
    }

    /// The actor behind this handle. At most `entries_max` entries are kept: then the oldest of the lowest severity
    /// are dropped, some at once; an event says how many.
    pub fn child(&self, path: PathBuf, entries_max: NonZeroU64) -> Node {
        let handle = self.clone();
        let make = move || block_in_place(|| OutboxState::open(path.clone(), entries_max, &handle));
        child("outbox", &self.mailbox, make).backoff(BACKOFF)
    }

    /// Returns the event's sequence number once it is on disk. After `Gone` it may or may not be there:
    /// push it again, the relay shows each revision once.
    pub async fn push(&self, event: Event) -> Result<u64, Gone> {
        self.mailbox.ask(|reply| Msg::Push { event, reply }).await
    }

    /// Entries after `after`, oldest first; as many as fit one message. Numbers are missing where entries were dropped.
    pub async fn next(&self, after: u64) -> Result<Vec<Entry>, Gone> {
        self.mailbox.ask(|reply| Msg::Next { after, reply }).await
    }

    /// The relay has everything through `through` that was not dropped.
    pub async fn ack(&self, through: u64) -> Result<(), Gone> {
        self.mailbox.send(Msg::Ack { through }).await.map_err(|_| Gone(self.mailbox.class()))
    }

    /// What this camera started and did not end, of everything pushed before. That nobody looks at it is told apart.
    pub async fn open_events(&self, camera: CameraId) -> Result<Vec<Event>, Gone> {
        let mut events: Vec<Event> = self.mailbox.ask(|reply| Msg::OpenEvents { camera, reply }).await?;
        events.retain(|event| !event.tells_of_coverage());
        Ok(events)
    }

    /// As [`Self::open_events`]: that nobody looks at this camera.
    pub async fn open_coverage(&self, camera: CameraId) -> Result<Vec<Event>, Gone> {
        let mut events: Vec<Event> = self.mailbox.ask(|reply| Msg::OpenEvents { camera, reply }).await?;
        events.retain(Event::tells_of_coverage);
        Ok(events)
    }

    /// The relay says it has everything through `through` of `epoch`. `false`: it cannot have that from this
    /// file, which was put back from an older copy; what is not acknowledged is now in a new epoch.
    pub async fn resume(&self, epoch: Epoch, through: u64) -> Result<bool, Gone> {
        self.mailbox.ask(|reply| Msg::Resume { epoch, through, reply }).await
    }

    /// Within a second: who shows it has others to show.
    pub async fn status(&self) -> Result<OutboxStatus, AskError> {
        self.mailbox.ask_within(STATUS_WITHIN, |reply| Msg::Status { reply }).await
    }

    /// Entries that the relay has not acknowledged, dropped ones left out.
    pub fn waiting(&self) -> u64 {
        self.figures.waiting.load(Ordering::Relaxed)
    }

    /// For telemetry, within a second. What was dropped is counted since the node's start.
    pub async fn spool(&self) -> Result<SpoolFigures, AskError> {
        let oldest_ms = self.mailbox.ask_within(STATUS_WITHIN, |reply| Msg::Age { reply }).await?;
        Ok(SpoolFigures { waiting: self.waiting(), oldest_ms, dropped: self.figures.dropped.load(Ordering::Relaxed) })
    }

    /// The newest sequence number on disk, as it grows.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

enum Msg {
    Push {
        event: Event,
        reply: oneshot::Sender<u64>,
    },
    Next {
        after: u64,
        reply: oneshot::Sender<Vec<Entry>>,
    },
    Ack {
        through: u64,
    },
    Resume {
        epoch: Epoch,
        through: u64,
        reply: oneshot::Sender<bool>,
    },
    OpenEvents {
        camera: CameraId,
        reply: oneshot::Sender<Vec<Event>>,
    },
    Status {
        reply: oneshot::Sender<OutboxStatus>,
    },
    /// For how many milliseconds the oldest entry has waited.
    Age {
        reply: oneshot::Sender<u64>,
    },
    /// The time has come again.
    Look,
    /// No push came for a while to take the acknowledged entries along.
    Trim,
    /// The disk was full a while ago.
    Retry,
}

struct OutboxState {
    path: PathBuf,
    /// Away only inside `reopen`.
    file: Option<OutboxFile>,
    entries_max: NonZeroU64,
    newest: watch::Sender<u64>,
    figures: Arc<Figures>,
    trouble: Trouble,
    /// The newest number the relay may know: what follows was given since the file was opened, and nobody
    /// has asked for it. A relay that knows more has met a later state of this file.
    offered: u64,
    /// Pushed and not yet committed; who pushed waits in `waiting`, in the same order.
    batch: Vec<Event>,
    waiting: Vec<oneshot::Sender<u64>>,
    trim_planned: bool,
    trim_due: bool,
    /// The disk was full when last tried; it is tried again soon.
    full: bool,
    retry_planned: bool,
    retry_due: bool,
    /// It has dropped entries and has had no room since.
    drops: bool,
    reported_at: Option<Instant>,
}

impl Actor for OutboxState {
    type Msg = Msg;

    async fn started(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        self.look(cx)
    }

    async fn handle(&mut self, message: Msg, cx: &mut Context<Msg>) -> Result<(), Failure> {
        match message {
            // Answered when the batch is on disk.
            Msg::Push { event, reply } => self.collect(event, reply),
            Msg::Next { after, reply } => {
                let entries = block_in_place(|| self.file().next(after)).map_err(|error| error.failure(&self.path))?;
                self.offered = entries.last().map_or(self.offered, |last| last.seq.max(self.offered));
                let _ = reply.send(entries);
            }
            Msg::Ack { through } => self.ack(through, cx)?,
            Msg::Resume { epoch, through, reply } => {
                let goes_on = self.resume(epoch, through, cx)?;
                let _ = reply.send(goes_on);
            }
            Msg::OpenEvents { camera, reply } => {
                // A tracker that died may have left a push here that its successor must see.
                self.commit(cx)?;
                let _ = reply.send(self.file().open_events(&camera));
            }
            Msg::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Msg::Age { reply } => {
                let _ = reply.send(self.show_age()?);
            }
            Msg::Look => self.look(cx)?,
            Msg::Trim => {
                self.trim_planned = false;
                self.trim_due = true;
            }
            Msg::Retry => {
                self.retry_planned = false;
                self.retry_due = true;
            }
        }
        Ok(())
    }

    async fn settled(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        // Those just answered may have more: one commit for all of them instead of one each.
        tokio::task::yield_now().await;
        let more_comes = cx.me().depth() > 0;
        if more_comes && self.batch.len() < BATCH_EVENTS_MAX { Ok(()) } else { self.commit(cx) }
    }

    async fn stopping(&mut self, cx: &mut Context<Msg>) {
        self.trim_due = true;
        if let Err(failure) = self.commit(cx) {
            warn!(%failure, "the last events were not accepted");
        }
    }
}

impl OutboxState {
    fn open(path: PathBuf, entries_max: NonZeroU64, outbox: &Outbox) -> Result<Self, Failure> {
        let file = OutboxFile::open(&path)?;
        let mark = file.mark();
        info!(path = %path.display(), epoch = %mark.epoch, accepted = mark.accepted, acked = mark.acked, "outbox is open");
        outbox.newest.send_replace(mark.accepted);
        // What a predecessor met; this one finds out itself.
        say(&outbox.trouble, None);
        let state = Self {
            path,
            file: Some(file),
            entries_max,
            newest: outbox.newest.clone(),
            figures: outbox.figures.clone(),
            trouble: outbox.trouble.clone(),
            offered: mark.accepted,
            batch: Vec::new(),
            waiting: Vec::new(),
            trim_planned: false,
            trim_due: false,
            full: false,
            retry_planned: false,
            retry_due: false,
            drops: false,
            reported_at: None,
        };
        state.show_waiting();
        Ok(state)
    }

    fn collect(&mut self, event: Event, reply: oneshot::Sender<u64>) {
        if self.full {
            // Dropping `reply` is the answer: not accepted.
            return refused(1);
        }
        self.batch.push(file::fitting(event));
        self.waiting.push(reply);
    }

    fn ack(&mut self, through: u64, cx: &mut Context<Msg>) -> Result<(), Failure> {
        let file = self.file.as_mut().expect(FILE);
        let acked = block_in_place(|| file.ack(through)).map_err(|error| error.failure(&self.path))?;
        metrics::counter!("watchtree_outbox_acked_total").increment(acked);
        self.show_waiting();
        if self.drops && self.has_room() {
            self.drops = false;
            info!(waiting = self.file().waiting(), "the outbox has room again");
            cx.note("");
        }
        if !self.trim_planned {
            self.trim_planned = true;
            plan(Msg::Trim, TRIM_AFTER, cx);
        }
        Ok(())
    }

    fn look(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        plan(Msg::Look, LOOK_EVERY, cx);
        self.show_age().map(drop)
    }

    /// As far as the wall clock knows.
    fn show_age(&self) -> Result<u64, Failure> {
        let oldest = block_in_place(|| self.file().oldest()).map_err(|error| error.failure(&self.path))?;
        let age = oldest.map_or(Duration::ZERO, |oldest| Timestamp::now().since(oldest));
        metrics::gauge!("watchtree_outbox_oldest_seconds").set(age.as_secs_f64());
        Ok(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    fn show_waiting(&self) {
        let waiting = self.file().waiting();
        self.figures.waiting.store(waiting, Ordering::Relaxed);
        metrics::gauge!("watchtree_outbox_unacked_events").set(waiting as f64);
    }

    /// Enough that it will not be full again with the next push.
    fn has_room(&self) -> bool {
        let max = self.entries_max.get();
        self.file().waiting() <= max - (max / 10).max(1)
    }

    /// While it stays full, one report waits at a time: nobody reads the second before the first, and each takes the
    /// place of an event.
    fn report_is_due(&self) -> bool {
        let rested = || self.reported_at.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        let file = self.file();
        !self.full && file.has_untold() && (self.has_room() || (file.reports_are_acked() && rested()))
    }

    fn resume(&mut self, epoch: Epoch, through: u64, cx: &mut Context<Msg>) -> Result<bool, Failure> {
        let before = self.file().mark();
        if epoch != before.epoch {
            return Ok(false);
        }
        if through <= self.offered {
            self.ack(through, cx)?;
            return Ok(true);
        }
        let file = self.file.as_mut().expect(FILE);
        match block_in_place(|| file.renew()) {
            Ok(()) => {}
            Err(full) if full.is_full() => return self.reopen(&full, cx).map(|()| false),
            Err(failed) => return Err(failed.failure(&self.path)),
        }
        let mark = self.file().mark();
        warn!(
            path = %self.path.display(), relay_has = through, outbox_had = self.offered, was = %before.epoch,
            now = %mark.epoch, unacked = mark.accepted,
            "the outbox was put back from an older copy: what the relay has not acknowledged goes again, in a new epoch"
        );
        self.offered = mark.accepted;
        self.newest.send_replace(mark.accepted);
        self.show_waiting();
        Ok(false)
    }

    /// One transaction for all that waits; then everyone is answered. If that was too many, and nothing of it is told
    /// yet, another one.
    fn commit(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        self.write(cx)?;
        if self.report_is_due() { self.write(cx) } else { Ok(()) }
    }

    fn write(&mut self, cx: &mut Context<Msg>) -> Result<(), Failure> {
        let report = self.report_is_due();
        let (batch, trim) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.trim_due));
        let retry = std::mem::take(&mut self.retry_due);
        let (file, entries_max, began) = (self.file.as_mut().expect(FILE), self.entries_max.get(), Instant::now());
        let done = match (batch.is_empty() && !report, trim, retry) {
            (true, false, false) => return Ok(()),
            (true, _, true) => block_in_place(|| file.rewrite()).map(|()| None),
            // The next retry takes them along.
            (true, true, false) if self.full => return Ok(()),
            (true, true, false) => block_in_place(|| file.trim()).map(|()| None),
            (false, ..) => block_in_place(|| file.append(batch, Timestamp::now(), entries_max, report)).map(Some),
        };
        match done {
            Ok(appended) => {
                if let Some(appended) = appended {
                    metrics::histogram!("watchtree_outbox_commit_seconds").record(began.elapsed().as_secs_f64());
                    self.accepted(&appended, cx);
                }
                if retry {
                    self.well_again(cx);
                }
            }
            Err(full) if full.is_full() => self.reopen(&full, cx)?,
            Err(failed) => return Err(failed.failure(&self.path)),
        }
        Ok(())
    }

    fn accepted(&mut self, appended: &Appended, cx: &mut Context<Msg>) {
        // Before anyone is told: who stops after its last push was answered still finds the forwarder told of it.
        self.newest.send_replace(self.file().mark().accepted);
        self.show_waiting();
        let mut waiting = self.waiting.drain(..);
        for Entry { epoch, seq, event, .. } in &appended.entries {
            // The witness of acceptance: written before anyone is told.
            debug!(target: "watchtree::outbox", %epoch, seq, event = %event.id, revision = event.revision, "accepted");
            // Nobody waits for a report. Whoever gave up waiting has its event accepted all the same.
            let _ = waiting.next().map(|reply| reply.send(*seq));
        }
        drop(waiting);
        metrics::counter!("watchtree_outbox_accepted_total").increment(appended.entries.len() as u64);
        if appended.reports > 0 {
            self.reported_at = Some(Instant::now());
            let reports: Vec<_> =
                appended.entries.iter().rev().take(appended.reports).map(|e| e.event.title()).collect();
            info!(?reports, "what the outbox dropped is reported");
        }
        self.dropped(appended, cx);
    }

    fn dropped(&mut self, appended: &Appended, cx: &mut Context<Msg>) {
        let dropped: u64 = appended.dropped.iter().sum();
        if dropped == 0 {
            return;
        }
        self.figures.dropped.fetch_add(dropped, Ordering::Relaxed);
        for (severity, entries) in Severity::ALL.into_iter().zip(appended.dropped).filter(|(_, entries)| *entries > 0) {
            metrics::counter!("watchtree_outbox_dropped_total", "severity" => severity.as_str()).increment(entries);
        }
        if !std::mem::replace(&mut self.drops, true) {
            warn!(
                limit = self.entries_max,
                "the outbox is full: the oldest entries of the lowest severity are dropped"
            );
            cx.note("full: the oldest entries of the lowest severity are dropped");
        }
    }

    fn well_again(&mut self, cx: &mut Context<Msg>) {
        self.full = false;
        info!("the disk has space again, events are accepted");
        cx.note("");
        say(&self.trouble, None);
    }

    /// The disk is full. redb does no more work until the file is opened again; nobody was told "accepted".
    fn reopen(&mut self, cause: &FileError, cx: &mut Context<Msg>) -> Result<(), Failure> {
        let told = std::mem::replace(&mut self.full, true);
        if !told {
            error!(path = %self.path.display(), %cause, waiting = self.waiting.len(), "disk is full, events are refused: free space");
        }
        cx.note("disk is full, events are refused: free space");
        let text = format!("{}: {cause}; free space on its disk, what it holds is kept", self.path.display());
        say(&self.trouble, Some(text));
        if !self.retry_planned {
            self.retry_planned = true;
            plan(Msg::Retry, FULL_PAUSE, cx);
        }
        refused(self.waiting.len() as u64);
        self.waiting.clear();
        self.batch.clear();
        self.file = None;
        self.file = Some(block_in_place(|| OutboxFile::open(&self.path))?);
        let accepted = self.file().mark().accepted;
        // What was on its way is there or not; where it is, nobody was told its number.
        self.offered = self.offered.max(accepted);
        self.newest.send_replace(accepted);
        self.show_waiting();
        Ok(())
    }

    fn status(&self) -> OutboxStatus {
        let mark = self.file().mark();
        OutboxStatus { epoch: mark.epoch, accepted: mark.accepted, acked: mark.acked }
    }

    fn file(&self) -> &OutboxFile {
        self.file.as_ref().expect(FILE)
    }
}

const FILE: &str = "the file is away only inside `reopen`, which ends the actor if it does not come back";

/// Tells the outbox something later.
fn plan(message: Msg, after: Duration, cx: &mut Context<Msg>) {
    let me = cx.me().clone();
    cx.spawn(async move {
        tokio::time::sleep(after).await;
        // Waits for room: nothing else would plan the next one. Gone: its successor plans its own.
        let _ = me.send(message).await;
        Ok(())
    });
}

fn say(to: &Trouble, trouble: Option<String>) {
    *to.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
}

fn refused(events: u64) {
    metrics::counter!("watchtree_outbox_refused_total").increment(events);
}
