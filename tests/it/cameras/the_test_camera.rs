//! The test camera itself: what its options and orders promise, as other programs see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tests::harness::{CameraServer, wait_for};
use tests::test_camera::book::now_us;

const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const SCENE: [&str; 7] = ["--gop-s", "1", "--length-s", "6", "--size", "320x180", "--prepare"];
/// From 1900 to 1970, as RTCP counts.
const NTP_BEFORE_UNIX_S: i64 = 2_208_988_800;

async fn camera(more: &[&str]) -> CameraServer {
    let arguments: Vec<&str> = SCENE.iter().chain(more).copied().collect();
    CameraServer::start(&arguments).await
}

/// What ffprobe sees of three seconds: codec and size of the pictures, how many, and the codec of the sound.
fn seen(url: &str, transport: &str) -> Result<(String, usize, Option<String>), String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json", "-read_intervals", "%+3", "-show_entries"]);
    command.arg("stream=codec_type,codec_name,width,height:packet=codec_type,size");
    if url.starts_with("rtsp") {
        command.args(["-rtsp_transport", transport]);
    }
    let said = command.arg(url).output().expect("`make setup` installs ffmpeg");
    let probed: serde_json::Value = serde_json::from_slice(&said.stdout).map_err(|e| e.to_string())?;
    let none = Vec::new();
    let list = |key: &str| probed[key].as_array().unwrap_or(&none).clone();
    let stream = |kind: &str| list("streams").into_iter().find(|stream| stream["codec_type"] == kind);
    let video = stream("video").ok_or_else(|| String::from_utf8_lossy(&said.stderr).into_owned())?;
    let pictures = list("packets").iter().filter(|packet| packet["codec_type"] == "video").count();
    let sound = stream("audio").and_then(|sound| Some(sound["codec_name"].as_str()?.to_owned()));
    let codec = video["codec_name"].as_str().unwrap_or_default();
    Ok((format!("{codec} {}x{}", video["width"], video["height"]), pictures, sound))
}

#[tokio::test]
async fn each_kind_of_camera_is_understood_by_others() {
    let kinds: [(&[&str], &str, &str, Option<&str>); 8] = [
        (&[], "udp", "h264 320x180", None),
        (&["--codec", "h265"], "tcp", "hevc 320x180", None),
        (&["--bframes", "2"], "tcp", "h264 320x180", None),
        (&["--audio", "aac"], "tcp", "h264 320x180", Some("aac")),
        (&["--audio", "opus"], "udp", "h264 320x180", Some("opus")),
        (&["--audio", "pcmu"], "tcp", "h264 320x180", Some("pcm_mulaw")),
        (&["--tls"], "tcp", "h264 320x180", None),
        (&["--mjpeg"], "tcp", "mjpeg 320x180", None),
    ];
    for (arguments, transport, video, sound) in kinds {
        let camera = camera(arguments).await;
        let found = seen(camera.url(), transport).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
        assert_eq!((found.0.as_str(), found.2.as_deref()), (video, sound), "{arguments:?}");
        assert!(found.1 > 20, "{arguments:?}: {} pictures", found.1);
    }
    let camera = camera(&["--sub", "160x90", "--size2", "480x270"]).await;
    assert_eq!(seen(&format!("{}-sub", camera.url()), "tcp").expect("it is there").0, "h264 160x90");
    assert_eq!(seen(camera.url(), "tcp").expect("it is there").0, "h264 320x180");
}

#[tokio::test]
async fn a_password_is_asked_for_by_digest() {
    let camera = camera(&["--user", "admin", "--password", "secret"]).await;
    let refused = Client::open(camera.url()).ask("DESCRIBE", camera.url(), "").expect_err("no password");
    assert!(refused.contains("401") && refused.contains("WWW-Authenticate: Digest"), "{refused}");
    assert!(!refused.contains("Basic"), "{refused}");
    assert!(seen(camera.url(), "tcp").is_err());
    let with = camera.url().replace("://", "://admin:secret@");
    assert_eq!(seen(&with, "tcp").expect("with the password").0, "h264 320x180");
}

