//! The session: one camera from opening to its end.
//!
//!   source ─▶ intake ─▶ outbox ─▶ node      bus, callbacks, orders ─▶ bell ─▶ [session] ─▶ End
//!               └─▶ gearbox ─▶ decoder ─┘                                       └─ gets on ─▶ node
//!
//! Each turn of the watchdog says that we get on, unless the speaker or a pipeline is stuck.

use crate::Node;
use crate::address::Kind;
use crate::bell::{Bell, Half, Wake};
use crate::fault::{Fault, Trouble};
use crate::frames::Frames;
use crate::gearbox::Gearbox;
use crate::intake::{Intake, Purpose};
use crate::knock;
use crate::marks::{DecoderMarks, SourceMarks};
use crate::outbox::{Outbox, SpeakError};
use crate::source::Stream;
use crate::watchdog;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::camera::{Figures, Report, Source, SourceFault};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the watchdog looks; all else rings.
const TICK: Duration = Duration::from_millis(250);

/// How often the node is told what was done.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// How long a pipeline may take to be taken down. The process ends anyway.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);

/// How long the node may take to hear what came before a failure.
const SPEAK_WITHIN: Duration = Duration::from_secs(1);

/// What follows an error within this tells more about it than the error does.
const REASON_WITHIN: Duration = Duration::from_millis(10);

/// How a session came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The node said so.
    Stopped,
    /// A file was played to its end.
    Played,
    Failed(Trouble),
}

/// A session that no source is to blame for.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Speak(#[from] SpeakError),
    #[error("{0}")]
    Pipeline(String),
}

impl Fault {
    fn into_end(self) -> Result<End, Broken> {
        match self {
            Self::Source(trouble) => Ok(End::Failed(trouble)),
            Self::Ours(text) => Err(Broken::Pipeline(text)),
        }
    }
}

/// Returns when the source ends, fails, or the node says stop; `bell` and `wakes` are two ends of one.
pub fn run(source: &Source, node: &Node, bell: &Bell, wakes: &Receiver<Wake>) -> Result<End, Broken> {
    let mut source = source.clone();
    if !knock::until_answered(&mut source, node, wakes) {
        return Ok(End::Stopped);
    }
    let source = &source;
    let producers = if source.detect.is_some() { 2 } else { 1 };
    let outbox = Outbox::open(node.tell.clone(), bell.clone(), producers)?;
    let mut session = match Session::build(source, node, outbox.clone(), bell) {
        Ok(session) => session,
        Err(fault) => return fault.into_end(),
    };
    session.start();
    let mut end = session.watch(node, wakes);
    session.close();
    if matches!(end, Ok(End::Failed(_)))
        && let Err(error) = let_speak(&outbox, node, wakes)
    {
        end = Err(error.into());
    }
    outbox.close();
    end
}

/// What came before the failure is still said: a recording goes on to its last picture.
fn let_speak(outbox: &Outbox, node: &Node, wakes: &Receiver<Wake>) -> Result<(), SpeakError> {
    outbox.finish_all();
    let until = Instant::now() + SPEAK_WITHIN;
    loop {
        match wakes.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Wake::Spoken(spoken)) => return spoken,
            Ok(_) => (node.gets_on)(),
            Err(_) => return Ok(()),
        }
    }
}

struct Session {
    source: Source,
    /// The camera's, and that for detection if it has one.
    streams: Vec<Running>,
    frames: Frames,
    gearbox: Gearbox,
    outbox: Outbox,
    is_live: bool,
    pace: u64,
    told: Instant,
}

struct Running {
    half: Half,
    stream: Stream,
    /// When the last packet was seen to have come.
    packet: Option<Duration>,
}

