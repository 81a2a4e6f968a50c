//! The gearbox: hands the decoder the units that the gear asks for.
//!
//!   intake ──unit──▶ [gearbox: gears] ──▶ decoder
//!   session ──gear, another decoder──▶┘
//!
//! One lock around both, so that what a change of gear replays and what comes live stay in order.

use crate::bell::{Bell, Wake};
use crate::decoder::{self, Decoder, Making};
use crate::fault::{Fault, Trouble};
use crate::frames::{BACK_US_MAX, Expected, Frames};
use crate::gears::{Facts, Gears, Step};
use crate::outbox::Outbox;
use crate::parts::{self, Codec};
use gstreamer as gst;
use protocol::camera::{Gear, Report, Source, SourceFault};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An access unit that is kept: references, no copies.
#[derive(Debug, Clone)]
pub struct Held {
    pub buffer: gst::Buffer,
    pub caps: gst::Caps,
    pub key: bool,
    /// On the stream's clock.
    pub pts_us: i64,
    pub since_first_us: u64,
    pub captured_us: i64,
}

/// Cheap to clone; every clone is the same gearbox.
#[derive(Clone)]
pub struct Gearbox(Arc<Shared>);

struct Shared {
    bell: Bell,
    making: Making,
    /// The pipeline in use, for who must not wait for the lock.
    engaged: Mutex<Option<(u32, gst::Pipeline)>>,
    state: Mutex<State>,
}

struct State {
    gears: Gears<Held>,
    decoder: Option<Decoder>,
    /// How many were made, and those that failed.
    made: u32,
    failed: Vec<String>,
    gave_up: bool,
    /// Of the stream: known from its first unit on.
    caps: Option<gst::Caps>,
    last_us: i64,
    opened: Option<Report>,
    ended: bool,
    overflows: u64,
}

impl Gearbox {
    pub fn new(source: &Source, frames: Frames, outbox: Outbox, bell: Bell) -> Self {
        let state = State {
            gears: Gears::new(if source.every_frame { Gear::Awake } else { source.gear }),
            decoder: None,
            made: 0,
            failed: Vec::new(),
            gave_up: false,
            caps: None,
            last_us: 0,
            opened: None,
            ended: false,
            overflows: 0,
        };
        let making = Making { source: source.clone(), frames, outbox, bell: bell.clone() };
        Self(Arc::new(Shared { bell, making, engaged: Mutex::default(), state: Mutex::new(state) }))
    }

    /// The next unit of the stream.
    pub fn unit(&self, held: Held, facts: Facts) {
        let mut state = self.lock();
        let changed = state.caps.as_ref() != Some(&held.caps);
        if changed {
            state.caps = Some(held.caps.clone());
        }
        if held.pts_us < state.last_us - BACK_US_MAX {
            self.0.making.frames.anew();
        }
        state.last_us = held.pts_us;
        let mut steps = state.gears.unit(&held, facts);
        state.tell_overflow();
        if state.decoder.is_none() && state.gears.gear() != Gear::Passthrough {
            steps = self.engage(&mut state, false);
        }
        if changed {
            self.opened(&mut state);
        }
        self.take(&mut state, steps);
    }

    /// What came is of no use.
    pub fn gap(&self) {
        self.lock().gears.gap();
    }

    pub fn shift(&self, gear: Gear, rewind: bool) {
        let mut state = self.lock();
        let mut steps = state.gears.shift(gear, rewind);
        if rewind {
            // What was seen in idle is handed over again, in its place.
            self.0.making.frames.anew();
        }
        if gear != Gear::Awake {
            // What the decoder holds back of a stream that goes on without it comes with the next key frame.
            self.0.making.frames.marks().settled();
        }
        if state.decoder.is_none() && gear != Gear::Passthrough && state.caps.is_some() {
            steps = self.engage(&mut state, true);
        }
        self.opened(&mut state);
        self.take(&mut state, steps);
    }

    /// The decoder with this number, or whichever is in use, gives no pictures: the next one tries.
    pub fn replace(&self, number: Option<u32>, why: &str) {
        let is_it = |engaged: &u32| number.is_none_or(|number| number == *engaged);
        let engaged = self.engaged().take_if(|(engaged, _)| is_it(engaged));
        let Some((_, pipeline)) = engaged else { return };
        // First, and without the lock: whoever holds it may wait for this very decoder to take a unit.
        decoder::close(pipeline);
        let mut state = self.lock();
        let Some(decoder) = state.decoder.take() else { return };
        tracing::warn!(decoder = decoder.name, "gives no pictures: {why}");
        state.failed.push(decoder.name);
        if self.0.making.frames.native_size().is_none() {
            // Whatever came out of it was no picture.
            self.0.making.frames.anew();
        }
        let steps = self.engage(&mut state, true);
        self.opened(&mut state);
        self.take(&mut state, steps);
    }