/// Orders are obeyed a moment later.
async fn noted(camera: &CameraServer, state: &str) {
    wait_for("the order is obeyed", ANSWERS_WITHIN, async || {
        let states = camera.deliveries().states;
        let last = states.last().map(|(_, state)| state.clone());
        if last.as_deref() == Some(state) { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await
}

/// From its next key frame on.
async fn shows(camera: &CameraServer, wanted: &str) {
    wait_for("it is seen so", ANSWERS_WITHIN, async || match seen(camera.url(), "tcp") {
        Ok((found, ..)) if found == wanted => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await
}

#[tokio::test]
async fn what_was_ordered_is_done_and_in_the_book() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let arguments: Vec<&str> = SCENE.iter().chain(&["--size2", "480x270"]).copied().collect();
    let mut camera = CameraServer::start_with_book(&arguments, &dir.path().join("book")).await;
    camera.order("size 480x270");
    shows(&camera, "h264 480x270").await;
    camera.order("size 320x180");
    camera.order("loss 20");
    noted(&camera, "loss 20").await;
    let _ = seen(camera.url(), "udp");
    camera.order("loss 0");
    camera.stall();
    noted(&camera, "stall").await;
    camera.kill();
    camera.start_again().await;
    shows(&camera, "h264 320x180").await;
    let book = camera.deliveries();
    assert!(book.dropped > 0 && book.units > 40, "{book:?}");
    let states: Vec<&str> = book.states.iter().map(|(_, state)| state.as_str()).collect();
    let wanted = ["ready", "size 480x270", "size 320x180", "loss 20", "loss 0", "stall", "killed", "ready"];
    assert_eq!(states, wanted);
    assert!(book.time(0, now_us()) > Duration::from_secs(6), "{book:?}");
}

#[tokio::test]
async fn its_wall_clock_jumps_when_it_is_told_to() {
    let mut camera = camera(&[]).await;
    camera.order("clock +3600");
    let url = camera.url().to_owned();
    let told_s = tokio::task::spawn_blocking(move || Client::open(&url).senders_clock_s(&url)).await.expect("it runs");
    let off_s = told_s - NTP_BEFORE_UNIX_S - now_us() / 1_000_000;
    assert!((3595..=3605).contains(&off_s), "its clock is {off_s} s off");
}

/// As much of RTSP as hearing one RTCP report takes.
struct Client(BufReader<TcpStream>, u32);

impl Client {
    fn open(url: &str) -> Self {
        let host = url.strip_prefix("rtsp://").and_then(|rest| rest.split('/').next()).expect("rtsp://host/path");
        let socket = TcpStream::connect(host).expect("it listens");
        socket.set_read_timeout(Some(ANSWERS_WITHIN)).expect("it is open");
        Self(BufReader::new(socket), 0)
    }

    /// The headers of the answer; an error if it is not 200. A body is passed over.
    fn ask(&mut self, verb: &str, url: &str, more: &str) -> Result<String, String> {
        self.1 += 1;
        let request = format!("{verb} {url} RTSP/1.0\r\nCSeq: {}\r\n{more}\r\n", self.1);
        self.0.get_mut().write_all(request.as_bytes()).expect("it takes requests");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            self.0.read_line(&mut head).expect("it answers");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.trim().parse().ok());
        self.0.read_exact(&mut vec![0; length.unwrap_or(0)]).expect("the body comes");
        if head.starts_with("RTSP/1.0 200") { Ok(head) } else { Err(head) }
    }

    /// The wall clock that the sender reports, in whole seconds since 1900.
    fn senders_clock_s(&mut self, url: &str) -> i64 {
        self.ask("DESCRIBE", url, "Accept: application/sdp\r\n").expect("it describes");
        let interleaved = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let head = self.ask("SETUP", &format!("{url}/stream=0"), interleaved).expect("it sets up");
        let session = head.lines().find_map(|line| line.strip_prefix("Session: ")).expect("it has a session");
        let session = session.split(';').next().expect("a part").to_owned();
        self.ask("PLAY", url, &format!("Session: {session}\r\n")).expect("it plays");
        loop {
            let mut head = [0; 4];
            self.0.read_exact(&mut head).expect("packets come");
            let mut packet = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
            self.0.read_exact(&mut packet).expect("they are whole");
            if (head[0], head[1], packet.get(1)) == (b'$', 1, Some(&200)) {
                return i64::from(u32::from_be_bytes(packet[8..12].try_into().expect("four")));
            }
        }
    }
}
