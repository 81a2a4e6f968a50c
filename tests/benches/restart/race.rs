//! The race: the same failure here and in Erlang/OTP, by the same rules, in turns.
//!
//!   ┌─▶ actor ─▶ OTP ─▶ actor, no log ─▶ OTP, no log ─┐   each a process that waits between its turns
//!   └────────────────── ROUNDS times ◀────────────────┘
//!
//! Measured in the client, from sending the fatal message until an actor that is another than before answers.
//! Between two failures both sides wait as long: OTP's log drops what exceeds 500 reports a second, and a
//! failure writes three. Both logs are held against the count afterwards.

use super::actor;
use super::figures::Summary;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;
use tests::harness::programs;

const ROUNDS: usize = 20;
const ROUND: usize = 60;
/// Not counted: code becomes warm, BEAM's heaps and our pools find their size.
const WARM_UP: usize = 200;
const N_MIN: usize = 1000;
const PAUSE_MS: &str = "10";

/// In microseconds.
pub struct Took {
    pub actor: Summary,
    pub otp: Summary,
    pub actor_silent: Summary,
    pub otp_silent: Summary,
    pub otp_version: String,
}

pub fn run(out: &Path) -> Result<Took, String> {
    // On the disk of the target directory, as a node's log would be; not in memory.
    let dir = TempDir::with_prefix_in("race-", out).map_err(|e| format!("{}: {e}", out.display()))?;
    compile(dir.path())?;
    let log = |name: &str| dir.path().join(format!("{name}.log"));
    let mut sides = [
        Side::start("actor", actor_command("info", &log("actor"))?, log("actor"))?,
        Side::start("OTP", otp_command("notice", &log("otp"), dir.path()), log("otp"))?,
        Side::start("actor, no log", actor_command("off", &log("actor-silent"))?, log("actor-silent"))?,
        Side::start("OTP, no log", otp_command("none", &log("otp-silent"), dir.path()), log("otp-silent"))?,
    ];
    println!("race: {} against {}, {ROUNDS} rounds of {ROUND}", sides[0].version, sides[1].version);
    for side in &mut sides {
        side.restarts(WARM_UP)?;
    }
    for _ in 0..ROUNDS {
        for side in &mut sides {
            let took_ns = side.restarts(ROUND)?;
            side.took_us.extend(took_ns.iter().map(|&ns| ns as f64 / 1000.0));
        }
    }
    let otp_version = sides[1].version.clone();
    let [actor, otp, actor_silent, otp_silent] = sides;
    Ok(Took {
        actor: actor.end(Some("panic: boom place="))?,
        otp: otp.end(Some("=SUPERVISOR REPORT="))?,
        actor_silent: actor_silent.end(None)?,
        otp_silent: otp_silent.end(None)?,
        otp_version,
    })
}

fn compile(into: &Path) -> Result<(), String> {
    let source = programs::project().join("tests/benches/restart/otp_restart.erl");
    let said = Command::new("erlc").arg("-Werror").arg("-o").arg(into).arg(source).output();
    let said = said.map_err(|e| format!("erlc: {e}; run `make setup`"))?;
    let told = String::from_utf8_lossy(&said.stdout);
    said.status.success().then_some(()).ok_or_else(|| format!("erlc: {}: {told}", said.status))
}

fn actor_command(level: &str, log: &Path) -> Result<Command, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let log = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut command = Command::new(me);
    command.args([actor::MODE, level, PAUSE_MS]).env_remove("RUST_LOG").stderr(log);
    Ok(command)
}

fn otp_command(level: &str, log: &Path, code: &Path) -> Command {
    let handler = format!("[{{handler,default,logger_std_h,#{{config=>#{{file=>{:?}}}}}}}]", log.display().to_string());
    let mut command = Command::new("erl");
    command.arg("-noshell").arg("-pa").arg(code);
    command.args(["-kernel", "logger_level", level, "logger", &handler]);
    command.args(["-s", "otp_restart", "main", "-extra", PAUSE_MS]);
    // Whoever runs this may have flags for systems of their own.
    for flags in ["ERL_FLAGS", "ERL_AFLAGS", "ERL_ZFLAGS", "ERL_LIBS"] {
        command.env_remove(flags);
    }
    command
}

/// One who runs. Dropped, it ends: its input does.
struct Side {
    name: &'static str,
    version: String,
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
    restarts: usize,
    took_us: Vec<f64>,
}

impl Side {
    fn start(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self, String> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| format!("{name} does not start: {e}; run `make setup`"))?;
        let orders = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut side =
            Self { name, version: String::new(), child, orders, answers, log, restarts: 0, took_us: Vec::new() };
        side.version = side.answer()?;
        Ok(side)
    }

    /// In nanoseconds each.
    fn restarts(&mut self, count: usize) -> Result<Vec<u64>, String> {
        writeln!(self.orders, "{count}").map_err(|e| format!("{} takes no order: {e}", self.name))?;
        self.restarts += count;
        let answer = |_| self.answer()?.parse().map_err(|e| format!("{} answers no number: {e}", self.name));
        (0..count).map(answer).collect()
    }

    fn answer(&mut self) -> Result<String, String> {
        let line = self.answers.next().and_then(Result::ok);
        line.ok_or_else(|| format!("{} ended; see {}", self.name, self.log.display()))
    }

    /// Who logged less than each failure has cheated, and who should be silent and was not, too.
    fn end(self, logged: Option<&str>) -> Result<Summary, String> {
        let Self { name, mut child, orders, log, restarts, took_us, .. } = self;
        drop(orders);
        let status = child.wait().map_err(|e| format!("{name}: {e}"))?;
        if !status.success() {
            return Err(format!("{name} ended with {status}"));
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        let wrong = match logged {
            Some(mark) if text.matches(mark).count() == restarts => None,
            None if text.is_empty() => None,
            Some(mark) => Some(format!("{} of {restarts} failures as `{mark}`", text.matches(mark).count())),
            None => Some(format!("{} B, and should be silent", text.len())),
        };
        if let Some(wrong) = wrong {
            return Err(format!("{name} has logged {wrong}"));
        }
        Summary::of(took_us, N_MIN)
    }
}
