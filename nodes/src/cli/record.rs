//! Record: `watchtree record`: what an edge's outbox sent, entry by entry, as it is kept.

use super::Failure;
use super::args::RecordArgs;
use super::out::Out;
use super::session::{Dialler, Session};
use protocol::admin::{Reply, Request};
use protocol::{Entry, Epoch};

/// Entries asked for at once. A relay sends no more than 10,000 for one request.
const PAGE_ENTRIES: u32 = 5_000;

pub(super) async fn list(args: &RecordArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut left = args.limit.unwrap_or(u32::MAX);
    for session in &sessions {
        left -= print_record(args, session, left, out).await?;
    }
    out.flush()
}

/// Page by page; returns how many entries were printed.
async fn print_record(args: &RecordArgs, session: &Session, limit: u32, out: &mut Out) -> Result<u32, Failure> {
    let (mut epoch, mut after, mut printed) = (args.epoch, args.after, 0);
    while printed < limit {
        let page = PAGE_ENTRIES.min(limit - printed);
        let request = Request::Record { edge: args.edge.clone(), epoch, after, limit: page };
        let (count, last) = print_page(session, &request, out).await?;
        printed += count;
        match last {
            Some((of, seq)) if count == page => (epoch, after) = (epoch.or(Some(of)), seq),
            _ => break,
        }
    }
    Ok(printed)
}

async fn print_page(
    session: &Session,
    request: &Request,
    out: &mut Out,
) -> Result<(u32, Option<(Epoch, u64)>), Failure> {
    let mut replies = session.ask(request).await?;
    let (mut count, mut last) = (0, None);
    while let Some(reply) = replies.next().await? {
        let Reply::Entry(entry) = reply else { return Err(replies.unexpected().into()) };
        let entry: Entry = *entry;
        out.json_line(&entry)?;
        (count, last) = (count + 1, Some((entry.epoch, entry.seq)));
    }
    Ok((count, last))
}
