//! Files as another's decoder reads them.

use super::super::picture::tests::frame;
use super::*;
use proptest::prelude::*;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Width, height, and three bytes a pixel.
pub(in super::super) fn decoded(file: &[u8], colours: ColorSpace) -> (usize, usize, Vec<u8>) {
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let pixels = decoder.decode().expect("it is a JPEG");
    let info = decoder.info().expect("it has a head");
    assert_eq!(pixels.len(), usize::from(info.width) * usize::from(info.height) * 3);
    (usize::from(info.width), usize::from(info.height), pixels)
}

/// How far the decoded brightness is from the picture's, in grey levels, in the root of its mean square.
fn error(picture: &Picture, quality: u8) -> f64 {
    let (width, height, pixels) = decoded(&encode(picture, quality), ColorSpace::YCbCr);
    assert_eq!((width, height), (picture.width(), picture.height()));
    let [luma, ..] = picture.planes();
    let original = (0..height).flat_map(|row| luma.row(row));
    let off = |(one, other): (&u8, &u8)| (f64::from(*one) - f64::from(*other)).powi(2);
    (pixels.iter().step_by(3).zip(original).map(off).sum::<f64>() / (width * height) as f64).sqrt()
}

fn hills(width: u32, height: u32) -> Picture {
    let hill = |x: u32, y: u32| (126.0 + 50.0 * (x as f32 / 9.0).sin() + 50.0 * (y as f32 / 7.0).cos()) as u8;
    Picture::of(&frame(width, height, hill, [110, 150])).expect("a picture")
}

#[test]
fn quality_is_paid_in_bytes_and_seen_in_the_picture() {
    let picture = hills(320, 180);
    let sizes = [20, 60, 85, 100].map(|quality| encode(&picture, quality).len());
    let errors = [20, 60, 85, 100].map(|quality| error(&picture, quality));
    println!("{sizes:?} B, off by {errors:?} grey levels");
    assert!(sizes.is_sorted() && errors.is_sorted_by(|one, other| one > other));
    assert!(errors[2] < 2.0 && errors[3] < 0.6, "{errors:?}");
}

#[test]
fn sides_that_are_no_multiple_of_sixteen_come_out_whole() {
    for (width, height) in [(1, 1), (2, 2), (15, 17), (16, 16), (33, 18), (47, 31)] {
        assert!(error(&hills(width, height), 90) < 3.0, "{width}x{height}");
    }
}

#[test]
fn colours_are_those_of_the_frame() {
    // Pure red in limited range, BT.601.
    let picture = Picture::of(&frame(64, 48, |_, _| 81, [90, 240])).expect("a picture");
    let (_, _, pixels) = decoded(&encode(&picture, 95), ColorSpace::RGB);
    let middle = &pixels[(24 * 64 + 32) * 3..][..3];
    assert!(middle[0] > 245 && middle[1] < 10 && middle[2] < 10, "{middle:?}");
}

proptest! {
    #[test]
    fn noise_is_a_picture_too(samples in prop::collection::vec(any::<u8>(), 48 * 32), quality in 0..=255u8) {
        let noise = |x: u32, y: u32| samples[(y * 48 + x) as usize];
        let picture = Picture::of(&frame(48, 32, noise, [40, 220])).expect("a picture");
        let off = error(&picture, quality);
        prop_assert!(quality < 95 || off < 4.0, "off by {off} at {quality}");
    }
}
