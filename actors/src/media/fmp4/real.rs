//! Streams of real encoders, judged by ffprobe. Without ffmpeg these tests say so and check nothing.

use super::testing::*;
use super::*;
use protocol::camera::{AudioFormat, Format, Stream, Unit, VideoCodec, VideoFormat};
use protocol::codec::Blob;
use std::path::Path;
use std::process::Command;

const SECONDS: u32 = 14;

struct Movie {
    format: Format,
    units: Vec<Unit>,
}

#[derive(Debug)]
struct Packet {
    stream: usize,
    pts: f64,
    dts: f64,
    duration: f64,
    key: bool,
    bytes: usize,
    at: usize,
}

fn run(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        eprintln!("SKIPPED: {program} is not installed; apt-get install ffmpeg");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{program} {args:?}: {errors}");
    Some(String::from_utf8(output.stdout).expect("it prints text"))
}

fn packets(path: &Path) -> Option<Vec<Packet>> {
    let entries = "packet=stream_index,pts_time,dts_time,duration_time,flags,size,pos";
    let text = run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", path.to_str()?])?;
    let packet = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        Packet {
            stream: fields[0].parse().expect("stream"),
            pts: fields[1].parse().expect("pts"),
            dts: fields[2].parse().expect("dts"),
            // Of the last unit of Opus it says nothing.
            duration: fields[3].parse().unwrap_or(0.02),
            bytes: fields[4].parse().expect("size"),
            at: fields[5].parse().expect("pos"),
            key: fields[6].starts_with('K'),
        }
    };
    Some(text.lines().filter(|line| !line.is_empty()).map(packet).collect())
}

fn durations(path: &Path) -> Option<Vec<f64>> {
    let entries = "format=duration:stream=duration";
    let text = run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", path.to_str()?])?;
    Some(text.lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect())
}

fn find<'a>(file: &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
    let at = file.windows(4).position(|window| window == kind).expect("the box is there");
    let bytes = u32::from_be_bytes(file[at - 4..at].try_into().expect("four")) as usize;
    &file[at + 4..at - 4 + bytes]
}

/// What ffmpeg makes of a test picture, as a camera's units.
fn movie(folder: &Path, video: &[&str], audio: &[&str], rate: &str, size: &str) -> Option<Movie> {
    let path = folder.join("made.mp4");
    let picture = format!("testsrc2=size={size}:rate={rate}");
    let seconds = SECONDS.to_string();
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture];
    if !audio.is_empty() {
        args.extend(["-f", "lavfi", "-i", "sine=440:sample_rate=48000"]);
    }
    args.extend(["-t", &seconds, "-pix_fmt", "yuv420p"]);
    args.extend(video.iter().chain(audio));
    args.push(path.to_str()?);
    run("ffmpeg", &args)?;
    let file = std::fs::read(&path).expect("ffmpeg wrote it");
    let packets = packets(&path)?;
    let (codec, config) = match video.contains(&"libx265") {
        true => (VideoCodec::H265, find(&file, b"hvcC")),
        false => (VideoCodec::H264, find(&file, b"avcC")),
    };
    let (width, height) = size.split_once('x').expect("a size");
    let video = VideoFormat {
        codec,
        width: width.parse().expect("number"),
        height: height.parse().expect("number"),
        config: Blob(config.to_vec()),
    };
    let sound =
        |codec, config: &[u8]| AudioFormat { codec, sample_rate: 48_000, channels: 1, config: Blob(config.to_vec()) };
    let audio = match audio {
        [] => None,
        [_, "aac", ..] => {
            let esds = find(&file, b"esds");
            Some(sound(AudioCodec::Aac, &esds[4 + 5 + 3 + 5 + 13 + 5..][..5.min(usize::from(esds[34]))]))
        }
        _ => Some(sound(AudioCodec::Opus, find(&file, b"dOps"))),
    };
    let mut units: Vec<(f64, Unit)> = Vec::new();
    for packet in packets {
        let pts_us = (packet.pts * 1e6).round() as i64 + 777_777;
        let data = Blob(file[packet.at..packet.at + packet.bytes].to_vec());
        let (stream, duration_us) = match packet.stream {
            0 => (Stream::Video, 0),
            _ => (Stream::Audio, (packet.duration * 1e6).round() as u32),
        };
        let unit = Unit { stream, key: packet.key, pts_us, duration_us, captured_us: WALL_US + pts_us, data };
        units.push((packet.dts, unit));
    }
    // As they come out of a network: by decoding time.
    units.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    Some(Movie { format: Format { video, audio }, units: units.into_iter().map(|(_, unit)| unit).collect() })
}

/// Written in takes of five seconds and read by ffprobe; then a clip out of them.
fn check(video: &[&str], audio: &[&str], rate: f64) {
    // What leads a take's first key frame needs the take before, and is left out.
    let led_by = if video.iter().any(|arg| arg.contains("open-gop")) { 3 } else { 0 };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(movie) = movie(folder.path(), video, audio, &rate.to_string(), "320x240") else { return };
    let all = fragments(movie.format.audio.is_some(), movie.units.clone());
    let takes = takes(&movie.format, &all, 5_000_000);
    assert!(takes.len() > 2, "{} takes", takes.len());
    let mut pictures = 0;
    for (take, bytes) in &takes {
        let mut bytes = bytes.clone();
        probe(&folder.path().join("open.mp4"), &bytes, take.duration().as_secs_f64(), rate, false, led_by > 0);
        finish(take, &mut bytes);
        pictures +=
            probe(&folder.path().join("take.mp4"), &bytes, take.duration().as_secs_f64(), rate, true, led_by > 0);
    }
    let sent = movie.units.iter().filter(|unit| unit.stream == Stream::Video).count();
    let least = sent - led_by * (takes.len() - 1);
    assert!((least..=sent).contains(&pictures), "a picture is in one take, once: {pictures} of {sent}");
    let views: Vec<View> =
        takes.iter().map(|(take, _)| View { head: take.head(), fragments: take.fragments() }).collect();
    let files: Vec<&[u8]> = takes.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let begin = takes[0].0.head().begin;
    let at = |ms: u64| begin.plus(std::time::Duration::from_millis(ms));
    for (from, to) in [(0, 60_000), (3_300, 11_700), (6_000, 6_001)] {
        let clip = Virtual::new(&views, at(from), at(to)).expect("there are pictures");
        assert!(clip.begin() <= at(from) && (clip.end() >= at(to) || to == 60_000), "{clip:?}");
        let duration = clip.end().since(clip.begin()).as_secs_f64();
        let bytes = read_clip(&clip, &files);
        if led_by == 0 {
            probe(&folder.path().join("clip.mp4"), &bytes, duration, rate, true, false);
        }
    }
}

