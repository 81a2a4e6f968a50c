//! What is done to packets on their way out: some are lost, and the wall clock in RTCP is off.

use super::feeder::Feed;
use anyhow::{Context, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_rtsp_server as gst_rtsp;
use gstreamer_rtsp_server::prelude::*;
use std::ops::ControlFlow;
use std::sync::Mutex;

/// RTCP's sender report: the only packet that tells the sender's wall clock.
const SENDER_REPORT: u8 = 200;
/// Where the seconds of its NTP time are.
const NTP_SECONDS: std::ops::Range<usize> = 8..12;

/// Drops packets behind `payloader` as the faults say, over UDP and TCP alike: their numbers are missing.
pub fn lose(feed: &Feed, payloader: &gst::Element, stream: u64) -> Result<()> {
    let pad = payloader.static_pad("src").context("a payloader without an end")?;
    let (feed, rng) = (feed.clone(), Mutex::new(feed.rng(stream)));
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
        let mut rng = rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut loses = || feed.faults().loses(&mut rng);
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(_)) if loses() => gst::PadProbeReturn::Drop,
            Some(gst::PadProbeData::BufferList(list)) => {
                let list = list.make_mut();
                list.foreach_mut(|packet, _| ControlFlow::Continue((!loses()).then_some(packet)));
                if list.is_empty() { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
    Ok(())
}

/// Shifts the wall clock in what `media` reports, once it has its RTP session.
pub fn shift_clock(feed: &Feed, media: &gst_rtsp::RTSPMedia) {
    let feed = feed.clone();
    media.connect_prepared(move |media| {
        let above = media.element().parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
        let parts = above.map(|bin| bin.children()).unwrap_or_default();
        let rtpbin = parts.into_iter().find(|part| part.factory().is_some_and(|factory| factory.name() == "rtpbin"));
        let pads = rtpbin.map(|rtpbin| rtpbin.src_pads()).unwrap_or_default();
        let reports = pads.into_iter().filter(|pad| pad.name().starts_with("send_rtcp_src"));
        let mut shifted = 0;
        for pad in reports {
            shifted += 1;
            let feed = feed.clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data
                    && feed.faults().clock_s() != 0
                    && let Ok(mut packet) = buffer.make_mut().map_writable()
                {
                    shift(&mut packet, feed.faults().clock_s());
                }
                gst::PadProbeReturn::Ok
            });
        }
        if shifted == 0 {
            tracing::error!("no RTCP was found: the order `clock` has no effect");
        }
    });
}

/// A compound packet begins with the report.
fn shift(packet: &mut [u8], offset_s: i64) {
    let is_report = packet.get(1) == Some(&SENDER_REPORT);
    if let Some(seconds) = packet.get_mut(NTP_SECONDS).filter(|_| is_report)
        && let Ok(told) = <[u8; 4]>::try_from(&*seconds)
    {
        seconds.copy_from_slice(&u32::from_be_bytes(told).wrapping_add(offset_s as u32).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_senders_report_has_a_clock_to_shift() {
        let mut packet = [0x80, SENDER_REPORT, 0, 6, 1, 2, 3, 4, 0, 0, 1, 0, 9, 9, 9, 9];
        shift(&mut packet, -2);
        assert_eq!(packet[NTP_SECONDS], [0, 0, 0, 254]);
        packet[1] = 201;
        shift(&mut packet, 100);
        assert_eq!(packet[NTP_SECONDS], [0, 0, 0, 254]);
        shift(&mut [0x80, SENDER_REPORT], 1);
    }
}
