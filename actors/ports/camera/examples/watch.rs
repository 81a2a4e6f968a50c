//! Opens a source without a node and prints what comes: one line a report.
//!
//!   cargo run -p watchtree-camera-port --example watch -- rtsp://127.0.0.1:8554/cam [frames_per_s] [seconds]
//!
//! The login is read from WATCH_USER and WATCH_PASSWORD, every_frame is on if WATCH_EVERY_FRAME is set.

use anyhow::{Context, Result};
use protocol::Timestamp;
use protocol::camera::{Login, Report, Source};
use std::env::var;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use watchtree_camera_port::{Node, Tell, session, start_gstreamer};

fn main() -> Result<()> {
    let began = Instant::now();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let url = args.next().context("say which: rtsp://host/path or file:///path")?;
    let frames_per_s = args.next().map_or(Ok(5.0), |text| text.parse())?;
    let seconds = args.next().map_or(Ok(10), |text| text.parse())?;
    let login = var("WATCH_USER").ok().zip(var("WATCH_PASSWORD").ok()).map(|(user, password)| Login { user, password });
    let every_frame = var("WATCH_EVERY_FRAME").is_ok();
    let source = Source { login, frames_per_s, frame_width_px_max: 640, every_frame, ..Source::new(url) };
    start_gstreamer()?;
    let tell: Tell = Arc::new(move |report| {
        let now = Timestamp::now().micros();
        match report {
            Report::Frame(frame) => println!(
                "{:>6} ms frame {} pts {} us captured {} ({} us ago) {}x{} {:?}",
                began.elapsed().as_millis(),
                frame.index,
                frame.pts_us,
                frame.captured_us,
                now - frame.captured_us,
                frame.width,
                frame.height,
                frame.pixels
            ),
            other => println!("{:>6} ms {other:?}", began.elapsed().as_millis()),
        }
        Ok(())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        stopping.store(true, Ordering::Relaxed);
    });
    let end = session::run(&source, &Node { tell, gets_on: Arc::new(|| ()), stop })?;
    println!("{:>6} ms {end:?}", began.elapsed().as_millis());
    Ok(())
}
