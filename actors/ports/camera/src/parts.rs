//! GStreamer elements by name, each with the Debian package that brings it.

use gstreamer as gst;
use std::fmt;

/// A codec this port can decode, and what that takes.
#[derive(Debug)]
pub struct Codec {
    pub name: &'static str,
    /// Its `encoding-name` in RTP caps.
    pub rtp: &'static str,
    pub caps: &'static str,
    pub depay: &'static str,
    pub parse: &'static str,
    /// The first that is installed decodes.
    pub decoders: &'static [&'static str],
}

pub const CODECS: [Codec; 2] = [
    Codec {
        name: "h264",
        rtp: "H264",
        caps: "video/x-h264",
        depay: "rtph264depay",
        parse: "h264parse",
        decoders: &["avdec_h264", "openh264dec"],
    },
    Codec {
        name: "h265",
        rtp: "H265",
        caps: "video/x-h265",
        depay: "rtph265depay",
        parse: "h265parse",
        decoders: &["avdec_h265"],
    },
];

/// What every source needs, and the packages: a launch error would say only "no element".
const PACKAGES: [(&str, &str); 14] = [
    ("videoscale", "gstreamer1.0-plugins-base"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("rtpjitterbuffer", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("rtph265depay", "gstreamer1.0-plugins-good"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("h265parse", "gstreamer1.0-plugins-bad"),
    ("openh264dec", "gstreamer1.0-plugins-bad"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("avdec_h265", "gstreamer1.0-libav"),
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
pub fn check(is_file: bool) -> Result<(), Missing> {
    let h264 = &CODECS[0];
    let source: &[&str] =
        if is_file { &["filesrc", "parsebin", "qtdemux"] } else { &["rtspsrc", "rtpjitterbuffer", h264.depay] };
    let common = [h264.parse, "videoscale", "videoconvert", "appsink"];
    if let Some(part) = source.iter().chain(&common).copied().find(|part| !is_there(part)) {
        return Err(Missing(part.to_owned()));
    }
    decoder(h264).map(|_| ())
}

/// Loads what nearly every camera needs, on a thread of its own. libavcodec alone takes a quarter of a second,
/// which would otherwise pass between the first packet and the first picture.
pub fn preload() {
    let load = || {
        let h264 = &CODECS[0];
        for part in h264.decoders.iter().take(1).chain(&[h264.parse, h264.depay, "videoscale"]) {
            drop(make(part));
        }
    };
    // Without the thread it is loaded later, and that is all.
    let _ = std::thread::Builder::new().name("preload".to_owned()).spawn(load);
}

/// The decoder that will be used.
pub fn decoder(codec: &Codec) -> Result<&'static str, Missing> {
    let found = codec.decoders.iter().copied().find(|name| is_there(name));
    found.ok_or_else(|| Missing(codec.decoders[0].to_owned()))
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
    fn every_part_of_every_codec_has_a_package() {
        for codec in &CODECS {
            for part in codec.decoders.iter().chain([&codec.depay, &codec.parse]) {
                assert!(PACKAGES.iter().any(|(name, _)| name == part), "{part} has no package");
            }
        }
    }
}
