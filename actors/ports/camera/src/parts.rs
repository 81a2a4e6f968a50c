//! GStreamer elements by name, each with the Debian package that brings it.

use crate::address::Kind;
use gstreamer as gst;
use std::fmt;

/// A codec this port can decode, and what that takes.
#[derive(Debug)]
pub struct Codec {
    pub name: &'static str,
    /// Its `encoding-name` in RTP caps.
    pub rtp: &'static str,
    pub caps: &'static str,
    /// How its units are handed over: with lengths in front, parameter sets apart.
    pub format: &'static str,
    pub depay: &'static str,
    pub parse: &'static str,
    /// In the order of trial. Those with hardware exist only where that does.
    pub decoders: &'static [&'static str],
    /// The one that every machine can have.
    pub usual: &'static str,
}

pub const CODECS: [Codec; 2] = [
    Codec {
        name: "h264",
        rtp: "H264",
        caps: "video/x-h264",
        format: "avc",
        depay: "rtph264depay",
        parse: "h264parse",
        decoders: &["nvh264dec", "vah264dec", "v4l2h264dec", "avdec_h264", "openh264dec"],
        usual: "avdec_h264",
    },
    Codec {
        name: "h265",
        rtp: "H265",
        caps: "video/x-h265",
        format: "hvc1",
        depay: "rtph265depay",
        parse: "h265parse",
        decoders: &["nvh265dec", "vah265dec", "v4l2h265dec", "avdec_h265"],
        usual: "avdec_h265",
    },
];

/// A sound that MP4 has a place for, and what it takes to get it there.
#[derive(Debug)]
pub struct Sound {
    /// Its `encoding-name` in RTP caps.
    pub rtp: &'static str,
    /// The same in a file's caps, with what it is to become.
    pub caps: &'static str,
    pub stream_format: Option<&'static str>,
    pub depay: &'static str,
    pub parse: &'static str,
}

pub const SOUNDS: [Sound; 3] = [
    Sound {
        rtp: "MPEG4-GENERIC",
        caps: "audio/mpeg",
        stream_format: Some("raw"),
        depay: "rtpmp4gdepay",
        parse: "aacparse",
    },
    Sound {
        rtp: "MP4A-LATM",
        caps: "audio/mpeg",
        stream_format: Some("raw"),
        depay: "rtpmp4adepay",
        parse: "aacparse",
    },
    Sound { rtp: "OPUS", caps: "audio/x-opus", stream_format: None, depay: "rtpopusdepay", parse: "opusparse" },
];

