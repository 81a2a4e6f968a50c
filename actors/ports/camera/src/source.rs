//! The source: a pipeline from wherever the stream comes from to the intake, built element by element: an address or a
//! password never passes through a launch line.
//!
//!   rtspsrc ┄▶ depay ─────────────────────┐
//!   filesrc ▸ parsebin ┄──────────────────┼▶ parse ▸ capsfilter ▸ appsink ─▶ intake
//!   souphttpsrc, v4l2src, videotestsrc ▸ x264enc ┘
//!
//! The dotted links are made once the source has told what it carries.

mod encoded;
mod file;
mod rtsp;

use crate::address::{self, Kind, Refusal};
use crate::batch;
use crate::bell::{Bell, Half, Wake};
use crate::fault::{Fault, Trouble};
use crate::intake::Intake;
use crate::parts::{self, Codec, Missing, Sound, make};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use protocol::camera::{Source, SourceFault};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One stream of a camera. Cheap to clone. Its callbacks hold it, so it lives as long as the process: one process opens
/// one camera.
#[derive(Clone)]
pub struct Stream {
    pub gst: gst::Pipeline,
    pub kind: Kind,
    pub intake: Intake,
    /// As ordered; of a substream with that one's url and login.
    pub source: Arc<Source>,
    /// The url with the address that was checked in it, and the host's name.
    url: String,
    host: String,
    bell: Bell,
    filter: gst::Element,
    has_video: Arc<AtomicBool>,
    jitter: Arc<rtsp::Jitter>,
}

impl Stream {
    pub fn build(source: &Source, half: Half, intake: Intake, bell: &Bell, waits: &dyn Fn()) -> Result<Self, Fault> {
        let of_source = |fault, what: &str| Fault::Source(Trouble::new(source, fault, what));
        let missing = |missing: Missing| Fault::Ours(missing.to_string());
        let kind = Kind::of(&source.url).ok_or_else(|| of_source(SourceFault::Unreadable, address::SCHEMES))?;
        parts::check(kind).map_err(missing)?;
        let (url, host) = match kind {
            Kind::Rtsp | Kind::Http => place(source, waits)?,
            Kind::File | Kind::Device | Kind::Test => (source.url.clone(), String::new()),
        };
        let gst = gst::Pipeline::new();
        bell.watch(&gst, half, Arc::default());
        let filter = make("capsfilter").map_err(missing)?;
        let stream = Self {
            gst,
            kind,
            intake,
            source: Arc::new(source.clone()),
            url,
            host,
            bell: bell.clone(),
            filter,
            has_video: Arc::default(),
            jitter: Arc::default(),
        };
        stream.add_end(&stream.filter, Intake::video, true).expect("new elements of known kinds");
        match kind {
            Kind::Rtsp => stream.add_rtsp().map_err(missing)?,
            Kind::File => stream.add_file().map_err(missing)?,
            Kind::Http => stream.add_http().map_err(missing)?,
            Kind::Device => stream.add_device()?,
            Kind::Test => stream.add_test()?,
        }
        Ok(stream)
    }

    /// RTP packets that never came.
    pub fn packets_lost(&self) -> u64 {
        self.jitter.packets_lost()
    }

