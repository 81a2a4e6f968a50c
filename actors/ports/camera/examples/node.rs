//! A node of one camera: runs the real port program, says when frames come, and kills it now and then.
//!
//!   cargo run -p watchtree-camera-port --example node -- target/debug/watchtree-camera-port URL [kills]
//!
//! Prints how long each start took to its first frame.

use anyhow::{Context, Result, bail};
use protocol::camera::{Allow, Order, Report, Reports, Source};
use protocol::codec::encode;
use protocol::limits::PORT_MESSAGE_BYTES_MAX;
use std::time::{Duration, Instant};
use supervision::{Place, Port, PortSpec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("say which port program")?;
    let url = args.next().context("say which url")?;
    let kills: u32 = args.next().map_or(Ok(5), |text| text.parse())?;
    let allow = Allow { loopback: true, link_local: true };
    let source = Source { frame_width_px_max: 640, allow, ..Source::new(url) };
    for _ in 0..kills {
        let began = Instant::now();
        let spec = PortSpec::new(&program, PORT_MESSAGE_BYTES_MAX);
        let mut port = Port::spawn(&spec, &Place::detached("node")).await.map_err(failed)?;
        let spawned = began.elapsed();
        port.send(&encode(&Order::Open(Box::new(source.clone())))).await.map_err(failed)?;
        let frames = frames(&mut port, began).await?;
        println!("hello after {spawned:?}, first frame after {:?}, last index {}", frames.0, frames.1);
        let killing = Instant::now();
        let pid = port.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("it has no pid")?, rustix::process::Signal::ABORT)?;
        while let Ok(Some(_)) = port.recv().await {}
        println!("  its end was noticed after {:?}", killing.elapsed());
    }
    Ok(())
}

/// Two seconds of frames: when the first came, and the last's index.
async fn frames(port: &mut Port, began: Instant) -> Result<(Duration, u64)> {
    let mut first = None;
    let mut reports = Reports::default();
    while let Some(bytes) = port.recv().await.map_err(failed)? {
        let Some(report) = reports.hear(bytes)? else { continue };
        match report {
            Report::Frame(frame) => {
                let first = *first.get_or_insert_with(|| began.elapsed());
                if began.elapsed() > first + Duration::from_secs(2) {
                    return Ok((first, frame.index));
                }
            }
            Report::Opened { .. } | Report::Format(_) | Report::Unit(_) | Report::Size(_) | Report::Figures(_) => {}
            other => bail!("{other:?}"),
        }
    }
    bail!("the port ended")
}

fn failed(failure: supervision::Failure) -> anyhow::Error {
    anyhow::anyhow!("{failure:?}")
}
