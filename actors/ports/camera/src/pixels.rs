//! Pixels: a decoded picture as the node gets it, I420 without padding.

use crate::outbox::{Picture, SpeakError};
use crate::scaling::shrunk;
use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use protocol::camera::Frame;
use protocol::codec::Blob;

/// In `room`, so that its megabyte is not asked for anew each time.
pub fn frame(picture: &Picture, room: Vec<u8>) -> Result<Frame, SpeakError> {
    let (sample, known, shrink) = (&picture.sample, picture.known, picture.shrink);
    let buffer = sample.buffer().ok_or(SpeakError::Incomplete("pixels"))?;
    let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    let info = info.ok_or(SpeakError::Incomplete("a format"))?;
    let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|_| SpeakError::Incomplete("readable pixels"))?;
    Ok(Frame {
        index: known.index,
        pts_us: known.pts_us,
        captured_us: known.captured_us,
        replayed: known.replayed,
        width: info.width() / shrink,
        height: info.height() / shrink,
        pixels: Blob(unpadded(&picture, shrink, room)?),
    })
}

/// Y, U and V, each row without what the decoder pads it with, both sides smaller by `shrink`.
fn unpadded(
    picture: &gst_video::VideoFrameRef<&gst::BufferRef>,
    shrink: u32,
    mut pixels: Vec<u8>,
) -> Result<Vec<u8>, SpeakError> {
    pixels.clear();
    pixels.reserve(picture.info().size() / (shrink * shrink) as usize);
    for plane in 0..3u32 {
        let no_plane = SpeakError::Incomplete("all three planes");
        let Ok(data) = picture.plane_data(plane) else { return Err(no_plane) };
        let stride = usize::try_from(picture.plane_stride()[plane as usize]).unwrap_or(0);
        let (width, height) = (picture.comp_width(plane) as usize, picture.comp_height(plane) as usize);
        if stride < width || data.len() < stride * height.saturating_sub(1) + width {
            return Err(no_plane);
        }
        if shrink > 1 {
            shrunk(data, stride, [width, height], shrink, &mut pixels);
        } else if stride == width {
            pixels.extend_from_slice(&data[..width * height]);
        } else {
            data.chunks(stride).take(height).for_each(|row| pixels.extend_from_slice(&row[..width]));
        }
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lose_their_padding_and_odd_sides_round_chroma_up() {
        gst::init().expect("GStreamer is installed");
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 5, 3).build().expect("a size");
        assert!(info.stride()[0] > 5, "GStreamer pads rows of five");
        let mut buffer = gst::Buffer::from_mut_slice(vec![255u8; info.size()]);
        {
            let buffer = buffer.get_mut().expect("it is ours");
            let mut picture = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &info).expect("writable");
            for (plane, width) in [(0u32, 5), (1, 3), (2, 3)] {
                let stride = picture.plane_stride()[plane as usize] as usize;
                for row in picture.plane_data_mut(plane).expect("a plane").chunks_mut(stride) {
                    row[..width].fill(plane as u8);
                }
            }
        }
        let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &info).expect("readable");
        let pixels = unpadded(&picture, 1, vec![9]).expect("three planes");
        assert_eq!(pixels.len(), protocol::frame::i420_bytes(5, 3).expect("a small frame"));
        assert_eq!(pixels, [vec![0; 15], vec![1; 6], vec![2; 6]].concat());
    }
}
