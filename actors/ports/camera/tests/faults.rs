//! The program itself: what a source cannot be blamed for ends the port, and what it can be is only told.

use protocol::camera::{Order, Report, Source, SourceFault};
use protocol::codec::{decode, encode};
use protocol::limits::PORT_MESSAGE_BYTES_MAX;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervision::{Failure, Place, Port, PortSpec};

const PROGRAM: &str = env!("CARGO_BIN_EXE_watchtree-camera-port");
const PATIENCE: Duration = Duration::from_secs(60);

fn spec() -> PortSpec {
    PortSpec::new(PROGRAM, PORT_MESSAGE_BYTES_MAX)
}

/// The port, told to open this.
async fn opening(spec: &PortSpec, url: String) -> Port {
    let mut port = Port::spawn(spec, &Place::detached("test")).await.expect("the port starts");
    let source =
        Source { url, login: None, frames_per_s: 5.0, frame_width_px_max: 640, stall_ms: 1500, every_frame: false };
    port.send(&encode(&Order::Open(source))).await.expect("the port listens");
    port
}

async fn next(port: &mut Port) -> Result<Option<Vec<u8>>, Failure> {
    tokio::time::timeout(PATIENCE, port.recv()).await.expect("something comes")
}

/// It is told as the source's, and the port ends well.
async fn check_source(url: String, expected: SourceFault) {
    let mut port = opening(&spec(), url).await;
    let report = next(&mut port).await.expect("it lives").expect("it says so");
    let report = decode::<Report, PORT_MESSAGE_BYTES_MAX>(&report).expect("a report");
    assert!(matches!(&report, Report::Failed { fault, .. } if *fault == expected), "{report:?}");
    assert_eq!(next(&mut port).await, Ok(None), "after {report:?}");
}

/// One of these tests' own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

fn file(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_away_or_holds_no_video_is_only_told() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a port is free");
    check_source(format!("rtsp://{nobody}/cam"), SourceFault::Refused).await;
    let folder = folder("sources");
    check_source(file(&folder.join("none.mp4")), SourceFault::NotFound).await;
    let garbage = folder.join("garbage.mp4");
    std::fs::write(&garbage, "this is no video\n".repeat(1000)).expect("it is ours");
    check_source(file(&garbage), SourceFault::Unreadable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_installation_is_a_failure_of_the_port_that_says_what_to_install() {
    let nothing = folder("no-plugins");
    let registry = nothing.join("registry.bin");
    let mut spec = spec();
    for (name, value) in [("GST_PLUGIN_SYSTEM_PATH", &nothing), ("GST_REGISTRY", &registry)] {
        spec.env.push((name.to_owned(), value.display().to_string()));
    }
    let mut port = opening(&spec, "rtsp://127.0.0.1/cam".to_owned()).await;
    let text = "watchtree-camera-port exited with code 1: GStreamer has no `rtspsrc`; apt-get install \
                gstreamer1.0-plugins-good";
    assert_eq!(next(&mut port).await, Err(Failure::error(text)));
}