impl Session {
    fn build(source: &Source, node: &Node, outbox: Outbox, bell: &Bell) -> Result<Self, Fault> {
        let began = Instant::now();
        let frames_per_s = if source.every_frame { 0.0 } else { source.frames_per_s };
        let frames = Frames::new(frames_per_s, DecoderMarks::new(began));
        let gearbox = Gearbox::new(source, frames.clone(), outbox.clone(), bell.clone());
        let build = |source: &Source, half, purpose, gearbox| {
            (node.gets_on)();
            let intake = Intake::new(purpose, SourceMarks::new(began), outbox.clone(), gearbox);
            let stream = Stream::build(source, half, intake, bell, &*node.gets_on)?;
            Ok(Running { half, stream, packet: None })
        };
        // Read faster than it was filmed, or slower.
        let own_time = |source: &Source| source.every_frame && Kind::of(&source.url) == Some(Kind::File);
        let purpose = Purpose { units: source.units, sizes: false, own_time: own_time(source) };
        let decodes = source.detect.is_none().then(|| gearbox.clone());
        let mut streams = vec![build(source, Half::Main, purpose, decodes)?];
        if let Some(detect) = &source.detect {
            let source = Source { url: detect.url.clone(), login: detect.login.clone(), ..source.clone() };
            let purpose = Purpose { units: false, sizes: true, own_time: own_time(&source) };
            streams.push(build(&source, Half::Detect, purpose, Some(gearbox.clone()))?);
        }
        let is_live = streams.iter().any(|running| running.stream.kind.is_live());
        let (source, told) = (source.clone(), Instant::now());
        Ok(Self { source, streams, frames, gearbox, outbox, is_live, pace: 0, told })
    }

    fn start(&self) {
        for running in &self.streams {
            // A failure to start is told on the bus as well, with more to say.
            let _ = running.stream.gst.set_state(gst::State::Playing);
        }
    }

    fn watch(&mut self, node: &Node, wakes: &Receiver<Wake>) -> Result<End, Broken> {
        loop {
            let ended = match wakes.recv_timeout(TICK) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => Some(Ok(End::Stopped)),
                Ok(Wake::Gear { gear, rewind }) => {
                    // Who is to miss no frame is awake.
                    if !self.source.every_frame {
                        self.gearbox.shift(gear, rewind);
                    }
                    None
                }
                Ok(Wake::Trouble(fault)) => Some(fault.into_end()),
                Ok(Wake::Spoken(Err(error))) => Some(Err(error.into())),
                // A live source's end is told on the bus, and is a failure.
                Ok(Wake::Spoken(Ok(()))) => (!self.is_live).then_some(Ok(End::Played)),
                Ok(Wake::Bus(half, message)) => self.message(half, &message, wakes),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if let Some(end) = ended.or_else(|| self.look(node)) {
                return end;
            }
        }
    }

    fn message(&self, half: Half, message: &gst::Message, wakes: &Receiver<Wake>) -> Option<Result<End, Broken>> {
        if let Half::Decoder(number) = half {
            return self.decoder_message(number, message);
        }
        let running = self.streams.iter().find(|running| running.half == half)?;
        let (stream, is_live) = (&running.stream, running.stream.kind.is_live());
        match message.view() {
            gst::MessageView::Error(error) => {
                if let Some(fault) = reason(wakes) {
                    return Some(fault.into_end());
                }
                // Behind a camera's own stream there is nothing of ours that could refuse it, but for an encoder.
                let ours = !matches!(stream.kind, Kind::Rtsp | Kind::File) && stream.intake.has_begun();
                let (error, debug) = (error.error(), error.debug());
                Some(Fault::from_error(&stream.source, &error, debug.as_deref(), ours).into_end())
            }
            // A live source that is gone says so with an orderly end.
            gst::MessageView::Eos(_) if is_live => {
                let what = "the camera ended the stream; it is tried again";
                Some(Ok(End::Failed(Trouble::new(&stream.source, SourceFault::Ended, what))))
            }
            gst::MessageView::Eos(_) if self.source.repeat && !stream.wind_back() => {
                let what = "it cannot be played again, as it cannot be wound back; use an MP4 or Matroska file";
                Some(Ok(End::Failed(Trouble::new(&stream.source, SourceFault::Unreadable, what))))
            }
            _ => None,
        }
    }

