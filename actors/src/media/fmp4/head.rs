//! What a take's file begins with: who, when and what, and how to read the samples.
//!
//! `ftyp` (ISO 14496-12, 4.3), `moov` (8.2) with `mvex` (8.8.1), then a `uuid` box of ours (11.1). All of it has the same
//! length before and after finishing, so that it can be written over in place.

mod read;

pub use read::read;

use super::boxes::{Cursor, boxed, full, put_u16, put_u32, put_u64};
use super::{AUDIO_TRACK, Fragment, TakeId, VIDEO_RATE, VIDEO_TRACK, audio_rate};
use protocol::camera::{AudioCodec, AudioFormat, Format, VideoCodec, VideoFormat};
use protocol::{CameraId, Timestamp};

/// Of our `uuid` box.
const OURS: [u8; 16] = *b"\x9d\x6e\x1f\x5c\x33\x0a\x4b\x0e\x8f\x6awatree";
/// Raised when what stands in that box changes shape.
const VERSION: u8 = 1;
/// Where the byte with the flags stands, from the box's first byte.
const FLAGS_AT: usize = 8 + 16 + 1;
const FLAG_FINISHED: u8 = 1;
const FLAG_FOLLOWS: u8 = 2;
/// What a finished take was recorded as: two bits, of which this module knows no more.
const KIND_AT: u32 = 2;
const KIND_MAX: u8 = 3;

/// A take: what does not change while it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub take: TakeId,
    /// The take that this one continues without a gap: the session's clock is the same in both.
    pub follows: Option<TakeId>,
    pub camera: CameraId,
    /// Wall clock of its first picture.
    pub begin: Timestamp,
    /// The same on the session's clock, from which all times in the take count.
    pub base_us: i64,
    /// How much later than they say pictures are shown, until the edit list takes it back: room for reordering.
    pub shift_us: u32,
    pub format: Format,
}

/// How long all is, once that is known. Ticks of pictures, ticks of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lengths {
    pub video: u64,
    pub audio: u64,
}

impl Head {
    /// Of a take that begins with this fragment.
    pub fn new(first: &Fragment, take: TakeId, follows: Option<TakeId>, camera: CameraId, format: Format) -> Self {
        let follows = follows.filter(|_| first.follows);
        let (base_us, shift_us) = (first.lead_us(), first.shift_us);
        Self { take, follows, camera, begin: first.captured_at(base_us), base_us, shift_us, format }
    }

    /// `ftyp` and `moov` alone, for a player that is fed fragments as they come.
    pub fn init(&self) -> Vec<u8> {
        let mut out = Vec::new();
        ftyp(&mut out);
        moov(&mut out, &self.format, self.shift(), Lengths::default());
        out
    }

    /// As it stands in front of a file, up to the room for an index.
    pub fn bytes(&self, lengths: Lengths, finished: bool) -> Vec<u8> {
        let mut out = Vec::new();
        ftyp(&mut out);
        moov(&mut out, &self.format, self.shift(), lengths);
        boxed(&mut out, b"uuid", |out| self.ours(finished, out));
        out
    }

    /// Where in these bytes the flags stand.
    pub fn flags_at(bytes: &[u8]) -> Option<usize> {
        let mut rest = Cursor(bytes);
        loop {
            let at = bytes.len() - rest.0.len();
            let (kind, _) = rest.next_box()?;
            if kind == *b"uuid" {
                return Some(at + FLAGS_AT);
            }
        }
    }

    /// What the byte with the flags says when the take is finished.
    pub fn finished_flags(&self, kind: u8) -> u8 {
        self.flags(true) | kind.min(KIND_MAX) << KIND_AT
    }

    /// What the take in a file that begins with these bytes was recorded as.
    pub fn kind_in(bytes: &[u8]) -> u8 {
        let flags = Self::flags_at(bytes).and_then(|at| bytes.get(at));
        flags.map_or(0, |flags| flags >> KIND_AT & KIND_MAX)
    }

    fn flags(&self, finished: bool) -> u8 {
        u8::from(finished) * FLAG_FINISHED + u8::from(self.follows.is_some()) * FLAG_FOLLOWS
    }

    fn ours(&self, finished: bool, out: &mut Vec<u8>) {
        out.extend(OURS);
        out.extend([VERSION, self.flags(finished)]);
        put_u64(out, self.begin.micros() as u64);
        put_u64(out, self.base_us as u64);
        put_u32(out, self.shift_us);
        out.extend(self.take.bits().to_be_bytes());
        out.extend(self.follows.map_or(0, TakeId::bits).to_be_bytes());
        let camera = self.camera.as_str().as_bytes();
        out.push(u8::try_from(camera.len()).expect("a camera's name has at most 48 characters"));
        out.extend(camera);
    }

    pub fn shift(&self) -> u64 {
        super::ticks(i64::from(self.shift_us), VIDEO_RATE).unsigned_abs()
    }
}

