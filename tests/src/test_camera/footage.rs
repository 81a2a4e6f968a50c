//! Access units in RAM: encoded once, played as often as wanted.
//!
//!   [encoder] ─▶ appsink ─▶ [footage] ─▶ feeder
//!
//! Encoding runs ahead of play on its own thread, so that the first client need not wait for the last frame.

use super::encoder::{Encoder, element};
use anyhow::{Context, Result, anyhow, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All of the footage. When it is full the encoder fails and says so: a shorter scene or file is needed.
const FOOTAGE_BYTES_MAX: usize = 512 << 20;

/// Between two lines about the progress.
const PROGRESS_UNITS: usize = 500;

/// One encoded picture, or a moment of sound, in decoding order.
#[derive(Clone)]
pub struct AccessUnit {
    /// When it is sent, since the start of the footage.
    pub at: Duration,
    /// From then until it is shown; more than nothing where pictures are reordered.
    pub shown_after: Duration,
    pub key: bool,
    pub buffer: gst::Buffer,
}

/// Grows until `done`. Cheap to clone.
#[derive(Clone, Default)]
pub struct Footage(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    units: Vec<AccessUnit>,
    bytes: usize,
    caps: Option<gst::Caps>,
    /// The whole length, or why there is none.
    done: Option<Result<Duration, String>>,
}

impl Footage {
    /// Starts encoding on a thread of its own.
    pub fn encode(encoder: Encoder) -> Result<Self> {
        let footage = Self::default();
        let pipeline = encoder.start()?;
        let growing = footage.clone();
        std::thread::Builder::new().name("encoder".to_owned()).spawn(move || {
            let end = growing.collect(&pipeline).map_err(|e| format!("{e:#}"));
            // Freed here; a failed encoder must not hold its file or its threads.
            let _ = pipeline.set_state(gst::State::Null);
            growing.lock().done = Some(end);
            growing.0.grown.notify_all();
        })?;
        Ok(footage)
    }

    /// The unit with this number once it is encoded; `None` behind the last.
    pub fn wait_for(&self, index: usize) -> Result<Option<AccessUnit>> {
        let mut state = self.lock();
        loop {
            if let Some(unit) = state.units.get(index) {
                return Ok(Some(unit.clone()));
            }
            match &state.done {
                Some(Ok(_)) => return Ok(None),
                Some(Err(why)) => bail!("{why}"),
                None => state = self.0.grown.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits for the last unit. Returns the footage's length.
    pub fn wait_for_all(&self) -> Result<Duration> {
        let mut state = self.lock();
        loop {
            match &state.done {
                Some(end) => return end.clone().map_err(|why| anyhow!("{why}")),
                None => state = self.0.grown.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// So far.
    pub fn count(&self) -> usize {
        self.lock().units.len()
    }

    /// What the units are; known with the first.
    pub fn caps(&self) -> Option<gst::Caps> {
        self.lock().caps.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, pipeline: &gst::Pipeline) -> Result<Duration> {
        let sink = element::<gst_app::AppSink>(pipeline, "sink")?;
        pipeline.set_state(gst::State::Playing).context("the encoder does not start")?;
        let mut first = None;
        let mut end = Duration::ZERO;
        while let Ok(sample) = sink.pull_sample() {
            let buffer = sample.buffer_owned().context("a sample without a buffer")?;
            let pts = Duration::from(buffer.pts().context("an access unit without a time")?);
            let dts = buffer.dts().map_or(pts, Duration::from);
            let (first_pts, first_dts) = *first.get_or_insert((pts, dts));
            let lasts = buffer.duration().map_or(Duration::from_millis(40), Duration::from);
            end = end.max(pts.saturating_sub(first_pts) + lasts);
            let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            let (at, shown_after) = (dts.saturating_sub(first_dts), pts.saturating_sub(dts));
            self.append(AccessUnit { at, shown_after, key, buffer }, &sample)?;
        }
        if let Some(message) = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]))
            && let gst::MessageView::Error(error) = message.view()
        {
            bail!("the encoder stopped: {} ({:?})", error.error(), error.debug());
        }
        let (count, bytes) = (self.count(), self.lock().bytes);
        if count == 0 {
            bail!("the footage has no picture");
        }
        let kbit_per_s = bytes as f64 * 8.0 / 1000.0 / end.as_secs_f64();
        tracing::info!(units = count, length_s = end.as_secs_f64(), kbit_per_s, "footage is encoded");
        Ok(end)
    }

    fn append(&self, unit: AccessUnit, sample: &gst::Sample) -> Result<()> {
        let mut state = self.lock();
        state.bytes += unit.buffer.size();
        if state.bytes > FOOTAGE_BYTES_MAX {
            bail!("the footage exceeds {FOOTAGE_BYTES_MAX} B; use a shorter file or --length-s");
        }
        if state.caps.is_none() {
            state.caps = sample.caps_owned();
        }
        state.units.push(unit);
        if state.units.len().is_multiple_of(PROGRESS_UNITS) {
            tracing::info!(units = state.units.len(), bytes = state.bytes, "encoding");
        }
        drop(state);
        self.0.grown.notify_all();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rhythm;
    use super::super::encoder::{Codec, Origin, Recipe};
    use super::super::scene::Scene;
    use super::super::squares::Size;
    use super::*;

    const FRAMES: usize = 20;

    fn units(codec: Codec, b_frames: u32) -> Vec<AccessUnit> {
        gst::init().expect("GStreamer is installed");
        let scene = Scene::Still { length: Duration::from_secs(2) };
        let origin = Origin::Scene { scene, size: Size { width: 160, height: 90 }, seed: 1 };
        let rhythm = Rhythm { frames_per_s: 10.0, gop_s: 0.5 };
        let recipe = Recipe { origin, rhythm, codec, b_frames, size: None, kbit_per_s: None };
        let footage = Footage::encode(recipe.encoder().expect("it is made")).expect("it starts");
        assert_eq!(footage.wait_for_all().expect("it ends"), Duration::from_secs(2));
        assert!(footage.wait_for(FRAMES).expect("encoded").is_none());
        (0..FRAMES).map(|i| footage.wait_for(i).expect("encoded").expect("20 frames")).collect()
    }

    #[test]
    fn a_scene_becomes_units_with_a_key_frame_on_each_gop_boundary() {
        for codec in [Codec::H264, Codec::H265] {
            let units = units(codec, 0);
            assert!(units.iter().enumerate().all(|(i, unit)| unit.key == i.is_multiple_of(5)), "{codec:?}");
            assert!(units.iter().all(|unit| unit.shown_after == Duration::ZERO), "{codec:?}");
            assert!(units.iter().enumerate().all(|(i, unit)| unit.at == Duration::from_millis(100 * i as u64)));
        }
        assert!(units(Codec::Jpeg, 0).iter().all(|unit| unit.key));
    }

    #[test]
    fn b_frames_are_sent_in_another_order_than_they_are_shown() {
        let units = units(Codec::H264, 2);
        assert!(units.is_sorted_by_key(|unit| unit.at), "in decoding order, evenly");
        let shown: Vec<Duration> = units.iter().map(|unit| unit.at + unit.shown_after).collect();
        assert!(!shown.is_sorted(), "{shown:?}");
        let mut each = shown.clone();
        each.sort();
        each.dedup();
        assert_eq!(each.len(), FRAMES, "each is shown at a time of its own");
    }
}
