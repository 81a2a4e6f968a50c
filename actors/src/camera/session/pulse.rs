//! What the tree and the metrics show of a camera's stream.

use protocol::CameraId;
use protocol::camera::Gear;
use std::time::Duration;
use supervision::ServiceCx;
use tokio::time::Instant;

/// How often the note shows a new rate.
const NOTE_EVERY: Duration = Duration::from_secs(5);

const GEARS: [&str; 3] = ["passthrough", "idle", "awake"];

/// Keeps the tree's note about a camera current without writing it for each picture.
pub(super) struct Pulse {
    camera: String,
    stream: String,
    decoder: String,
    gear: Gear,
    frames: u32,
    units: u32,
    since: Instant,
    /// As last measured.
    rate: String,
}

impl Pulse {
    pub(super) fn new(camera: &CameraId, gear: Gear) -> Self {
        let (camera, stream, decoder) = (camera.to_string(), String::new(), String::new());
        let rate = String::new();
        let pulse = Self { camera, stream, decoder, gear, frames: 0, units: 0, since: Instant::now(), rate };
        pulse.show_gear();
        pulse
    }

    pub(super) fn gear(&self) -> Gear {
        self.gear
    }

    pub(super) fn opened(&mut self, stream: String, decoder: String) {
        self.show_decoder(0.0);
        (self.stream, self.decoder) = (stream, decoder);
        self.show_decoder(1.0);
    }

    pub(super) fn shifted(&mut self, gear: Gear) {
        self.gear = gear;
        self.show_gear();
    }

    pub(super) fn frame(&mut self, cx: &ServiceCx) {
        self.frames += 1;
        self.count(cx);
    }

    pub(super) fn unit(&mut self, cx: &ServiceCx) {
        self.units += 1;
        self.count(cx);
    }

    /// Such as `1280x720 h264 by avdec_h264, idle, 15.0 units/s`.
    pub(super) fn note(&self) -> String {
        let parts = [self.stream.as_str(), self.gear.as_str(), self.rate.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn count(&mut self, cx: &ServiceCx) {
        let span = self.since.elapsed();
        if span >= NOTE_EVERY {
            self.measured(span);
            cx.place.note(self.note());
        }
    }

    fn measured(&mut self, span: Duration) {
        let (count, what) = if self.units > 0 { (self.units, "units") } else { (self.frames, "frames") };
        self.rate = format!("{:.1} {what}/s", count as f32 / span.as_secs_f32());
        (self.frames, self.units, self.since) = (0, 0, Instant::now());
    }

    fn show_gear(&self) {
        for gear in GEARS {
            let on = f64::from(u8::from(gear == self.gear.as_str()));
            metrics::gauge!("watchtree_camera_gear", "camera" => self.camera.clone(), "gear" => gear).set(on);
        }
    }

    fn show_decoder(&self, on: f64) {
        if !self.decoder.is_empty() {
            let (camera, decoder) = (self.camera.clone(), self.decoder.clone());
            metrics::gauge!("watchtree_camera_decoder", "camera" => camera, "decoder" => decoder).set(on);
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.show_decoder(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_says_what_comes_how_much_of_it_is_decoded_and_by_whom() {
        let mut pulse = Pulse::new(&"door".parse().expect("a name"), Gear::Awake);
        assert_eq!(pulse.note(), "awake");
        pulse.opened("1280x720 h264 by avdec_h264".to_owned(), "avdec_h264".to_owned());
        (pulse.frames, pulse.units) = (25, 75);
        pulse.measured(Duration::from_secs(5));
        pulse.shifted(Gear::Idle { every_ms: 4000 });
        assert_eq!(pulse.note(), "1280x720 h264 by avdec_h264, idle, 15.0 units/s");
        pulse.frames = 25;
        pulse.measured(Duration::from_secs(5));
        assert_eq!(pulse.note(), "1280x720 h264 by avdec_h264, idle, 5.0 frames/s");
    }
}
