//! Failures: `watchtree failures`: what failed, the newest last.

use super::args::{FailuresArgs, Output};
use super::out::Out;
use super::render::failures as draw;
use super::session::{Dialler, Session, Unanswered};
use super::{Failure, gather, warn};
use jiff::tz::TimeZone;
use protocol::admin::{FailureRecord, Reply, Request};
use protocol::limits;
use std::collections::BTreeMap;

pub(super) async fn list(args: &FailuresArgs, out: &mut Out) -> Result<(), Failure> {
    let dialler = Dialler::new(&args.access)?;
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut told = Vec::new();
    for session in &sessions {
        told.push(told_by(session, args).await);
    }
    drop(sessions);
    let failures = merged(gather::answers(told)?, args.limit as usize)?;
    match args.output {
        Output::Json => failures.iter().try_for_each(|failure| out.json_line(failure))?,
        Output::Table if failures.is_empty() => out.line(&nothing(args.path.as_deref()))?,
        // Whoever asks for reasons wants them whole: no line is cut.
        Output::Table => out.text(&draw::table(&failures, &TimeZone::system()).render(out.style))?,
    }
    out.flush()?;
    dialler.hang_up().await;
    Ok(())
}

fn nothing(path: Option<&str>) -> String {
    match path {
        Some(path) => format!("no failure is on record at or below {path}"),
        None => "no failure is on record".to_owned(),
    }
}

/// A node's failures, or its words for a path where nothing is.
type Told = Result<Vec<FailureRecord>, String>;

async fn told_by(session: &Session, args: &FailuresArgs) -> Result<Told, Unanswered> {
    let mut replies = session.ask(&Request::Failures { path: args.path.clone(), limit: args.limit }).await?;
    let mut failures = Vec::new();
    loop {
        match replies.next().await {
            Ok(Some(Reply::Failure(failure))) => failures.push(*failure),
            Ok(Some(Reply::Missing { why, .. })) => warn(limits::short_text(&why)),
            Ok(Some(_)) => return Err(replies.unexpected()),
            Ok(None) => return Ok(Ok(failures)),
            // Perhaps another of those asked knows the path.
            Err(Unanswered::Refused(why)) if args.path.is_some() => return Ok(Err(why)),
            Err(unanswered) => return Err(unanswered),
        }
    }
}

/// The newest `limit` of all, each once however many told of it, oldest first.
fn merged(told: Vec<Told>, limit: usize) -> Result<Vec<FailureRecord>, Failure> {
    let (known, unknown): (Vec<Told>, Vec<Told>) = told.into_iter().partition(Result::is_ok);
    if let (true, Some(Err(why))) = (known.is_empty(), unknown.into_iter().next()) {
        return Err(Failure::new(why));
    }
    let all = known.into_iter().flatten().flatten();
    let once: BTreeMap<_, FailureRecord> =
        all.map(|failure| ((failure.at, failure.path.clone(), failure.node.clone()), failure)).collect();
    let surplus = once.len().saturating_sub(limit);
    Ok(once.into_values().skip(surplus).collect())
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::failure;
    use super::*;

    fn paths(told: Vec<Told>, limit: usize) -> Vec<String> {
        merged(told, limit).expect("somebody knows").into_iter().map(|failure| failure.path).collect()
    }

    #[test]
    fn the_newest_of_all_come_last_and_each_once() {
        let hub = vec![failure("a", 3), failure("b", 1)];
        let other = vec![failure("c", 2), failure("a", 3)];
        assert_eq!(paths(vec![Ok(hub.clone()), Ok(other.clone())], 10), ["b", "c", "a"]);
        assert_eq!(paths(vec![Ok(hub), Ok(other)], 2), ["c", "a"]);
    }

    #[test]
    fn a_path_that_one_of_two_knows_is_known() {
        let unknown = || Err("did you mean yard?".to_owned());
        assert_eq!(paths(vec![unknown(), Ok(vec![failure("a", 1)])], 10), ["a"]);
        assert_eq!(merged(vec![unknown(), unknown()], 10), Err(Failure::new("did you mean yard?")));
    }
}
