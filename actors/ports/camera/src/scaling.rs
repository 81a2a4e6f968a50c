//! Scaling: the size a frame is handed over in.

use gstreamer as gst;
use protocol::camera::Source;
use protocol::limits::{FRAME_BYTES_MAX, FRAME_SIDE_PX_MAX};

pub fn handed_caps(source: &Source, width: u32, height: u32) -> gst::Caps {
    let (width, height) = handed_size(source, width, height);
    let side = |px: u32| i32::try_from(px).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw").field("width", side(width)).field("height", side(height)).build()
}

/// The size a frame is handed over in: its own, or smaller with the same proportions and both sides even.
/// With `every_frame` only the limits of the wire make it smaller.
fn handed_size(source: &Source, width: u32, height: u32) -> (u32, u32) {
    let width_max =
        if source.every_frame { FRAME_SIDE_PX_MAX } else { source.frame_width_px_max.min(FRAME_SIDE_PX_MAX) };
    let (w, h) = (f64::from(width), f64::from(height));
    // A little under the limit in bytes, for what rounding adds.
    let by_bytes = (FRAME_BYTES_MAX as f64 * 0.99 / (w * h * 1.5)).sqrt();
    let by_sides = (f64::from(width_max) / w).min(f64::from(FRAME_SIDE_PX_MAX) / h);
    let fits = w * h * 1.5 <= FRAME_BYTES_MAX as f64 - w - h && by_sides >= 1.0;
    if fits || width == 0 || height == 0 {
        return (width, height);
    }
    let scale = by_sides.min(by_bytes);
    let narrow = ((w * scale / 2.0 + 1e-6).floor() * 2.0).max(2.0);
    let low = (h * narrow / w / 2.0).round() * 2.0;
    (narrow as u32, low.max(2.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(frame_width_px_max: u32, every_frame: bool) -> Source {
        Source { frame_width_px_max, every_frame, ..Source::new("rtsp://127.0.0.1/cam") }
    }

    #[test]
    fn only_a_wider_frame_is_scaled() {
        assert_eq!(handed_size(&source(640, false), 640, 360), (640, 360));
        assert_eq!(handed_size(&source(640, false), 320, 181), (320, 181));
        assert_eq!(handed_size(&source(640, false), 1280, 720), (640, 360));
        assert_eq!(handed_size(&source(640, false), 1280, 714), (640, 358));
        assert_eq!(handed_size(&source(640, true), 1920, 1080), (1920, 1080));
    }

    proptest! {
        #[test]
        fn every_size_fits_the_wire_and_is_even_where_it_was_scaled(
            w in 16u32..8192, h in 16u32..8192, max in 64u32..5000, every in any::<bool>(),
        ) {
            let (narrow, low) = handed_size(&source(max, every), w, h);
            prop_assert!(protocol::frame::i420_bytes(narrow, low).is_ok(), "{w}x{h} becomes {narrow}x{low}");
            prop_assert!((narrow, low) == (w, h) || (narrow % 2 == 0 && low % 2 == 0));
        }
    }
}