    fn decoder_message(&self, number: u32, message: &gst::Message) -> Option<Result<End, Broken>> {
        let gst::MessageView::Error(error) = message.view() else { return None };
        let (said, debug) = (error.error(), error.debug().unwrap_or_default());
        // Once pictures came out, a refusal came from behind the decoder.
        let is_ours = self.frames.native_size().is_some() && said.matches(gst::StreamError::Failed);
        if is_ours {
            return Some(Fault::from_error(&self.source, &said, Some(&debug), true).into_end());
        }
        self.gearbox.replace(Some(number), said.message());
        None
    }

    /// The watchdog's turn.
    fn look(&mut self, node: &Node) -> Option<Result<End, Broken>> {
        let holds_up = self.outbox.holds_up();
        let marks = self.frames.marks();
        if holds_up {
            // Whoever waits for the node owes nothing.
            marks.settled();
        }
        let pulse = marks.pulse();
        let mut stuck = !holds_up && watchdog::is_decoder_stuck(pulse, self.gearbox.waits());
        // The node finds a port that does not get on; what the source does cannot be told from here.
        // With every frame, a pipeline rightly waits for a node that reads slowly.
        let has_to_flow = self.is_live && !self.source.every_frame;
        let mut flows = true;
        for running in &mut self.streams {
            let pulse = running.stream.intake.marks().pulse();
            stuck |= watchdog::is_stuck(pulse);
            let moved = pulse.packet != std::mem::replace(&mut running.packet, pulse.packet);
            flows &= moved || !watchdog::is_held_up(pulse);
        }
        stuck &= has_to_flow;
        if self.outbox.pace().gets_on(&mut self.pace) && !stuck && (flows || !has_to_flow) {
            (node.gets_on)();
        }
        if !stuck && watchdog::is_decoder_barren(pulse) {
            self.gearbox.replace(None, "none came out of it for 5 s");
        }
        if self.told.elapsed() >= FIGURES_EVERY {
            self.told = Instant::now();
            self.outbox.report(Report::Figures(self.figures()));
        }
        if stuck { None } else { self.judge().map(|trouble| Ok(End::Failed(trouble))) }
    }

    fn judge(&self) -> Option<Trouble> {
        let stall_ms = u64::from(self.source.stall_ms);
        let live = self.streams.iter().filter(|running| running.stream.kind.is_live());
        live.map(|running| &running.stream).find_map(|stream| {
            let lossy = stream.packets_lost() > 0;
            let (fault, what) = watchdog::judge(stream.intake.marks().pulse(), stall_ms, lossy)?;
            Some(Trouble::new(&stream.source, fault, &what))
        })
    }

    fn figures(&self) -> Figures {
        let streams = self.streams.iter().map(|running| &running.stream);
        let counts = streams.clone().map(|stream| stream.intake.counts());
        let (units, unit_bytes) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let (decoding, decoded) = self.frames.counts();
        Figures {
            units,
            unit_bytes,
            decoding,
            decoded,
            handed: self.outbox.handed(),
            packets_lost: streams.clone().map(Stream::packets_lost).sum(),
            clock_offset_ms: streams.clone().find_map(|stream| stream.intake.clock_offset_ms()),
        }
    }

    /// Says goodbye to the camera, but does not wait for one that is gone.
    fn close(&self) {
        self.gearbox.close();
        let pipelines: Vec<_> = self.streams.iter().map(|running| running.stream.gst.clone()).collect();
        let (closed, done) = mpsc::channel();
        let close = move || {
            for pipeline in pipelines {
                let _ = pipeline.set_state(gst::State::Null);
            }
            let _ = closed.send(());
        };
        let closing = std::thread::Builder::new().name("closing".to_owned()).spawn(close);
        if closing.is_ok() && done.recv_timeout(CLOSE_WITHIN).is_err() {
            tracing::debug!("the pipeline is not down after {CLOSE_WITHIN:?}; the process ends anyway");
        }
    }
}

/// What a callback knows is more precise than the error that goes with it.
fn reason(wakes: &Receiver<Wake>) -> Option<Fault> {
    let until = Instant::now() + REASON_WITHIN;
    while let Ok(wake) = wakes.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Wake::Trouble(fault) = wake {
            return Some(fault);
        }
    }
    None
}
