//! Inventory: `watchtree nodes`: who is there, and how each is.

use super::args::{NodesArgs, Output};
use super::fleet::{self, Told};
use super::gather::{Gatherer, answers};
use super::out::Out;
use super::render::{fleet as draw, nodes as draw_lines};
use super::session::{Dialler, Session, Unanswered};
use super::{Failure, warn};
use protocol::Timestamp;
use tokio::task::JoinSet;

pub(super) async fn nodes(args: &NodesArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let told = answers(ask_all(sessions).await)?;
    let Some(nodes) = fleet::merged(told) else { return by_trees(args, dialler, out).await };
    match args.output {
        Output::Json => out.json_document(&draw::told(&nodes))?,
        Output::Table => out.text(&draw::table(&nodes, Timestamp::now()).cut_to(out.width).render(out.style))?,
    }
    out.flush()
}

/// All at once; the answers in the order of those that were asked.
async fn ask_all(sessions: Vec<Session>) -> Vec<Result<Told, Unanswered>> {
    let mut asking = JoinSet::new();
    for (nth, session) in sessions.into_iter().enumerate() {
        asking.spawn(async move { (nth, fleet::ask(&session).await) });
    }
    let mut told = asking.join_all().await;
    told.sort_by_key(|(nth, _)| *nth);
    told.into_iter().map(|(_, told)| told).collect()
}

/// Where nobody judges: whether a node is ready, and what it lacks, only its own tree says.
async fn by_trees(args: &NodesArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let look = Gatherer::new(dialler, &args.access.connect, None).look().await?;
    look.view.silent.iter().for_each(warn);
    let nodes = draw_lines::told(&look.lines, &look.view.nodes, &look.view.absent);
    match args.output {
        Output::Json => out.json_document(&nodes)?,
        Output::Table => out.text(&draw_lines::table(&nodes, Timestamp::now()).cut_to(out.width).render(out.style))?,
    }
    out.flush()
}
