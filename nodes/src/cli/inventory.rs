//! Inventory: `watchtree nodes`: who is there.

use super::Failure;
use super::args::{NodesArgs, Output};
use super::gather::{answers, lines, merge_lines};
use super::out::Out;
use super::render::nodes as draw_nodes;
use super::session::Dialler;
use protocol::Timestamp;

pub(super) async fn nodes(args: &NodesArgs, out: &mut Out) -> Result<(), Failure> {
    let dialler = Dialler::new(&args.access)?;
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut told = Vec::new();
    for session in &sessions {
        told.push(lines(session).await);
    }
    let nodes = merge_lines(answers(told)?.into_iter().flatten());
    match args.output {
        Output::Json => out.json_document(&nodes)?,
        Output::Table => out.text(&draw_nodes::table(&nodes, Timestamp::now()).cut_to(out.width).render(out.style))?,
    }
    out.flush()?;
    drop(sessions);
    dialler.hang_up().await;
    Ok(())
}
