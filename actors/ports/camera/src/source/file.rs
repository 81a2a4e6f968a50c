//! Files: once or again and again, in real time or as fast as the node reads.

use super::Stream;
use crate::parts::{CODECS, Missing, SOUNDS, make};
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

impl Stream {
    pub(super) fn add_file(&self) -> Result<(), Missing> {
        let (file, parse) = (make("filesrc")?, make("parsebin")?);
        file.set_property("location", self.url.strip_prefix("file://").unwrap_or(&self.url));
        let offered = Arc::new(Mutex::new(Vec::new()));
        let seen = offered.clone();
        let this = self.clone();
        parse.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let name = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
            if let Some(codec) = CODECS.iter().find(|codec| codec.caps == name) {
                this.attach(pad, codec, &[]);
            } else if name.starts_with("video/") || name.starts_with("image/") {
                this.unreadable(&format!("carries {name}; use H.264 or H.265"));
            } else {
                // What is not wanted is left unlinked.
                if this.source.audio && this.source.units {
                    this.attach_file_sound(pad, &caps, &name);
                }
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
        });
        let this = self.clone();
        parse.connect_no_more_pads(move |_| {
            this.expect_video(&offered.lock().unwrap_or_else(PoisonError::into_inner));
        });
        self.gst.add_many([&file, &parse]).and_then(|()| file.link(&parse)).expect("new elements of known kinds");
        Ok(())
    }

    /// Goes on at the beginning, where the end was; time runs on. Not every file can be wound back.
    pub fn wind_back(&self) -> bool {
        self.intake.wound_back();
        self.gst.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).is_ok()
    }

    fn attach_file_sound(&self, pad: &gst::Pad, caps: &gst::Caps, name: &str) {
        let version = caps.structure(0).and_then(|structure| structure.get::<i32>("mpegversion").ok());
        let is_aac = name != "audio/mpeg" || version.is_some_and(|version| version == 2 || version == 4);
        match SOUNDS.iter().find(|sound| sound.caps == name && is_aac) {
            Some(sound) => self.attach_sound(pad, sound, &[]),
            None => tracing::info!("its sound is {name}, which is left out; use AAC or Opus"),
        }
    }
}
