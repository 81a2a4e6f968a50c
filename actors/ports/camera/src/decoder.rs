//! The decoder: a pipeline of its own behind the source's, so that it can be replaced while the source runs on.
//!
//!   appsrc [▸ parse] ▸ decoder ─(throttle)─▶ videoscale ▸ capsfilter ▸ videoconvert ▸ appsink ─▶ outbox
//!
//! Where a whole number makes a picture as small as it is handed over, it passes unchanged and is made smaller when it is
//! copied to the node.

use crate::bell::{Bell, Half};
use crate::format;
use crate::frames::Frames;
use crate::gearbox::Held;
use crate::outbox::{Outbox, Picture};
use crate::parts::{Codec, make};
use crate::scaling::{scaled_caps, shrink};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use protocol::camera::Source;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Units in front of a decoder that does not keep up: more than a whole group that is replayed. Then it
/// goes on at a key frame.
const WAITING_MAX: u64 = 1500;
/// The same in front of one that its reader holds up, for a file of which no frame may be lost.
const HELD_UP_MAX: u64 = 8;

/// What every decoder of a session is made with.
pub struct Making {
    pub source: Source,
    pub frames: Frames,
    pub outbox: Outbox,
    pub bell: Bell,
}

pub struct Decoder {
    pub name: String,
    pub number: u32,
    pub gst: gst::Pipeline,
    entry: gst_app::AppSrc,
    caps: Option<gst::Caps>,
    every_frame: bool,
}

impl Decoder {
    /// Fails if there is none of that name or it has no machine to run on.
    pub fn make(making: &Making, name: &str, codec: &Codec, caps: &gst::Caps, number: u32) -> Result<Self, String> {
        let decoder = make(name).map_err(|missing| missing.to_string())?;
        if decoder.static_pad("sink").is_none() || decoder.static_pad("src").is_none() {
            return Err("it is no decoder".to_owned());
        }
        let gst = gst::Pipeline::new();
        let failed = Arc::new(AtomicBool::new(false));
        let made = Self::make_in(&gst, making, decoder, codec, caps, failed.clone());
        let made = made.and_then(|entry| {
            making.bell.watch(&gst, Half::Decoder(number), failed);
            let started = gst.set_state(gst::State::Playing);
            started.map(|_| entry).map_err(|_| "it does not start".to_owned())
        });
        match made {
            Ok(entry) => {
                let every_frame = making.source.every_frame;
                Ok(Self { name: name.to_owned(), number, gst, entry, caps: None, every_frame })
            }
            Err(why) => {
                close(gst);
                Err(why)
            }
        }
    }

    fn make_in(
        gst: &gst::Pipeline,
        making: &Making,
        decoder: gst::Element,
        codec: &Codec,
        caps: &gst::Caps,
        failed: Arc<AtomicBool>,
    ) -> Result<gst_app::AppSrc, String> {
        let text = |error: glib::BoolError| error.to_string();
        let part = |name| make(name).map_err(|missing| missing.to_string());
        gst.add(&decoder).map_err(text)?;
        if decoder.set_state(gst::State::Ready).is_err() {
            return Err("it finds no device to run on".to_owned());
        }
        tune(&decoder);
        let every_frame = making.source.every_frame;
        let entry = gst_app::AppSrc::builder()
            .format(gst::Format::Time)
            .block(every_frame)
            .max_bytes(0)
            .max_buffers(if every_frame { HELD_UP_MAX } else { 0 })
            .build();
        let (scale, size, convert) = (part("videoscale")?, part("capsfilter")?, part("videoconvert")?);
        scale.set_property("add-borders", false);
        watch(making, &decoder, &size);
        let mut chain = vec![entry.clone().upcast::<gst::Element>()];
        // One that wants start codes gets them.
        if decoder.factory().is_none_or(|factory| !factory.can_sink_any_caps(caps)) {
            chain.push(part(codec.parse)?);
        }
        gst.add_many(&chain).and_then(|()| gst.add_many([&scale, &size, &convert])).map_err(text)?;
        let sink = sink(making, failed);
        gst.add(&sink).map_err(text)?;
        chain.extend([decoder, scale, size, convert, sink.upcast()]);
        gst::Element::link_many(&chain).map_err(text)?;
        Ok(entry)
    }

