//! A take being written: its bytes in the order in which they go to the disk.

use super::fragment::Fragment;
use super::head::{Head, Lengths};
use super::{FragmentInfo, sidx};
use protocol::Timestamp;
use std::borrow::Cow;
use std::time::Duration;

/// The books of one file. Whoever has it writes what it returns, in this order, at the end of the file.
#[derive(Debug, Clone)]
pub struct Take {
    head: Head,
    fragments: Vec<FragmentInfo>,
    bytes: u64,
}

/// A fragment as it stands in a take.
pub struct Part<'a> {
    pub header: Vec<u8>,
    pub payload: Cow<'a, [u8]>,
    pub info: FragmentInfo,
}

/// Bytes to be written over others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Take {
    pub fn new(head: Head) -> Self {
        let bytes = head_bytes(&head).len() as u64;
        Self { head, fragments: Vec::new(), bytes }
    }

    /// One that was found on disk.
    pub fn resume(head: Head, fragments: Vec<FragmentInfo>) -> Self {
        let mut take = Self::new(head);
        take.bytes = fragments.last().map_or(take.bytes, FragmentInfo::ends_at);
        take.fragments = fragments;
        take
    }

    /// The file's first bytes.
    pub fn head_bytes(&self) -> Vec<u8> {
        head_bytes(&self.head)
    }

    /// Not yet in the books: what was written only in part is no part of the take.
    pub fn part<'a>(&self, fragment: &'a Fragment) -> Part<'a> {
        let sequence = self.fragments.len() as u32 + 1;
        if let Some(leading) = self.fragments.is_empty().then(|| fragment.leading()).flatten() {
            let (header, info) = leading.header(&self.head, sequence, self.bytes);
            return Part { header, payload: Cow::Owned(leading.payload().to_vec()), info };
        }
        let (header, info) = fragment.header(&self.head, sequence, self.bytes);
        Part { header, payload: Cow::Borrowed(fragment.payload()), info }
    }

    /// It was written, whole.
    pub fn wrote(&mut self, info: FragmentInfo) {
        self.bytes = info.ends_at();
        self.fragments.push(info);
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn fragments(&self) -> &[FragmentInfo] {
        &self.fragments
    }

    /// As long as the file is when all of it is written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn duration(&self) -> Duration {
        self.fragments.last().map_or(Duration::ZERO, FragmentInfo::end_after)
    }

    /// On the wall clock.
    pub fn end(&self) -> Timestamp {
        self.head.begin.plus(self.duration())
    }

    /// What makes the file a finished one; its length stays. To be written in this order: the last says that the others
    /// are there. Done again, it changes nothing.
    pub fn finish(&self) -> Vec<Patch> {
        self.finish_as(0)
    }

    /// As [`Self::finish`]; `kind`, 0 to 3, is told again by [`super::Scan::kind`].
    pub fn finish_as(&self, kind: u8) -> Vec<Patch> {
        let mut bytes = self.head.bytes(lengths(&self.fragments), false);
        let flags_at = Head::flags_at(&bytes).expect("there is our box in the bytes just made");
        sidx::write(&mut bytes, &self.fragments);
        let flags = Patch { offset: flags_at as u64, bytes: vec![self.head.finished_flags(kind)] };
        vec![Patch { offset: 0, bytes }, flags]
    }
}

pub(super) fn head_bytes(head: &Head) -> Vec<u8> {
    let mut bytes = head.bytes(Lengths::default(), false);
    sidx::room(&mut bytes);
    bytes
}

pub(super) fn lengths(fragments: &[FragmentInfo]) -> Lengths {
    let video = fragments.iter().map(|fragment| fragment.end).max().unwrap_or(0);
    let audio = fragments.iter().map(|fragment| fragment.audio_end).max().unwrap_or(0);
    Lengths { video, audio }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use protocol::camera::Unit;
    use std::time::Instant;

    /// A minute of 2 Mbit/s at 15 pictures a second, a key frame each 2 s, with sound.
    #[test]
    fn a_container_takes_little_room() {
        let size = |at: i64| if at % 30 == 0 { 100_000 } else { 13_793 };
        let mut units: Vec<Unit> = (0..900).map(|at| picture(at % 30 == 0, at * 66_667, size(at))).collect();
        units.extend((0..2812).map(|at| sound(at * 21_333, 21_333)));
        units.sort_by_key(|unit| unit.pts_us);
        let (count, sent) = (units.len(), units.iter().map(|unit| unit.data.0.len()).sum::<usize>());
        let began = Instant::now();
        let all = fragments(true, units);
        let takes = takes(&format(true), &all, 120_000_000);
        let took = began.elapsed();
        let (take, bytes) = &takes[0];
        let patches: usize = take.finish().iter().map(|patch| patch.bytes.len()).sum();
        let written = (bytes.len() + patches) as f64 / sent as f64;
        eprintln!(
            "{written:.4} B written for each of {sent} B; {:.2} us a unit",
            took.as_secs_f64() * 1e6 / count as f64
        );
        assert!(takes.len() == 1 && written < 1.01, "{written}");
    }
}
