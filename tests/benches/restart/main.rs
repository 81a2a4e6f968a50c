//! What a failure costs: an actor's, against Erlang/OTP's; a camera port's; and a node's end in good order.
//!
//!   [bench] ──rounds in turn──▶ this program as `actor` ·········· panic ▸ restart ▸ answer
//!      ├─────────────────────▶ otp_restart.erl ·················· error ▸ restart ▸ answer
//!      ├── SEGV ──▶ the camera port of a site ·················· its next frame is in the session
//!      └── TERM ──▶ an edge with eight cameras ················· its process is gone
//!
//! Writes `target/bench/restart.json` and says which bars are met. People judge figures: it fails only if one
//! is missing. Named as arguments (`race`, `port`, `stop`), single parts are measured and nothing is written.

mod actor;
mod conditions;
mod figures;
mod port;
mod race;
mod site;
mod stop;

use conditions::Conditions;
use figures::{Bar, Summary, round};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tests::harness::programs;

const PARTS: [&str; 3] = ["race", "port", "stop"];

fn main() -> ExitCode {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [actor::MODE, level, pause_ms] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return actor::serve(level, pause_ms);
    }
    match measure(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("not measured: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[String]) -> Result<(), String> {
    if let Some(word) = words.iter().find(|word| !PARTS.contains(&word.as_str())) {
        return Err(format!("`{word}` is no part; use {}, or none for all", PARTS.join(", ")));
    }
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if wanted("port") || wanted("stop") {
        // Said before the race is run, which takes a minute.
        programs::check_fresh().map_err(|stale| stale.replace("make build", "make bench-restart"))?;
    }
    let out = bench_dir()?;
    let conditions = Conditions::at_begin()?;
    let (mut result, mut bars) = (Map::new(), Vec::new());
    if wanted("race") {
        race_part(&out, &mut result, &mut bars)?;
    }
    // The nodes die with the thread that starts them, so it is this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    if wanted("port") {
        println!("port: {} times SEGV, a camera with a key frame every {} s", port::KILLS, site::GOP_S);
        let took = Summary::of(runtime.block_on(port::measure())?, port::KILLS)?;
        bars.push(Bar::new("port to first frame, p99 in ms", took.p99, port::BAR_MS));
        result.insert("port_to_first_frame_ms".to_owned(), took.json());
    }
    if wanted("stop") {
        println!("stop: {} times TERM, an edge with {} cameras", stop::STOPS, stop::CAMERAS);
        let took = Summary::of(runtime.block_on(stop::measure())?, stop::STOPS)?;
        bars.push(Bar::new("orderly stop, longest in ms", took.max, stop::BAR_MS));
        result.insert("deep_stop_ms".to_owned(), took.json());
    }
    result.insert("bars".to_owned(), bars.iter().map(Bar::json).collect());
    result.insert("conditions".to_owned(), conditions.at_end());
    let text = format!("{:#}\n", Value::Object(result));
    if words.is_empty() {
        let file = out.join("restart.json");
        std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("written to {}", file.display());
    } else {
        println!("{text}not written: only {} measured", words.join(", "));
    }
    bars.iter().for_each(|bar| println!("{bar}"));
    Ok(())
}

fn race_part(out: &Path, result: &mut Map<String, Value>, bars: &mut Vec<Bar>) -> Result<(), String> {
    let race::Took { actor, otp, actor_silent, otp_silent, otp_version } = race::run(out)?;
    let ratio = |a: f64, b: f64| round(a / b);
    bars.push(Bar::new("actor's p50, in OTP's", ratio(actor.p50, otp.p50), 1.0));
    bars.push(Bar::new("actor's p99, in OTP's", ratio(actor.p99, otp.p99), 2.0));
    let ratios = json!({
        "p50": ratio(actor.p50, otp.p50),
        "p99": ratio(actor.p99, otp.p99),
        "p50_silent": ratio(actor_silent.p50, otp_silent.p50),
        "p99_silent": ratio(actor_silent.p99, otp_silent.p99),
    });
    result.insert("panic_to_ready_us".to_owned(), actor.json());
    result.insert("otp_us".to_owned(), otp.json());
    // Where the difference comes from: the same with both logs off.
    result.insert("panic_to_ready_silent_us".to_owned(), actor_silent.json());
    result.insert("otp_silent_us".to_owned(), otp_silent.json());
    result.insert("ratio_to_otp".to_owned(), ratios);
    result.insert("otp".to_owned(), otp_version.into());
    Ok(())
}

/// `target/bench`, wherever the target directory is: this program lies in `<target>/<profile>/deps`.
fn bench_dir() -> Result<PathBuf, String> {
    let target = programs::dir().parent().map(Path::to_path_buf);
    let dir = target.ok_or("this program is not in a target directory; use cargo bench")?.join("bench");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}