    /// The unit, by the time that [`Frames`] gave it.
    pub fn decode(&mut self, unit: &Held, time: gst::ClockTime) {
        if self.caps.as_ref() != Some(&unit.caps) {
            self.entry.set_caps(Some(&unit.caps));
            self.caps = Some(unit.caps.clone());
        }
        let mut buffer = unit.buffer.copy();
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(time);
            buffer.set_dts(gst::ClockTime::NONE);
        }
        // One that takes no more says why on the bus.
        let _ = self.entry.push_buffer(buffer);
    }

    /// All pictures that it holds back come out. A decoder drains itself when another stream is announced.
    pub fn drain(&self) {
        self.entry.send_event(gst::event::StreamStart::new("watchtree"));
    }

    pub fn end(&self) {
        let _ = self.entry.end_of_stream();
    }

    pub fn has_room(&self) -> bool {
        self.every_frame || self.entry.current_level_buffers() < WAITING_MAX
    }

    pub fn waits(&self) -> bool {
        self.entry.current_level_buffers() > 0
    }
}

/// On a thread of its own: a decoder that hangs is not waited for.
pub fn close(pipeline: gst::Pipeline) {
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
    }
    let close = move || {
        let _ = pipeline.set_state(gst::State::Null);
    };
    let _ = std::thread::Builder::new().name("closing".to_owned()).spawn(close);
}

/// Counts and throttles what comes out, and learns its size.
fn watch(making: &Making, decoder: &gst::Element, size: &gst::Element) {
    let frames = making.frames.clone();
    let sink = decoder.static_pad("sink").expect("a decoder has a sink");
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        frames.marks().taken();
        gst::PadProbeReturn::Ok
    });
    let (frames, size, source) = (making.frames.clone(), size.downgrade(), making.source.clone());
    let pad = decoder.static_pad("src").expect("a decoder has a source");
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view()) {
            if let Some((width, height)) = format::size(caps.caps()) {
                frames.sized(width, height);
                if let Some((size, caps)) = size.upgrade().zip(scaled_caps(&source, caps.caps())) {
                    size.set_property("caps", caps);
                }
            }
        } else if let Some(buffer) = info.buffer()
            && !frames.decoded(buffer.pts().unwrap_or_default())
        {
            return gst::PadProbeReturn::Drop;
        }
        gst::PadProbeReturn::Ok
    });
}

fn sink(making: &Making, failed: Arc<AtomicBool>) -> gst_app::AppSink {
    let (frames, outbox, every_frame) = (making.frames.clone(), making.outbox.clone(), making.source.every_frame);
    let (ending, source) = (outbox.clone(), making.source.clone());
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let time = sample.buffer().and_then(gst::BufferRef::pts).unwrap_or_default();
            if let Some(known) = frames.take(time) {
                let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
                let shrink = info.and_then(|info| shrink(&source, &info)).unwrap_or(1);
                outbox.picture(Picture { known, shrink, sample }, every_frame || known.replayed);
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            // One that fails ends as well: another takes its place.
            if !failed.load(Ordering::SeqCst) {
                ending.finish();
            }
        })
        .build();
    let sink = gst_app::AppSink::builder()
        .caps(&gst::Caps::builder("video/x-raw").field("format", "I420").build())
        .sync(false)
        .async_(false)
        .callbacks(callbacks)
        .build();
    sink.set_enable_last_sample(false);
    take_padding(&sink);
    sink
}

/// A decoder that pads its rows copies each picture for whoever does not say that it reads such rows.
fn take_padding(sink: &gst_app::AppSink) {
    let pad = sink.static_pad("sink").expect("a sink has one");
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        let Some(query) = info.query_mut() else { return gst::PadProbeReturn::Ok };
        let gst::QueryViewMut::Allocation(allocation) = query.view_mut() else { return gst::PadProbeReturn::Ok };
        allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
        gst::PadProbeReturn::Handled
    });
}

fn tune(decoder: &gst::Element) {
    let has = |name| decoder.find_property(name).is_some();
    if has("max-threads") {
        // Frame threads cost delay and memory and save nothing.
        decoder.set_property("max-threads", 1i32);
    }
    if has("max-errors") {
        // A lossy stream is no broken decoder: it is judged by what comes out.
        decoder.set_property("max-errors", -1i32);
    }
}