/// What every source needs, and the packages: a launch error would say only "no element".
const PACKAGES: [(&str, &str); 38] = [
    ("videoscale", "gstreamer1.0-plugins-base"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("videotestsrc", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("rtpjitterbuffer", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("rtph265depay", "gstreamer1.0-plugins-good"),
    ("rtpmp4gdepay", "gstreamer1.0-plugins-good"),
    ("rtpmp4adepay", "gstreamer1.0-plugins-good"),
    ("rtpopusdepay", "gstreamer1.0-plugins-good"),
    ("aacparse", "gstreamer1.0-plugins-good"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("souphttpsrc", "gstreamer1.0-plugins-good"),
    ("multipartdemux", "gstreamer1.0-plugins-good"),
    ("jpegdec", "gstreamer1.0-plugins-good"),
    ("v4l2src", "gstreamer1.0-plugins-good"),
    ("v4l2h264dec", "gstreamer1.0-plugins-good"),
    ("v4l2h265dec", "gstreamer1.0-plugins-good"),
    ("jpegparse", "gstreamer1.0-plugins-bad"),
    ("opusparse", "gstreamer1.0-plugins-bad"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("h265parse", "gstreamer1.0-plugins-bad"),
    ("openh264dec", "gstreamer1.0-plugins-bad"),
    ("nvh264dec", "gstreamer1.0-plugins-bad"),
    ("nvh265dec", "gstreamer1.0-plugins-bad"),
    ("vah264dec", "gstreamer1.0-plugins-bad"),
    ("vah265dec", "gstreamer1.0-plugins-bad"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("avdec_h265", "gstreamer1.0-libav"),
    ("filesrc", "libgstreamer1.0-0"),
    ("capsfilter", "libgstreamer1.0-0"),
    ("queue", "libgstreamer1.0-0"),
    ("identity", "libgstreamer1.0-0"),
    ("typefind", "libgstreamer1.0-0"),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = PACKAGES.iter().find(|(part, _)| *part == self.0).map_or("libgstreamer1.0-0", |(_, deb)| deb);
        write!(f, "GStreamer has no `{}`; apt-get install {package}", self.0)
    }
}

pub fn make(part: &str) -> Result<gst::Element, Missing> {
    gst::ElementFactory::make(part).build().map_err(|_| Missing(part.to_owned()))
}

pub fn is_there(part: &str) -> bool {
    gst::ElementFactory::find(part).is_some()
}

/// Looks for what a source of this kind cannot do without, before anything is opened.
pub fn check(kind: Kind) -> Result<(), Missing> {
    let h264 = &CODECS[0];
    let source: &[&str] = match kind {
        Kind::Rtsp => &["rtspsrc", "rtpjitterbuffer", h264.depay],
        Kind::File => &["filesrc", "parsebin", "qtdemux"],
        Kind::Http => &["souphttpsrc", "multipartdemux", "jpegparse", "jpegdec", "x264enc"],
        Kind::Device => &["v4l2src", "jpegparse", "jpegdec", "x264enc"],
        Kind::Test => &["videotestsrc", "x264enc"],
    };
    let common = [h264.parse, "appsrc", "videoscale", "videoconvert", "appsink"];
    if let Some(part) = source.iter().chain(&common).copied().find(|part| !is_there(part)) {
        return Err(Missing(part.to_owned()));
    }
    let decodes = h264.decoders.iter().any(|name| is_there(name));
    if decodes { Ok(()) } else { Err(Missing(h264.usual.to_owned())) }
}

/// Loads what nearly every camera needs, on a thread of its own. libavcodec alone takes a quarter of a second,
/// which would otherwise pass between the first packet and the first picture.
pub fn preload() {
    let load = || {
        let h264 = &CODECS[0];
        for part in [h264.usual, h264.parse, h264.depay, "videoscale"] {
            drop(make(part));
        }
    };
    // Without the thread it is loaded later, and that is all.
    let _ = std::thread::Builder::new().name("preload".to_owned()).spawn(load);
}

/// Of a stream with these caps.
pub fn codec_of(caps: &gst::CapsRef) -> Option<&'static Codec> {
    let name = caps.structure(0)?.name();
    CODECS.iter().find(|codec| codec.caps == name.as_str())
}

/// Names of decoders in the order of trial, those wanted first.
pub fn decoders(codec: &Codec, wanted: &[String]) -> Vec<String> {
    let known = codec.decoders.iter().map(|name| (*name).to_owned()).filter(|name| !wanted.contains(name));
    wanted.iter().cloned().chain(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_is_told_with_its_package() {
        let text = Missing("avdec_h264".to_owned()).to_string();
        assert!(text.contains("apt-get install gstreamer1.0-libav"), "{text}");
    }

    #[test]
    fn every_part_of_every_codec_and_sound_has_a_package() {
        let codecs = CODECS.iter().flat_map(|codec| codec.decoders.iter().chain([&codec.depay, &codec.parse]));
        for part in codecs.chain(SOUNDS.iter().flat_map(|sound| [&sound.depay, &sound.parse])) {
            assert!(PACKAGES.iter().any(|(name, _)| name == part), "{part} has no package");
        }
    }

    #[test]
    fn decoders_wanted_are_tried_first_and_none_twice() {
        let wanted = ["mine".to_owned(), "openh264dec".to_owned()];
        let order = decoders(&CODECS[0], &wanted);
        assert_eq!(order, ["mine", "openh264dec", "nvh264dec", "vah264dec", "v4l2h264dec", "avdec_h264"]);
    }
}
