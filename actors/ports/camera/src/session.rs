//! The session: one source from opening to its end.
//!
//!   bus (errors, end) ──┐
//!   tap (pulse) ────────┼─▶ [session] ─▶ End
//!   node says stop ─────┘       └─ gets on ─▶ node
//!
//! rtspsrc never notices a camera that stays connected and sends nothing, so a watchdog of our own does.
//! Whose fault a silence is matters: a source is tried again for ever, a port of ours that hangs is killed.
//! Each turn of the watchdog says that we get on, unless the handover or the pipeline is stuck.

use crate::Node;
use crate::fault::{Fault, Trouble};
use crate::handover::{HandoverError, Pace, hand_over};
use crate::pipeline::Pipeline;
use crate::tap::Pulse;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::camera::{Source, SourceFault};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// How often the watchdog looks; bus messages wake the session at once.
const TICK_MS: u64 = 50;

/// From opening to the first packet.
const ANSWER_MS_MIN: u64 = 5_000;

/// From opening to the first frame while packets come: some cameras send a key frame every ten seconds.
const KEY_FRAME_MS_MAX: u64 = 15_000;

/// From a unit that goes into the decoder to a frame that comes out, while more units come.
const DECODE_MS_MAX: u64 = 5_000;

/// How long a pipeline may take to be taken down. The process ends anyway.
const CLOSE_MS_MAX: u64 = 300;

