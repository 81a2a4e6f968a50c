//! `watchtree-model-port`: started by a gpu node, one process a session of a model.
//!
//!   Load ──▶ Ready | Refused, and the end      Judge ──▶ Judged, one at a time
//!
//! It ends when its node says so or is gone. A broken order ends it too: the node counts that as a crash.

use anyhow::{Context, bail};
use protocol::codec;
use protocol::limits::{PORT_MESSAGE_BYTES_MAX, short_text};
use protocol::model::{ModelOrder, ModelReport};
use std::process::ExitCode;
use supervision::port::child::{self, Speaker};
use watchtree_model_port::pipeline::Judge;

const PROGRAM: &str = "watchtree-model-port";

fn main() -> ExitCode {
    // The node adds the time; its log is no terminal.
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> anyhow::Result<()> {
    let (speaker, mut listener) = child::enter(PROGRAM)?;
    let mut judge: Option<Judge> = None;
    while let Some(bytes) = listener.recv().context("cannot hear the node")? {
        let order = codec::decode::<ModelOrder, PORT_MESSAGE_BYTES_MAX>(&bytes).context("order from the node")?;
        match (order, &mut judge) {
            (ModelOrder::Load { spec, engine, mock }, None) => match Judge::load(spec, engine, mock) {
                Ok(loaded) => {
                    report(&speaker, &loaded.ready())?;
                    judge = Some(loaded);
                }
                Err(refusal) => {
                    tracing::error!("{refusal}");
                    return report(&speaker, &ModelReport::Refused { reason: short_text(&refusal.0) });
                }
            },
            (ModelOrder::Judge { batch, pictures }, Some(judge)) => {
                // Only a batch has a limit here; how long loading may take, the node knows.
                speaker.idle(false);
                let results = judge.judge(&pictures, || speaker.progress());
                report(&speaker, &ModelReport::Judged { batch, results })?;
                speaker.idle(true);
            }
            (ModelOrder::Load { .. }, Some(_)) => bail!("a second model was ordered; start another port for it"),
            (ModelOrder::Judge { .. }, None) => bail!("pictures were sent before a model was loaded"),
        }
    }
    Ok(())
}

fn report(speaker: &Speaker, report: &ModelReport) -> anyhow::Result<()> {
    speaker.send(&codec::encode(report)).context("cannot report to the node")?;
    speaker.progress();
    Ok(())
}
