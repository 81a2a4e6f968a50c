//! Steering: `watchtree restart`, `park`, `resume`, and `inject` for drills.
//!
//!   act, path ──▶ the node that knows the path's first name, or a relay it is linked to ──▶ what was done
//!
//! One node is asked and no other: an act is done once.

use super::Failure;
use super::args::{Output, SteerArgs};
use super::gather;
use super::out::Out;
use super::session::{Dialler, Session, Unanswered};
use protocol::admin::{NodeLine, Reply, Request, Steered};
use protocol::link::{VIEWERS_LOOK, may_steer};
use protocol::{Act, Role};
use serde::Serialize;
use std::time::Duration;

/// An actor's orderly stop has seconds, and so has its start.
const DONE_WITHIN: Duration = Duration::from_secs(30);

/// What a program is told.
#[derive(Serialize)]
struct Done<'a> {
    path: &'a str,
    /// `restart`, `inject panic`
    act: String,
    /// `false`: it is under way and goes on.
    done: bool,
    text: String,
}

pub(super) async fn steer(args: &SteerArgs, act: Act, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    if !may_steer(dialler.me().role) {
        // The node would say so too; this way it is said without one.
        return Err(Failure::new(format!("{VIEWERS_LOOK}; {} is a viewer's, --cert names another", dialler.shown())));
    }
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let Steered { done, text } = ask(responsible(&sessions, &args.path).await?, &args.path, act).await?;
    match args.output {
        Output::Json => out.json_document(&Done { path: &args.path, act: act.to_string(), done, text })?,
        Output::Table => out.line(&text)?,
    }
    out.flush()?;
    if done { Ok(()) } else { Err(Failure::UnderWay) }
}

async fn ask(session: &Session, path: &str, act: Act) -> Result<Steered, Failure> {
    let mut replies = session.ask(&Request::Steer { path: path.to_owned(), act }).await?;
    match replies.next_within(DONE_WITHIN).await {
        Ok(Some(Reply::Steered(told))) => Ok(told),
        Ok(_) => Err(replies.unexpected().into()),
        Err(Unanswered::Refused(why)) => Err(Failure::new(why)),
        // The act may have been done, and only its answer lost.
        Err(Unanswered::Lost(why)) => {
            Err(Failure::new(format!("{why}; whether it was done, `watchtree tree {path}` shows")))
        }
    }
}

/// Of several that are asked, the one to send the act to.
pub(super) async fn responsible<'a>(sessions: &'a [Session], path: &str) -> Result<&'a Session, Failure> {
    let [only] = sessions else {
        let mut told = Vec::new();
        for session in sessions {
            told.push(gather::lines(session).await.map(|lines| (session, lines)));
        }
        let told = gather::answers(told)?;
        let ranked = told.iter().map(|(session, lines)| (rank(lines, path, session.node().role), *session));
        let best = ranked.max_by_key(|(rank, _)| *rank);
        return best.map(|(_, session)| session).ok_or_else(|| Failure::new("--connect names nobody"));
    };
    Ok(only)
}

/// How near somebody is to the node of this path: it is that node, is linked to it, is a relay and will
/// suggest another path, or none of these.
fn rank(lines: &[NodeLine], path: &str, role: Role) -> u8 {
    let nearest = lines.iter().filter(|line| gather::is_of(path, &line.node)).map(|line| match line.state.as_str() {
        "self" => 4,
        "linked" => 3,
        _ => 2,
    });
    nearest.max().unwrap_or(u8::from(role == Role::Relay))
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::line;
    use super::*;

    #[test]
    fn the_node_itself_is_nearer_than_a_relay_and_a_relay_nearer_than_nobody() {
        let hub = [line("main/relay/hub", "self"), line("main/gpu/one", "linked"), line("main/edge/barn", "gone")];
        let one = [line("main/gpu/one", "self")];
        let both = |path: &str| (rank(&hub, path, Role::Relay), rank(&one, path, Role::Gpu));
        assert_eq!(both("one/pool"), (3, 4));
        assert_eq!(both("main/gpu/one/pool"), (3, 4));
        assert_eq!(both("hub"), (4, 0));
        assert_eq!(both("barn/cameras"), (2, 0));
        assert_eq!(both("yrad/cameras"), (1, 0));
    }
}
