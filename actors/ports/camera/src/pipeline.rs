//! The pipeline, built element by element: an address or a password never passes through a launch line.
//!
//!   rtspsrc ┄▶ depay ▸ parse ▸ decoder ─┐
//!   filesrc ▸ parsebin ┄▶ decoder ──────┴▶ videoscale ▸ capsfilter ▸ videoconvert ▸ appsink
//!
//! The dotted links are made once the source has told what it carries.

use crate::fault::{Fault, Trouble};
use crate::parts::{self, CODECS, Codec, Missing, make};
use crate::tap::Tap;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use protocol::camera::{Source, SourceFault};
use protocol::limits::{FRAME_BYTES_MAX, FRAME_SIDE_PX_MAX};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How long packets that came out of order are waited for. In order, as over TCP, nothing waits.
const JITTER_MS: u32 = 200;

/// rtspsrc's own patience with a request, in microseconds; our watchdog is quicker.
const TCP_TIMEOUT_US: u64 = 5_000_000;

/// How long the goodbye may hold up the end, in nanoseconds.
const TEARDOWN_NS: u64 = 100_000_000;

/// Cheap to clone. Its callbacks hold it, so it lives as long as the process: one process opens one source.
#[derive(Clone)]
pub struct Pipeline {
    pub gst: gst::Pipeline,
    pub sink: gst_app::AppSink,
    pub tap: Tap,
    /// Which codec and decoder it came to be.
    pub decoder: Arc<OnceLock<(&'static str, &'static str)>>,
    scale: gst::Element,
    size: gst::Element,
    source: Arc<Source>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Pipeline {
    pub fn build(source: &Source) -> Result<Self, Fault> {
        let file = source.url.strip_prefix("file://");
        if file.is_none() && !source.url.starts_with("rtsp://") && !source.url.starts_with("rtsps://") {
            let what = "use rtsp://host/path or file:///path";
            return Err(Fault::Source(Trouble::new(source, SourceFault::Unreadable, what)));
        }
        let missing = |missing: Missing| Fault::Ours(missing.to_string());
        parts::check(file.is_some()).map_err(missing)?;
        let pipeline = Self::tail(source, file.is_some()).map_err(missing)?;
        match file {
            Some(path) => pipeline.add_file(path).map_err(missing)?,
            None => pipeline.add_rtsp().map_err(missing)?,
        }
        Ok(pipeline)
    }

    /// Why a callback gave up, if one did.
    pub fn take_fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tail(source: &Source, is_file: bool) -> Result<Self, Missing> {
        let gst = gst::Pipeline::new();
        let (scale, size, convert) = (make("videoscale")?, make("capsfilter")?, make("videoconvert")?);
        scale.set_property("add-borders", false);
        // A file that nobody must miss a frame of waits for its reader; any other shows what is newest.
        let sink = gst_app::AppSink::builder()
            .caps(&gst::Caps::builder("video/x-raw").field("format", "I420").build())
            .max_buffers(1)
            .drop(!source.every_frame)
            .sync(is_file && !source.every_frame)
            .build();
        let chain = [&scale, &size, &convert, sink.upcast_ref()];
        gst.add_many(chain).and_then(|()| gst::Element::link_many(chain)).expect("new elements of known kinds");
        let frames_per_s = if source.every_frame { 0.0 } else { source.frames_per_s };
        Ok(Self {
            gst,
            sink,
            tap: Tap::new(frames_per_s, is_file),
            decoder: Arc::default(),
            scale,
            size,
            source: Arc::new(source.clone()),
            fault: Arc::default(),
        })
    }

    fn add_rtsp(&self) -> Result<(), Missing> {
        let rtsp = make("rtspsrc")?;
        rtsp.set_property("location", &self.source.url);
        rtsp.set_property_from_str("protocols", "tcp");
        rtsp.set_property("latency", JITTER_MS);
        rtsp.set_property("tcp-timeout", TCP_TIMEOUT_US);
        rtsp.set_property("teardown-timeout", TEARDOWN_NS);
        if let Some(login) = &self.source.login {
            rtsp.set_property("user-id", &login.user);
            rtsp.set_property("user-pw", &login.password);
        }
        let offered = Arc::new(Mutex::new(Vec::new()));
        let seen = offered.clone();
        // A second video would be received and seen by nobody.
        let has_video = AtomicBool::new(false);
        rtsp.connect("select-stream", false, move |values| {
            let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let name = caps.as_ref().and_then(rtp_name).unwrap_or_default();
            let usable = CODECS.iter().any(|codec| codec.rtp == name) && !has_video.swap(true, Ordering::Relaxed);
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            Some(usable.to_value())
        });
        let this = self.clone();
        rtsp.connect_pad_added(move |_, pad| {
            let name = pad.current_caps().as_ref().and_then(rtp_name).unwrap_or_default();
            if let Some(codec) = CODECS.iter().find(|codec| codec.rtp == name) {
                this.attach(pad, codec, &[codec.depay, codec.parse]);
            }
        });
        let this = self.clone();
        rtsp.connect_no_more_pads(move |_| {
            let offered = offered.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
            this.expect_video(&offered);
        });
        let tap = self.tap.clone();
        self.gst.connect_deep_element_added(move |_, _, element| {
            let kind = element.factory().map(|factory| factory.name());
            if kind.is_some_and(|kind| kind == "rtpjitterbuffer")
                && let Some(sink) = element.static_pad("sink")
            {
                tap.watch_received(&sink);
            }
        });
        self.gst.add(&rtsp).expect("a new element");
        Ok(())
    }

    fn add_file(&self, path: &str) -> Result<(), Missing> {
        let (file, parse) = (make("filesrc")?, make("parsebin")?);
        file.set_property("location", path);
        let offered = Arc::new(Mutex::new(Vec::new()));
        let seen = offered.clone();
        let this = self.clone();
        parse.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let name = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
            match CODECS.iter().find(|codec| codec.caps == name) {
                Some(codec) => this.attach(pad, codec, &[]),
                None if name.starts_with("video/") || name.starts_with("image/") => {
                    this.unreadable(&format!("carries {name}; use H.264 or H.265"));
                }
                // Sound or subtitles: left unlinked.
                None => seen.lock().unwrap_or_else(PoisonError::into_inner).push(name),
            }
        });
        let this = self.clone();
        parse.connect_no_more_pads(move |_| {
            let offered = offered.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
            this.expect_video(&offered);
        });
        self.gst.add_many([&file, &parse]).and_then(|()| file.link(&parse)).expect("new elements of known kinds");
        Ok(())
    }

    /// From a source's pad through `before` and a decoder to the tail. The first video wins.
    fn attach(&self, pad: &gst::Pad, codec: &Codec, before: &[&str]) {
        if self.decoder.get().is_some() {
            return;
        }
        let attached = parts::decoder(codec).and_then(|name| {
            let mut chain = before.iter().map(|part| make(part)).collect::<Result<Vec<_>, _>>()?;
            chain.push(make(name)?);
            Ok((name, chain))
        });
        let (name, chain) = match attached {
            Ok(attached) => attached,
            Err(missing) => return self.fail(Fault::Ours(missing.to_string())),
        };
        let _ = self.decoder.set((codec.name, name));
        for element in &chain {
            tune(element);
        }
        let first = match self.put_together(&chain) {
            Ok(first) => first,
            Err(error) => {
                let what = format!("the pipeline for {} cannot be put together: {error}", codec.name);
                return self.fail(Fault::Ours(what));
            }
        };
        // What does not fit is what the source has announced.
        if let Err(error) = pad.link(&first) {
            let offered = pad.current_caps().map(|caps| caps.to_string()).unwrap_or_default();
            self.unreadable(&format!("sends {} that cannot be read ({error}): {offered}", codec.name));
        }
    }

    /// The chain up to the tail; the pad at its beginning.
    fn put_together(&self, chain: &[gst::Element]) -> Result<gst::Pad, glib::BoolError> {
        let (first, decoder) = chain.first().zip(chain.last()).expect("a chain ends with a decoder");
        self.gst.add_many(chain)?;
        gst::Element::link_many(chain)?;
        decoder.link(&self.scale)?;
        let sink = |element: &gst::Element| element.static_pad("sink").expect("a filter has a sink");
        self.tap.watch_packets(&sink(first));
        self.tap.watch_units(&sink(decoder));
        let (size, source) = (self.size.downgrade(), self.source.clone());
        let resize = move |width, height| {
            if let Some(size) = size.upgrade() {
                size.set_property("caps", handed_caps(&source, width, height));
            }
        };
        self.tap.watch_frames(&decoder.static_pad("src").expect("a decoder has a source"), resize);
        // Downstream first: nothing may arrive at an element that is not running yet.
        for element in chain.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(sink(first))
    }

    fn expect_video(&self, offered: &str) {
        if self.decoder.get().is_none() {
            let offered = if offered.is_empty() { "nothing" } else { offered };
            self.unreadable(&format!("offers {offered}; set it to H.264 or H.265 video"));
        }
    }

    fn unreadable(&self, what: &str) {
        self.fail(Fault::Source(Trouble::new(&self.source, SourceFault::Unreadable, what)));
    }

    /// Called from GStreamer's threads: keeps the reason and wakes the session.
    fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        let wake = gst::message::Application::new(gst::Structure::new_empty("trouble"));
        let _ = self.gst.post_message(wake);
    }
}

