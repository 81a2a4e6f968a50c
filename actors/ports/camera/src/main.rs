//! `watchtree-camera-port`: started by an edge node, one per camera. See the library for what it does.

use anyhow::{Context, Result, bail};
use protocol::camera::{Order, Report};
use protocol::codec::decode;
use protocol::limits::MESSAGE_BYTES_MAX;
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use supervision::port::child::{self, Listener, Speaker};
use watchtree_camera_port::bell::{Bell, Wake, bell};
use watchtree_camera_port::session::{self, End};
use watchtree_camera_port::{Node, gstlog, start_gstreamer};

const PROGRAM: &str = "watchtree-camera-port";

fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    let served = child::enter(PROGRAM).map_err(anyhow::Error::from).and_then(|(speaker, listener)| {
        end_on_any_panic();
        serve(&speaker, listener)
    });
    if let Err(error) = served {
        eprintln!("{error:#}");
        exit(1);
    }
    // GStreamer may keep a thread that waits for a dead camera; ending does not wait for it.
    exit(0)
}

fn serve(speaker: &Speaker, mut listener: Listener) -> Result<()> {
    // While the order is on its way.
    start_gstreamer()?;
    let Some(order) = listener.recv().context("cannot hear the node")? else { return Ok(()) };
    let Order::Open(source) = decode::<Order, MESSAGE_BYTES_MAX>(&order).context("the node's order")? else {
        bail!("the node's first order opens no source");
    };
    gstlog::hide(&source);
    let (bell, wakes) = bell();
    let ringing = bell.clone();
    std::thread::Builder::new().name("listener".to_owned()).spawn(move || listen(listener, &ringing))?;
    // From here on there is always something to do, if only to look whether the camera still sends.
    speaker.idle(false);
    let (telling, working) = (speaker.clone(), speaker.clone());
    let room = Mutex::new(Vec::new());
    let tell = Arc::new(move |report: &Report| {
        let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
        report.say(&mut room, |message| telling.send(message))
    });
    let node = Node { tell, gets_on: Arc::new(move || working.progress()) };
    let last = match session::run(&source, &node, &bell, &wakes)? {
        End::Stopped => return Ok(()),
        End::Played => Report::Ended,
        End::Failed(trouble) => {
            tracing::info!(fault = trouble.fault.as_str(), "{}", trouble.text);
            Report::Failed { fault: trouble.fault, text: trouble.text }
        }
    };
    (node.tell)(&last).context("the node does not hear how it ended")
}

/// Nothing follows the first order but gears, and the end of the session in whichever way it comes.
fn listen(mut listener: Listener, bell: &Bell) {
    while let Ok(Some(order)) = listener.recv() {
        match decode::<Order, MESSAGE_BYTES_MAX>(&order) {
            Ok(Order::Gear { gear, rewind }) => bell.ring(Wake::Gear { gear, rewind }),
            Ok(Order::Open(_)) | Err(_) => break,
        }
    }
    bell.ring(Wake::Stop);
}

/// A port that lost one of its threads is worse than none: the node can start another.
fn end_on_any_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        exit(101);
    }));
}
