//! Formats: what caps of GStreamer say about a stream, in the words of the protocol.

use gstreamer as gst;
use protocol::camera::{AudioCodec, AudioFormat, VideoCodec, VideoFormat};
use protocol::codec::Blob;

/// An `avcC` or `hvcC` holds a few parameter sets of some tens of bytes each.
const CONFIG_BYTES_MAX: usize = 16 * 1024;

/// As `avc` or `hvc1`; `None` while something is still unknown.
pub fn video(caps: &gst::CapsRef) -> Option<VideoFormat> {
    let structure = caps.structure(0)?;
    let codec = match structure.name().as_str() {
        "video/x-h264" => VideoCodec::H264,
        "video/x-h265" => VideoCodec::H265,
        _ => return None,
    };
    let (width, height) = size(caps)?;
    Some(VideoFormat { codec, width, height, config: codec_data(structure)? })
}

/// As raw AAC or Opus.
pub fn audio(caps: &gst::CapsRef) -> Option<AudioFormat> {
    let structure = caps.structure(0)?;
    let number = |name| structure.get::<i32>(name).ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let channels = number("channels").and_then(|n| u16::try_from(n).ok());
    match structure.name().as_str() {
        "audio/mpeg" => Some(AudioFormat {
            codec: AudioCodec::Aac,
            sample_rate: number("rate")?,
            channels: channels?,
            config: codec_data(structure)?,
        }),
        "audio/x-opus" => {
            let channels = channels.unwrap_or(2);
            Some(AudioFormat {
                codec: AudioCodec::Opus,
                // Whatever was recorded, Opus is decoded at this rate.
                sample_rate: 48_000,
                channels,
                config: Blob(dops(channels, number("rate").unwrap_or(48_000))),
            })
        }
        _ => None,
    }
}

/// RFC 7845's identification header as `dOps` writes it: one stream of one or two channels.
fn dops(channels: u16, input_rate: u32) -> Vec<u8> {
    let channels = u8::try_from(channels.min(2)).unwrap_or(2);
    let (version, gain, mapping_family) = (0u8, 0i16, 0u8);
    // Joined in mid-stream, so nothing is to be skipped but what the decoder needs to converge.
    let pre_skip = 312u16;
    let mut dops = vec![version, channels];
    dops.extend(pre_skip.to_be_bytes());
    dops.extend(input_rate.to_be_bytes());
    dops.extend(gain.to_be_bytes());
    dops.push(mapping_family);
    dops
}

pub fn size(caps: &gst::CapsRef) -> Option<(u32, u32)> {
    let structure = caps.structure(0)?;
    let side = |name| structure.get::<i32>(name).ok().and_then(|px| u32::try_from(px).ok());
    Some((side("width")?, side("height")?))
}

fn codec_data(structure: &gst::StructureRef) -> Option<Blob> {
    let buffer = structure.get::<gst::Buffer>("codec_data").ok()?;
    let bytes = buffer.map_readable().ok()?;
    (bytes.len() <= CONFIG_BYTES_MAX).then(|| Blob(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_become_formats_once_they_are_whole() {
        gst::init().expect("GStreamer is installed");
        let whole = gst::Caps::builder("video/x-h264")
            .field("width", 1280)
            .field("height", 720)
            .field("codec_data", gst::Buffer::from_slice([1u8, 100, 0, 31]));
        let format = video(&whole.build()).expect("it is whole");
        assert_eq!((format.codec, format.width, format.height), (VideoCodec::H264, 1280, 720));
        assert_eq!(format.config.0, [1, 100, 0, 31]);
        assert_eq!(video(&gst::Caps::builder("video/x-h264").field("width", 1280).build()), None);
        let opus = gst::Caps::builder("audio/x-opus").field("channels", 1).field("rate", 16_000).build();
        let opus = audio(&opus).expect("it is whole");
        assert_eq!((opus.channels, opus.sample_rate), (1, 48_000));
        assert_eq!(opus.config.0, [0, 1, 1, 56, 0, 0, 62, 128, 0, 0, 0]);
    }
}
