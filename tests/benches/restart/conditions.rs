//! Conditions: all that a figure needs to be compared with another.

use protocol::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::harness::programs;

/// What was so at the begin.
pub struct Conditions {
    date: String,
    load_average: String,
    rustc: String,
}

impl Conditions {
    pub fn at_begin() -> Result<Self, String> {
        let said = Command::new("rustc").arg("--version").output().map_err(|e| format!("rustc: {e}"))?;
        let rustc = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Ok(Self { date: Timestamp::now().to_string(), load_average: load_average(), rustc })
    }

    pub fn at_end(self) -> Value {
        let Self { date, load_average: before, rustc } = self;
        json!({
            "date": date,
            "kernel": first_line("/proc/sys/kernel/osrelease"),
            "cpu": cpu(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "load_average": { "begin": before, "end": load_average() },
            "rustc": rustc,
            "profile": profile(),
        })
    }
}

fn load_average() -> String {
    first_line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn first_line(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

fn cpu() -> String {
    let all = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = all.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, model)| model).to_owned()
}

/// Of this program and of the nodes beside it, by cargo's directory.
fn profile() -> String {
    let dir = programs::dir();
    let name = dir.file_name().map(Path::new).unwrap_or(Path::new("unknown")).display().to_string();
    if cfg!(debug_assertions) { format!("{name}, with debug assertions: no figures to go by") } else { name }
}
