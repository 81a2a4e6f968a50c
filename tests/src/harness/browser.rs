//! A browser that nobody sees, which plays a file and says what it saw.
//!
//!   [headless Chromium] ──GET /, /clip.mp4 (Range)──▶ [a server for this file alone]
//!            └───────────POST /result───────────────▶

use serde::Deserialize;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A browser takes its time on a busy machine.
const SAYS_WITHIN: Duration = Duration::from_secs(60);
const RESULT_BYTES_MAX: u64 = 64 * 1024;
const REQUEST_LINES_MAX: usize = 64;

/// What the page posts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Played {
    /// Empty if it played.
    pub error: String,
    pub duration_s: f64,
    pub width: u32,
    pub height: u32,
    /// Where it was told to go, and where it then was.
    pub seeks_s: Vec<(f64, f64)>,
    /// Whether the picture there was not all of one colour.
    pub drawn: Vec<bool>,
    /// Decoded in all.
    pub frames: u32,
}

/// Plays to the second second or the end, seeks to four places, and looks at the picture at each.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><video muted playsinline></video><script>
const video = document.querySelector('video');
const event = name => new Promise((done, failed) => {
  video.addEventListener(name, done, { once: true });
  video.addEventListener('error', () => failed(new Error(video.error.message || 'error ' + video.error.code)), { once: true });
});
const played = { error: '', duration_s: 0, width: 0, height: 0, seeks_s: [], drawn: [], frames: 0 };
const drawn = () => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [64, 36];
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 64, 36);
  const pixels = context.getImageData(0, 0, 64, 36).data;
  return pixels.some((value, at) => at % 4 < 3 && Math.abs(value - pixels[at % 4]) > 3);
};
(async () => {
  video.src = '/clip.mp4';
  await event('loadedmetadata');
  Object.assign(played, { duration_s: video.duration, width: video.videoWidth, height: video.videoHeight });
  await video.play();
  while (!video.ended && video.currentTime < Math.min(2, video.duration / 2)) await event('timeupdate');
  video.pause();
  for (const part of [0.8, 0.1, 0.95, 0.5]) {
    const to = video.duration * part;
    video.currentTime = to;
    await event('seeked');
    played.seeks_s.push([to, video.currentTime]);
    played.drawn.push(drawn());
  }
})().catch(error => { played.error = String(error); }).finally(() => {
  played.frames = video.getVideoPlaybackQuality().totalVideoFrames;
  fetch('/result', { method: 'POST', body: JSON.stringify(played) });
});
</script>"#;

/// Has Chromium play `file`.
pub async fn play(file: &Path) -> Result<Played, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
    let addr = listener.local_addr().map_err(|e| e.to_string())?;
    let (results, mut told) = mpsc::channel(1);
    let serving = tokio::spawn(serve(listener, file.to_owned(), results));
    let profile = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut browser = Browser::start(profile.path(), &format!("http://{addr}/"))?;
    let result = tokio::time::timeout(SAYS_WITHIN, told.recv()).await;
    browser.end();
    serving.abort();
    match result {
        Ok(Some(text)) => serde_json::from_str(&text).map_err(|e| format!("{e} in {text:.300}")),
        _ => Err(format!("the browser said nothing within {} s", SAYS_WITHIN.as_secs())),
    }
}

/// Dropped, it ends with all its processes.
struct Browser(Child);

impl Browser {
    fn start(profile: &Path, url: &str) -> Result<Self, String> {
        let mut command = Command::new("chromium");
        // Without its sandbox, which root cannot have; it sees one page, of ours.
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map(Self).map_err(|e| format!("chromium does not start ({e}): run `make setup`"))
    }

    fn end(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        // Its helpers are of its group, which is its own.
        if let Some(group) = Pid::from_raw(self.0.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(listener: TcpListener, file: PathBuf, results: mpsc::Sender<String>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (file, results) = (file.clone(), results.clone());
        // A browser breaks off what it does not need: that is no fault.
        tokio::spawn(async move { answer(socket, &file, &results).await });
    }
}

async fn answer(mut socket: TcpStream, file: &Path, results: &mpsc::Sender<String>) -> std::io::Result<()> {
    let (reader, mut writer) = socket.split();
    let mut reader = BufReader::new(reader);
    let mut request = Vec::new();
    while request.len() < REQUEST_LINES_MAX {
        let mut line = String::new();
        if reader.read_line(&mut line).await? <= 2 {
            break;
        }
        request.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let value = request.iter().filter_map(|line| line.split_once(": "));
        value.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    match request.first().map_or("", String::as_str).split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/"] => {
            let head = format!("200 OK\r\nContent-Type: text/html\r\nContent-Length: {}", PAGE.len());
            writer.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{PAGE}").as_bytes()).await
        }
        ["GET", "/clip.mp4"] => {
            let bytes = tokio::fs::metadata(file).await?.len();
            let range = header("range").and_then(|text| asked(&text, bytes));
            let (from, to) = range.unwrap_or((0, bytes));
            let status = if range.is_some() {
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{bytes}", to.saturating_sub(1))
            } else {
                "200 OK".to_owned()
            };
            let head = format!("Content-Type: video/mp4\r\nAccept-Ranges: bytes\r\nContent-Length: {}", to - from);
            writer.write_all(format!("HTTP/1.1 {status}\r\n{head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
            let mut content = tokio::fs::File::open(file).await?;
            content.seek(SeekFrom::Start(from)).await?;
            tokio::io::copy(&mut content.take(to - from), &mut writer).await.map(drop)
        }
        ["POST", "/result"] => {
            let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut body = String::new();
            reader.take(length.min(RESULT_BYTES_MAX)).read_to_string(&mut body).await?;
            let _ = results.send(body).await;
            writer.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await
        }
        _ => writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await,
    }
}

/// `bytes=from-`, `bytes=from-to`: the first byte and the one behind the last.
fn asked(range: &str, bytes: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let to = to.parse().map_or(bytes, |last: u64| last.saturating_add(1)).min(bytes);
    (from < to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn a_range_is_a_part_of_the_file() {
        assert_eq!(asked("bytes=0-", 10), Some((0, 10)));
        assert_eq!(asked("bytes=2-4", 10), Some((2, 5)));
        assert_eq!(asked("bytes=2-400", 10), Some((2, 10)));
        assert_eq!((asked("bytes=10-", 10), asked("lines=1-2", 10)), (None, None));
    }
}
