//! Reports as messages: one each, but for a frame, whose pixels are a second one.
//!
//!   port: report ──say──▶ [head], [pixels] ──hear──▶ report: node
//!
//! A picture is a megabyte, five times a second of each camera: in a message of their own its pixels are copied neither into one nor out of it.

use super::{Frame, Report};
use crate::codec::{self, Blob, CodecError};
use crate::limits::PORT_MESSAGE_BYTES_MAX;

impl Report {
    /// Its messages, in order. `room` is for what has to be encoded, and can be used again.
    pub fn say<E>(&self, room: &mut Vec<u8>, mut send: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Self::Frame(frame) = self else {
            codec::encode_into(self, room);
            return send(room);
        };
        let Frame { index, pts_us, captured_us, replayed, width, height, .. } = *frame;
        let pixels = Blob::default();
        codec::encode_into(&Self::Frame(Frame { index, pts_us, captured_us, replayed, width, height, pixels }), room);
        send(room)?;
        send(&frame.pixels.0)
    }
}

/// The reports of one port, from its messages.
#[derive(Debug, Default)]
pub struct Reports {
    /// Its pixels are to come.
    begun: Option<Frame>,
}

impl Reports {
    /// What is whole with this message: nothing if it is a frame's head. That a frame has as many pixels as it says is
    /// for the reader to check.
    pub fn hear(&mut self, message: Vec<u8>) -> Result<Option<Report>, CodecError> {
        if let Some(frame) = self.begun.take() {
            return Ok(Some(Report::Frame(Frame { pixels: Blob(message), ..frame })));
        }
        match codec::decode::<Report, PORT_MESSAGE_BYTES_MAX>(&message)? {
            Report::Frame(frame) if !frame.pixels.0.is_empty() => {
                Err(CodecError::Garbled("a frame's head has pixels".to_owned()))
            }
            Report::Frame(frame) => {
                self.begun = Some(frame);
                Ok(None)
            }
            other => Ok(Some(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::UnitSize;
    use proptest::prelude::*;

    fn report() -> impl Strategy<Value = Report> {
        let frame = (any::<u64>(), any::<i64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 1..200));
        let frame = frame.prop_map(|(index, captured_us, replayed, pixels)| {
            let (pts_us, width, height, pixels) = (index / 2, 16, 9, Blob(pixels));
            Report::Frame(Frame { index, pts_us, captured_us, replayed, width, height, pixels })
        });
        let size = (any::<bool>(), any::<u32>())
            .prop_map(|(key, bytes)| Report::Size(UnitSize { key, bytes, captured_us: 7 }));
        prop_oneof![frame, size, Just(Report::Ended)]
    }

    proptest! {
        #[test]
        fn what_was_said_is_heard(said in prop::collection::vec(report(), 0..20)) {
            let (mut room, mut reports, mut heard) = (Vec::new(), Reports::default(), Vec::new());
            for report in &said {
                report.say(&mut room, |message| {
                    heard.extend(reports.hear(message.to_vec())?);
                    Ok::<_, CodecError>(())
                })?;
            }
            prop_assert_eq!(heard, said);
        }
    }

    #[test]
    fn a_frame_that_is_said_in_one_is_refused() {
        let pixels = Blob(vec![1, 2, 3]);
        let frame = Frame { index: 0, pts_us: 0, captured_us: 0, replayed: false, width: 2, height: 1, pixels };
        let refused = Reports::default().hear(codec::encode(&Report::Frame(frame)));
        assert!(matches!(refused, Err(CodecError::Garbled(_))), "{refused:?}");
    }
}
