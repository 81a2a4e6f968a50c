//! A range of time over several takes, as one MP4 that exists nowhere: a head of its own, and fragments out of the
//! takes' files with their times and numbers changed on the way. All lengths are known beforehand.
//!
//! It begins at the last fragment with a key frame at or before what was asked for, and ends with the fragment that
//! reaches it. Takes that follow each other are joined to the tick; elsewhere the wall clock says how long nothing was
//! recorded, and the picture stands still for that long. Where the format changes (another size, say) the clip ends, and
//! says so: MP4 has a word for it, several sample entries, and neither ffmpeg nor Chromium reads it in fragments.

use super::head::{self, Head, Lengths};
use super::moof::{self, Moved};
use super::{FragmentInfo, VIDEO_RATE, audio_rate, sidx, span, take, ticks};
use protocol::Timestamp;
use protocol::camera::{AudioFormat, Format};
use std::io;

/// A take as far as it is on disk; it may still grow.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub head: &'a Head,
    pub fragments: &'a [FragmentInfo],
}

/// A clip's bytes, from one place each. `take` is an index into the views it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// To be read whole, changed, and handed out: [`Virtual::read_at`] does.
    Moof {
        take: usize,
        offset: u64,
        bytes: u32,
        mdat_bytes: u32,
        moved: Moved,
    },
    File {
        take: usize,
        offset: u64,
        bytes: u64,
    },
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Virtual {
    /// Each with where it begins in the clip.
    pieces: Vec<(u64, Piece)>,
    bytes: u64,
    begin: Timestamp,
    end: Timestamp,
    changed: bool,
    codecs: String,
}

impl Virtual {
    /// Of takes of one camera in the order of time. `None` if none of them has a picture in the range.
    pub fn new(takes: &[View], from: Timestamp, to: Timestamp) -> Option<Self> {
        let chosen = choose(takes, from, to);
        let (take, first) = *chosen.first()?;
        let begin = takes[take].head.begin.plus(first.begin_after());
        let mut plan = Plan::new(takes, begin);
        for (take, info) in chosen {
            if !plan.add(take, info) {
                plan.changed = true;
                break;
            }
        }
        Some(plan.finish())
    }

    /// In all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// On the wall clock, from its first picture to its last.
    pub fn begin(&self) -> Timestamp {
        self.begin
    }

    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// It ends before it should, where the format changes: another clip begins there.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// See [`head::codecs`].
    pub fn codecs(&self) -> &str {
        &self.codecs
    }

    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().map(|(_, piece)| piece)
    }

    /// Indices of the takes whose files are needed, each once.
    pub fn takes(&self) -> Vec<usize> {
        let takes = self.pieces().filter_map(|piece| match piece {
            Piece::File { take, .. } => Some(*take),
            _ => None,
        });
        let mut takes: Vec<usize> = takes.collect();
        takes.dedup();
        takes
    }

    /// Fills the front of `into` with what stands at `offset`, and says how much that is: 0 only at the end. `read`
    /// fills a buffer from a take's file.
    pub fn read_at(
        &self,
        offset: u64,
        into: &mut [u8],
        mut read: impl FnMut(usize, u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let Some(at) = self.pieces.partition_point(|(begin, _)| *begin <= offset).checked_sub(1) else { return Ok(0) };
        let (begin, piece) = &self.pieces[at];
        let skip = offset - begin;
        let left = piece.bytes().saturating_sub(skip);
        let wanted = left.min(into.len() as u64) as usize;
        let into = &mut into[..wanted];
        match piece {
            Piece::Bytes(bytes) => into.copy_from_slice(&bytes[skip as usize..][..wanted]),
            Piece::Moof { .. } if wanted == 0 => {}
            Piece::Moof { take, offset, bytes, mdat_bytes, moved } => {
                let mut moof = vec![0; *bytes as usize];
                read(*take, *offset, &mut moof)?;
                let parsed = moof::read(&moof, u64::from(*mdat_bytes)).ok_or(io::ErrorKind::InvalidData)?;
                parsed.moved(&mut moof, moved);
                into.copy_from_slice(&moof[skip as usize..][..wanted]);
            }
            Piece::File { take, offset, .. } => read(*take, offset + skip, into)?,
        }
        Ok(wanted)
    }
}

impl Piece {
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Moof { bytes, .. } => u64::from(*bytes),
            Self::File { bytes, .. } => *bytes,
        }
    }
}

/// From the first group of pictures that ends after `from`, to the last fragment that begins before `to`.
fn choose(takes: &[View], from: Timestamp, to: Timestamp) -> Vec<(usize, FragmentInfo)> {
    let mut chosen: Vec<(usize, FragmentInfo)> = Vec::new();
    let mut reaches = false;
    for (take, view) in takes.iter().enumerate() {
        for info in view.fragments {
            if view.head.begin.plus(info.begin_after()) >= to {
                return if reaches { chosen } else { Vec::new() };
            }
            let begins = chosen.last().is_none_or(|(before, _)| *before != take) || info.key;
            if begins && !reaches {
                chosen.clear();
            }
            if info.key || chosen.last().is_some_and(|(before, _)| *before == take) {
                chosen.push((take, *info));
                reaches |= view.head.begin.plus(info.end_after()) > from;
            }
        }
    }
    if reaches { chosen } else { Vec::new() }
}

