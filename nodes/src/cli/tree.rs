//! Tree: `watchtree tree`: how every part of every node is, once or again each second.

use super::args::{Output, TreeArgs};
use super::gather::{Gatherer, View};
use super::out::Out;
use super::rates::Rates;
use super::render::tree as draw;
use super::{Failure, warn, watch};
use protocol::Timestamp;

pub(super) async fn tree(args: &TreeArgs, out: &mut Out) -> Result<(), Failure> {
    let path = args.path.as_deref();
    let mut gatherer = Gatherer::new(&args.access, path)?;
    let look = gatherer.look().await?;
    look.silent.iter().for_each(warn);
    let view = look.found(path)?;
    if args.watch {
        watch::watch(args, &mut gatherer, view, out).await?;
    } else {
        print(args, &view, out)?;
    }
    out.flush()?;
    gatherer.hang_up().await;
    Ok(())
}

fn print(args: &TreeArgs, view: &View, out: &mut Out) -> Result<(), Failure> {
    match args.output {
        Output::Json => {
            let now = Timestamp::now();
            view.absent.iter().for_each(|line| warn(draw::absence(line, now)));
            out.json_document(&view.nodes)
        }
        // Who names a part wants to know all about it.
        Output::Table => {
            let width = out.width.filter(|_| args.path.is_none());
            let table = draw::table(&view.nodes, &view.absent, &Rates::default(), Timestamp::now());
            out.text(&table.cut_to(width).render(out.style))
        }
    }
}
