//! The file of failures: lines of JSON, appended; written again when it has grown.

use super::{LastEnd, Written};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// A child of the node failed.
    Failed(Written),
    /// The node's process began.
    Began,
    /// It ended, and had time to say so.
    Ended(LastEnd),
}

pub(super) struct File {
    path: PathBuf,
    to: fs::File,
    bytes: u64,
    bytes_max: u64,
}

impl File {
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<(Self, Vec<Line>)> {
        fs::create_dir_all(dir)?;
        let path = dir.join("failures.jsonl");
        let to = OpenOptions::new().append(true).create(true).open(&path)?;
        // Twice the limit: the file passes it by what one rewrite holds.
        let from = fs::File::open(&path)?.take(bytes_max * 2);
        let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
        let lines = lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect();
        let bytes = to.metadata()?.len();
        Ok((Self { path, to, bytes, bytes_max }, lines))
    }

    /// `shorter` gives what is worth keeping when the file has grown too long.
    pub fn append(&mut self, line: &Line, shorter: impl FnOnce() -> Option<Vec<Line>>) -> io::Result<()> {
        let text = as_text(line);
        // One write: a kill leaves a whole line or none of it, as far as the kernel is concerned.
        self.to.write_all(&text)?;
        self.bytes += text.len() as u64;
        if self.bytes <= self.bytes_max {
            return Ok(());
        }
        match shorter() {
            Some(lines) => self.rewrite(lines.into_iter().chain([Line::Began])),
            None => Ok(()),
        }
    }

    /// Replaced as a whole: a power cut leaves the old file or the new one.
    pub fn rewrite(&mut self, lines: impl Iterator<Item = Line>) -> io::Result<()> {
        let text: Vec<u8> = lines.flat_map(|line| as_text(&line)).collect();
        let beside = self.path.with_extension("new");
        let mut to = fs::File::create(&beside)?;
        to.write_all(&text)?;
        to.sync_data()?;
        fs::rename(&beside, &self.path)?;
        self.to = OpenOptions::new().append(true).open(&self.path)?;
        self.bytes = text.len() as u64;
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.to.sync_data()
    }
}

fn as_text(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