    /// The stream has come to its end: what the decoder still holds comes out, and then the outbox ends.
    pub fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        match &state.decoder {
            Some(decoder) => decoder.end(),
            None => self.0.making.outbox.finish(),
        }
    }

    /// Do units wait in front of the decoder?
    pub fn waits(&self) -> bool {
        // A file of which no frame may be lost waits in here for its decoder, and its decoder for the node.
        let Ok(state) = self.0.state.try_lock() else { return false };
        state.decoder.as_ref().is_some_and(Decoder::waits)
    }

    pub fn close(&self) {
        if let Some((_, pipeline)) = self.engaged().take() {
            decoder::close(pipeline);
        }
    }

    /// Makes the first decoder that can be made and has not failed, and what it is to begin with.
    fn engage(&self, state: &mut State, replayed: bool) -> Vec<Step<Held>> {
        let Some(caps) = state.caps.clone() else { return Vec::new() };
        let Some(codec) = parts::codec_of(&caps) else { return Vec::new() };
        let names = parts::decoders(codec, &self.0.making.source.decoders);
        let untried: Vec<_> = names.into_iter().filter(|name| !state.failed.contains(name)).collect();
        for name in untried {
            state.made += 1;
            match Decoder::make(&self.0.making, &name, codec, &caps, state.made) {
                Ok(decoder) => {
                    *self.engaged() = Some((decoder.number, decoder.gst.clone()));
                    state.decoder = Some(decoder);
                    self.0.making.frames.apart();
                    self.0.making.frames.marks().settled();
                    return state.gears.decoder(replayed);
                }
                Err(why) => {
                    tracing::debug!(decoder = name, "cannot be used: {why}");
                    state.failed.push(name);
                }
            }
        }
        self.give_up(state, codec);
        Vec::new()
    }

    /// No decoder is left.
    fn give_up(&self, state: &mut State, codec: &Codec) {
        if std::mem::replace(&mut state.gave_up, true) {
            return;
        }
        let installed: Vec<_> = state.failed.iter().filter(|name| parts::is_there(name)).map(String::as_str).collect();
        let fault = if installed.is_empty() {
            Fault::Ours(parts::Missing(codec.usual.to_owned()).to_string())
        } else {
            let what = format!(
                "no picture could be decoded by {}; restart the camera or set it to H.264",
                installed.join(", ")
            );
            Fault::Source(Trouble::new(&self.0.making.source, SourceFault::Unreadable, &what))
        };
        self.0.bell.ring(Wake::Trouble(fault));
    }

    /// Says what the stream is and who decodes it, if that has changed.
    fn opened(&self, state: &mut State) {
        let Some(caps) = &state.caps else { return };
        let (Some(codec), Some((width, height))) = (parts::codec_of(caps), crate::format::size(caps)) else { return };
        let decoder = state.decoder.as_ref().map(|decoder| decoder.name.clone()).unwrap_or_default();
        let opened = Report::Opened { codec: codec.name.to_owned(), width, height, decoder };
        if state.opened.as_ref() != Some(&opened) {
            self.0.making.outbox.report(opened.clone());
            state.opened = Some(opened);
        }
    }

    fn take(&self, state: &mut State, steps: Vec<Step<Held>>) {
        let frames = &self.0.making.frames;
        for step in steps {
            let Some(decoder) = &mut state.decoder else { return };
            let (unit, replayed) = match step {
                Step::Decode { unit, replayed } => (unit, replayed),
                Step::Drain => {
                    decoder.drain();
                    frames.apart();
                    continue;
                }
            };
            if !decoder.has_room() {
                // It does not keep up: better a gap than pictures that come later and later.
                state.gears.gap();
                return;
            }
            let Held { pts_us, since_first_us, captured_us, .. } = unit;
            let time = frames.expect(Expected { pts_us, since_first_us, captured_us, replayed });
            decoder.decode(&unit, time);
        }
        if state.ended
            && let Some(decoder) = &state.decoder
        {
            decoder.end();
        }
    }

    fn engaged(&self) -> MutexGuard<'_, Option<(u32, gst::Pipeline)>> {
        self.0.engaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_overflow(&mut self) {
        if self.gears.overflows() > self.overflows {
            self.overflows = self.gears.overflows();
            if self.overflows == 1 {
                tracing::warn!("key frames lie too far apart to wake up at once; set the camera's interval to 2 s");
            }
        }
    }
}
