//! The head of a file read back.

use super::{AUDIO_TRACK, FLAG_FINISHED, FLAG_FOLLOWS, Head, OURS, VERSION, VIDEO_TRACK};
use crate::media::fmp4::TakeId;
use crate::media::fmp4::boxes::Cursor;
use protocol::camera::{AudioCodec, AudioFormat, Format, VideoCodec, VideoFormat};
use protocol::codec::Blob;
use protocol::{CameraId, Timestamp};

/// From all boxes before the first `moof`: the head, and whether the take is finished. `None` if it is not of ours.
pub fn read(bytes: &[u8]) -> Option<(Head, bool)> {
    let mut ours = Cursor(bytes).child(b"uuid")?;
    if ours.array::<16>()? != OURS || ours.u8()? != VERSION {
        return None;
    }
    let flags = ours.u8()?;
    let begin = Timestamp::from_micros(ours.u64()? as i64);
    let base_us = ours.u64()? as i64;
    let shift_us = ours.u32()?;
    let take = TakeId::from_bits(ours.array().map(u128::from_be_bytes)?);
    let before = TakeId::from_bits(ours.array().map(u128::from_be_bytes)?);
    let follows = (flags & FLAG_FOLLOWS != 0).then_some(before);
    let name = ours.u8()?;
    let camera: CameraId = std::str::from_utf8(ours.take(usize::from(name))?).ok()?.parse().ok()?;
    let format = format(Cursor(bytes).child(b"moov")?)?;
    Some((Head { take, follows, camera, begin, base_us, shift_us, format }, flags & FLAG_FINISHED != 0))
}

fn format(mut moov: Cursor) -> Option<Format> {
    let (mut video, mut audio) = (None, None);
    while let Some((kind, trak)) = moov.next_box() {
        if kind != *b"trak" {
            continue;
        }
        let mut tkhd = trak.child(b"tkhd")?;
        tkhd.take(20)?;
        let track = tkhd.u32()?;
        let media = trak.child(b"mdia")?;
        let mut entries = media.child(b"minf")?.child(b"stbl")?.child(b"stsd")?;
        entries.take(8)?;
        let (kind, entry) = entries.next_box()?;
        match track {
            VIDEO_TRACK => video = Some(video_entry(&kind, entry)?),
            AUDIO_TRACK => audio = Some(audio_entry(&kind, entry, media)?),
            _ => return None,
        }
    }
    Some(Format { video: video?, audio })
}

fn video_entry(kind: &[u8; 4], mut entry: Cursor) -> Option<VideoFormat> {
    let (codec, config) = match kind {
        b"avc1" => (VideoCodec::H264, b"avcC"),
        b"hvc1" => (VideoCodec::H265, b"hvcC"),
        _ => return None,
    };
    entry.take(24)?;
    let (width, height) = (u32::from(entry.u16()?), u32::from(entry.u16()?));
    entry.take(50)?;
    Some(VideoFormat { codec, width, height, config: Blob(entry.child(config)?.0.to_vec()) })
}

fn audio_entry(kind: &[u8; 4], mut entry: Cursor, media: Cursor) -> Option<AudioFormat> {
    entry.take(16)?;
    let channels = entry.u16()?;
    entry.take(10)?;
    let mut mdhd = media.child(b"mdhd")?;
    mdhd.take(20)?;
    let sample_rate = mdhd.u32()?;
    let (codec, config) = match kind {
        b"mp4a" => (AudioCodec::Aac, asc(entry.child(b"esds")?)?),
        b"Opus" => (AudioCodec::Opus, entry.child(b"dOps")?.0),
        _ => return None,
    };
    Some(AudioFormat { codec, sample_rate, channels, config: Blob(config.to_vec()) })
}

/// The AudioSpecificConfig, behind the descriptors' heads as we write them.
fn asc(mut esds: Cursor<'_>) -> Option<&[u8]> {
    esds.take(4 + 5 + 3 + 5 + 13)?;
    let [tag, a, b, c, d] = esds.array()?;
    let digits = [a, b, c, d].into_iter().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7f));
    esds.take(digits).filter(|_| tag == 5)
}