/// 4.3. `iso6`: fragments count from their `moof` and may say `trun`'s version 1.
pub fn ftyp(out: &mut Vec<u8>) {
    boxed(out, b"ftyp", |out| {
        out.extend(b"iso6");
        put_u32(out, 0);
        out.extend(b"iso6iso5isommp41");
    });
}

/// 8.2.1; `shift` is [`Head::shift`].
pub fn moov(out: &mut Vec<u8>, format: &Format, shift: u64, lengths: Lengths) {
    let tracks = if format.audio.is_none() { 1 } else { 2 };
    boxed(out, b"moov", |out| {
        mvhd(out, lengths.video, tracks + 1);
        video_track(out, &format.video, shift, lengths.video);
        if let Some(audio) = &format.audio {
            audio_track(out, audio, lengths.audio);
        }
        // 8.8.1 to 8.8.3
        boxed(out, b"mvex", |out| {
            full(out, b"mehd", 1, 0, |out| put_u64(out, lengths.video));
            for track in 1..=tracks {
                full(out, b"trex", 0, 0, |out| [track, 1, 0, 0, 0].into_iter().for_each(|word| put_u32(out, word)));
            }
        });
    });
}

/// 8.2.2
fn mvhd(out: &mut Vec<u8>, duration: u64, next_track: u32) {
    full(out, b"mvhd", 1, 0, |out| {
        out.extend([0; 16]);
        put_u32(out, VIDEO_RATE);
        put_u64(out, duration);
        put_u32(out, 0x0001_0000);
        put_u16(out, 0x0100);
        out.extend([0; 10]);
        matrix(out);
        out.extend([0; 24]);
        put_u32(out, next_track);
    });
}

fn matrix(out: &mut Vec<u8>) {
    for word in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        put_u32(out, word);
    }
}

fn video_track(out: &mut Vec<u8>, video: &VideoFormat, shift: u64, length: u64) {
    boxed(out, b"trak", |out| {
        tkhd(out, VIDEO_TRACK, length, 0, [video.width, video.height]);
        if shift > 0 {
            // 8.6.5, 8.6.6: length 0 is all there is, fragments too.
            boxed(out, b"edts", |out| {
                full(out, b"elst", 1, 0, |out| {
                    put_u32(out, 1);
                    put_u64(out, length);
                    put_u64(out, shift);
                    put_u32(out, 0x0001_0000);
                });
            });
        }
        let media = if length == 0 { 0 } else { length + shift };
        media_box(out, VIDEO_RATE, media, b"vide", |out| {
            full(out, b"vmhd", 0, 1, |out| out.extend([0; 8]));
            tables(out, |out| video_entry(out, video));
        });
    });
}

fn audio_track(out: &mut Vec<u8>, audio: &AudioFormat, length: u64) {
    let rate = audio_rate(audio);
    let in_movie = u128::from(length) * u128::from(VIDEO_RATE) / u128::from(rate);
    boxed(out, b"trak", |out| {
        tkhd(out, AUDIO_TRACK, u64::try_from(in_movie).unwrap_or(u64::MAX), 0x0100, [0, 0]);
        media_box(out, rate, length, b"soun", |out| {
            full(out, b"smhd", 0, 0, |out| out.extend([0; 4]));
            tables(out, |out| audio_entry(out, audio));
        });
    });
}

/// 8.3.2; flags: enabled, in the movie.
fn tkhd(out: &mut Vec<u8>, track: u32, duration: u64, volume: u16, size: [u32; 2]) {
    full(out, b"tkhd", 1, 3, |out| {
        out.extend([0; 16]);
        put_u32(out, track);
        put_u32(out, 0);
        put_u64(out, duration);
        out.extend([0; 12]);
        put_u16(out, volume);
        put_u16(out, 0);
        matrix(out);
        for pixels in size {
            put_u32(out, pixels.min(0xffff) << 16);
        }
    });
}

/// 8.4: `mdia` down to `minf`, whose first children `fill` writes.
fn media_box(out: &mut Vec<u8>, rate: u32, duration: u64, handler: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, b"mdia", |out| {
        full(out, b"mdhd", 1, 0, |out| {
            out.extend([0; 16]);
            put_u32(out, rate);
            put_u64(out, duration);
            put_u16(out, 0x55c4); // `und`
            put_u16(out, 0);
        });
        full(out, b"hdlr", 0, 0, |out| {
            put_u32(out, 0);
            out.extend(handler);
            out.extend([0; 12]);
            out.extend(b"watchtree\0");
        });
        boxed(out, b"minf", fill);
    });
}