/// The one setting that matters to this element, if any.
fn tune(element: &gst::Element) {
    let has = |name| element.find_property(name).is_some();
    if has("wait-for-keyframe") {
        // What comes before the first key frame decodes to grey smears.
        element.set_property("wait-for-keyframe", true);
    } else if has("config-interval") {
        element.set_property("config-interval", -1i32);
    } else if has("max-threads") {
        // Frame threads cost delay and memory and save nothing.
        element.set_property("max-threads", 1i32);
    }
}

fn rtp_name(caps: &gst::Caps) -> Option<String> {
    caps.structure(0)?.get::<String>("encoding-name").ok()
}

fn handed_caps(source: &Source, width: u32, height: u32) -> gst::Caps {
    let (width, height) = handed_size(source, width, height);
    let side = |px: u32| i32::try_from(px).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw").field("width", side(width)).field("height", side(height)).build()
}

/// The size a frame is handed over in: its own, or smaller with the same proportions and both sides even.
/// With `every_frame` only the limits of the wire make it smaller.
fn handed_size(source: &Source, width: u32, height: u32) -> (u32, u32) {
    let width_max =
        if source.every_frame { FRAME_SIDE_PX_MAX } else { source.frame_width_px_max.min(FRAME_SIDE_PX_MAX) };
    let (w, h) = (f64::from(width), f64::from(height));
    // A little under the limit in bytes, for what rounding adds.
    let by_bytes = (FRAME_BYTES_MAX as f64 * 0.99 / (w * h * 1.5)).sqrt();
    let by_sides = (f64::from(width_max) / w).min(f64::from(FRAME_SIDE_PX_MAX) / h);
    let fits = w * h * 1.5 <= FRAME_BYTES_MAX as f64 - w - h && by_sides >= 1.0;
    if fits || width == 0 || height == 0 {
        return (width, height);
    }
    let scale = by_sides.min(by_bytes);
    let narrow = ((w * scale / 2.0 + 1e-6).floor() * 2.0).max(2.0);
    let low = (h * narrow / w / 2.0).round() * 2.0;
    (narrow as u32, low.max(2.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(frame_width_px_max: u32, every_frame: bool) -> Source {
        Source { frame_width_px_max, every_frame, ..Source::new("rtsp://127.0.0.1/cam") }
    }

    #[test]
    fn only_a_wider_frame_is_scaled() {
        assert_eq!(handed_size(&source(640, false), 640, 360), (640, 360));
        assert_eq!(handed_size(&source(640, false), 320, 181), (320, 181));
        assert_eq!(handed_size(&source(640, false), 1280, 720), (640, 360));
        assert_eq!(handed_size(&source(640, false), 1280, 714), (640, 358));
        assert_eq!(handed_size(&source(640, true), 1920, 1080), (1920, 1080));
    }

    #[test]
    fn a_source_that_is_no_address_is_refused_with_the_way_out() {
        let wrong = Source { url: "/dev/video0".to_owned(), ..source(640, false) };
        let fault = Pipeline::build(&wrong).err().expect("it is no address");
        assert!(matches!(&fault, Fault::Source(trouble) if trouble.text.contains("rtsp://")), "{fault:?}");
    }

    proptest! {
        #[test]
        fn every_size_fits_the_wire_and_is_even_where_it_was_scaled(
            w in 16u32..8192, h in 16u32..8192, max in 64u32..5000, every in any::<bool>(),
        ) {
            let (narrow, low) = handed_size(&source(max, every), w, h);
            prop_assert!(protocol::frame::i420_bytes(narrow, low).is_ok(), "{w}x{h} becomes {narrow}x{low}");
            prop_assert!((narrow, low) == (w, h) || (narrow % 2 == 0 && low % 2 == 0));
        }
    }
}
