//! Sources of pictures that are no H.264 or H.265: MJPEG over HTTP, USB cameras, test pictures. They are encoded here,
//! and from then on are streams like any other.

use super::Stream;
use crate::fault::{Fault, Trouble};
use crate::parts::{CODECS, Missing, make};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use protocol::camera::SourceFault;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Patterns of `videotestsrc` that are worth looking at.
const PATTERNS: [&str; 10] =
    ["ball", "smpte", "snow", "black", "white", "checkers-8", "circular", "pinwheel", "gradient", "blink"];

/// As many cameras send: 720p, and enough frames for a person who walks.
const TEST_CAPS: (i32, i32, i32) = (1280, 720, 15);

/// As cameras are told to send them.
const KEY_FRAME_EVERY: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// An HTTP server that says nothing for so long, in seconds; our watchdog is quicker.
const HTTP_TIMEOUT_S: u32 = 5;

/// What stands in front of the encoder.
const FROM_RAW: [&str; 2] = ["videoconvert", "capsfilter"];
const FROM_JPEG: [&str; 4] = ["jpegparse", "jpegdec", "videoconvert", "capsfilter"];

impl Stream {
    pub(super) fn add_test(&self) -> Result<(), Fault> {
        let pattern = self.url.strip_prefix("test:").unwrap_or_default();
        if !PATTERNS.contains(&pattern) {
            let what = format!("there is no such test picture; use one of test:{}", PATTERNS.join(", test:"));
            return Err(Fault::Source(Trouble::new(&self.source, SourceFault::NotFound, &what)));
        }
        let missing = |missing: Missing| Fault::Ours(missing.to_string());
        let test = make("videotestsrc").map_err(missing)?;
        test.set_property("is-live", true);
        test.set_property_from_str("pattern", pattern);
        let size = make("capsfilter").map_err(missing)?;
        let (width, height, rate) = TEST_CAPS;
        let caps = gst::Caps::builder("video/x-raw").field("format", "I420").field("width", width);
        let caps = caps.field("height", height).field("framerate", gst::Fraction::new(rate, 1));
        size.set_property("caps", caps.build());
        self.gst.add_many([&test, &size]).and_then(|()| test.link(&size)).expect("new elements of known kinds");
        self.attach_encoder(&source_pad(&size), &FROM_RAW);
        Ok(())
    }

    pub(super) fn add_http(&self) -> Result<(), Missing> {
        let (http, parts) = (make("souphttpsrc")?, make("multipartdemux")?);
        http.set_property("location", &self.url);
        http.set_property("is-live", true);
        http.set_property("do-timestamp", true);
        http.set_property("timeout", HTTP_TIMEOUT_S);
        http.set_property("retries", 0i32);
        // Past the policy on addresses.
        http.set_property("automatic-redirect", false);
        http.set_property("proxy", "");
        // As for RTSP: cameras sign their certificates themselves.
        http.set_property("ssl-strict", false);
        http.set_property("extra-headers", gst::Structure::builder("headers").field("Host", &self.host).build());
        if let Some(login) = &self.source.login {
            http.set_property("user-id", &login.user);
            http.set_property("user-pw", &login.password);
        }
        parts.set_property("single-stream", true);
        let this = self.clone();
        parts.connect_pad_added(move |_, pad| {
            let name = pad.current_caps().and_then(|caps| Some(caps.structure(0)?.name().to_string()));
            match name.as_deref() {
                Some("image/jpeg") => this.attach_encoder(pad, &FROM_JPEG),
                other => this.unreadable(&format!("sends {} and no MJPEG", other.unwrap_or("something"))),
            }
        });
        self.gst.add_many([&http, &parts]).and_then(|()| http.link(&parts)).expect("new elements of known kinds");
        Ok(())
    }

    pub(super) fn add_device(&self) -> Result<(), Fault> {
        let missing = |missing: Missing| Fault::Ours(missing.to_string());
        let device = make("v4l2src").map_err(missing)?;
        let path = self.url.strip_prefix("v4l2://").unwrap_or_default();
        device.set_property("device", path);
        device.set_property("do-timestamp", true);
        if !std::path::Path::new(path).exists() {
            let what = "there is no such device; it is opened as soon as it is plugged in";
            return Err(Fault::Source(Trouble::new(&self.source, SourceFault::NotFound, what)));
        }
        let choice = make("capsfilter").map_err(missing)?;
        self.gst.add_many([&device, &choice]).and_then(|()| device.link(&choice)).expect("new elements of known kinds");
        // Only an open device tells what it has. One that cannot be opened says why on the bus.
        let _ = device.set_state(gst::State::Ready);
        let caps = source_pad(&device).query_caps(None);
        let offers = |name: &str| !caps.is_any() && caps.iter().any(|structure| structure.name() == name);
        let h264 = &CODECS[0];
        let chosen = ["video/x-h264", "image/jpeg"].into_iter().find(|name| offers(name)).unwrap_or("video/x-raw");
        choice.set_property("caps", gst::Caps::new_empty_simple(chosen));
        match chosen {
            "video/x-h264" => self.attach(&source_pad(&choice), h264, &[]),
            "image/jpeg" => self.attach_encoder(&source_pad(&choice), &FROM_JPEG),
            _ => self.attach_encoder(&source_pad(&choice), &FROM_RAW),
        }
        Ok(())
    }

    /// From a pad with pictures to the intake.
    fn attach_encoder(&self, pad: &gst::Pad, before: &[&str]) {
        if self.has_video.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let h264 = &CODECS[0];
        let names = before.iter().copied().chain(["x264enc", h264.parse]);
        let chain = match names.map(make).collect::<Result<Vec<_>, _>>() {
            Ok(chain) => chain,
            Err(missing) => return self.fail(Fault::Ours(missing.to_string())),
        };
        for (name, element) in before.iter().chain(&["x264enc"]).zip(&chain) {
            tune(name, element);
        }
        let format = gst::Caps::builder(h264.caps).field("stream-format", h264.format).field("alignment", "au");
        self.filter.set_property("caps", format.build());
        let first = self.put_together(&chain, &self.filter);
        self.linked(pad, first, "pictures");
    }
}

fn tune(name: &str, element: &gst::Element) {
    match name {
        // What browsers play.
        "capsfilter" => {
            element.set_property("caps", gst::Caps::builder("video/x-raw").field("format", "I420").build());
        }
        // A garbled picture is left out.
        "jpegdec" => element.set_property("max-errors", -1i32),
        "x264enc" => {
            element.set_property_from_str("tune", "zerolatency");
            element.set_property_from_str("speed-preset", "ultrafast");
            element.set_property("threads", 1u32);
            // One quality at whatever size: sizes are the source's choice.
            element.set_property_from_str("pass", "qual");
            element.set_property("quantizer", 26u32);
            element.set_property("key-int-max", 600u32);
            key_frames(element);
        }
        _ => {}
    }
}

/// By time: how many frames a second come is not known beforehand, and may change.
fn key_frames(encoder: &gst::Element) {
    let last = Mutex::new(None::<gst::ClockTime>);
    let source = source_pad(encoder);
    encoder.static_pad("sink").expect("an encoder has a sink").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let pts = info.buffer().and_then(|buffer| buffer.pts());
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |last: gst::ClockTime| pts.is_some_and(|pts| pts < last || pts >= last + KEY_FRAME_EVERY);
        if last.is_none_or(due) {
            *last = pts;
            source.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        gst::PadProbeReturn::Ok
    });
}

fn source_pad(element: &gst::Element) -> gst::Pad {
    element.static_pad("src").expect("it has a source pad")
}
