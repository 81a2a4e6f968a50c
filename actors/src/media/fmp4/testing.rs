//! What the tests share: made-up streams, and files in memory.

use super::*;
use protocol::CameraId;
use protocol::camera::{AudioFormat, Format, Stream, Unit, VideoCodec, VideoFormat};
use protocol::codec::Blob;
use std::io::Cursor;

pub const WALL_US: i64 = 1_800_000_000_000_000;

pub fn format(audio: bool) -> Format {
    let config = Blob(vec![1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x1f, 1, 0, 2, 0x68, 0xee]);
    let sound =
        AudioFormat { codec: AudioCodec::Aac, sample_rate: 48_000, channels: 1, config: Blob(vec![0x11, 0x88]) };
    let video = VideoFormat { codec: VideoCodec::H264, width: 1280, height: 720, config };
    Format { video, audio: audio.then_some(sound) }
}

pub fn picture(key: bool, pts_us: i64, bytes: usize) -> Unit {
    let mut data = (bytes as u32).to_be_bytes().to_vec();
    data.extend((0..bytes).map(|at| (at as i64 ^ pts_us) as u8));
    unit(Stream::Video, key, pts_us, 0, data)
}

pub fn sound(pts_us: i64, duration_us: u32) -> Unit {
    unit(Stream::Audio, true, pts_us, duration_us, vec![pts_us as u8; 200])
}

fn unit(stream: Stream, key: bool, pts_us: i64, duration_us: u32, data: Vec<u8>) -> Unit {
    Unit { stream, key, pts_us, duration_us, captured_us: WALL_US + pts_us, data: Blob(data) }
}

pub fn camera() -> CameraId {
    "yard".parse().expect("a name")
}

/// All fragments of a stream.
pub fn fragments(audio: bool, units: impl IntoIterator<Item = Unit>) -> Vec<Fragment> {
    let mut fragmenter = Fragmenter::new(audio);
    let mut fragments: Vec<Fragment> = units.into_iter().flat_map(|unit| fragmenter.push(unit)).collect();
    fragments.extend(fragmenter.flush());
    fragments
}

/// As a recorder writes them: a new take where one must be, and where a key frame is behind `length_us`.
pub fn takes(format: &Format, fragments: &[Fragment], length_us: i64) -> Vec<(Take, Vec<u8>)> {
    let mut takes: Vec<(Take, Vec<u8>)> = Vec::new();
    for fragment in fragments {
        let full = |take: &Take| fragment.key && fragment.end_us - take.head().base_us > length_us;
        if takes.last().is_none_or(|(take, _)| !fragment.follows || full(take)) {
            assert!(fragment.key, "a take begins with a key frame");
            let before = takes.last().map(|(take, _)| take.head().take);
            let id = TakeId::from_bits(takes.len() as u128 + 1);
            let take = Take::new(Head::new(fragment, id, before, camera(), format.clone()));
            let bytes = take.head_bytes();
            takes.push((take, bytes));
        }
        let (take, bytes) = takes.last_mut().expect("there is one now");
        let part = take.part(fragment);
        bytes.extend(&part.header);
        bytes.extend(&*part.payload);
        take.wrote(part.info);
        assert_eq!(take.bytes(), bytes.len() as u64);
    }
    takes
}

pub fn finish(take: &Take, bytes: &mut [u8]) {
    for Patch { offset, bytes: over } in take.finish() {
        bytes[offset as usize..][..over.len()].copy_from_slice(&over);
    }
}

pub fn scanned(bytes: &[u8]) -> Scan {
    scan(&mut Cursor::new(bytes), bytes.len() as u64).expect("it is a take")
}

/// Presentation and decoding time of each picture, in ticks since the take's first, and each unit of sound's time.
pub struct Times {
    pub pictures: Vec<(u64, u64)>,
    pub sounds: Vec<u64>,
    pub data: Vec<Vec<u8>>,
}

pub fn times(bytes: &[u8], fragments: &[FragmentInfo], shift: u64) -> Times {
    let mut times = Times { pictures: Vec::new(), sounds: Vec::new(), data: Vec::new() };
    for info in fragments {
        let file = &bytes[info.offset as usize..info.ends_at() as usize];
        let (moof, mdat) = file.split_at(info.moof_bytes as usize);
        let mdat = &mdat[8..];
        let moof = moof::read(moof, mdat.len() as u64).expect("it was scanned");
        let mut at = moof.video.data_at;
        let mut decode = moof.video.decode_time;
        for sample in &moof.video.samples {
            times.pictures.push((decode.saturating_add_signed(i64::from(sample.composition)) - shift, decode));
            times.data.push(mdat[at..at + sample.bytes as usize].to_vec());
            at += sample.bytes as usize;
            decode += u64::from(sample.duration);
        }
        let mut at = moof.audio.decode_time;
        for sample in &moof.audio.samples {
            times.sounds.push(at);
            at += u64::from(sample.duration);
        }
    }
    times
}

/// A clip read in pieces of odd sizes.
pub fn read_clip(clip: &Virtual, files: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = vec![0; 777];
    loop {
        let read = |take: usize, offset: u64, into: &mut [u8]| {
            into.copy_from_slice(&files[take][offset as usize..][..into.len()]);
            Ok(())
        };
        let read = clip.read_at(out.len() as u64, &mut piece, read).expect("files are in memory");
        if read == 0 {
            break;
        }
        out.extend(&piece[..read]);
    }
    assert_eq!(out.len() as u64, clip.bytes());
    out
}