/// A clip as it grows.
struct Plan<'a> {
    takes: &'a [View<'a>],
    begin: Timestamp,
    /// The first take's; with sound, if any has it.
    format: Option<Format>,
    /// The most that a take has.
    shift: u64,
    changed: bool,
    /// As they lie in the clip, `begin` and `end` in its time.
    fragments: Vec<FragmentInfo>,
    places: Vec<Place>,
    audio_end: u64,
}

struct Place {
    take: usize,
    info: FragmentInfo,
    /// From the take's time to the clip's, in ticks of pictures.
    by: i64,
}

impl<'a> Plan<'a> {
    fn new(takes: &'a [View<'a>], begin: Timestamp) -> Self {
        let (fragments, places) = (Vec::new(), Vec::new());
        Self { takes, begin, format: None, shift: 0, changed: false, fragments, places, audio_end: 0 }
    }

    /// Whether it fits behind those before.
    fn add(&mut self, take: usize, info: FragmentInfo) -> bool {
        let head = self.takes[take].head;
        let format = self.format.get_or_insert_with(|| head.format.clone());
        if format.video != head.format.video || both_differ(&format.audio, &head.format.audio) {
            return false;
        }
        if format.audio.is_none() {
            format.audio.clone_from(&head.format.audio);
        }
        self.shift = self.shift.max(head.shift());
        let by = self.offset(take, &info);
        let moved = |ticks: u64| ticks.saturating_add_signed(by);
        self.fragments.push(FragmentInfo { begin: moved(info.begin), end: moved(info.end), ..info });
        if info.audio_end > 0 {
            self.audio_end = self.audio_end.max(info.audio_end.saturating_add_signed(audio_ticks(by, head)));
        }
        self.places.push(Place { take, info, by });
        true
    }

    /// From the take's time to the clip's.
    fn offset(&self, take: usize, info: &FragmentInfo) -> i64 {
        let Some(before) = self.places.last() else { return 0i64.saturating_sub_unsigned(info.begin) };
        if before.take == take {
            return before.by;
        }
        let (old, new) = (self.takes[before.take].head, self.takes[take].head);
        let wanted = if new.follows == Some(old.take) {
            before.by.saturating_add(ticks(new.base_us.saturating_sub(old.base_us), VIDEO_RATE))
        } else {
            ticks(new.begin.micros().saturating_sub(self.begin.micros()), VIDEO_RATE)
        };
        // Nothing is decoded before what stands in front of it, whatever the wall clock says; and where the room for
        // reordering grew, so much later.
        let grew = new.shift().saturating_sub(old.shift());
        let earliest = self.fragments.last().map_or(0, |last| last.end.saturating_add(grew));
        wanted.max((earliest as i64).saturating_sub_unsigned(info.begin))
    }

    fn finish(mut self) -> Virtual {
        let format = self.format.take().expect("a clip has a fragment, which was added");
        let lengths = Lengths { video: take::lengths(&self.fragments).video, audio: self.audio_end };
        let mut bytes = Vec::new();
        head::ftyp(&mut bytes);
        head::moov(&mut bytes, &format, self.shift, lengths);
        sidx::write(&mut bytes, &self.fragments);
        let mut at = bytes.len() as u64;
        let mut pieces = vec![(0, Piece::Bytes(bytes))];
        for (sequence, place) in (1..).zip(&self.places) {
            for piece in self.pieces(place, sequence) {
                let begin = at;
                at += piece.bytes();
                pieces.push((begin, piece));
            }
        }
        let end = self.begin.plus(span(lengths.video));
        let codecs = head::codecs(&format);
        Virtual { pieces, bytes: at, begin: self.begin, end, changed: self.changed, codecs }
    }

    fn pieces(&self, place: &Place, sequence: u32) -> [Piece; 2] {
        let Place { take, info, by } = place;
        let head = self.takes[*take].head;
        let shift = self.shift.saturating_sub(head.shift()) as i64;
        let moved = Moved { sequence, video: by.saturating_add(shift), audio: audio_ticks(*by, head) };
        let mdat_bytes = info.bytes - info.moof_bytes;
        let (take, offset, bytes) = (*take, info.offset, info.moof_bytes);
        let data_at = offset + u64::from(bytes);
        [
            Piece::Moof { take, offset, bytes, mdat_bytes: mdat_bytes.saturating_sub(8), moved },
            Piece::File { take, offset: data_at, bytes: u64::from(mdat_bytes) },
        ]
    }
}

fn both_differ(one: &Option<AudioFormat>, other: &Option<AudioFormat>) -> bool {
    one.is_some() && other.is_some() && one != other
}

fn audio_ticks(video_ticks: i64, head: &Head) -> i64 {
    let rate = i128::from(head.format.audio.as_ref().map_or(VIDEO_RATE, audio_rate));
    let half = i128::from(VIDEO_RATE / 2);
    ((i128::from(video_ticks) * rate + half).div_euclid(i128::from(VIDEO_RATE))) as i64
}
