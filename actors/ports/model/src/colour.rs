//! Colour: I420 as cameras give it, to the three bytes a pixel that models were trained on.
//!
//!   Y plane ─┐
//!   U plane ─┼──▶ [to_image] ──▶ Image, RGB or BGR
//!   V plane ─┘
//!
//! BT.601, limited range, nearest chroma, in the fixed-point arithmetic of OpenCV's `cvtColor`: models are
//! compared with references made by OpenCV, and a different rounding would show as a different score.

use protocol::frame::i420_bytes;
use protocol::model::ChannelOrder;

/// A picture, three bytes a pixel, rows without padding, channels in the order that the model wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// The factors below are BT.601's, times two to this power.
const SHIFT: i32 = 20;
const HALF: i32 = 1 << (SHIFT - 1);
const Y: i32 = 1_220_542;
const U_TO_BLUE: i32 = 2_116_026;
const U_TO_GREEN: i32 = -409_993;
const V_TO_GREEN: i32 = -852_492;
const V_TO_RED: i32 = 1_673_527;

/// Refuses a size beyond the limits and a byte count that is not the size's.
pub fn to_image(width: u32, height: u32, i420: &[u8], order: ChannelOrder) -> Result<Image, String> {
    let bytes = i420_bytes(width, height)?;
    if i420.len() != bytes {
        return Err(format!("frame of {width}x{height} has {} B of I420, not {bytes} B", i420.len()));
    }
    let (width, height) = (width as usize, height as usize);
    let chroma_width = width.div_ceil(2);
    let (luma, chroma) = i420.split_at(width * height);
    let (u_plane, v_plane) = chroma.split_at(chroma.len() / 2);

    let mut pixels = vec![0; width * height * 3];
    for (y, (row, out)) in luma.chunks_exact(width).zip(pixels.chunks_exact_mut(width * 3)).enumerate() {
        let chroma_row = y / 2 * chroma_width..(y / 2 + 1) * chroma_width;
        let (u_row, v_row) = (&u_plane[chroma_row.clone()], &v_plane[chroma_row]);
        match order {
            ChannelOrder::Rgb => convert_row::<0, 2>(row, u_row, v_row, out),
            ChannelOrder::Bgr => convert_row::<2, 0>(row, u_row, v_row, out),
        }
    }
    Ok(Image { width, height, pixels })
}

/// `RED` and `BLUE` say which byte of a pixel takes which colour.
fn convert_row<const RED: usize, const BLUE: usize>(luma: &[u8], u_row: &[u8], v_row: &[u8], out: &mut [u8]) {
    let chroma = u_row.iter().zip(v_row);
    for ((pair, pixels), (&u, &v)) in luma.chunks(2).zip(out.chunks_mut(6)).zip(chroma) {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let red = HALF + V_TO_RED * v;
        let green = HALF + V_TO_GREEN * v + U_TO_GREEN * u;
        let blue = HALF + U_TO_BLUE * u;
        for (&y, pixel) in pair.iter().zip(pixels.chunks_exact_mut(3)) {
            let y = (i32::from(y) - 16).max(0) * Y;
            pixel[RED] = clamp((y + red) >> SHIFT);
            pixel[1] = clamp((y + green) >> SHIFT);
            pixel[BLUE] = clamp((y + blue) >> SHIFT);
        }
    }
}

fn clamp(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One colour over 3x3 pixels: odd sides have a last chroma sample of half a pair.
    #[track_caller]
    fn check(yuv: [u8; 3], rgb: [u8; 3]) {
        let [y, u, v] = yuv;
        let i420 = [vec![y; 9], vec![u; 4], vec![v; 4]].concat();
        let image = to_image(3, 3, &i420, ChannelOrder::Rgb).expect("the size is right");
        assert_eq!(image.pixels, rgb.repeat(9));
        let image = to_image(3, 3, &i420, ChannelOrder::Bgr).expect("the size is right");
        let [r, g, b] = rgb;
        assert_eq!(image.pixels, [b, g, r].repeat(9));
    }

    #[test]
    fn limited_range_black_and_white_are_full_black_and_white() {
        check([16, 128, 128], [0, 0, 0]);
        check([235, 128, 128], [255, 255, 255]);
    }

    #[test]
    fn below_black_stays_black() {
        check([0, 128, 128], [0, 0, 0]);
    }

    // From OpenCV 5.0: cvtColor(..., COLOR_YUV2RGB_I420).
    #[test]
    fn colours_are_opencvs_to_the_last_bit() {
        check([81, 90, 240], [254, 0, 0]);
        check([145, 54, 34], [0, 255, 1]);
        check([41, 240, 110], [0, 0, 255]);
        check([120, 77, 190], [220, 91, 18]);
    }

    #[test]
    fn chroma_belongs_to_a_block_of_two_by_two() {
        let mut i420 = vec![128; 4 * 4 * 3 / 2];
        i420[16 + 3] = 255;
        let image = to_image(4, 4, &i420, ChannelOrder::Rgb).expect("the size is right");
        let blue: Vec<_> = image.pixels.chunks_exact(3).map(|pixel| pixel[2] > 200).collect();
        assert_eq!(blue.chunks(4).map(|row| row.to_vec()).collect::<Vec<_>>(), {
            let (no, yes) = (vec![false; 4], vec![false, false, true, true]);
            [no.clone(), no, yes.clone(), yes]
        });
    }

    #[test]
    fn a_wrong_byte_count_is_refused_with_both_counts() {
        let error = to_image(4, 4, &[0; 23], ChannelOrder::Rgb).expect_err("one byte is missing");
        assert_eq!(error, "frame of 4x4 has 23 B of I420, not 24 B");
    }
}
