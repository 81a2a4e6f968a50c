//! The program itself: whose fault it is that no picture comes, the source's or the port's own.

use crate::support::{Watched, file, folder, next, opening, source, spec};
use protocol::camera::{Reports, SourceFault};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use supervision::{Failure, Port, PortSpec};

const PATIENCE: Duration = Duration::from_secs(30);

/// A port with a source that takes connections and never says a word, and that hangs if it does nothing for so long.
async fn port_of_a_mute_camera(camera: &TcpListener, progress_within: Duration) -> Port {
    let spec = PortSpec { progress_within: Some(progress_within), ..spec() };
    opening(&spec, source(format!("rtsp://{}/cam", camera.local_addr().expect("it listens")))).await
}

/// It is told as the source's, and the port ends well.
async fn check_source(url: String, expected: SourceFault) -> String {
    let mut watched = Watched::open(source(url)).await;
    let (fault, text) = watched.failed().await;
    assert_eq!(fault, expected, "{text}");
    assert_eq!(next(&mut watched.port).await, Ok(None), "after {text}");
    text
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
    check_source("v4l2:///dev/video99".to_owned(), SourceFault::NotFound).await;
    check_source("test:nothing".to_owned(), SourceFault::NotFound).await;
    check_source("gopher://127.0.0.1/".to_owned(), SourceFault::Unreadable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_installation_is_a_failure_of_the_port_that_says_what_to_install() {
    let nothing = folder("no-plugins");
    let registry = nothing.join("registry.bin");
    let mut spec = spec();
    for (name, value) in [("GST_PLUGIN_SYSTEM_PATH", &nothing), ("GST_REGISTRY", &registry)] {
        spec.env.push((name.to_owned(), value.display().to_string()));
    }
    let mut port = opening(&spec, source("rtsp://127.0.0.1/cam")).await;
    let text = "watchtree-camera-port exited with code 1: GStreamer has no `rtspsrc`; apt-get install \
                gstreamer1.0-plugins-good";
    assert_eq!(next(&mut port).await, Err(Failure::error(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_camera_is_told_by_the_port_and_is_no_hang() {
    let camera = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut watched =
        Watched { port: port_of_a_mute_camera(&camera, Duration::from_secs(4)).await, reports: Reports::default() };
    assert_eq!(watched.failed().await.0, SourceFault::Silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_main_loop_stands_still_hangs_though_it_beats() {
    let camera = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut port = port_of_a_mute_camera(&camera, Duration::from_secs(2)).await;
    let until = Instant::now() + PATIENCE;
    while port.progress() < 5 {
        assert!(Instant::now() < until, "its loop does not turn");
        let _ = tokio::time::timeout(Duration::from_millis(50), port.recv()).await;
    }
    let _frozen = Frozen::new(port.pid().expect("it runs"));
    let failure = next(&mut port).await.expect_err("it hangs");
    assert_eq!(failure, Failure::hang("watchtree-camera-port answers and does nothing for 2s"));
}

/// A process whose main thread is held as by a debugger, while its other threads run on.
struct Frozen {
    thaw: Option<mpsc::Sender<()>>,
    held: Option<std::thread::JoinHandle<()>>,
}

impl Frozen {
    fn new(pid: u32) -> Self {
        let (thaw, wait) = mpsc::channel::<()>();
        let (holding, begun) = mpsc::channel();
        // One that is held belongs to the thread that holds it.
        let held = std::thread::spawn(move || {
            holding.send(hold(pid)).expect("the test waits");
            let _ = wait.recv();
        });
        begun.recv().expect("the thread runs").expect("a process may hold its child");
        Self { thaw: Some(thaw), held: Some(held) }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw.take();
        let _ = self.held.take().map(std::thread::JoinHandle::join);
    }
}

#[allow(unsafe_code)]
fn hold(pid: u32) -> std::io::Result<()> {
    let (none, pid) = (std::ptr::null_mut::<libc::c_void>(), pid.cast_signed());
    // SAFETY: neither request reads or writes memory of ours.
    let held = unsafe {
        libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) == 0
            && libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none) == 0
    };
    if held { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
