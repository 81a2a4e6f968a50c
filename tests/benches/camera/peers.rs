//! What others cost on the same stream: ffmpeg and Debian's motion, one camera each.
//!
//! They run while an edge is measured: a machine that is slower for a while is so for all.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::harness::process;

/// Until it is connected and has its stride.
pub const WARM_UP: Duration = Duration::from_secs(6);
/// It has not even connected if it took less.
const WORKS_PCT: f64 = 0.3;

/// Ends with this.
pub struct Peer {
    pub name: &'static str,
    child: Child,
    /// Its files.
    _dir: tempfile::TempDir,
}

/// Both, on one stream.
pub fn both(url: &str) -> Result<[Peer; 2], String> {
    Ok([Peer::start("ffmpeg", url, ffmpeg)?, Peer::start("motion", url, motion)?])
}

/// Decodes to five frames a second of 640x360, as a recorder that looks at its cameras has it do.
fn ffmpeg(url: &str, _dir: &Path) -> Result<Command, String> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-an"]);
    command.args(["-vf", "fps=5,scale=640:360", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-y", "/dev/null"]);
    Ok(command)
}

/// Decodes and detects, and writes neither pictures nor films.
fn motion(url: &str, dir: &Path) -> Result<Command, String> {
    let config = dir.join("motion.conf");
    std::fs::write(&config, motion_config(url, dir)).map_err(|e| e.to_string())?;
    let mut command = Command::new("motion");
    command.arg("-n").arg("-c").arg(&config);
    Ok(command)
}

fn motion_config(url: &str, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off\nlog_file {dir}/log\nlog_level 4\ntarget_dir {dir}\nnetcam_url {url}\n\
         netcam_params rtsp_transport=tcp\nwidth 1280\nheight 720\nframerate 5\npicture_output off\nmovie_output off\n\
         webcontrol_port 0\nstream_port 0\n"
    )
}

impl Peer {
    fn start(
        name: &'static str,
        url: &str,
        command: fn(&str, &Path) -> Result<Command, String>,
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut command = command(url, dir.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|e| format!("{name} does not start ({e}): run `make setup`"))?;
        Ok(Self { name, child, _dir: dir })
    }

    pub fn cpu_time(&self) -> Result<Duration, String> {
        process::cpu_time(self.child.id())
    }

    /// In percent of a core, of which it took so much.
    pub fn works(&mut self, pct: f64) -> Result<f64, String> {
        let name = self.name;
        match self.child.try_wait() {
            Ok(Some(status)) => Err(format!("{name} ended: {status}")),
            _ if pct < WORKS_PCT => Err(format!("{name} took {pct:.2} %: it is not connected")),
            _ => Ok(pct),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
