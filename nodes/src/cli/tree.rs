//! Tree: `watchtree tree`: how every part of every node is, once or again each second.

use super::args::{Output, TreeArgs};
use super::gather::{Gatherer, View};
use super::out::Out;
use super::rates::Rates;
use super::render::{absent, tree as draw};
use super::session::Dialler;
use super::{Failure, warn, watch};
use protocol::Timestamp;

pub(super) async fn tree(args: &TreeArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let path = args.path.as_deref();
    let mut gatherer = Gatherer::new(dialler, &args.access.connect, path);
    let view = gatherer.look().await?.found(path)?;
    view.silent.iter().for_each(warn);
    if args.watch {
        watch::watch(args, &mut gatherer, view, out).await?;
    } else {
        print(args, &view, out)?;
    }
    out.flush()
}

fn print(args: &TreeArgs, view: &View, out: &mut Out) -> Result<(), Failure> {
    match args.output {
        Output::Json => out.json_document(&absent::beside(view.nodes.iter(), &view.absent)),
        // Who names a part wants to know all about it.
        Output::Table => {
            let width = out.width.filter(|_| args.path.is_none());
            let table = draw::table(&view.nodes, &view.absent, &Rates::default(), Timestamp::now());
            out.text(&table.cut_to(width).render(out.style))
        }
    }
}
