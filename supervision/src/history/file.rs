//! The file of failures: lines of JSON, appended; written again when it has grown.

use super::{LastEnd, Written};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
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
    /// Its last line may lack its end, which would swallow the next.
    torn: bool,
}

impl File {
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<(Self, Vec<Line>)> {
        fs::create_dir_all(dir)?;
        let path = dir.join("failures.jsonl");
        let to = OpenOptions::new().append(true).create(true).open(&path)?;
        let bytes = to.metadata()?.len();
        let mut from = fs::File::open(&path)?;
        // The newest, if it could not be made shorter for long.
        from.seek(SeekFrom::Start(bytes.saturating_sub(bytes_max * 2)))?;
        let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
        let lines = lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect();
        Ok((Self { path, to, bytes, bytes_max, torn: bytes > 0 }, lines))
    }

    /// `shorter` gives what is worth keeping when the file has grown too long.
    pub fn append(&mut self, line: &Line, shorter: impl FnOnce() -> Option<Vec<Line>>) -> io::Result<()> {
        let mut text = as_text(line);
        if self.torn {
            text.insert(0, b'\n');
        }
        // One write: a kill leaves a whole line or none of it, as far as the kernel is concerned.
        let written = self.to.write_all(&text);
        if written.is_err() {
            // A disk that is full takes a part, which is taken back; what was torn before still is.
            self.torn |= self.to.set_len(self.bytes).is_err();
            return written;
        }
        self.torn = false;
        self.bytes += text.len() as u64;
        if self.bytes <= self.bytes_max {
            return Ok(());
        }
        match shorter() {
            Some(lines) => self.rewrite(lines.into_iter().chain([Line::Began])),
            None => Ok(()),
        }
    }

    /// Replaced as a whole: a power cut leaves the old file or the new one. The newest lines that fill half of it
    /// are kept, so that it is not written again at once.
    pub fn rewrite(&mut self, lines: impl DoubleEndedIterator<Item = Line>) -> io::Result<()> {
        let text = newest(lines, self.bytes_max / 2);
        let beside = self.path.with_extension("new");
        let mut to = fs::File::create(&beside)?;
        to.write_all(&text)?;
        to.sync_data()?;
        fs::rename(&beside, &self.path)?;
        self.to = OpenOptions::new().append(true).open(&self.path)?;
        (self.bytes, self.torn) = (text.len() as u64, false);
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.to.sync_data()
    }
}

fn newest(lines: impl DoubleEndedIterator<Item = Line>, bytes_max: u64) -> Vec<u8> {
    let mut bytes = 0;
    let fits = |text: &Vec<u8>| {
        bytes += text.len() as u64;
        bytes <= bytes_max
    };
    let mut texts: Vec<_> = lines.rev().map(|line| as_text(&line)).take_while(fits).collect();
    texts.reverse();
    texts.concat()
}

fn as_text(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