    /// `filter ▸ appsink`: what passes the filter is taken in.
    fn add_end(
        &self,
        filter: &gst::Element,
        take: fn(&Intake, &gst::Sample),
        ends: bool,
    ) -> Result<(), glib::BoolError> {
        let (taking, ending) = (self.intake.clone(), self.intake.clone());
        let is_end = ends && !self.source.repeat;
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                take(&taking, &sample);
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| {
                if is_end {
                    ending.end();
                }
            })
            .build();
        let is_file = self.kind == Kind::File;
        let sink = gst_app::AppSink::builder()
            // A file is played as fast as it was filmed, unless nobody is to miss any of it.
            .sync(is_file && !self.source.every_frame)
            .async_(is_file && ends)
            .callbacks(callbacks)
            .build();
        sink.set_enable_last_sample(false);
        self.gst.add_many([filter, sink.upcast_ref()])?;
        filter.link(&sink)
    }

    /// From a source's pad through `before` and a parser to the intake. The first video wins.
    fn attach(&self, pad: &gst::Pad, codec: &Codec, before: &[&str]) {
        if self.has_video.swap(true, Ordering::Relaxed) {
            return;
        }
        let parts = before.iter().copied().chain([codec.parse]);
        let chain = match parts.map(make).collect::<Result<Vec<_>, _>>() {
            Ok(chain) => chain,
            Err(missing) => return self.fail(Fault::Ours(missing.to_string())),
        };
        let format = gst::Caps::builder(codec.caps).field("stream-format", codec.format).field("alignment", "au");
        self.filter.set_property("caps", format.build());
        let first = self.put_together(&chain, &self.filter);
        self.linked(pad, first, codec.name);
    }

    /// The same for sound.
    fn attach_sound(&self, pad: &gst::Pad, sound: &Sound, before: &[&str]) {
        let parts = before.iter().copied().chain([sound.parse, "capsfilter"]);
        let mut chain = match parts.map(make).collect::<Result<Vec<_>, _>>() {
            Ok(chain) => chain,
            Err(missing) => return tracing::warn!("sound is left out: {missing}"),
        };
        let filter = chain.pop().expect("it ends with a filter");
        if let Some(format) = sound.stream_format {
            filter.set_property("caps", gst::Caps::builder(sound.caps).field("stream-format", format).build());
        }
        let ended = self.add_end(&filter, Intake::audio, false).and_then(|()| {
            // Downstream first, as ever.
            let sink = filter.static_pad("src").and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
            sink.into_iter().chain([filter.clone()]).try_for_each(|element| element.sync_state_with_parent())
        });
        let linked = ended.and_then(|()| self.put_together(&chain, &filter));
        let linked = linked.and_then(|first| pad.link(&first).map_err(|error| glib::bool_error!("{error}")));
        if let Err(error) = linked {
            tracing::warn!("sound is left out: {error}");
        }
    }

    /// The chain up to `end`; the pad at its beginning.
    fn put_together(&self, chain: &[gst::Element], end: &gst::Element) -> Result<gst::Pad, glib::BoolError> {
        let (first, last) = chain.first().zip(chain.last()).expect("a chain has a parser");
        self.gst.add_many(chain)?;
        gst::Element::link_many(chain)?;
        last.link(end)?;
        // Downstream first: nothing may arrive at an element that is not running yet.
        for element in chain.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(first.static_pad("sink").expect("a filter has a sink"))
    }

    fn linked(&self, pad: &gst::Pad, first: Result<gst::Pad, glib::BoolError>, codec: &str) {
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                return self.fail(Fault::Ours(format!("no pipeline can be put together for {codec}: {error}")));
            }
        };
        self.watch_packets(&first);
        // What does not fit is what the source has announced.
        if let Err(error) = pad.link(&first) {
            let offered = pad.current_caps().map(|caps| caps.to_string()).unwrap_or_default();
            self.unreadable(&format!("sends {codec} that cannot be read ({error}): {offered}"));
        }
    }

    /// Packets prove that a source lives that has not yet sent a key frame. Lost ones are told by the jitterbuffer.
    fn watch_packets(&self, pad: &gst::Pad) {
        use gst::PadProbeType as P;
        let (intake, is_rtp) = (self.intake.clone(), self.kind == Kind::Rtsp);
        pad.add_probe(P::BUFFER | P::BUFFER_LIST | P::EVENT_DOWNSTREAM, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::BufferList(list)) => intake.packets(list.len()),
                Some(gst::PadProbeData::Event(event)) if event.has_name("GstRTPPacketLost") => intake.packet_lost(),
                Some(gst::PadProbeData::Buffer(_)) => {
                    if is_rtp {
                        batch::do_not_interrupt();
                    }
                    intake.packets(1);
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// The source has told all it carries.
    fn expect_video(&self, offered: &[String]) {
        if !self.has_video.load(Ordering::Relaxed) {
            let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
            self.unreadable(&format!("offers {offered}; set it to H.264 or H.265 video"));
        }
    }

    fn unreadable(&self, what: &str) {
        self.fail(Fault::Source(Trouble::new(&self.source, SourceFault::Unreadable, what)));
    }

    /// Called from GStreamer's threads.
    fn fail(&self, fault: Fault) {
        self.bell.ring(Wake::Trouble(fault));
    }
}

/// Where it is in the network, as address and as name.
fn place(source: &Source, waits: &dyn Fn()) -> Result<(String, String), Fault> {
    let of_source = |fault, what: &str| Fault::Source(Trouble::new(source, fault, what));
    match address::locate(&source.url, source.allow, waits) {
        Ok(place) => Ok((place.url, place.host)),
        Err(Refusal::Unresolved(why)) => Err(of_source(SourceFault::Refused, &format!("its host is unknown: {why}"))),
        Err(Refusal::Forbidden(why)) => Err(of_source(SourceFault::Forbidden, &why)),
        Err(Refusal::Garbled) => Err(of_source(SourceFault::Unreadable, address::SCHEMES)),
    }
}
