//! Events: `watchtree events`: the record, oldest first.
//!
//!   relay a ══events═▶ head ┐
//!   relay b ══events═▶ head ┴─ the oldest goes next ─▶ one line each
//!
//! Relays answer in the order of ids, which is that of time: merging keeps one event of each in memory.

use super::args::{EventsArgs, Output};
use super::out::Out;
use super::render::event as draw;
use super::session::{Dialler, Replies, Session, Unanswered};
use super::{Failure, warn};
use protocol::Role;
use protocol::admin::{EventFilter, RecordedEvent, Reply, Request};

pub(super) async fn list(args: &EventsArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let sessions = record_keepers(dialler.dial_all(&args.access.connect).await?)?;
    let request = Request::Events { filter: filter(args), follow: false };
    let mut streams = Vec::new();
    for session in &sessions {
        streams.push(Stream::start(session.ask(&request).await?).await?);
    }
    head(args, out)?;
    let mut left = args.limit.unwrap_or(u32::MAX);
    while left > 0
        && let Some(event) = oldest(&mut streams).await?
    {
        print(args, &event, out)?;
        left -= 1;
    }
    out.flush()
}

pub(super) fn filter(args: &EventsArgs) -> EventFilter {
    let EventsArgs { camera, label, from, until, limit, .. } = args;
    EventFilter { camera: camera.clone(), label: label.clone(), from: *from, until: *until, limit: *limit }
}

/// Gpu nodes keep no record; one among relays is no reason to stop.
pub(super) fn record_keepers(sessions: Vec<Session>) -> Result<Vec<Session>, Failure> {
    let (relays, others): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|session| session.node().role == Role::Relay);
    let without: Vec<String> = others.iter().map(no_record).collect();
    if relays.is_empty() {
        return Err(Failure::new(without.join("; ")));
    }
    without.iter().for_each(warn);
    Ok(relays)
}

pub(super) fn no_record(session: &Session) -> String {
    format!("{} at {} keeps no record of events; name a relay with --connect", session.node(), session.at)
}

/// Column headings, where a person looks; a program gets events alone.
pub(super) fn head(args: &EventsArgs, out: &mut Out) -> Result<(), Failure> {
    match args.output {
        Output::Table if out.width.is_some() => out.line(&draw::heading(out.style)),
        _ => Ok(()),
    }
}

pub(super) fn print(args: &EventsArgs, event: &RecordedEvent, out: &mut Out) -> Result<(), Failure> {
    match args.output {
        Output::Json => out.json_line(event),
        Output::Table => out.line(&draw::line(event, out.style)),
    }
}

/// One relay's events, the next of them at hand.
struct Stream {
    replies: Replies,
    next: Option<RecordedEvent>,
}

impl Stream {
    async fn start(replies: Replies) -> Result<Self, Unanswered> {
        let mut stream = Self { replies, next: None };
        stream.advance().await?;
        Ok(stream)
    }

    /// Returns the event at hand and fetches the one after it.
    async fn advance(&mut self) -> Result<Option<RecordedEvent>, Unanswered> {
        let following = match self.replies.next().await? {
            Some(Reply::Event(event)) => Some(*event),
            Some(_) => return Err(self.replies.unexpected()),
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, following))
    }

    async fn take(&mut self) -> Result<Option<RecordedEvent>, Unanswered> {
        // After the last one nothing more may be read.
        if self.next.is_none() { Ok(None) } else { self.advance().await }
    }
}

/// The oldest event of all streams; if several relays have it, the newest revision.
async fn oldest(streams: &mut [Stream]) -> Result<Option<RecordedEvent>, Unanswered> {
    let Some(id) = streams.iter().filter_map(|stream| stream.next.as_ref()).map(|next| next.event.id).min() else {
        return Ok(None);
    };
    let mut best: Option<RecordedEvent> = None;
    for stream in streams.iter_mut() {
        if stream.next.as_ref().is_some_and(|next| next.event.id == id)
            && let Some(event) = stream.take().await?
            && best.as_ref().is_none_or(|best| best.event.revision < event.event.revision)
        {
            best = Some(event);
        }
    }
    Ok(best)
}
