//! Opens a source without a node and prints what comes: one line a report.
//!
//!   cargo run -p watchtree-camera-port --example watch -- rtsp://127.0.0.1:8554/cam [frames_per_s] [seconds]
//!
//! The login is read from WATCH_USER and WATCH_PASSWORD; WATCH_EVERY_FRAME, WATCH_UNITS, WATCH_AUDIO, WATCH_REPEAT and
//! WATCH_UDP turn these on if set; WATCH_GEAR is passthrough, awake, or how many milliseconds key frames are apart in
//! idle; WATCH_DETECT is the url of a stream for detection. With WATCH_QUIET nothing is printed,
//! but sent to a reader as to a node.

use anyhow::{Context, Result};
use protocol::Timestamp;
use protocol::camera::{Allow, Detect, Gear, Login, Report, Source, Transport};
use protocol::codec::encode;
use std::env::var;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watchtree_camera_port::bell::{Wake, bell};
use watchtree_camera_port::{Node, Tell, session, start_gstreamer};

fn main() -> Result<()> {
    let began = Instant::now();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let url = args.next().context("say which: rtsp://host/path or file:///path")?;
    let frames_per_s = args.next().map_or(Ok(5.0), |text| text.parse())?;
    let seconds = args.next().map_or(Ok(10), |text| text.parse())?;
    let login = var("WATCH_USER").ok().zip(var("WATCH_PASSWORD").ok()).map(|(user, password)| Login { user, password });
    let is_set = |name: &str| var(name).is_ok();
    let source = Source {
        detect: var("WATCH_DETECT").ok().map(|url| Detect { url, login: login.clone() }),
        login,
        frames_per_s,
        frame_width_px_max: 640,
        transport: if is_set("WATCH_UDP") { Transport::Udp } else { Transport::Tcp },
        allow: Allow { loopback: true, link_local: true },
        every_frame: is_set("WATCH_EVERY_FRAME"),
        repeat: is_set("WATCH_REPEAT"),
        units: is_set("WATCH_UNITS"),
        audio: is_set("WATCH_AUDIO"),
        gear: gear()?,
        ..Source::new(url)
    };
    start_gstreamer()?;
    let tell: Tell = if is_set("WATCH_QUIET") { quiet()? } else { Arc::new(move |report| print(began, report)) };
    let (bell, wakes) = bell();
    let stopping = bell.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        stopping.ring(Wake::Stop);
    });
    let end = session::run(&source, &Node { tell, gets_on: Arc::new(|| ()) }, &bell, &wakes)?;
    println!("{:>6} ms {end:?}", began.elapsed().as_millis());
    Ok(())
}

fn gear() -> Result<Gear> {
    match var("WATCH_GEAR").as_deref() {
        Err(_) | Ok("awake") => Ok(Gear::Awake),
        Ok("passthrough") => Ok(Gear::Passthrough),
        Ok(every_ms) => Ok(Gear::Idle { every_ms: every_ms.parse().context("WATCH_GEAR")? }),
    }
}

fn print(began: Instant, report: &Report) -> std::io::Result<()> {
    let (now, ms) = (Timestamp::now().micros(), began.elapsed().as_millis());
    match report {
        Report::Frame(frame) => println!(
            "{ms:>6} ms frame {} pts {} us captured {} ({} us ago) {}x{} {}{:?}",
            frame.index,
            frame.pts_us,
            frame.captured_us,
            now - frame.captured_us,
            frame.width,
            frame.height,
            if frame.replayed { "replayed " } else { "" },
            frame.pixels
        ),
        other => println!("{ms:>6} ms {other:?}"),
    }
    Ok(())
}

/// As a port does: to be measured. Whoever reads is a thread of the same process.
fn quiet() -> Result<Tell> {
    let (writes, mut reads) = UnixStream::pair()?;
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 20];
        while reads.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    Ok(Arc::new(move |report| (&writes).write_all(&encode(report))))
}
