//! The watchdog's verdicts: pure, on what was last seen where.
//!
//! rtspsrc never notices a camera that stays connected and sends nothing, so a watchdog of our own does. Whose fault a
//! silence is matters: a source is tried again for ever, a decoder is replaced, a port of ours that hangs is killed.

use crate::marks::{DecoderPulse, Pulse};
use protocol::camera::SourceFault;
use std::time::Duration;

/// From opening to the first packet.
const ANSWER_MS_MIN: u64 = 5_000;

/// From opening to the first key frame while packets come: some cameras send one every ten seconds.
const KEY_FRAME_MS_MAX: u64 = 15_000;

/// From a unit that goes into the decoder to the next frame that comes out.
const DECODE_MS_MAX: u64 = 5_000;

/// Longer than anything waits on its way into the pipeline, which over TCP is in order: a thread of it is blocked.
const HELD_UP_MS_MAX: u64 = 300;

/// What comes out of the socket does not get into the pipeline: a thread of the pipeline is blocked or spins. The
/// source is not to be judged by what goes in.
pub fn is_stuck(pulse: Pulse) -> bool {
    let (Some(received), Some(packet)) = (pulse.received, pulse.packet) else { return false };
    received.saturating_sub(packet) > Duration::from_millis(HELD_UP_MS_MAX)
}

/// Something has just come that has not gone in yet. Mostly it does within moments; if it does not, the time until
/// we are stuck counts as well.
pub fn is_held_up(pulse: Pulse) -> bool {
    let (Some(received), Some(packet)) = (pulse.received, pulse.packet) else { return false };
    received > packet && pulse.now.saturating_sub(received) <= Duration::from_millis(HELD_UP_MS_MAX)
}

/// Units wait in front of the decoder, and it takes none: a thread of it is blocked or spins.
pub fn is_decoder_stuck(pulse: DecoderPulse, waits: bool) -> bool {
    let since = |mark: Duration| pulse.now.saturating_sub(mark) > Duration::from_millis(HELD_UP_MS_MAX);
    waits && pulse.owes_since.is_some_and(since) && pulse.taken.is_none_or(since)
}

/// The decoder takes units and gives no pictures.
pub fn is_decoder_barren(pulse: DecoderPulse) -> bool {
    pulse.owes_since.is_some_and(|since| ms(pulse.now.saturating_sub(since)) > DECODE_MS_MAX)
}

/// On a live source; `None` while all is well. `lossy`: packets of it never came.
pub fn judge(pulse: Pulse, stall_ms: u64, lossy: bool) -> Option<(SourceFault, String)> {
    let since = |mark: Duration| ms(pulse.now.saturating_sub(mark));
    let Some(packet) = pulse.packet else {
        let answer_ms = stall_ms.max(ANSWER_MS_MIN);
        let what = format!("no video within {answer_ms} ms; is the camera alive, does the network let it through?");
        return (ms(pulse.now) > answer_ms).then_some((SourceFault::Silent, what));
    };
    if since(packet) > stall_ms && (pulse.unit.is_some() || since(packet) > ANSWER_MS_MIN) {
        let what = format!("sent nothing for {stall_ms} ms; is the camera alive, does the network let it through?");
        return Some((SourceFault::Silent, what));
    }
    match pulse.unit {
        None if ms(pulse.now) <= KEY_FRAME_MS_MAX => None,
        None if lossy => {
            let what =
                format!("packets come, but no whole key frame within {KEY_FRAME_MS_MAX} ms; use transport = \"tcp\"");
            Some((SourceFault::Silent, what))
        }
        None => {
            let what = format!("no key frame within {KEY_FRAME_MS_MAX} ms; set the camera's key frame interval to 2 s");
            Some((SourceFault::Unreadable, what))
        }
        Some(unit) if since(unit) > stall_ms => {
            let what = format!("packets come, but no whole picture for {stall_ms} ms; is the network lossy?");
            Some((SourceFault::Silent, what))
        }
        Some(_) => None,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL_MS: u64 = 1500;

    fn at(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    fn check(now: u64, packet: Option<u64>, unit: Option<u64>, fault: Option<SourceFault>) {
        let mark = |ms: Option<u64>| ms.map(Duration::from_millis);
        let now = Duration::from_millis(now);
        let pulse = Pulse { now, received: mark(packet), packet: mark(packet), unit: mark(unit) };
        assert_eq!(judge(pulse, STALL_MS, false).map(|(fault, _)| fault), fault, "{pulse:?}");
    }

    #[test]
    fn a_camera_that_never_answers_is_silent_after_its_grace() {
        check(4_900, None, None, None);
        check(5_100, None, None, Some(SourceFault::Silent));
    }

    #[test]
    fn a_running_camera_that_stops_is_silent_after_the_stall_time() {
        check(11_400, Some(10_000), Some(10_000), None);
        check(11_600, Some(10_000), Some(10_000), Some(SourceFault::Silent));
    }

    #[test]
    fn packets_before_the_first_key_frame_buy_time_but_not_for_ever() {
        check(9_000, Some(8_990), None, None);
        check(15_100, Some(15_090), None, Some(SourceFault::Unreadable));
        let lossy = Pulse { now: Duration::from_millis(15_100), packet: at(15_090), ..Pulse::default() };
        assert_eq!(judge(lossy, STALL_MS, true).map(|(fault, _)| fault), Some(SourceFault::Silent));
    }

    #[test]
    fn packets_without_a_whole_picture_are_a_silence() {
        check(20_000, Some(19_990), Some(18_600), None);
        check(20_000, Some(19_990), Some(18_400), Some(SourceFault::Silent));
    }

    #[test]
    fn a_silent_source_is_no_stuck_pipeline_and_a_stuck_pipeline_no_silent_source() {
        let pulse = |now, received, packet| Pulse {
            now: Duration::from_millis(now),
            received: at(received),
            packet: at(packet),
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
            let now = Duration::from_millis(10_000 + STALL_MS);
            let pulse = Pulse { now, received: at(received), packet: at(10_000), unit: at(10_000) };
            assert!(is_stuck(pulse), "with a packet every {every_ms} ms: {pulse:?}");
        }
    }

    #[test]
    fn a_decoder_owes_a_picture_for_what_it_took_and_one_that_takes_nothing_is_stuck() {
        let pulse = |now, owes: Option<u64>, taken: u64| DecoderPulse {
            now: Duration::from_millis(now),
            owes_since: owes.map(Duration::from_millis),
            taken: at(taken),
        };
        let states = |pulse, waits| (is_decoder_barren(pulse), is_decoder_stuck(pulse, waits));
        assert_eq!(states(pulse(20_000, None, 1_000), false), (false, false), "nothing is wanted of it");
        assert_eq!(states(pulse(20_000, Some(18_000), 19_990), true), (false, false), "a little behind");
        assert_eq!(states(pulse(20_000, Some(14_900), 19_990), true), (true, false));
        assert_eq!(states(pulse(20_000, Some(19_500), 19_500), true), (false, true));
        assert_eq!(states(pulse(20_000, Some(19_500), 19_500), false), (false, false), "it works on the last one");
    }
}
