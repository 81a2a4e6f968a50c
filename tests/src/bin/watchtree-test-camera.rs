//! `watchtree-test-camera`: an RTSP camera for tests and for trying watchtree without one.
//!
//! Orders on stdin, one a line: `stall`, `garbage`, `go`, `size WxH`, `clock +N`, `loss PERCENT`, `report`, `quit`.
//! Facts on stdout, one JSON object a line.

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tests::test_camera::encoder::{Codec, Origin, Recipe, Sound};
use tests::test_camera::faults::Order;
use tests::test_camera::scene::Scene;
use tests::test_camera::squares::{Habits, LIFETIME_S_MIN, PAUSE_S_MIN, Schedule, Size};
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
    #[arg(long, default_value = "640x360")]
    size: Size,
    /// Another one, for the order `size`.
    #[arg(long, conflicts_with = "mjpeg")]
    size2: Option<Size>,
    /// The same at this size, at the path with `-sub` behind it.
    #[arg(long, conflicts_with = "mjpeg")]
    sub: Option<Size>,
    #[arg(long, value_enum, default_value = "h264")]
    codec: CodecName,
    /// Between two other frames; they make pictures come in another order than they are shown.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3))]
    bframes: u32,
    /// So many kbit a second, in place of a good picture.
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=50_000))]
    kbit_s: Option<u32>,
    #[arg(long, value_enum, default_value = "none")]
    audio: AudioName,
    /// RTSPS, with a certificate of its own.
    #[arg(long)]
    tls: bool,
    /// HTTP with a JPEG for each picture, in place of RTSP.
    #[arg(long, conflicts_with_all = ["codec", "bframes", "audio", "tls", "user"])]
    mjpeg: bool,
    /// A file to append to: what it was told, and each key frame that it sent.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Squares that come and go.
    #[arg(long, default_value_t = 2)]
    objects: u32,
    /// How long a square stays in view, on average.
    #[arg(long, default_value_t = 8.0)]
    lifetime_s: f64,
    /// How long nobody is in view between two squares of a lane, at least; and so long before the first.
    #[arg(long, default_value_t = PAUSE_S_MIN)]
    pause_s: f64,
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
    Quiet,
    Busy,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CodecName {
    H264,
    H265,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AudioName {
    None,
    Aac,
    Opus,
    Pcmu,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    let stay = !args.exit_on_stdin_eof;
    let (camera, facts) = TestCamera::start(args.settings()?)?;
    let (answers, told) = channel();
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || obey(&camera, &answers, stay))?;
    std::thread::Builder::new().name("answers".to_owned()).spawn(move || tell(&told))?;
    tell(&facts)?;
    // The feeder has ended (`--once`): stay, and answer that the path is not found, until told to quit.
    loop {
        std::thread::park();
    }
}

impl Args {
    fn settings(self) -> Result<Settings> {
        if !(1.0..=60.0).contains(&self.fps) {
            bail!("--fps is {}; use 1 to 60", self.fps);
        }
        if self.lifetime_s < LIFETIME_S_MIN {
            bail!("--lifetime-s is {}; use {LIFETIME_S_MIN} or more", self.lifetime_s);
        }
        if self.pause_s < PAUSE_S_MIN {
            bail!("--pause-s is {}; use {PAUSE_S_MIN} or more", self.pause_s);
        }
        let origin = match &self.file {
            Some(path) => Origin::File(path.clone()),
            None => Origin::Scene { scene: self.scene(), size: self.size, seed: self.seed },
        };
        let login = self.user.zip(self.password).map(|(user, password)| Login { user, password });
        let path = if self.path.starts_with('/') { self.path } else { format!("/{}", self.path) };
        let rhythm = Rhythm { frames_per_s: self.fps, gop_s: self.gop_s };
        let codec = match self.codec {
            _ if self.mjpeg => Codec::Jpeg,
            CodecName::H264 => Codec::H264,
            CodecName::H265 => Codec::H265,
        };
        let sound = match self.audio {
            AudioName::None => None,
            AudioName::Aac => Some(Sound::Aac),
            AudioName::Opus => Some(Sound::Opus),
            AudioName::Pcmu => Some(Sound::Pcmu),
        };
        Ok(Settings {
            port: self.port,
            path,
            login,
            tls: self.tls,
            recipe: Recipe { origin, rhythm, codec, b_frames: self.bframes, size: None, kbit_per_s: self.kbit_s },
            second_size: self.size2,
            sub_size: self.sub,
            sound,
            seed: self.seed,
            once: self.once,
            prepare: self.prepare,
            log: self.log,
        })
    }

    fn scene(&self) -> Scene {
        let length = Duration::from_secs_f64(self.length_s.max(1.0));
        match self.scene {
            SceneName::Squares => {
                let habits = Habits { lifetime_s: self.lifetime_s, pause_s: self.pause_s };
                Scene::Squares(Schedule::new(self.seed, self.objects, habits, self.size, length))
            }
            SceneName::Still => Scene::Still { length },
            SceneName::Noise => Scene::Noise { length },
            SceneName::Quiet => Scene::Quiet { length },
            SceneName::Busy => Scene::Busy { length },
        }
    }
}

fn tell(facts: &Receiver<Fact>) -> Result<()> {
    for fact in facts {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(&fact)?)?;
        stdout.flush()?;
        if let Fact::Failed { failed } = fact {
            bail!("{failed}");
        }
    }
    Ok(())
}

fn obey(camera: &TestCamera, facts: &Sender<Fact>, stay: bool) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
        let done = match line.parse() {
            Ok(Order::Quit) => std::process::exit(0),
            Ok(order) => camera.obey(order, facts),
            Err(why) => Err(why),
        };
        if let Err(why) = done {
            tracing::warn!("{why}");
        }
    }
    if !stay {
        std::process::exit(0);
    }
}
