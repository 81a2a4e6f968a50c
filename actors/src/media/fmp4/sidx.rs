//! `sidx` (ISO 14496-12, 8.16.3): how long all is and where its key frames are, so that a player need not look.

use super::boxes::{HEADER_BYTES, boxed, full, put_u16, put_u32, put_u64};
use super::{FragmentInfo, VIDEO_RATE, VIDEO_TRACK};

/// A minute of key frames, two a second. When there are more, neighbours share a reference.
const REFERENCES_MAX: usize = 128;
const FIXED_BYTES: usize = HEADER_BYTES + 32;
const REFERENCE_BYTES: usize = 12;
/// Kept free between a take's head and its first fragment.
pub const ROOM_BYTES: usize = FIXED_BYTES + REFERENCE_BYTES * REFERENCES_MAX;

struct Reference {
    bytes: u64,
    begin: u64,
    end: u64,
    key: bool,
}

/// The room while a take is written.
pub fn room(out: &mut Vec<u8>) {
    boxed(out, b"free", |out| out.resize(out.len() + ROOM_BYTES - HEADER_BYTES, 0));
}

/// In the place of the room, and as long.
pub fn write(out: &mut Vec<u8>, fragments: &[FragmentInfo]) {
    let references = references(fragments);
    let left = REFERENCE_BYTES * (REFERENCES_MAX - references.len());
    full(out, b"sidx", 1, 0, |out| {
        put_u32(out, VIDEO_TRACK);
        put_u32(out, VIDEO_RATE);
        put_u64(out, fragments.first().map_or(0, |first| first.begin));
        put_u64(out, left as u64);
        put_u16(out, 0);
        put_u16(out, references.len() as u16);
        for reference in &references {
            put_u32(out, reference.bytes.min(0x7fff_ffff) as u32);
            put_u32(out, reference.end.saturating_sub(reference.begin).min(u64::from(u32::MAX)) as u32);
            // A stream access point of type 1 (annex I).
            put_u32(out, if reference.key { 0b1001 << 28 } else { 0 });
        }
    });
    if left > 0 {
        boxed(out, b"free", |out| out.resize(out.len() + left - HEADER_BYTES, 0));
    }
}

/// Each from a key frame to the next, and so many of these together that all fit.
fn references(fragments: &[FragmentInfo]) -> Vec<Reference> {
    let groups = fragments.iter().filter(|fragment| fragment.key).count().max(1);
    let together = groups.div_ceil(REFERENCES_MAX);
    let mut references: Vec<Reference> = Vec::with_capacity(groups.min(REFERENCES_MAX));
    let mut keys = 0;
    for fragment in fragments {
        let bytes = u64::from(fragment.bytes);
        let begins = references.is_empty() || (fragment.key && keys == together);
        match references.last_mut().filter(|_| !begins) {
            Some(reference) => {
                reference.bytes += bytes;
                reference.end = fragment.end;
                keys += usize::from(fragment.key);
            }
            None => {
                if let Some(before) = references.last_mut() {
                    before.end = fragment.begin;
                }
                let FragmentInfo { begin, end, key, .. } = *fragment;
                references.push(Reference { bytes, begin, end, key });
                keys = 1;
            }
        }
    }
    references
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Cursor;
    use super::*;

    fn minute(fragments: usize, keys_every: usize) -> Vec<FragmentInfo> {
        let fragment = |at: usize| FragmentInfo {
            offset: 5000 + 1000 * at as u64,
            moof_bytes: 100,
            bytes: 1000,
            key: at.is_multiple_of(keys_every),
            begin: 90_000 * at as u64,
            end: 90_000 * (at as u64 + 1),
            video_samples: 15,
            audio_samples: 0,
            audio_end: 0,
        };
        (0..fragments).map(fragment).collect()
    }

    fn check(fragments: usize, keys_every: usize, references: u16) {
        let mut out = Vec::new();
        write(&mut out, &minute(fragments, keys_every));
        assert_eq!(out.len(), ROOM_BYTES);
        let mut boxes = Cursor(&out);
        let (kind, mut sidx) = boxes.next_box().expect("a box");
        assert_eq!(kind, *b"sidx");
        sidx.take(4 + 4 + 4 + 8).expect("fixed fields");
        assert_eq!(sidx.u64(), Some(boxes.0.len() as u64), "the first fragment comes right after the room");
        assert_eq!(sidx.u32(), Some(u32::from(references)));
        let (mut bytes, mut length) = (0, 0u64);
        for _ in 0..references {
            bytes += sidx.u32().expect("bytes");
            length += u64::from(sidx.u32().expect("length"));
            assert_eq!(sidx.u32().expect("access point") >> 28, 0b1001);
        }
        assert_eq!((bytes as usize, length), (1000 * fragments, 90_000 * fragments as u64));
    }

    #[test]
    fn a_reference_goes_from_key_frame_to_key_frame() {
        check(60, 1, 60);
        check(60, 2, 30);
    }

    #[test]
    fn what_does_not_fit_shares_references() {
        check(128, 1, 128);
        check(129, 1, 65);
        check(3000, 1, 125);
    }
}
