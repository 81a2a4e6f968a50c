//! A take's file read back: its head, and where its fragments are. Samples are not read.
//!
//! The file may be torn, of somebody else, or made to hurt: sizes are checked against the file and the limits before
//! anything is allocated, and each step goes forward.

use super::boxes::{Cursor, HEADER_BYTES, Kind};
use super::head::{self, Head};
use super::{FRAGMENTS_MAX, FragmentInfo, HEAD_BYTES_MAX, MOOF_BYTES_MAX, fragment, moof, take};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Read at once at the begin of a fragment: mostly its whole `moof`.
const GLANCE_BYTES: usize = 4096;
/// Later times are none.
const TICKS_MAX: u64 = 1 << 62;

/// What is in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub head: Head,
    /// It says that its durations and its index are there.
    pub finished: bool,
    /// What it was finished as; see [`super::Take::finish_as`].
    pub kind: u8,
    pub fragments: Vec<FragmentInfo>,
    /// Where the first fragment begins, or would.
    pub head_bytes: u64,
    /// As far as it is whole.
    pub valid_bytes: u64,
    pub bytes: u64,
    /// What is wrong behind that.
    pub torn: Option<&'static str>,
}

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Try again, or give up.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Leave it alone.
    #[error("is no footage of this program: {0}")]
    Foreign(&'static str),
    /// It was cut before its first picture: nothing in it is worth keeping.
    #[error("ends within its head")]
    Headless,
}

/// `bytes` is the file's length.
pub fn scan(file: &mut (impl Read + Seek), bytes: u64) -> Result<Scan, ScanError> {
    let (found, head_bytes) = read_head(file, bytes)?;
    let (head, finished) = head::read(&found).ok_or(ScanError::Foreign("its head is not as this program writes it"))?;
    if take::head_bytes(&head).len() as u64 != head_bytes {
        return Err(ScanError::Foreign("its head has another length than this program's"));
    }
    let kind = Head::kind_in(&found);
    let mut scan =
        Scan { head, finished, kind, fragments: Vec::new(), head_bytes, valid_bytes: head_bytes, bytes, torn: None };
    while scan.valid_bytes < bytes {
        match read_fragment(file, &scan)? {
            Ok(info) => {
                scan.valid_bytes = info.ends_at();
                scan.fragments.push(info);
            }
            Err(why) => {
                scan.torn = Some(why);
                break;
            }
        }
    }
    Ok(scan)
}

/// The boxes before the first fragment, without those that are only room or an index.
fn read_head(file: &mut (impl Read + Seek), bytes: u64) -> Result<(Vec<u8>, u64), ScanError> {
    let mut found = Vec::new();
    let mut at = 0;
    // As the head is written; behind it, fragments may begin.
    for wanted in [&[b"ftyp"][..], &[b"moov"], &[b"uuid"], &[b"free", b"sidx"]] {
        let (kind, size) = header_at(file, at, bytes)?.ok_or(ScanError::Headless)?;
        if !wanted.contains(&&kind) {
            return Err(ScanError::Foreign(if at == 0 { "it does not begin as an MP4" } else { "a box is not ours" }));
        }
        if size > HEAD_BYTES_MAX as u64 - found.len() as u64 {
            return Err(ScanError::Foreign("its head is too large"));
        }
        if size > bytes - at {
            return Err(ScanError::Headless);
        }
        if wanted.len() == 1 {
            let begin = found.len();
            found.resize(begin + size as usize, 0);
            read_at(file, at, &mut found[begin..])?;
        }
        at += size;
    }
    // What an index leaves of the room.
    match header_at(file, at, bytes)? {
        Some((kind, size)) if kind == *b"free" && size <= bytes - at => Ok((found, at + size)),
        _ => Ok((found, at)),
    }
}

fn header_at(file: &mut (impl Read + Seek), at: u64, bytes: u64) -> Result<Option<(Kind, u64)>, ScanError> {
    let mut header = [0; HEADER_BYTES];
    if bytes.saturating_sub(at) < HEADER_BYTES as u64 {
        return Ok(None);
    }
    read_at(file, at, &mut header)?;
    let [s0, s1, s2, s3, kind @ ..] = header;
    let size = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
    if size < HEADER_BYTES as u64 {
        return Err(ScanError::Foreign("a box has no size"));
    }
    Ok(Some((kind, size)))
}

fn read_at(file: &mut (impl Read + Seek), at: u64, into: &mut [u8]) -> Result<(), ScanError> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(into).map_err(|why| match why.kind() {
        // It shrank while it was read.
        ErrorKind::UnexpectedEof => ScanError::Headless,
        _ => ScanError::Io(why),
    })
}

type Torn = &'static str;

/// The fragment that begins where the file is whole so far, or what is wrong with it.
fn read_fragment(file: &mut (impl Read + Seek), scan: &Scan) -> Result<Result<FragmentInfo, Torn>, ScanError> {
    const CUT: Result<FragmentInfo, Torn> = Err("it ends within a fragment");
    let at = scan.valid_bytes;
    let left = scan.bytes - at;
    if scan.fragments.len() >= FRAGMENTS_MAX {
        return Ok(Err("it has more fragments than a take may have"));
    }
    let mut glance = vec![0; left.min(GLANCE_BYTES as u64) as usize];
    read_at(file, at, &mut glance)?;
    let mut front = Cursor(&glance);
    let (Some(moof_bytes), Some(kind)) = (front.u32(), front.array::<4>()) else { return Ok(CUT) };
    let wanted = moof_bytes as usize + HEADER_BYTES;
    if kind != *b"moof" || (moof_bytes as usize) < HEADER_BYTES || moof_bytes as usize > MOOF_BYTES_MAX {
        return Ok(Err("what should be a fragment is none"));
    }
    if wanted as u64 > left {
        return Ok(CUT);
    }
    if wanted > glance.len() {
        glance.resize(wanted, 0);
        read_at(file, at, &mut glance)?;
    }
    let (moof, behind) = glance.split_at(moof_bytes as usize);
    let mut behind = Cursor(behind);
    let (Some(mdat_bytes), Some(kind)) = (behind.u32(), behind.array::<4>()) else { return Ok(CUT) };
    let Some(data_bytes) = u64::from(mdat_bytes).checked_sub(HEADER_BYTES as u64).filter(|_| kind == *b"mdat") else {
        return Ok(Err("a fragment has no data"));
    };
    if data_bytes > left - wanted as u64 {
        return Ok(CUT);
    }
    let Some(bytes) = moof_bytes.checked_add(mdat_bytes) else { return Ok(Err("a fragment is too large")) };
    let Some(read) = moof::read(moof, data_bytes) else {
        return Ok(Err("a fragment is not as this program writes it"));
    };
    if read.video.samples.is_empty() {
        return Ok(Err("a fragment has no pictures"));
    }
    let info = fragment::info(&read.video, &read.audio, at, moof_bytes, bytes);
    let before = scan.fragments.last().map_or(0, |last| last.begin);
    let is_time = info.begin >= before && info.end > info.begin && info.end < TICKS_MAX && info.audio_end < TICKS_MAX;
    Ok(if is_time { Ok(info) } else { Err("a fragment's times go backwards") })
}