/// Returns how many pictures it has.
fn probe(path: &Path, bytes: &[u8], duration: f64, rate: f64, finished: bool, open: bool) -> usize {
    std::fs::write(path, bytes).expect("there is room");
    let packets = packets(path).expect("ffprobe was there before");
    let mut pictures: Vec<&Packet> = packets.iter().filter(|packet| packet.stream == 0).collect();
    assert!(pictures[0].key, "it begins with a key frame");
    let decoded = pictures.windows(2).all(|pair| pair[0].dts < pair[1].dts);
    assert!(decoded, "decoding times go forward");
    pictures.sort_by(|a, b| a.pts.total_cmp(&b.pts));
    assert!(pictures[0].pts.abs() < 0.0001, "it begins at {}", pictures[0].pts);
    for pair in pictures.windows(2) {
        let interval = pair[1].pts - pair[0].pts;
        assert!((interval - 1.0 / rate).abs() < 0.00003, "an interval of {interval}");
    }
    let expected = pictures.len() as f64 / rate;
    assert!((duration - expected).abs() < 0.001, "{duration} of {expected}");
    for found in durations(path).expect("ffprobe was there before").into_iter().filter(|_| finished) {
        assert!((found - expected).abs() < 1.0 / rate, "{found} of {expected}");
    }
    let sounds: Vec<&Packet> = packets.iter().filter(|packet| packet.stream == 1).collect();
    for pair in sounds.windows(2) {
        assert!((pair[1].pts - pair[0].pts - pair[0].duration).abs() < 0.000_1, "sound at {pair:?}");
    }
    if let (Some(first), Some(last)) = (sounds.first(), sounds.last()) {
        assert!(first.pts < 0.05 && last.pts > expected - 0.07, "sound from {first:?} to {last:?} of {expected}");
    }
    // But for an open group's key frame, which forgets pictures that it cannot know: a player may refuse the file.
    let level = if open { "fatal" } else { "error" };
    run("ffmpeg", &["-v", level, "-i", path.to_str().expect("text"), "-f", "null", "-"]);
    pictures.len()
}

#[test]
fn h264_without_reordering_and_aac() {
    check(&["-c:v", "libx264", "-bf", "0", "-g", "30"], &["-c:a", "aac"], 15.0);
}

#[test]
fn h264_with_b_pictures_and_open_groups() {
    let x264 = ["-c:v", "libx264", "-bf", "3", "-g", "24", "-x264-params", "open-gop=1:b-pyramid=normal"];
    check(&x264, &[], 12.5);
}

#[test]
fn h264_with_b_pictures_and_opus() {
    check(&["-c:v", "libx264", "-bf", "2", "-g", "60"], &["-c:a", "libopus"], 30.0);
}

#[test]
fn h264_of_key_frames_alone() {
    check(&["-c:v", "libx264", "-g", "1"], &[], 25.0);
}

#[test]
fn h265_with_b_pictures() {
    check(
        &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-tag:v",
            "hvc1",
            "-x265-params",
            "log-level=none:keyint=30:bframes=3:open-gop=0",
        ],
        &[],
        15.0,
    );
}

/// Neither ffmpeg nor Chromium takes a second sample entry in fragments.
#[test]
fn a_clip_ends_at_a_change_of_size_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let x264 = ["-c:v", "libx264", "-bf", "0", "-g", "30"];
    let Some(small) = movie(folder.path(), &x264, &[], "15", "320x240") else { return };
    let Some(mut large) = movie(folder.path(), &x264, &[], "15", "640x360") else { return };
    for unit in &mut large.units {
        unit.captured_us += i64::from(SECONDS) * 1_000_000;
    }
    let mut written = takes(&small.format, &fragments(false, small.units), 60_000_000);
    written.extend(takes(&large.format, &fragments(false, large.units), 60_000_000));
    let views: Vec<View> =
        written.iter().map(|(take, _)| View { head: take.head(), fragments: take.fragments() }).collect();
    let files: Vec<&[u8]> = written.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let (begin, end) = (written[0].0.head().begin, written[1].0.end());
    let first = Virtual::new(&views, begin, end).expect("there are pictures");
    assert!(first.changed() && first.end() == written[0].0.end());
    let second = Virtual::new(&views, first.end(), end).expect("there are more");
    assert!(!second.changed() && second.end() == end && second.takes() == [1]);
    for clip in [first, second] {
        let path = folder.path().join("clip.mp4");
        let duration = clip.end().since(clip.begin()).as_secs_f64();
        assert_eq!(probe(&path, &read_clip(&clip, &files), duration, 15.0, true, false), 15 * SECONDS as usize);
    }
}
