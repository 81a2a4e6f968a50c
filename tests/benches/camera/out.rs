//! Where figures are written.

use serde_json::{Map, Value};
use std::path::PathBuf;
use tests::harness::programs;

/// To `target/bench/NAME`; only shown if single `parts` were measured.
pub fn write(name: &str, parts: &[String], result: Map<String, Value>) -> Result<(), String> {
    let text = format!("{:#}\n", Value::Object(result));
    if parts.is_empty() {
        let file = dir()?.join(name);
        std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("written to {}", file.display());
    } else {
        println!("{text}not written: only {} measured", parts.join(", "));
    }
    Ok(())
}

/// `target/bench`, wherever the target directory is: this program lies in `<target>/<profile>/deps`.
fn dir() -> Result<PathBuf, String> {
    let target = programs::dir().parent().map(std::path::Path::to_path_buf);
    let dir = target.ok_or("this program is not in a target directory; use cargo bench")?.join("bench");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}
