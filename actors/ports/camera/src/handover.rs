//! The handover: takes frames from the pipeline's end and sends them to the node.
//!
//!   appsink (holds one) ─▶ [handover thread] ─▶ socket
//!
//! A thread of its own: a node that is slow to read must not hold up the camera's connection. What waits
//! meanwhile is one frame, always the newest, or with `every_frame` the pipeline.

use crate::Tell;
use crate::pipeline::Pipeline;
use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use protocol::camera::{Frame, Report};
use protocol::codec::Blob;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("the node takes no frames: {0}")]
    NodeGone(#[from] std::io::Error),
    /// A fault of ours or of GStreamer's, not of the source.
    #[error("a frame came without {0}")]
    Incomplete(&'static str),
}

/// Whether the handover gets on, as seen from another thread. Odd while it works on a frame.
#[derive(Default)]
pub struct Pace(AtomicU64);

impl Pace {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It waits for a frame, or has done something since `last`.
    pub fn gets_on(&self, last: &mut u64) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        let moved = now != std::mem::replace(last, now);
        moved || now.is_multiple_of(2)
    }
}

/// Runs until the pipeline ends or is stopped.
pub fn hand_over(pipeline: &Pipeline, tell: &Tell, pace: &Pace) -> Result<(), HandoverError> {
    let mut opened = false;
    while let Ok(sample) = pipeline.sink.pull_sample() {
        pace.step();
        let frame = frame(pipeline, &sample)?;
        if !opened {
            opened = true;
            tell(opened_report(pipeline, &frame))?;
        }
        tell(Report::Frame(frame))?;
        pace.step();
    }
    Ok(())
}

fn opened_report(pipeline: &Pipeline, frame: &Frame) -> Report {
    let (codec, decoder) = pipeline.decoder.get().copied().unwrap_or_default();
    let (width, height) = pipeline.tap.native_size().unwrap_or((frame.width, frame.height));
    Report::Opened { codec: codec.to_owned(), width, height, decoder: decoder.to_owned() }
}

fn frame(pipeline: &Pipeline, sample: &gst::Sample) -> Result<Frame, HandoverError> {
    let buffer = sample.buffer().ok_or(HandoverError::Incomplete("pixels"))?;
    let kept = pipeline.tap.take(buffer.pts().unwrap_or_default()).ok_or(HandoverError::Incomplete("a known time"))?;
    let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    let info = info.ok_or(HandoverError::Incomplete("a format"))?;
    let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|_| HandoverError::Incomplete("readable pixels"))?;
    Ok(Frame {
        index: kept.index,
        pts_us: kept.pts_us,
        captured_us: kept.captured_us,
        replayed: false,
        width: info.width(),
        height: info.height(),
        pixels: Blob(unpadded(&picture)?),
    })
}

/// Y, U and V, each row without what the decoder pads it with.
fn unpadded(picture: &gst_video::VideoFrameRef<&gst::BufferRef>) -> Result<Vec<u8>, HandoverError> {
    let mut pixels = Vec::with_capacity(picture.info().size());
    for plane in 0..3u32 {
        let no_plane = HandoverError::Incomplete("all three planes");
        let Ok(data) = picture.plane_data(plane) else { return Err(no_plane) };
        let stride = usize::try_from(picture.plane_stride()[plane as usize]).unwrap_or(0);
        let (width, height) = (picture.comp_width(plane) as usize, picture.comp_height(plane) as usize);
        if stride < width || data.len() < stride * height.saturating_sub(1) + width {
            return Err(no_plane);
        }
        if stride == width {
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
    fn a_handover_gets_on_while_it_waits_or_moves_and_not_while_it_is_stuck_in_a_frame() {
        let (pace, mut last) = (Pace::default(), 0);
        assert!(pace.gets_on(&mut last) && pace.gets_on(&mut last), "it waits for the first frame");
        pace.step();
        assert!(pace.gets_on(&mut last), "it has begun one");
        assert!(!pace.gets_on(&mut last) && !pace.gets_on(&mut last), "it is stuck in it");
        (0..2).for_each(|_| pace.step());
        assert!(pace.gets_on(&mut last), "it is in the next");
    }

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
        let pixels = unpadded(&picture).expect("three planes");
        assert_eq!(pixels.len(), protocol::frame::i420_bytes(5, 3).expect("a small frame"));
        assert_eq!(pixels, [vec![0; 15], vec![1; 6], vec![2; 6]].concat());
    }
}
