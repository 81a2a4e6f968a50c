//! The bell: everything that wakes a session up comes in through one queue, so that nothing has to be polled.

use crate::fault::Fault;
use crate::outbox::SpeakError;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::camera::Gear;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a session wakes up for.
pub enum Wake {
    Gear {
        gear: Gear,
        rewind: bool,
    },
    /// The node says that it is to end.
    Stop,
    Bus(Half, gst::Message),
    /// A callback gave up.
    Trouble(Fault),
    /// The speaker has said everything, or cannot.
    Spoken(Result<(), SpeakError>),
}

/// Which pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The stream that is recorded.
    Main,
    /// The substream for detection.
    Detect,
    /// The so-manieth decoder.
    Decoder(u32),
}

/// Rings from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Bell(Sender<Wake>);

pub fn bell() -> (Bell, Receiver<Wake>) {
    let (sender, receiver) = channel();
    (Bell(sender), receiver)
}

impl Bell {
    /// What rings after the session's end is heard by nobody.
    pub fn ring(&self, wake: Wake) {
        let _ = self.0.send(wake);
    }

    /// Errors and ends; the rest is dropped, so that it neither wakes nor piles up.
    /// `failed` is set with the first error.
    pub fn watch(&self, pipeline: &gst::Pipeline, half: Half, failed: Arc<AtomicBool>) {
        let bell = self.clone();
        let bus = pipeline.bus().expect("a pipeline has a bus");
        bus.set_sync_handler(move |_, message| {
            use gst::MessageView as M;
            if matches!(message.view(), M::Error(_)) {
                failed.store(true, Ordering::SeqCst);
            }
            if matches!(message.view(), M::Error(_) | M::Eos(_)) {
                bell.ring(Wake::Bus(half, message.clone()));
            }
            gst::BusSyncReply::Drop
        });
    }
}
