//! RTSP over TCP, UDP or TLS.

use super::Stream;
use crate::fault::{Fault, Trouble};
use crate::parts::{CODECS, Missing, SOUNDS, make};
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::camera::{SourceFault, Transport};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How long packets that came out of order are waited for. In order, as over TCP, nothing waits.
const JITTER_MS: u32 = 200;

/// rtspsrc's own patience with a request, in microseconds; our watchdog is quicker.
const TCP_TIMEOUT_US: u64 = 5_000_000;

/// How long the goodbye may hold up the end, in nanoseconds.
const TEARDOWN_NS: u64 = 100_000_000;

impl Stream {
    pub(super) fn add_rtsp(&self) -> Result<(), Missing> {
        let rtsp = make("rtspsrc")?;
        rtsp.set_property("location", &self.url);
        rtsp.set_property_from_str("protocols", if self.source.transport == Transport::Udp { "udp" } else { "tcp" });
        rtsp.set_property("latency", JITTER_MS);
        rtsp.set_property("tcp-timeout", TCP_TIMEOUT_US);
        rtsp.set_property("teardown-timeout", TEARDOWN_NS);
        // Silence is for our watchdog to judge.
        rtsp.set_property("timeout", 0u64);
        // The camera's own times, evenly: a smoothed arrival time would bend the distance between pictures.
        rtsp.set_property_from_str("buffer-mode", "none");
        rtsp.set_property("add-reference-timestamp-meta", true);
        // Cameras sign their certificates themselves. Who is to be sure of one puts it into a network of its own.
        accept_any_certificate(&rtsp);
        if let Some(login) = &self.source.login {
            rtsp.set_property("user-id", &login.user);
            rtsp.set_property("user-pw", &login.password);
        }
        self.stay_where_checked(&rtsp);
        self.select(&rtsp);
        let this = self.clone();
        rtsp.connect_pad_added(move |_, pad| {
            let name = pad.current_caps().as_ref().and_then(rtp_name).unwrap_or_default();
            if let Some(codec) = CODECS.iter().find(|codec| codec.rtp == name) {
                this.attach(pad, codec, &[codec.depay]);
            } else if let Some(sound) = SOUNDS.iter().find(|sound| sound.rtp == name) {
                this.attach_sound(pad, sound, &[sound.depay]);
            }
        });
        // It tells which packets never came.
        rtsp.connect("new-manager", false, |values| {
            if let Some(manager) = values.get(1).and_then(|value| value.get::<gst::Element>().ok()) {
                manager.set_property("do-lost", true);
            }
            None
        });
        self.watch_jitterbuffers();
        self.gst.add(&rtsp).expect("a new element");
        Ok(())
    }

    /// A server may send rtspsrc elsewhere, past the policy on addresses: nothing is said to where it leads.
    fn stay_where_checked(&self, rtsp: &gst::Element) {
        let this = self.clone();
        let location = rtsp.property::<Option<String>>("location");
        rtsp.connect("before-send", false, move |values| {
            let rtsp = values.first().and_then(|value| value.get::<gst::Element>().ok());
            let now = rtsp.and_then(|rtsp| rtsp.property::<Option<String>>("location"));
            if now == location {
                return Some(true.to_value());
            }
            let elsewhere = now.as_deref().map(without_login).unwrap_or_default();
            let what = format!("it redirects to {elsewhere}, which is not followed; if that is right, enter it as url");
            this.fail(Fault::Source(Trouble::new(&this.source, SourceFault::Forbidden, &what)));
            Some(false.to_value())
        });
    }

    /// One video, and one sound if it is wanted: more would be received and seen by nobody.
    fn select(&self, rtsp: &gst::Element) {
        let offered = Arc::new(Mutex::new(Vec::new()));
        let seen = offered.clone();
        let chosen = Mutex::new(BTreeSet::new());
        let wants_sound = self.source.audio && self.source.units;
        rtsp.connect("select-stream", false, move |values| {
            let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let name = caps.as_ref().and_then(rtp_name).unwrap_or_default();
            let is_video = CODECS.iter().any(|codec| codec.rtp == name);
            let is_sound = SOUNDS.iter().any(|sound| sound.rtp == name);
            let is_audio = caps.as_ref().and_then(media).is_some_and(|media| media == "audio");
            if wants_sound && is_audio && !is_sound {
                tracing::info!("its sound is {name}, which MP4 has no place for, and is left out; set it to AAC");
            }
            let usable = is_video || (wants_sound && is_sound);
            let usable = usable && chosen.lock().unwrap_or_else(PoisonError::into_inner).insert(is_video);
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            Some(usable.to_value())
        });
        let this = self.clone();
        rtsp.connect_no_more_pads(move |_| {
            this.expect_video(&offered.lock().unwrap_or_else(PoisonError::into_inner));
        });
    }

    fn watch_jitterbuffers(&self) {
        let (marks, jitter) = (self.intake.marks().clone(), self.jitter.clone());
        self.gst.connect_deep_element_added(move |_, _, element| {
            let kind = element.factory().map(|factory| factory.name());
            if kind.is_none_or(|kind| kind != "rtpjitterbuffer") {
                return;
            }
            jitter.add(element);
            if let Some(sink) = element.static_pad("sink") {
                let marks = marks.clone();
                sink.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
                    marks.received();
                    gst::PadProbeReturn::Ok
                });
            }
        });
    }
}

/// The jitterbuffers of a stream.
#[derive(Default)]
pub struct Jitter(Mutex<Vec<gst::glib::WeakRef<gst::Element>>>);

impl Jitter {
    fn add(&self, element: &gst::Element) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(element.downgrade());
    }

    pub fn packets_lost(&self) -> u64 {
        let buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost =
            |buffer: gst::Element| buffer.property::<Option<gst::Structure>>("stats")?.get::<u64>("num-lost").ok();
        buffers.iter().filter_map(gst::glib::WeakRef::upgrade).filter_map(lost).sum()
    }
}

/// No flag set. The flags' type is GIO's, which nothing else here needs.
fn accept_any_certificate(rtsp: &gst::Element) {
    let flags = rtsp.find_property("tls-validation-flags").map(|property| property.value_type());
    let none = flags.and_then(gst::glib::FlagsClass::with_type).and_then(|class| class.builder().build());
    if let Some(none) = none {
        rtsp.set_property_from_value("tls-validation-flags", &none);
    }
}

fn rtp_name(caps: &gst::Caps) -> Option<String> {
    Some(caps.structure(0)?.get::<String>("encoding-name").ok()?.to_uppercase())
}

fn media(caps: &gst::Caps) -> Option<String> {
    caps.structure(0)?.get("media").ok()
}

fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => "another place".to_owned(),
    }
}
