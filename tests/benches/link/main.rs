//! What a call over a link costs: against QUIC alone and against NATS; and what it costs while a clip fills the link.
//!
//!   [bench: an edge] ──turns──▶ [this program as `far`] ── an actor behind a relay's gateway ··· call_us
//!      ├───────────────────────▶        ├────────────── raw QUIC echo ······················· raw_us
//!      ├──▶ nats-server ───────▶        └────────────── NATS responder ······················ nats_us
//!      └──▶ [proxy: 100 Mbit/s, 10 ms, 256 KiB] ──▶ the gateway, idle and with a clip ········ call_idle_ms, call_bulk_ms
//!
//! Two processes for each, on runtimes as nodes have them. Writes `target/bench/link.json` and says which bars are met.
//! People judge figures: it fails only if one is missing. Named as arguments (`call`, `bulk`), single parts are measured
//! and nothing is written.

mod bulk;
mod call;
#[path = "../restart/conditions.rs"]
mod conditions;
mod far;
#[path = "../restart/figures.rs"]
mod figures;
mod nats;
mod near;
mod raw;

use conditions::Conditions;
use far::Far;
use figures::{Bar, Summary, round};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::TempDir;
use tests::harness::programs;

const PARTS: [&str; 2] = ["call", "bulk"];

fn main() -> ExitCode {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [far::MODE, dir, nats_port] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return far::serve(Path::new(dir), nats_port);
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
    let out = bench_dir()?;
    let conditions = Conditions::at_begin()?;
    let dir = TempDir::with_prefix_in("link-", &out).map_err(|e| format!("{}: {e}", out.display()))?;
    near::certificates(dir.path())?;
    let (mut result, mut bars) = (Map::new(), Vec::new());
    let server = nats::Server::start(dir.path())?;
    let far = Far::start(dir.path(), server.port)?;
    let runtime = near::runtime()?;
    if wanted("call") {
        let took = runtime.block_on(call::measure(dir.path(), &far, &server))?;
        call_part(took, &mut result, &mut bars);
    }
    if wanted("bulk") {
        let took = runtime.block_on(bulk::measure(dir.path(), &far))?;
        bulk_part(took, &mut result, &mut bars);
    }
    far.end()?;
    result.insert("bars".to_owned(), bars.iter().map(Bar::json).collect());
    result.insert("nats".to_owned(), server.version.clone().into());
    result.insert("conditions".to_owned(), conditions.at_end());
    let text = format!("{:#}\n", Value::Object(result));
    if words.is_empty() {
        let file = out.join("link.json");
        std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("written to {}", file.display());
    } else {
        println!("{text}not written: only {} measured", words.join(", "));
    }
    bars.iter().for_each(|bar| println!("{bar}"));
    Ok(())
}

fn call_part(took: call::Took, result: &mut Map<String, Value>, bars: &mut Vec<Bar>) {
    let call::Took { call, raw, nats, to_raw, to_nats } = took;
    bars.push(Bar::new("call's p50, in that of raw QUIC", call.p50 / raw.p50, 1.5));
    bars.push(Bar::new("call's p50, in that of NATS", call.p50 / nats.p50, 1.0));
    // One turn's p50 by another's, and of those the one in the middle: a machine that is busy now and then shifts it less.
    result.insert("ratio_of_turns".to_owned(), json!({ "to_raw": round(to_raw), "to_nats": round(to_nats) }));
    for (key, summary) in [("call_us", call), ("raw_us", raw), ("nats_us", nats)] {
        result.insert(key.to_owned(), summary.json());
    }
}

fn bulk_part(took: bulk::Took, result: &mut Map<String, Value>, bars: &mut Vec<Bar>) {
    let bulk::Took { idle, bulk, clip_mbit_per_s } = took;
    bars.push(Bar::new("call's p99 behind a clip, in ms", bulk.p99, round(2.0 * idle.p99 + 10.0)));
    let link = json!({
        "mbit_per_s": bulk::MBIT_PER_S,
        "rtt_ms": 2 * bulk::ONE_WAY_MS,
        "queue_bytes": bulk::QUEUE_BYTES,
    });
    result.insert("link".to_owned(), link);
    result.insert("call_idle_ms".to_owned(), idle.json());
    result.insert("call_bulk_ms".to_owned(), bulk.json());
    // Payload alone; of 100 Mbit/s some 4 are headers.
    result.insert("clip_mbit_per_s".to_owned(), round(clip_mbit_per_s).into());
}

/// `target/bench`, wherever the target directory is: this program lies in `<target>/<profile>/deps`.
fn bench_dir() -> Result<PathBuf, String> {
    let target = programs::dir().parent().map(Path::to_path_buf);
    let dir = target.ok_or("this program is not in a target directory; use cargo bench")?.join("bench");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}

/// Of times in one turn.
fn middle(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Enough that a p99 is one.
fn summary(took: Vec<f64>) -> Result<Summary, String> {
    const N_MIN: usize = 1000;
    Summary::of(took, N_MIN)
}
