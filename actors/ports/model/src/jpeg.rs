//! JPEG: untrusted bytes to an image, or the reason why not.
//!
//! The header is read first and the size it claims is held against the limits: nothing is allocated for a
//! picture that would be refused. Broken files are refused whole; a half-grey picture would be judged empty.

use crate::colour::Image;
use protocol::frame::i420_bytes;
use protocol::limits::FRAME_SIDE_PX_MAX;
use protocol::model::ChannelOrder;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Passes over a progressive file. Common encoders make ten; more is an attempt to cost time, and refused.
const SCANS_MAX: usize = 64;

/// Marks in a JPEG file.
const START_OF_SCAN: [u8; 2] = [0xFF, 0xDA];
const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];

/// Orientation tags are not applied: cameras do not write them.
pub fn to_image(file: &[u8], order: ChannelOrder) -> Result<Image, String> {
    let colours = match order {
        ChannelOrder::Rgb => ColorSpace::RGB,
        ChannelOrder::Bgr => ColorSpace::BGR,
    };
    let side_max = FRAME_SIDE_PX_MAX as usize;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(side_max)
        .set_max_height(side_max)
        .jpeg_set_max_scans(SCANS_MAX)
        .jpeg_set_out_colorspace(colours);
    let broken = |error: &dyn std::fmt::Debug| format!("JPEG of {} B cannot be read: {error:?}", file.len());

    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|error| broken(&error))?;
    let (width, height) = decoder.info().map(|info| (info.width, info.height)).ok_or_else(|| broken(&"no size"))?;
    i420_bytes(u32::from(width), u32::from(height))?;
    // The decoder notices a cut only where another row of blocks is missing.
    if !is_whole(file) {
        return Err(broken(&"it is cut short"));
    }
    // Cameras at night may send brightness alone, which the decoder does not spread over three channels.
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    if grey {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
    }
    let mut pixels = decoder.decode().map_err(|error| broken(&error))?;
    if grey {
        pixels = pixels.into_iter().flat_map(|brightness| [brightness; 3]).collect();
    }
    let (width, height) = (usize::from(width), usize::from(height));
    if pixels.len() != width * height * 3 {
        return Err(broken(&"its colours are not three a pixel"));
    }
    Ok(Image { width, height, pixels })
}

/// Whether the last scan ends. Earlier marks may belong to a thumbnail; padding may follow the end.
fn is_whole(file: &[u8]) -> bool {
    let mut pairs = file.windows(2);
    match pairs.rposition(|pair| pair == START_OF_SCAN) {
        Some(scan) => file[scan..].windows(2).any(|pair| pair == END_OF_IMAGE),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 96x64, grey, with a red square of 32 px at (32, 16).
    const SQUARE: &[u8] = include_bytes!("../tests/square.jpg");

    fn check_refused(file: &[u8], reason: &str) {
        let error = to_image(file, ChannelOrder::Bgr).expect_err("the file is broken");
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn colours_come_in_the_order_that_is_asked() {
        let at = (32 * 96 + 48) * 3;
        for (order, red, blue) in [(ChannelOrder::Rgb, 0, 2), (ChannelOrder::Bgr, 2, 0)] {
            let image = to_image(SQUARE, order).expect("the file is whole");
            assert_eq!((image.width, image.height), (96, 64));
            let pixel = &image.pixels[at..at + 3];
            assert!(pixel[red] > 200 && pixel[blue] < 50, "{order:?}: {pixel:?}");
        }
    }

    /// The same without colours.
    const GREY: &[u8] = include_bytes!("../tests/square_grey.jpg");

    #[test]
    fn a_picture_without_colours_is_grey() {
        let image = to_image(GREY, ChannelOrder::Bgr).expect("the file is whole");
        let at = (32 * 96 + 48) * 3;
        let pixel = &image.pixels[at..at + 3];
        assert!(pixel[0] < 100 && pixel == [pixel[0]; 3], "{pixel:?}");
        assert!(image.pixels[0] > 120 && image.pixels.len() == 96 * 64 * 3);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        for bytes in 0..SQUARE.len() - 1 {
            check_refused(&SQUARE[..bytes], "cannot be read");
        }
    }

    #[test]
    fn padding_after_the_end_is_no_fault() {
        let padded = [SQUARE, &[0; 64]].concat();
        assert!(to_image(&padded, ChannelOrder::Rgb).is_ok());
    }

    #[test]
    fn a_claimed_size_beyond_the_limit_is_refused_before_it_is_decoded() {
        let mut file = SQUARE.to_vec();
        let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a baseline file");
        file[frame + 5..frame + 7].copy_from_slice(&5000u16.to_be_bytes());
        check_refused(&file, "5000");
        // Each side is allowed, both together are not.
        file[frame + 5..frame + 7].copy_from_slice(&4096u16.to_be_bytes());
        file[frame + 7..frame + 9].copy_from_slice(&4096u16.to_be_bytes());
        check_refused(&file, "the limit is");
    }

    #[test]
    fn what_is_no_jpeg_is_refused() {
        check_refused(b"", "cannot be read");
        check_refused(b"GIF89a and then some", "cannot be read");
    }
}