/// Longer than anything waits on its way into the pipeline, which over TCP is in order: a thread of it is blocked.
const HELD_UP_MS_MAX: u64 = 300;

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
    Handover(#[from] HandoverError),
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

/// Returns when the source ends, fails, or the node says stop.
pub fn run(source: &Source, node: &Node) -> Result<End, Broken> {
    let pipeline = match Pipeline::build(source) {
        Ok(pipeline) => pipeline,
        Err(fault) => return fault.into_end(),
    };
    (node.gets_on)();
    // A failure to start is told on the bus as well, with more to say.
    let _ = pipeline.gst.set_state(gst::State::Playing);
    (node.gets_on)();
    // Not earlier: an appsink that is not started yet says that it has ended.
    let (finished, handed) = mpsc::channel();
    let pace = Arc::new(Pace::default());
    let (handing, tell, keeping) = (pipeline.clone(), node.tell.clone(), pace.clone());
    std::thread::Builder::new()
        .name("handover".to_owned())
        .spawn(move || finished.send(hand_over(&handing, &tell, &keeping)))
        .map_err(HandoverError::NodeGone)?;
    let end = watch(source, &pipeline, node, &Handover { handed, pace });
    close(pipeline);
    end
}

/// The other thread, as the session sees it.
struct Handover {
    handed: mpsc::Receiver<Result<(), HandoverError>>,
    pace: Arc<Pace>,
}

impl Handover {
    /// Frames may still be on their way to a node that reads slowly; none may be lost.
    fn finish(&self, gets_on: &dyn Fn()) -> Result<End, Broken> {
        let mut last = 0;
        loop {
            match self.handed.recv_timeout(Duration::from_millis(TICK_MS)) {
                Ok(handed) => return Ok(handed.map(|()| End::Played)?),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(End::Played),
                Err(mpsc::RecvTimeoutError::Timeout) if self.pace.gets_on(&mut last) => gets_on(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn watch(source: &Source, pipeline: &Pipeline, node: &Node, handover: &Handover) -> Result<End, Broken> {
    let bus = pipeline.gst.bus().expect("a pipeline has a bus");
    let is_live = !source.url.starts_with("file:");
    let wanted = [gst::MessageType::Error, gst::MessageType::Eos, gst::MessageType::Application];
    let (mut last, mut last_packet) = (0, None);
    loop {
        if node.stop.load(Ordering::Relaxed) {
            return Ok(End::Stopped);
        }
        let message = bus.timed_pop_filtered(gst::ClockTime::from_mseconds(TICK_MS), &wanted);
        // Looked at first: what a callback knows is more precise than the error that follows from it.
        if let Some(fault) = pipeline.take_fault() {
            return fault.into_end();
        }
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => {
                let (debug, decodes) = (error.debug(), pipeline.tap.native_size().is_some());
                return Fault::from_error(source, &error.error(), debug.as_deref(), decodes).into_end();
            }
            // A live source that is gone says so with an orderly end.
            Some(gst::MessageView::Eos(_)) if is_live => {
                let what = "the camera ended the stream; it is tried again";
                return Ok(End::Failed(Trouble::new(source, SourceFault::Ended, what)));
            }
            Some(gst::MessageView::Eos(_)) => return handover.finish(&*node.gets_on),
            _ => {}
        }
        if let Ok(Err(error)) = handover.handed.try_recv() {
            return Err(error.into());
        }
        let (pulse, stall_ms) = (pipeline.tap.pulse(), u64::from(source.stall_ms));
        // The node finds a port that does not get on; what the source does cannot be told from here.
        // With every frame, a pipeline rightly waits for a node that reads slowly.
        let has_to_flow = is_live && !source.every_frame;
        let stuck = has_to_flow && is_stuck(pulse);
        let flows = pulse.packet != std::mem::replace(&mut last_packet, pulse.packet) || !is_held_up(pulse);
        if handover.pace.gets_on(&mut last) && !stuck && (flows || !has_to_flow) {
            (node.gets_on)();
        }
        if is_live
            && !stuck
            && let Some((fault, what)) = judge(pulse, stall_ms)
        {
            return Ok(End::Failed(Trouble::new(source, fault, &what)));
        }
    }
}

/// What comes out of the socket does not get into the pipeline: a thread of the pipeline is blocked or spins. The
/// source is not to be judged by what goes in.
fn is_stuck(pulse: Pulse) -> bool {
    let (Some(received), Some(packet)) = (pulse.received, pulse.packet) else { return false };
    received.saturating_sub(packet) > Duration::from_millis(HELD_UP_MS_MAX)
}

/// Something has just come that has not gone in yet. Mostly it does within moments; if it does not, the time until
/// we are stuck counts as well.
fn is_held_up(pulse: Pulse) -> bool {
    let (Some(received), Some(packet)) = (pulse.received, pulse.packet) else { return false };
    received > packet && pulse.now.saturating_sub(received) <= Duration::from_millis(HELD_UP_MS_MAX)
}

/// The watchdog's verdict on a live source; `None` while all is well.
fn judge(pulse: Pulse, stall_ms: u64) -> Option<(SourceFault, String)> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let since = |mark: Duration| ms(pulse.now.saturating_sub(mark));
    let Some(packet) = pulse.packet else {
        let answer_ms = stall_ms.max(ANSWER_MS_MIN);
        let what = format!("no video within {answer_ms} ms; is the camera alive, does the network let it through?");
        return (ms(pulse.now) > answer_ms).then_some((SourceFault::Silent, what));
    };
    if since(packet) > stall_ms && (pulse.frame.is_some() || since(packet) > ANSWER_MS_MIN) {
        let what = format!("sent nothing for {stall_ms} ms; is the camera alive, does the network let it through?");
        return Some((SourceFault::Silent, what));
    }
    match (pulse.unit, pulse.frame) {
        (unit, None) if ms(pulse.now) > KEY_FRAME_MS_MAX => {
            let what = match unit {
                None => {
                    format!("no key frame within {KEY_FRAME_MS_MAX} ms; set the camera's key frame interval to 2 s")
                }
                Some(_) => format!("no picture could be decoded within {KEY_FRAME_MS_MAX} ms; set the camera to H.264"),
            };
            Some((SourceFault::Unreadable, what))
        }
        (Some(unit), Some(frame)) if since(unit) > stall_ms && since(frame) > stall_ms => Some((
            SourceFault::Silent,
            format!("packets come, but no whole picture for {stall_ms} ms; is the network lossy?"),
        )),
        (Some(unit), Some(frame)) if unit > frame && ms(unit - frame) > DECODE_MS_MAX => {
            let what =
                format!("no picture could be decoded for {DECODE_MS_MAX} ms; restart the camera or set it to H.264");
            Some((SourceFault::Unreadable, what))
        }
        _ => None,
    }
}

/// Says goodbye to the camera, but does not wait for one that is gone.
fn close(pipeline: Pipeline) {
    let (closed, done) = mpsc::channel();
    let closing = std::thread::Builder::new().name("closing".to_owned()).spawn(move || {
        let _ = pipeline.gst.set_state(gst::State::Null);
        let _ = closed.send(());
    });
    if closing.is_ok() && done.recv_timeout(Duration::from_millis(CLOSE_MS_MAX)).is_err() {
        tracing::debug!("the pipeline is not down after {CLOSE_MS_MAX} ms; the process ends anyway");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL_MS: u64 = 1500;

    fn check(now: u64, packet: Option<u64>, unit: Option<u64>, frame: Option<u64>, fault: Option<SourceFault>) {
        let mark = |ms: Option<u64>| ms.map(Duration::from_millis);
        let pulse = Pulse {
            now: Duration::from_millis(now),
            received: mark(packet),
            packet: mark(packet),
            unit: mark(unit),
            frame: mark(frame),
        };
        assert_eq!(judge(pulse, STALL_MS).map(|(fault, _)| fault), fault, "{pulse:?}");
    }

    #[test]
    fn a_camera_that_never_answers_is_silent_after_its_grace() {
        check(4_900, None, None, None, None);
        check(5_100, None, None, None, Some(SourceFault::Silent));
    }

    #[test]
    fn a_running_camera_that_stops_is_silent_after_the_stall_time() {
        check(11_400, Some(10_000), Some(10_000), Some(10_000), None);
        check(11_600, Some(10_000), Some(10_000), Some(10_000), Some(SourceFault::Silent));
    }

    #[test]
    fn packets_before_the_first_key_frame_buy_time_but_not_for_ever() {
        check(9_000, Some(8_990), None, None, None);
        check(15_100, Some(15_090), None, None, Some(SourceFault::Unreadable));
    }

    #[test]
    fn a_stream_that_is_received_and_never_decoded_is_unreadable() {
        check(15_100, Some(15_090), Some(15_090), None, Some(SourceFault::Unreadable));
        check(20_000, Some(19_990), Some(19_990), Some(12_000), Some(SourceFault::Unreadable));
    }

    #[test]
    fn a_silent_source_is_no_stuck_pipeline_and_a_stuck_pipeline_no_silent_source() {
        let pulse = |now, received, packet| Pulse {
            now: Duration::from_millis(now),
            received: Some(Duration::from_millis(received)),
            packet: Some(Duration::from_millis(packet)),
            ..Pulse::default()
        };
        let states = |pulse| (is_held_up(pulse), is_stuck(pulse));
        assert_eq!(states(pulse(10_100, 10_050, 10_050)), (false, false), "all of it has gone in");
        assert_eq!(states(pulse(30_000, 10_000, 10_000)), (false, false), "nothing comes, so nothing goes in");
        assert_eq!(states(pulse(10_300, 10_290, 10_000)), (true, false), "a moment's wait");
        assert_eq!(
            states(pulse(10_800, 10_290, 10_000)),
            (false, false),
            "the last was thrown away, and no more comes"
        );
        assert_eq!(states(pulse(10_310, 10_301, 10_000)), (true, true), "it comes and does not go in");
        let slow = pulse(11_500, 11_000, 10_000);
        assert_eq!(states(slow), (false, true), "one frame a second comes and does not go in");
        let unlinked = Pulse { packet: None, ..pulse(11_000, 10_990, 0) };
        assert_eq!(states(unlinked), (false, false), "not linked yet");
    }

    #[test]
    fn a_pipeline_is_found_stuck_before_its_camera_is_called_silent() {
        let beats_ms = |every_ms: u64| (0..).map(move |n| 10_000 + n * every_ms);
        for every_ms in [1, 40, 200, 1000, STALL_MS] {
            // Whatever was received after the packet at ten seconds does not go in.
            let received = beats_ms(every_ms).take_while(|at| *at <= 10_000 + STALL_MS).last().expect("the first");
            let at = |ms| Some(Duration::from_millis(ms));
            let now = Duration::from_millis(10_000 + STALL_MS);
            let pulse = Pulse { now, received: at(received), packet: at(10_000), unit: at(10_000), frame: at(10_000) };
            assert!(is_stuck(pulse), "with a packet every {every_ms} ms: {pulse:?}");
        }
    }

    #[test]
    fn a_decoder_that_is_a_little_behind_is_no_fault() {
        check(20_000, Some(19_990), Some(19_990), Some(18_000), None);
    }
}
