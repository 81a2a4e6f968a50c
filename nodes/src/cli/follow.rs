//! Follow: `watchtree events -f`: events as they come, through losses of the connection.
//!
//!   relay a ══▶ [follower + bookmark] ┐
//!   relay b ══▶ [follower + bookmark] ┴─▶ printed in the order of arrival
//!
//! A follower whose relay is lost says so, dials again with backoff and asks from its bookmark on.
//! Ends with Ctrl-C, with its reader, after `--limit` lines, or when every relay has refused us.

use super::args::EventsArgs;
use super::bookmark::Bookmark;
use super::events::{self, no_record};
use super::out::Out;
use super::session::{Dialler, Replies, Session, Unanswered};
use super::{Failure, warn};
use config::HostPort;
use protocol::admin::{EventFilter, RecordedEvent, Reply, Request};
use protocol::{Role, Timestamp};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Between the loss and the first dial; doubles with each dial that fails.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// Events on the way to stdout. When full, the relay waits, and in the end cuts us off: we resume.
const UNPRINTED_MAX: usize = 256;

/// What a follower tells the printer.
type Told = Result<RecordedEvent, Failure>;

pub(super) async fn follow(args: &EventsArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    tokio::select! {
        ended = follow_all(args, dialler, out) => ended,
        // What was taken from the followers has been written.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow_all(args: &EventsArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let targets = &args.access.connect;
    let started = Timestamp::now();
    let first = dialler.try_all(targets).await;
    if first.iter().all(Result::is_err) {
        let reason = first.into_iter().find_map(Result::err).map(Failure::from);
        return Err(reason.unwrap_or_else(|| Failure::new("--connect names nobody")));
    }
    let (tell, mut told) = mpsc::channel(UNPRINTED_MAX);
    let mut followers = JoinSet::new();
    for (target, dialled) in targets.iter().zip(first) {
        let follower = Follower {
            dialler: dialler.clone(),
            at: target.clone(),
            filter: EventFilter { limit: None, ..events::filter(args) },
            mark: Bookmark::new(args.from, started),
            backoff: BACKOFF_FIRST,
        };
        followers.spawn(follower.run(dialled, tell.clone()));
    }
    events::head(args, out)?;
    out.flush()?;
    let printed = print_all(args, followers.len(), &mut told, out).await;
    followers.shutdown().await;
    printed
}

/// Ends well after `--limit` lines, and badly when no follower is left.
async fn print_all(
    args: &EventsArgs,
    mut followers: usize,
    told: &mut mpsc::Receiver<Told>,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut printed = 0;
    while args.limit.is_none_or(|limit| printed < limit) {
        match told.recv().await {
            Some(Ok(event)) => {
                events::print(args, &event, out)?;
                printed += u32::from(args.limit.is_some());
            }
            Some(Err(failure)) => {
                followers -= 1;
                match failure {
                    Failure::Failed(text) if followers > 0 => warn(text),
                    last_words => return Err(last_words),
                }
            }
            None => break,
        }
        // One write for all that is there, none of them held back.
        if told.is_empty() {
            out.flush()?;
        }
    }
    out.flush()
}

/// Follows one relay.
struct Follower {
    dialler: Dialler,
    at: HostPort,
    filter: EventFilter,
    mark: Bookmark,
    backoff: Duration,
}

impl Follower {
    /// Until the printer leaves or the relay refuses us.
    async fn run(mut self, first: Result<Session, Unanswered>, tell: mpsc::Sender<Told>) {
        let (mut dialled, mut resumes) = (first, false);
        loop {
            let lost = match dialled {
                Ok(session) => self.read(&session, resumes, &tell).await,
                Err(unanswered) => Some(unanswered),
            };
            match lost {
                None => return,
                Some(Unanswered::Refused(text)) => {
                    // Nobody listens any more if this fails, which is as good.
                    let _ = tell.send(Err(Failure::new(text))).await;
                    return;
                }
                Some(Unanswered::Lost(text)) => warn(format!("{text}; dialling again")),
            }
            resumes = true;
            dialled = self.dial_again().await;
        }
    }

    async fn dial_again(&mut self) -> Result<Session, Unanswered> {
        loop {
            sleep(self.backoff).await;
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
            match self.dialler.dial(&self.at).await {
                // The loss has been told; that it lasts is no news.
                Err(Unanswered::Lost(_)) => {}
                answered => return answered,
            }
        }
    }

    /// Reads until the relay is lost; `None` when nobody wants more.
    async fn read(&mut self, session: &Session, resumes: bool, tell: &mpsc::Sender<Told>) -> Option<Unanswered> {
        if session.node().role != Role::Relay {
            return Some(Unanswered::Refused(no_record(session)));
        }
        let mut filter = self.filter.clone();
        if resumes {
            warn(format!("{} at {} is there again", session.node(), session.at));
            filter.from = Some(self.mark.resume_from());
        }
        match session.ask(&Request::Events { filter, follow: true }).await {
            Ok(replies) => self.pass_on(replies, resumes, tell).await,
            Err(lost) => Some(lost),
        }
    }

    /// `served`: whether this relay has taken our request before.
    async fn pass_on(
        &mut self,
        mut replies: Replies,
        mut served: bool,
        tell: &mpsc::Sender<Told>,
    ) -> Option<Unanswered> {
        let since = Instant::now();
        loop {
            let reply = replies.next_whenever().await;
            if since.elapsed() > BACKOFF_MAX {
                self.backoff = BACKOFF_FIRST;
            }
            match reply {
                Ok(Some(Reply::Event(event))) => {
                    served = true;
                    if self.mark.is_news(&event, Timestamp::now()) && tell.send(Ok(*event)).await.is_err() {
                        return None;
                    }
                }
                Ok(Some(_)) => return Some(replies.unexpected()),
                Ok(None) => return Some(Unanswered::Lost(format!("{} ended the stream", self.at))),
                // It did serve us: it fell behind, or its store is being restarted.
                Err(Unanswered::Refused(text)) if served => return Some(Unanswered::Lost(text)),
                Err(unanswered) => return Some(unanswered),
            }
        }
    }
}
