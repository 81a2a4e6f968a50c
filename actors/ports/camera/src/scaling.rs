//! Scaling: the size a frame is handed over in, and by whom it gets it.

use gstreamer as gst;
use gstreamer_video as gst_video;
use protocol::camera::Source;
use protocol::limits::{FRAME_BYTES_MAX, FRAME_SIDE_PX_MAX};

/// By which frames are made smaller as they are copied: a mean of whole pixels, and no other pass over the picture.
const SHRINKS: [u32; 4] = [2, 3, 4, 6];

/// Of what a frame's sides may be, for it to be made smaller by a whole number.
const WHOLE_MIN: f64 = 0.7;

/// What GStreamer is to make of a decoder's pictures: what is handed over, or what becomes that by a whole number.
pub fn scaled_caps(source: &Source, native: &gst::CapsRef) -> Option<gst::Caps> {
    let info = gst_video::VideoInfo::from_caps(native).ok()?;
    let (width, height) = match shrink(source, &info) {
        Some(_) => (info.width(), info.height()),
        None => handed_size(source, info.width(), info.height()),
    };
    let side = |px: u32| i32::try_from(px).unwrap_or(i32::MAX);
    Some(gst::Caps::builder("video/x-raw").field("width", side(width)).field("height", side(height)).build())
}

/// By which whole number both sides of a picture in memory, of three planes, are larger than what is handed over.
pub fn shrink(source: &Source, info: &gst_video::VideoInfo) -> Option<u32> {
    let (width, height) = (info.width(), info.height());
    let (narrow, low) = handed_size(source, width, height);
    let is_it = |by: &u32| (narrow * by, low * by) == (width, height);
    SHRINKS.into_iter().find(is_it).filter(|_| info.format() == gst_video::VideoFormat::I420)
}

/// The means of squares of `by` by `by`; of what is left over at the right and at the bottom nothing is seen.
pub fn shrunk(plane: &[u8], stride: usize, [width, height]: [usize; 2], by: u32, into: &mut Vec<u8>) {
    match by {
        2 => means::<2>(plane, stride, [width, height], into),
        3 => means::<3>(plane, stride, [width, height], into),
        4 => means::<4>(plane, stride, [width, height], into),
        _ => means::<6>(plane, stride, [width, height], into),
    }
}

fn means<const BY: usize>(plane: &[u8], stride: usize, [width, height]: [usize; 2], into: &mut Vec<u8>) {
    let (narrow, low) = (width / BY, height / BY);
    let mut sums = vec![0_u16; narrow * BY];
    for rows in plane.chunks(stride * BY).take(low) {
        sums.fill(0);
        for row in rows.chunks(stride) {
            sums.iter_mut().zip(row).for_each(|(sum, &px)| *sum += u16::from(px));
        }
        let count = (BY * BY) as u16;
        into.extend(sums.chunks_exact(BY).map(|sums| ((sums.iter().sum::<u16>() + count / 2) / count) as u8));
    }
}

/// The size a frame is handed over in: its own, or smaller with the same proportions and both sides even.
/// With `every_frame` only the limits of the wire make it smaller. Where a whole number makes it hardly smaller than it
/// may be, that is taken: a half of 1920 for 1280.
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
    let whole = |by: &u32| width.is_multiple_of(2 * by) && height.is_multiple_of(2 * by);
    let near = |by: &u32| (WHOLE_MIN * scale..=scale * (1.0 + 1e-9)).contains(&(1.0 / f64::from(*by)));
    if let Some(by) = SHRINKS.into_iter().find(|by| whole(by) && near(by)) {
        return (width / by, height / by);
    }
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

    #[test]
    fn a_whole_number_is_taken_where_it_loses_little() {
        assert_eq!(handed_size(&source(1280, false), 1920, 1080), (960, 540));
        assert_eq!(handed_size(&source(1280, false), 2560, 1440), (1280, 720));
        assert_eq!(handed_size(&source(1280, false), 2688, 1520), (1280, 724));
        assert_eq!(handed_size(&source(640, false), 704, 576), (640, 524));
    }

    proptest! {
        #[test]
        fn what_is_shrunk_is_the_mean_of_squares(
            by in prop::sample::select(SHRINKS.to_vec()), narrow in 1usize..20, low in 1usize..10,
            padding in 0usize..20, rest in 0usize..2, seed in any::<u8>(),
        ) {
            let (width, height) = (narrow * by as usize + rest, low * by as usize + rest);
            let stride = width + padding;
            let plane: Vec<u8> = (0..stride * height).map(|at| (at * 37) as u8 ^ seed).collect();
            let mut small = Vec::new();
            shrunk(&plane[..plane.len() - padding], stride, [width, height], by, &mut small);
            let mean = |x: usize, y: usize| {
                let by = by as usize;
                let square = (0..by).flat_map(|row| plane[(y * by + row) * stride + x * by..][..by].to_vec());
                (square.map(u32::from).sum::<u32>() as f64 / (by * by) as f64).round() as u8
            };
            let wanted = (0..low).flat_map(|y| (0..narrow).map(move |x| mean(x, y))).collect::<Vec<_>>();
            prop_assert_eq!(small, wanted);
        }

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
