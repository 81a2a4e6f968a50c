//! Timeline: `watchtree timeline`: when somebody looked at a camera, as the relays have it on record.
//!
//!   relay a ══timelines═▶ ┐
//!   relay b ══timelines═▶ ┴─▶ for each camera that of the relay which knows most ──▶ a bar each, or JSON

use super::args::{Output, TimelineArgs};
use super::events::record_keepers;
use super::out::Out;
use super::render::timeline as draw;
use super::session::{Dialler, Session};
use super::{Failure, warn};
use protocol::admin::{Reply, Request};
use protocol::timeline::{Sight, Timeline};
use protocol::{CameraId, NodeName, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

const SPAN_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Questions for one camera: each brings hundreds of intervals. Whoever wants more asks for less time.
const PAGES_MAX: usize = 200;

pub(super) async fn show(args: &TimelineArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let to = args.to.unwrap_or_else(Timestamp::now);
    let from = args.from.unwrap_or_else(|| to.minus(SPAN_DEFAULT));
    if from >= to {
        return Err(Failure::new(format!("--from {from} is not before --to {to}; change them over")));
    }
    let (edge, camera) = &args.at;
    let sessions = record_keepers(dialler.dial_all(&args.access.connect).await?)?;
    let mut best: BTreeMap<CameraId, Timeline> = BTreeMap::new();
    for session in &sessions {
        for line in ask(session, edge, camera.clone(), from, to).await? {
            let line = whole(session, line, to).await?;
            let knows_more = best.get(&line.camera).is_none_or(|other| unknown(&line) < unknown(other));
            if knows_more {
                best.insert(line.camera.clone(), line);
            }
        }
    }
    let lines: Vec<Timeline> = best.into_values().collect();
    if lines.is_empty() {
        return Err(Failure::new(format!(
            "no camera of {edge} is on record; `watchtree nodes` lists the edges, and one of before version 4 does not \
             say when nobody looked"
        )));
    }
    match args.output {
        Output::Json => out.json_document(&lines)?,
        Output::Table => out.text(&draw::lines(&lines, out.width, out.style))?,
    }
    out.flush()
}

async fn ask(
    session: &Session,
    edge: &NodeName,
    camera: Option<CameraId>,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Timeline>, Failure> {
    let request = Request::Timeline { edge: edge.clone(), camera, from, to };
    let (mut replies, mut lines) = (session.ask(&request).await?, Vec::new());
    while let Some(reply) = replies.next().await? {
        let Reply::Timeline(line) = reply else { return Err(replies.unexpected().into()) };
        lines.push(*line);
    }
    Ok(lines)
}

/// One that did not fit goes on where it ended.
async fn whole(session: &Session, mut line: Timeline, to: Timestamp) -> Result<Timeline, Failure> {
    for _ in 0..PAGES_MAX {
        let Some(next) = line.next.filter(|next| *next < to && *next > line.from) else {
            line.next = None;
            return Ok(line);
        };
        let Some(more) = ask(session, &line.edge, Some(line.camera.clone()), next, to).await?.pop() else { break };
        line.intervals.extend(more.intervals);
        (line.to, line.next) = (more.to, more.next);
    }
    warn(format!("{}/{} is shown up to {}: ask for less time at once", line.edge, line.camera, line.to));
    Ok(line)
}

fn unknown(line: &Timeline) -> Duration {
    let unknown = line.intervals.iter().filter(|interval| interval.state == Sight::Unknown);
    unknown.map(|interval| interval.to.since(interval.from)).sum()
}
