//! Failures: `watchtree failures`: what failed, the newest last.

use super::args::{FailuresArgs, Output};
use super::out::Out;
use super::render::failures as draw;
use super::session::{Dialler, Session, Unanswered};
use super::{Failure, gather, warn};
use jiff::tz::TimeZone;
use protocol::Identity;
use protocol::admin::{FailureRecord, Reply, Request};
use protocol::limits::short_text;
use std::collections::BTreeMap;

/// Nodes of which it is told, each on a line, that their failures are missing; the others are counted.
const MISSING_TOLD_MAX: usize = 20;

pub(super) async fn list(args: &FailuresArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut told = Vec::new();
    for session in &sessions {
        told.push(told_by(session, args).await);
    }
    let told = gather::answers(told)?;
    let missing = missing(&told);
    let failures = merged(told, args.limit as usize)?;
    tell_missing(&missing);
    match args.output {
        Output::Json => failures.iter().try_for_each(|failure| out.json_line(failure))?,
        Output::Table if failures.is_empty() => out.line(&nothing(args.path.as_deref(), &missing))?,
        // Whoever asks for reasons wants them whole: no line is cut.
        Output::Table => out.text(&draw::table(&failures, &TimeZone::system()).render(out.style))?,
    }
    out.flush()
}

/// Whose failures are missing, wholly or in part, and why.
type Missing = BTreeMap<Identity, String>;

fn tell_missing(missing: &Missing) {
    missing.values().take(MISSING_TOLD_MAX).for_each(warn);
    if let Some(more @ 1..) = missing.len().checked_sub(MISSING_TOLD_MAX) {
        warn(format!("failures of {more} more nodes are missing; `watchtree nodes` shows which are gone"));
    }
}

fn nothing(path: Option<&str>, missing: &Missing) -> String {
    match path {
        Some(path) => format!("no failure is on record at or below {path}"),
        None if missing.is_empty() => "no failure is on record".to_owned(),
        None => "no failure is on record at the others".to_owned(),
    }
}

/// What somebody who was asked says: failures, or for a path where nothing is, or nobody answers, words.
struct Told {
    by: Identity,
    failures: Result<Vec<FailureRecord>, String>,
    /// Whose failures are missing among these, and why.
    missing: Vec<(Identity, String)>,
}

async fn told_by(session: &Session, args: &FailuresArgs) -> Result<Told, Unanswered> {
    let mut replies = session.ask(&Request::Failures { path: args.path.clone(), limit: args.limit }).await?;
    let by = session.node().clone();
    let (mut failures, mut missing) = (Vec::new(), Vec::new());
    loop {
        match replies.next().await {
            Ok(Some(Reply::Failure(failure))) => failures.push(*failure),
            Ok(Some(Reply::Missing { node, why })) => missing.push((node, short_text(&why))),
            Ok(Some(_)) => return Err(replies.unexpected()),
            Ok(None) => return Ok(Told { by, failures: Ok(failures), missing }),
            // Perhaps another of those asked knows the path.
            Err(Unanswered::Refused(why)) if args.path.is_some() => {
                return Ok(Told { by, failures: Err(why), missing });
            }
            Err(unanswered) => return Err(unanswered),
        }
    }
}

/// Who was asked itself has told them, whoever else lacks them.
fn missing(told: &[Told]) -> Missing {
    let is_told = |node: &Identity| told.iter().any(|told| told.by == *node);
    told.iter().flat_map(|told| &told.missing).filter(|(node, _)| !is_told(node)).cloned().collect()
}

/// The newest `limit` of all, each once however many told of it, oldest first.
fn merged(told: Vec<Told>, limit: usize) -> Result<Vec<FailureRecord>, Failure> {
    let (known, unknown): (Vec<_>, Vec<_>) = told.into_iter().map(|told| told.failures).partition(Result::is_ok);
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

    /// What somebody tells who lacks those of `missing`.
    fn told(by: &str, failures: Result<Vec<FailureRecord>, &str>, missing: &[&str]) -> Told {
        let identity = |node: &str| node.parse().expect("an identity");
        let missing = missing.iter().map(|node| (identity(node), format!("{node} did not answer"))).collect();
        Told { by: identity(by), failures: failures.map_err(str::to_owned), missing }
    }

    fn paths(told: Vec<Told>, limit: usize) -> Vec<String> {
        merged(told, limit).expect("somebody knows").into_iter().map(|failure| failure.path).collect()
    }

    #[test]
    fn the_newest_of_all_come_last_and_each_once() {
        let both = || {
            let hub = told("main/relay/hub", Ok(vec![failure("a", 3), failure("b", 1)]), &[]);
            vec![hub, told("main/gpu/one", Ok(vec![failure("c", 2), failure("a", 3)]), &[])]
        };
        assert_eq!(paths(both(), 10), ["b", "c", "a"]);
        assert_eq!(paths(both(), 2), ["c", "a"]);
    }

    #[test]
    fn a_path_that_one_of_two_knows_is_known() {
        let unknown = || told("main/gpu/one", Err("did you mean yard?"), &[]);
        let hub = told("main/relay/hub", Ok(vec![failure("a", 1)]), &[]);
        assert_eq!(paths(vec![unknown(), hub], 10), ["a"]);
        assert_eq!(merged(vec![unknown(), unknown()], 10), Err(Failure::new("did you mean yard?")));
    }

    #[test]
    fn failures_are_missing_unless_their_node_was_asked_itself() {
        let hub = told("main/relay/hub", Ok(vec![]), &["main/edge/yard", "main/gpu/one"]);
        let told = [hub, told("main/gpu/one", Ok(vec![]), &["main/edge/yard"])];
        let missing = missing(&told);
        assert_eq!(missing.values().collect::<Vec<_>>(), ["main/edge/yard did not answer"]);
        assert_eq!(nothing(None, &missing), "no failure is on record at the others");
    }
}