/// 8.7.1 and 8.5: where the data is (here), and how to read it; the tables of samples stay empty, fragments have them.
fn tables(out: &mut Vec<u8>, entry: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, b"dinf", |out| {
        full(out, b"dref", 0, 0, |out| {
            put_u32(out, 1);
            full(out, b"url ", 0, 1, |_| ());
        });
    });
    boxed(out, b"stbl", |out| {
        full(out, b"stsd", 0, 0, |out| {
            put_u32(out, 1);
            entry(out);
        });
        full(out, b"stts", 0, 0, |out| put_u32(out, 0));
        full(out, b"stsc", 0, 0, |out| put_u32(out, 0));
        full(out, b"stsz", 0, 0, |out| out.extend([0; 8]));
        full(out, b"stco", 0, 0, |out| put_u32(out, 0));
    });
}

/// 12.1.3, and ISO 14496-15, 5.4.2 and 8.4.1.
fn video_entry(out: &mut Vec<u8>, video: &VideoFormat) {
    let (entry, config) = match video.codec {
        VideoCodec::H264 => (b"avc1", b"avcC"),
        VideoCodec::H265 => (b"hvc1", b"hvcC"),
    };
    boxed(out, entry, |out| {
        out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        out.extend([0; 16]);
        put_u16(out, video.width.min(0xffff) as u16);
        put_u16(out, video.height.min(0xffff) as u16);
        put_u32(out, 0x0048_0000);
        put_u32(out, 0x0048_0000);
        put_u32(out, 0);
        put_u16(out, 1);
        out.extend([0; 32]);
        put_u16(out, 24);
        put_u16(out, 0xffff);
        boxed(out, config, |out| out.extend(&video.config.0));
    });
}

/// 12.2.3, and ISO 14496-14, 5.6, or Opus in ISOBMFF, 4.3.
fn audio_entry(out: &mut Vec<u8>, audio: &AudioFormat) {
    let entry = match audio.codec {
        AudioCodec::Aac => b"mp4a",
        AudioCodec::Opus => b"Opus",
    };
    boxed(out, entry, |out| {
        out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        out.extend([0; 8]);
        put_u16(out, audio.channels);
        put_u16(out, 16);
        put_u32(out, 0);
        // 16.16 has no room for more; the rate that counts is the media's.
        put_u32(out, if audio_rate(audio) <= 0xffff { audio_rate(audio) << 16 } else { 0 });
        match audio.codec {
            AudioCodec::Aac => full(out, b"esds", 0, 0, |out| esds(out, &audio.config.0)),
            AudioCodec::Opus => boxed(out, b"dOps", |out| out.extend(&audio.config.0)),
        }
    });
}

/// ISO 14496-1, 7.2.6: ES, decoder configuration (audio, AAC), its AudioSpecificConfig, SL. Lengths have 4 bytes.
fn esds(out: &mut Vec<u8>, config: &[u8]) {
    let descriptor = |out: &mut Vec<u8>, tag: u8, bytes: usize| {
        let digit = |shift: u32| (bytes >> shift & 0x7f) as u8;
        out.extend([tag, 0x80 | digit(21), 0x80 | digit(14), 0x80 | digit(7), digit(0)]);
    };
    descriptor(out, 3, 3 + 5 + 13 + 5 + config.len() + 5 + 1);
    out.extend([0, AUDIO_TRACK as u8, 0]);
    descriptor(out, 4, 13 + 5 + config.len());
    out.extend([0x40, 0x15]);
    out.extend([0; 11]);
    descriptor(out, 5, config.len());
    out.extend(config);
    descriptor(out, 6, 1);
    out.push(2);
}

/// As a browser is asked whether it plays this: `avc1.64001f, mp4a.40.2` (RFC 6381; ISO 14496-15, annex E).
pub fn codecs(format: &Format) -> String {
    let config = &format.video.config.0;
    let video = match (format.video.codec, config.as_slice()) {
        (VideoCodec::H264, [_, profile, compatible, level, ..]) => {
            format!("avc1.{profile:02x}{compatible:02x}{level:02x}")
        }
        (VideoCodec::H265, [_, profile, c0, c1, c2, c3, constraints @ .., _]) if constraints.len() > 6 => {
            let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
            let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
            let compatible = u32::from_be_bytes([*c0, *c1, *c2, *c3]).reverse_bits();
            let used = constraints[..6].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let tail: String = constraints[..used].iter().map(|byte| format!(".{byte:x}")).collect();
            format!("hvc1.{space}{}.{compatible:x}.{tier}{}{tail}", profile & 0x1f, constraints[6])
        }
        (VideoCodec::H264, _) => "avc1".to_owned(),
        (VideoCodec::H265, _) => "hvc1".to_owned(),
    };
    let Some(audio) = &format.audio else { return video };
    let kind = audio.config.0.first().map_or(2, |byte| byte >> 3);
    match audio.codec {
        AudioCodec::Aac => format!("{video}, mp4a.40.{kind}"),
        AudioCodec::Opus => format!("{video}, opus"),
    }
}
