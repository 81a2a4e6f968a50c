//! Inventory: `watchtree nodes`: who is there, and whether each does its job.

use super::args::{NodesArgs, Output};
use super::gather::Gatherer;
use super::out::Out;
use super::render::nodes as draw;
use super::session::Dialler;
use super::{Failure, warn};
use protocol::Timestamp;

pub(super) async fn nodes(args: &NodesArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    // Whether a node is ready, and what it lacks, only its own tree says.
    let look = Gatherer::new(dialler, &args.access.connect, None).look().await?;
    look.view.silent.iter().for_each(warn);
    let nodes = draw::told(&look.lines, &look.view.nodes, &look.view.absent);
    match args.output {
        Output::Json => out.json_document(&nodes)?,
        Output::Table => out.text(&draw::table(&nodes, Timestamp::now()).cut_to(out.width).render(out.style))?,
    }
    out.flush()
}
