//! What others cost on the same stream: ffmpeg and Debian's motion, one camera each.

use super::WINDOW;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::harness::process;

/// Until it is connected and has its stride.
const WARM_UP: Duration = Duration::from_secs(6);
/// It has not even connected if it took less.
const WORKS_PCT: f64 = 0.3;

/// Decodes to five frames a second of 640x360, as a recorder that looks at its cameras has it do.
pub fn ffmpeg(url: &str) -> Result<f64, String> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-an"]);
    command.args(["-vf", "fps=5,scale=640:360", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-y", "/dev/null"]);
    cost("ffmpeg", command)
}

/// Decodes and detects, and writes neither pictures nor films.
pub fn motion(url: &str) -> Result<f64, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let config = dir.path().join("motion.conf");
    std::fs::write(&config, motion_config(url, dir.path())).map_err(|e| e.to_string())?;
    let mut command = Command::new("motion");
    command.arg("-n").arg("-c").arg(&config);
    cost("motion", command)
}

fn motion_config(url: &str, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off\nlog_file {dir}/log\nlog_level 4\ntarget_dir {dir}\nnetcam_url {url}\n\
         netcam_params rtsp_transport=tcp\nwidth 1280\nheight 720\nframerate 5\npicture_output off\nmovie_output off\n\
         webcontrol_port 0\nstream_port 0\n"
    )
}

fn cost(name: &str, mut command: Command) -> Result<f64, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|e| format!("{name} does not start ({e}): run `make setup`"))?;
    let mut child = Ends(child);
    std::thread::sleep(WARM_UP);
    let (began, before) = (Instant::now(), process::cpu_time(child.0.id())?);
    std::thread::sleep(WINDOW);
    let took = process::cpu_time(child.0.id())? - before;
    let pct = took.as_secs_f64() * 100.0 / began.elapsed().as_secs_f64();
    match child.0.try_wait() {
        Ok(Some(status)) => Err(format!("{name} ended: {status}")),
        _ if pct < WORKS_PCT => Err(format!("{name} took {pct:.2} %: it is not connected")),
        _ => Ok(pct),
    }
}

/// Ends with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
