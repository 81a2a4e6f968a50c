//! What an edge has recorded, as a program that knows nothing of us reads it: ffprobe.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One file of footage.
#[derive(Debug, Clone, PartialEq)]
pub struct Take {
    pub path: PathBuf,
    pub codec: String,
    pub width: u32,
    pub height: u32,
    pub has_audio: bool,
    pub begins_with_key: bool,
    pub pictures: usize,
    pub key_pictures: usize,
    /// From the first picture shown to the end of the last.
    pub span: Duration,
    /// As the file says of its pictures.
    pub duration: Duration,
    /// Longer than one and a half times the usual, between two pictures.
    pub gaps: Vec<Duration>,
    /// What ffprobe complained of; empty if nothing.
    pub errors: String,
}

/// All files of one camera below the directory of recordings, oldest first.
pub fn files(dir: &Path, camera: &str) -> Vec<PathBuf> {
    let days = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = days.map(|day| day.path().join(camera)).filter(|folder| folder.is_dir());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut files: Vec<PathBuf> =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "mp4")).collect();
    files.sort();
    files
}

/// `frame`: the time from one picture to the next.
pub fn probe(path: &Path, frame: Duration) -> Result<Take, String> {
    let entries = "packet=stream_index,pts_time,duration_time,flags:stream=index,codec_type,codec_name,width,height,duration\
                   :format=duration";
    let said = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", entries, "-of", "json"])
        .arg(path)
        .output()
        .map_err(|e| format!("ffprobe does not start ({e}): run `make setup`"))?;
    let errors = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    let probed: Probed =
        serde_json::from_slice(&said.stdout).map_err(|e| format!("{}: {e}; {errors}", path.display()))?;
    probed.take(path, frame, errors).ok_or_else(|| format!("{} holds no video: {probed:.300?}", path.display()))
}

#[derive(Debug, Deserialize)]
struct Probed {
    #[serde(default)]
    packets: Vec<Packet>,
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Deserialize)]
struct Packet {
    stream_index: u32,
    pts_time: Option<String>,
    duration_time: Option<String>,
    #[serde(default)]
    flags: String,
}

#[derive(Debug, Deserialize)]
struct Stream {
    index: u32,
    codec_type: Option<String>,
    codec_name: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
}

#[derive(Debug, Default, Deserialize)]
struct Format {
    duration: Option<String>,
}

impl Probed {
    fn take(&self, path: &Path, frame: Duration, errors: String) -> Option<Take> {
        let of = |kind: &str| self.streams.iter().find(|stream| stream.codec_type.as_deref() == Some(kind));
        let video = of("video")?;
        let packets: Vec<&Packet> = self.packets.iter().filter(|packet| packet.stream_index == video.index).collect();
        let seconds = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
        let mut shown: Vec<(f64, f64)> = packets
            .iter()
            .filter_map(|packet| Some((seconds(&packet.pts_time)?, seconds(&packet.duration_time).unwrap_or(0.0))))
            .collect();
        shown.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (first, last) = (shown.first()?, shown.last()?);
        let long_s = frame.as_secs_f64() * 1.5;
        let apart = shown.windows(2).map(|two| two[1].0 - two[0].0);
        Some(Take {
            path: path.to_owned(),
            codec: video.codec_name.clone().unwrap_or_default(),
            width: video.width,
            height: video.height,
            has_audio: of("audio").is_some(),
            begins_with_key: packets.first().is_some_and(|packet| packet.flags.contains('K')),
            pictures: shown.len(),
            key_pictures: packets.iter().filter(|packet| packet.flags.contains('K')).count(),
            span: Duration::try_from_secs_f64(last.0 + last.1 - first.0).ok()?,
            duration: Duration::try_from_secs_f64(seconds(&video.duration).or(seconds(&self.format.duration))?).ok()?,
            gaps: apart.filter(|s| *s > long_s).filter_map(|s| Duration::try_from_secs_f64(s).ok()).collect(),
            errors,
        })
    }
}

impl Take {
    /// What is wrong with it, whatever its camera did: nothing.
    pub fn faults(&self, frame: Duration) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.errors.is_empty() {
            faults.push(format!("ffprobe: {}", self.errors));
        }
        if !self.begins_with_key {
            faults.push("it does not begin with a key frame".to_owned());
        }
        if self.duration.abs_diff(self.span) > frame {
            faults.push(format!("it says it lasts {:?}, and its pictures last {:?}", self.duration, self.span));
        }
        faults.into_iter().map(|fault| format!("{}: {fault}", self.path.display())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(100);

    fn made(times: &[(&str, &str)], duration: &str) -> Take {
        let packets: Vec<String> = times
            .iter()
            .map(|(pts, flags)| {
                format!(r#"{{"stream_index":0,"pts_time":"{pts}","duration_time":"0.1","flags":"{flags}"}}"#)
            })
            .collect();
        let text = format!(
            r#"{{"packets":[{}],"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":4,"height":2}}],
               "format":{{"duration":"{duration}"}}}}"#,
            packets.join(",")
        );
        let probed: Probed = serde_json::from_str(&text).expect("as ffprobe writes it");
        probed.take(Path::new("a.mp4"), FRAME, String::new()).expect("it has video")
    }

    #[test]
    fn a_take_is_as_long_as_its_pictures_in_the_order_they_are_shown() {
        let take = made(&[("0.2", "K_"), ("0.4", "__"), ("0.3", "__")], "0.3");
        assert_eq!((take.pictures, take.span, take.gaps.len()), (3, Duration::from_millis(300), 0));
        assert!(take.begins_with_key && take.faults(FRAME).is_empty());
    }

    #[test]
    fn gaps_and_wrong_durations_are_seen() {
        let take = made(&[("0.0", "__"), ("0.1", "__"), ("0.5", "K_")], "1.2");
        assert_eq!(take.gaps.len(), 1);
        let faults = take.faults(FRAME);
        assert!(faults.len() == 2 && faults[1].contains("1.2"), "{faults:?}");
    }

    #[test]
    fn files_are_found_by_camera_in_the_folders_of_days() {
        let dir = tempfile::tempdir().expect("a temp dir");
        for file in
            ["2026-01-02/yard/b.mp4", "2026-01-01/yard/a.mp4", "2026-01-01/gate/c.mp4", "2026-01-01/yard/d.json"]
        {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("it has one"))
                .and_then(|()| std::fs::write(path, ""))
                .expect("ours");
        }
        let found = files(dir.path(), "yard");
        assert_eq!(found, ["2026-01-01/yard/a.mp4", "2026-01-02/yard/b.mp4"].map(|file| dir.path().join(file)));
        assert!(files(&dir.path().join("none"), "yard").is_empty());
    }
}
