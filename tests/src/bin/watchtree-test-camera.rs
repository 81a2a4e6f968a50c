//! `watchtree-test-camera`: an RTSP camera for tests and for trying watchtree without one.
//!
//! Orders on stdin, one a line: `stall`, `go`, `quit`. Facts on stdout, one JSON object a line.

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tests::test_camera::footage::Origin;
use tests::test_camera::scene::Scene;
use tests::test_camera::squares::{LIFETIME_S_MIN, Schedule, Size};
use tests::test_camera::{Fact, Login, Rhythm, Settings, TestCamera};

#[derive(Debug, Parser)]
#[command(version, about = "An RTSP camera whose pictures are known beforehand")]
struct Args {
    /// On 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long, default_value = "/cam")]
    path: String,
    /// A video file to play, instead of a scene.
    #[arg(long)]
    file: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "squares", conflicts_with = "file")]
    scene: SceneName,
    /// Begin when the first client plays, and end after one round.
    #[arg(long)]
    once: bool,
    /// Seconds from one key frame to the next.
    #[arg(long, default_value_t = 2.0)]
    gop_s: f64,
    /// Frames a second of a scene; a file keeps its own.
    #[arg(long, default_value_t = 10.0)]
    fps: f64,
    /// Of a scene; both sides even.
    #[arg(long, default_value = "640x360", value_parser = parse_size)]
    size: Size,
    /// Squares that come and go.
    #[arg(long, default_value_t = 2)]
    objects: u32,
    /// How long a square stays in view, on average.
    #[arg(long, default_value_t = 8.0)]
    lifetime_s: f64,
    /// A scene starts again after so long.
    #[arg(long, default_value_t = 60.0)]
    length_s: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, requires = "password")]
    user: Option<String>,
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Encode everything before being ready.
    #[arg(long)]
    prepare: bool,
    /// End when stdin ends, so that no camera outlives its test.
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SceneName {
    Squares,
    Still,
    Noise,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    let stay = !args.exit_on_stdin_eof;
    let (camera, facts) = TestCamera::start(args.settings()?)?;
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || obey(&camera, stay))?;
    tell(&facts)
}

impl Args {
    fn settings(self) -> Result<Settings> {
        if !(1.0..=60.0).contains(&self.fps) {
            bail!("--fps is {}; use 1 to 60", self.fps);
        }
        if self.lifetime_s < LIFETIME_S_MIN {
            bail!("--lifetime-s is {}; use {LIFETIME_S_MIN} or more", self.lifetime_s);
        }
        let origin = match &self.file {
            Some(path) => Origin::File(path.clone()),
            None => Origin::Scene { scene: self.scene(), size: self.size, seed: self.seed },
        };
        let login = self.user.zip(self.password).map(|(user, password)| Login { user, password });
        let path = if self.path.starts_with('/') { self.path } else { format!("/{}", self.path) };
        let rhythm = Rhythm { frames_per_s: self.fps, gop_s: self.gop_s };
        Ok(Settings { port: self.port, path, login, origin, rhythm, once: self.once, prepare: self.prepare })
    }

    fn scene(&self) -> Scene {
        let length = Duration::from_secs_f64(self.length_s.max(1.0));
        match self.scene {
            SceneName::Squares => {
                Scene::Squares(Schedule::new(self.seed, self.objects, self.lifetime_s, self.size, length))
            }
            SceneName::Still => Scene::Still { length },
            SceneName::Noise => Scene::Noise { length },
        }
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    let wrong = || format!("`{text}` is not a size; use an even width and height, like 640x360");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse().ok().filter(|px: &u32| (32..=3840).contains(px) && px.is_multiple_of(2));
    Ok(Size { width: side(width).ok_or_else(wrong)?, height: side(height).ok_or_else(wrong)? })
}

fn tell(facts: &Receiver<Fact>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    for fact in facts {
        writeln!(stdout, "{}", serde_json::to_string(&fact)?)?;
        stdout.flush()?;
        if let Fact::Failed { failed } = fact {
            bail!("{failed}");
        }
    }
    // The feeder has ended (`--once`): stay, and answer that the path is not found, until told to quit.
    loop {
        std::thread::park();
    }
}

fn obey(camera: &TestCamera, stay: bool) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.trim() {
            "stall" => camera.stall(),
            "go" => camera.go(),
            "quit" => std::process::exit(0),
            "" => {}
            other => tracing::warn!("`{other}` is no order; use stall, go or quit"),
        }
    }
    if !stay {
        std::process::exit(0);
    }
}
