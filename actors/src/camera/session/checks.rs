//! What a port says of a stream, checked before anybody relies on it. Pure.

use protocol::camera::{AudioFormat, Format, Stream, Unit, VideoFormat};
use protocol::limits;

/// Pictures are reordered by less than this; a stream whose time goes back farther has begun anew.
const BACK_US_MAX: i64 = 10_000_000;

/// A source that is silent for long is closed; one whose time leaps farther has set its clock.
const AHEAD_US_MAX: i64 = 60_000_000;

const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
const CHANNELS: std::ops::RangeInclusive<u16> = 1..=16;

/// The units of one life of a port, as they come.
#[derive(Default)]
pub(super) struct Course {
    format: Option<Format>,
    /// Presentation times of the newest picture and the newest sound.
    pts_us: [Option<i64>; 2],
}

impl Course {
    pub(super) fn format(&mut self, format: &Format) -> Result<(), String> {
        check_video(&format.video)?;
        format.audio.as_ref().map_or(Ok(()), check_audio)?;
        self.format = Some(format.clone());
        Ok(())
    }

    /// The format to begin anew with, if this unit does not continue those before it.
    pub(super) fn unit(&mut self, unit: &Unit) -> Result<Option<&Format>, String> {
        let bytes = unit.data.0.len();
        if bytes == 0 || bytes > limits::UNIT_BYTES_MAX {
            return Err(format!("a unit of {bytes} B; 1 to {} B are allowed", limits::UNIT_BYTES_MAX));
        }
        if unit.pts_us.checked_abs().is_none_or(|pts_us| pts_us > limits::PTS_US_MAX) {
            return Err(format!("a unit's time is {} us", unit.pts_us));
        }
        let format = self.format.as_ref().ok_or("a unit came before its format")?;
        if unit.stream == Stream::Audio && format.audio.is_none() {
            return Err("a unit of sound came, and the format has none".to_owned());
        }
        let at = usize::from(unit.stream == Stream::Audio);
        let step_us = self.pts_us[at].replace(unit.pts_us).map_or(0, |last_us| unit.pts_us - last_us);
        if (-BACK_US_MAX..=AHEAD_US_MAX).contains(&step_us) {
            return Ok(None);
        }
        // The other stream jumps too.
        self.pts_us = [None, None];
        self.pts_us[at] = Some(unit.pts_us);
        Ok(Some(format))
    }
}

fn check_video(VideoFormat { width, height, config, .. }: &VideoFormat) -> Result<(), String> {
    let max = limits::VIDEO_SIDE_PX_MAX;
    if *width == 0 || *height == 0 || *width > max || *height > max {
        return Err(format!("the video is {width}x{height}; each side must be 1 to {max} pixels"));
    }
    check_config(config.0.len())
}

fn check_audio(AudioFormat { sample_rate, channels, config, .. }: &AudioFormat) -> Result<(), String> {
    if !SAMPLE_RATES.contains(sample_rate) || !CHANNELS.contains(channels) {
        return Err(format!("sound of {channels} channels at {sample_rate} Hz"));
    }
    check_config(config.0.len())
}

fn check_config(bytes: usize) -> Result<(), String> {
    let max = limits::CODEC_CONFIG_BYTES_MAX;
    if bytes > max { Err(format!("a decoder's configuration of {bytes} B; the limit is {max} B")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::camera::{AudioCodec, VideoCodec};
    use protocol::codec::Blob;

    fn format() -> Format {
        let video = VideoFormat { codec: VideoCodec::H264, width: 1280, height: 720, config: Blob(vec![1; 40]) };
        let config = Blob(vec![1; 2]);
        Format { video, audio: Some(AudioFormat { codec: AudioCodec::Aac, sample_rate: 8000, channels: 1, config }) }
    }

    fn unit(stream: Stream, pts_us: i64) -> Unit {
        Unit { stream, key: true, pts_us, duration_us: 0, captured_us: 0, data: Blob(vec![1; 9]) }
    }

    fn begun() -> Course {
        let mut course = Course::default();
        course.format(&format()).expect("a good format");
        course
    }

    /// Whether each picture, by its time in ms, begins anew.
    fn check(pts_ms: &[i64], anew: &[bool]) {
        let mut course = begun();
        let mut begins = |ms: &i64| course.unit(&unit(Stream::Video, ms * 1000)).expect("a good unit").is_some();
        assert_eq!(pts_ms.iter().map(&mut begins).collect::<Vec<_>>(), anew, "{pts_ms:?}");
    }

    #[test]
    fn reordered_pictures_and_short_holes_continue() {
        check(&[0, 120, 40, 80, 2000, 1960, 40_000], &[false; 7]);
        check(&[1_000_000, 1_000_040], &[false; 2]);
    }

    #[test]
    fn a_stream_whose_time_jumps_begins_anew() {
        check(&[60_000, 0, 40], &[false, true, false]);
        check(&[0, 70_000, 70_040], &[false, true, false]);
    }

    #[test]
    fn sound_that_jumps_with_its_pictures_begins_anew_once() {
        let mut course = begun();
        let mut begins = |stream, s: i64| course.unit(&unit(stream, s * 1_000_000)).expect("a good unit").is_some();
        assert_eq!([begins(Stream::Video, 100), begins(Stream::Audio, 100)], [false; 2]);
        assert_eq!([begins(Stream::Video, 0), begins(Stream::Audio, 0)], [true, false]);
    }

    #[test]
    fn a_unit_that_cannot_be_is_refused() {
        let mut course = begun();
        for wrong in [
            Unit { data: Blob(Vec::new()), ..unit(Stream::Video, 0) },
            Unit { data: Blob(vec![0; limits::UNIT_BYTES_MAX + 1]), ..unit(Stream::Video, 0) },
            unit(Stream::Video, i64::MIN),
            unit(Stream::Video, limits::PTS_US_MAX + 1),
        ] {
            assert!(course.unit(&wrong).is_err(), "{} us, {} B", wrong.pts_us, wrong.data.0.len());
        }
        assert!(Course::default().unit(&unit(Stream::Video, 0)).is_err(), "without a format");
        course.format(&Format { audio: None, ..format() }).expect("a good format");
        assert!(course.unit(&unit(Stream::Audio, 0)).is_err(), "without sound");
    }

    #[test]
    fn a_format_that_cannot_be_is_refused() {
        let with = |change: fn(&mut Format)| {
            let mut format = format();
            change(&mut format);
            Course::default().format(&format)
        };
        assert!(with(|_| {}).is_ok());
        assert!(with(|format| format.video.width = 0).is_err());
        assert!(with(|format| format.video.height = 20_000).is_err());
        assert!(with(|format| format.video.config = Blob(vec![0; 65_537])).is_err());
        assert!(with(|format| format.audio.as_mut().expect("sound").channels = 0).is_err());
        assert!(with(|format| format.audio.as_mut().expect("sound").sample_rate = 1).is_err());
        assert!(with(|format| format.audio.as_mut().expect("sound").config = Blob(vec![0; 65_537])).is_err());
    }
}
