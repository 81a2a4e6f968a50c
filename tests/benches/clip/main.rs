//! What a clip costs: how soon it can be played, how much more than footage is written for it, and what a cut costs.
//!
//!   event ends ▸ post-roll ▸ [its clip is whole, and ffprobe reads its files] ················ event_to_playable_ms
//!   bytes below recordings, in bytes of footage that came ···································· write_amplification
//!   edge records eight cameras ▸ kill -9 ▸ start ▸ [each unfinished file is finished] ········· recover_ms
//!
//! Writes `target/bench/clip.json` and says which bars are met. People judge figures: it fails only if one is missing.
//! Named as arguments (`playable`, `writes`, `recover`), single parts are measured and nothing is written.

#[path = "../restart/conditions.rs"]
mod conditions;
#[path = "../restart/figures.rs"]
mod figures;
#[path = "../camera/out.rs"]
mod out;
mod playable;
mod recover;
mod writes;

use conditions::Conditions;
use figures::{Bar, Summary, round};
use serde_json::{Map, json};
use std::process::ExitCode;
use tests::harness::programs;

const PARTS: [&str; 3] = ["playable", "writes", "recover"];
pub const SEED: u64 = 6;
pub const EDGE: &str = "yard";

fn main() -> ExitCode {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("not measured: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    if let Some(word) = words.iter().find(|word| !PARTS.contains(&word.as_str())) {
        return Err(format!("`{word}` is no part; use {}, or none for all", PARTS.join(", ")));
    }
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    programs::check_fresh().map_err(|stale| stale.replace("make build", "make bench-clip"))?;
    let conditions = Conditions::at_begin()?;
    let (mut result, mut bars, mut details) = (Map::new(), Vec::new(), Map::new());
    // The nodes die with the thread that starts them, so it is this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    if wanted("playable") {
        let took = Summary::of(runtime.block_on(playable::measure())?, playable::EVENTS)?;
        bars.push(Bar::new("post-roll's end to playable, p99 in ms", took.p99, playable::BAR_MS));
        result.insert("event_to_playable_ms".to_owned(), took.json());
    }
    if wanted("writes") {
        let writes::Took { written, delivered, written_to_disk, lasted } = runtime.block_on(writes::measure())?;
        let amplification = written / delivered;
        bars.push(Bar::new("written, in bytes of footage", amplification, writes::BAR));
        // To hundredths it would say little.
        result.insert("write_amplification".to_owned(), json!((amplification * 10_000.0).round() / 10_000.0));
        let bytes = json!({
            "recordings_bytes": written,
            "footage_bytes": delivered,
            "process_write_bytes": written_to_disk,
            "process_write_amplification": round(written_to_disk / delivered),
            "seconds": lasted.as_secs(),
        });
        details.insert("writes".to_owned(), bytes);
    }
    if wanted("recover") {
        let recover::Took { each_ms, ready_ms } = runtime.block_on(recover::measure())?;
        let took = Summary::of(each_ms, recover::CUTS)?;
        bars.push(Bar::new("recovery of a cut file, longest in ms", took.max, recover::BAR_MS));
        result.insert("recover_ms".to_owned(), took.json());
        details.insert("start_to_ready_ms".to_owned(), ready_ms.into_iter().map(round).collect());
    }
    let mut said = conditions.at_end();
    said["details"] = details.into();
    result.insert("bars".to_owned(), bars.iter().map(Bar::json).collect());
    result.insert("conditions".to_owned(), said);
    out::write("clip.json", words, result)?;
    bars.iter().for_each(|bar| println!("{bar}"));
    Ok(())
}
